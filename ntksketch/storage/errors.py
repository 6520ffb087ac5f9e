"""What goes wrong with a file."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A file that holds no model that can be loaded; the message names it and what is wrong.

    Raised by :func:`ntksketch.load` for every fault of a file's content: damage, arrays that do not
    fit each other, an unknown format. A file that cannot be read at all raises OSError.

    Examples
    --------
    >>> import tempfile
    >>> import ntksketch as ntk
    >>> with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
    ...     try:
    ...         ntk.load(file.name)
    ...     except ntk.ModelFileError as error:
    ...         print(str(error).partition(" is ")[2])
    no model file: it has 0 bytes, fewer than the smallest one
    """
