"""Data sets of HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ntksketch.data.checks import opening
from ntksketch.data.formats.arrays import ArraySource
from ntksketch.data.formats.keys import choose_arrays
from ntksketch.data.optional import require
from ntksketch.data.source import Source


class _Dataset:
    """Shape, dtype and slices of a data set.

    The file is opened for each slice, so that sources pickle and no handle is left open.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, ...], dtype: Any) -> None:
        self._path, self._key = path, key
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __getitem__(self, rows: slice) -> Any:
        with require("h5py", "reading HDF5").File(self._path, "r") as file:
            return file[self._key][rows]


def open_file(path: Path, *, targets: Any = None, key: str | None = None) -> Source:
    """Open a data set; `key` and `targets` are names such as ``"train/X"``."""
    h5py = require("h5py", f"{path}: reading HDF5")
    arrays: dict[str, _Dataset] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            arrays[name] = _Dataset(path, name, node.shape, node.dtype)

    with opening(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(visit)
    key, targets = choose_arrays(arrays, key, targets, str(path))
    return ArraySource(arrays[key], str(path), "hdf5", targets=targets, files=[path])
