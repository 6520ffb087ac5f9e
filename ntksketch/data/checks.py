"""What cannot be used of a source, and the checks that all formats share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp


class SourceError(ValueError):
    """A source, or something in it, cannot be used; the message says where and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> source = ntk.data.open_source(np.array([[1.0], [np.nan]]))
    >>> try:
    ...     source.read(0, 2)
    ... except ntk.data.SourceError as error:
    ...     print("row 1" in str(error))
    True
    """


def row_dtype(dtype: Any, name: str) -> np.dtype:
    """Return float32 for itself and float64 for other real numbers; refuse the rest."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise SourceError(f"{name}: rows must be real numbers, got dtype {dtype}")
    single = dtype.kind == "f" and dtype.itemsize == 4
    return np.dtype(np.float32 if single else np.float64)


def file_details(array: Any) -> dict[str, Any]:
    """Return what an array says of itself beside its values: nothing unless it has a method."""
    return array.file_details() if hasattr(array, "file_details") else {}


@contextlib.contextmanager
def opening(path: Path, expected: str) -> Iterator[None]:
    """Let every failure of a format's library to open a file say which file it is.

    Parameters
    ----------
    path : Path
        The file.
    expected : str
        What it should be.
    """
    try:
        yield
    except (SourceError, MemoryError, ModuleNotFoundError):
        raise
    except Exception as error:  # on damaged bytes each library has dozens of its own
        raise SourceError(
            f"{path}: expected {expected}: {error or type(error).__name__}"
        ) from error


def stamp(path: Path) -> tuple[int, int]:
    """Return the size of a file and when it was written."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file (any more)") from None
    return status.st_size, status.st_mtime_ns


def require_finite(values: Any, start: int, at: str) -> None:
    """Raise an error that names the first row and column where there is NaN or infinity."""
    data = values.data if sp.issparse(values) else values
    finite = np.isfinite(data)
    if finite.all():
        return
    where = np.argwhere(~finite)[0]
    if sp.issparse(values):
        entry = int(where[0])
        row = int(np.searchsorted(values.indptr, entry, side="right")) - 1
        where = np.array([row, values.indices[entry]])
        bad = data[entry]
    else:
        bad = data[tuple(where)]
    what = "NaN" if np.isnan(bad) else "infinity"
    column = f", column {where[1]}" if len(where) > 1 else ""
    raise SourceError(f"{at}: {what} in row {start + int(where[0])}{column}; fill or drop it")
