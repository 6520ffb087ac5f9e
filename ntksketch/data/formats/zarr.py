"""Zarr arrays, of version 3 and 2, alone or in groups."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ntksketch.data.checks import opening
from ntksketch.data.formats.arrays import ArraySource
from ntksketch.data.formats.keys import choose_arrays
from ntksketch.data.optional import require
from ntksketch.data.source import Source, SourceError


class _Array:
    """Shape, dtype and slices of an array, and the state of the files of its chunks."""

    def __init__(self, array: Any, folder: Path) -> None:
        self._array, self.folder = array, folder
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, rows: slice) -> Any:
        return self._array[rows]

    def file_details(self) -> dict[str, Any]:
        """Return the number of files, and a digest of their names, sizes and times.

        Chunks never written read as the fill value and have no file.
        """
        digest, count = hashlib.blake2b(digest_size=8), 0
        for folder, subfolders, names in os.walk(self.folder):
            subfolders.sort()  # the order in which they are visited
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                except FileNotFoundError:  # deleted just now
                    continue
                place = os.path.relpath(path, self.folder)
                digest.update(f"{place}:{status.st_size}:{status.st_mtime_ns}\n".encode())
                count += 1
        return {"stored_files": [count, digest.hexdigest()]}


def open_file(path: Path, *, targets: Any = None, key: str | None = None) -> Source:
    """Open an array, or a group in which `key` and `targets` name arrays."""
    zarr = require("zarr", f"{path}: reading Zarr")
    with opening(path, "a Zarr array or group"):
        node = zarr.open(str(path), mode="r")
        found = node.members(max_depth=None) if isinstance(node, zarr.Group) else ()
        arrays = {k: _Array(array, path / k) for k, array in found if isinstance(array, zarr.Array)}
    if isinstance(node, zarr.Group):
        key, targets = choose_arrays(arrays, key, targets, str(path))
        rows = arrays[key]
    elif key is not None:
        raise SourceError(f"{path}: it is an array and not a group, key={key!r} is not for it")
    else:
        rows = _Array(node, path)
    files = [rows.folder / name for name in ("zarr.json", ".zarray")]
    files = [file for file in files if file.is_file()]
    return ArraySource(rows, str(path), "zarr", targets=targets, files=files)
