"""The formats, and how to open one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import scipy.sparse as sp

from ntksketch.data.formats.arrays import open_array
from ntksketch.data.formats.iterables import IterableSource
from ntksketch.data.source import Source, SourceError

# a format's module in ntksketch.data.formats, whose `open_file` opens it, and its suffixes
FORMATS = {
    "npy": (".npy",),
    "npz": (".npz",),
    "zarr": (".zarr",),
    "parquet": (".parquet", ".pq"),
    "hdf5": (".h5", ".hdf5", ".hdf"),
    "csv": (".csv",),
    "libsvm": (".libsvm", ".svmlight", ".svm"),
}


def open_source(
    data: Any, *, targets: Any = None, format: str | None = None, **options: Any
) -> Source:
    """Open rows that are read piece by piece.

    Parameters
    ----------
    data : path, array, sparse matrix or iterable
        A file or folder of a known format, rows in memory, or an iterable of blocks, each rows or
        a pair of rows and targets, which is read once.
    targets : str, int, path or array-like, default=None
        Targets: an array, the path of a .npy file, or, where the format has names, the name of an
        array (npz, Zarr, HDF5) or of a column (Parquet; CSV, also by number). A libsvm file has
        its own.
    format : {"npy", "npz", "zarr", "parquet", "hdf5", "csv", "libsvm"}, default=None
        The format of a file; None looks at its suffix.
    **options
        ``key`` of npz, Zarr and HDF5: the array with the rows. ``columns`` of Parquet. ``header``
        (True, False, or None to look) and ``delimiter`` of CSV. ``n_features`` and ``zero_based``
        of libsvm. ``n_rows`` of an iterable: how many rows will come.

    Returns
    -------
    Source
        The rows: of float32 if those stored are, else of float64.

    Raises
    ------
    SourceError
        If the file cannot be used; the message says what is wrong with it.
    FileNotFoundError
        If there is none.
    ModuleNotFoundError
        If the format needs a package of the extra ``io``.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.data import open_source
    >>> source = open_source(np.arange(12.0).reshape(6, 2), targets=np.arange(6))
    >>> source.read(1, 3)
    array([[2., 3.],
           [4., 5.]])
    >>> [block.y.tolist() for block in source.blocks(4)]
    [[0, 1, 2, 3], [4, 5]]
    """
    if isinstance(data, str | Path):
        path = Path(data)
        module = importlib.import_module(f"ntksketch.data.formats.{_format_of(path, format)}")
        opener, first, extra = module.open_file, path, {"targets": targets}
    elif format is not None:
        raise TypeError(f"format={format!r} is for files, and the rows are a {type(data).__name__}")
    elif sp.issparse(data) or hasattr(data, "__array__"):
        opener, first, extra = open_array, data, {"targets": targets}
    elif isinstance(data, Iterable):
        if targets is not None:
            raise TypeError("targets of an iterable come with its blocks, as pairs (X, y)")
        opener, first, extra = cast(Any, IterableSource), data, {}
    else:
        raise TypeError(f"expected a path, rows, or an iterable of blocks, got {type(data)}")
    _, *known = [name for name in inspect.signature(opener).parameters if name != "targets"]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(
            f"{unknown[0]!r} is no option of this format; its options are "
            f"{', '.join(known) or 'none'}"
        )
    return opener(first, **extra, **options)


def _format_of(path: Path, format: str | None) -> str:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if format is not None:
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        return format
    suffix = path.suffix.lower()
    found = next((name for name, suffixes in FORMATS.items() if suffix in suffixes), None)
    if found is None and path.is_dir():
        if any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")):
            found = "zarr"
        elif any(path.glob("*.parquet")):
            found = "parquet"
    if found is None:
        suffixes = ", ".join(suffix for group in FORMATS.values() for suffix in group)
        raise SourceError(
            f"{path}: its format is not known by its suffix, which may be {suffixes}; "
            "pass format=..."
        )
    return found
