"""What goes wrong with a file."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A file that holds no model that can be loaded; the message names it and what is wrong.

    Raised by :func:`ntksketch.load` for every fault of a file's content: damage, arrays that do not
    fit each other, an unknown format. A file that cannot be read at all raises OSError.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> with open("notes.txt", "w") as file:
    ...     _ = file.write("no model")
    >>> try:
    ...     ntk.load("notes.txt")
    ... except ntk.ModelFileError as error:
    ...     print(error)
    notes.txt is no model file: it has 8 bytes, fewer than the smallest one
    """
