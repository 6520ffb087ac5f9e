"""A Zarr array with a chunk for each block of rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.files import sync
from ntksketch.data.optional import require


class ZarrStore:
    """A Zarr array of version 3 that is being written.

    Parameters
    ----------
    path : Path
        Its folder.
    shape : tuple of int
        Of the whole array.
    dtype : dtype
        Of its values.
    block_rows : int
        Rows of a block, which is a chunk.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, block_rows: int):
        self._zarr = require("zarr", f"{path}: writing Zarr")
        self._path, self._shape, self._dtype = path, shape, dtype
        self._chunks = (min(block_rows, shape[0]), *shape[1:])

    def create(self) -> None:
        """Make an array without chunks, in place of what may be there from a start that failed."""
        self.remove()
        self._zarr.create_array(
            str(self._path), shape=self._shape, dtype=self._dtype, chunks=self._chunks
        )

    def write(self, start: int, Z: NDArray) -> None:
        """Write the rows of a chunk."""
        self._zarr.open_array(str(self._path), mode="r+")[start : start + len(Z)] = Z

    def read(self, start: int, stop: int) -> NDArray:
        """Read rows back."""
        return np.asarray(self._zarr.open_array(str(self._path), mode="r")[start:stop])

    def remove(self) -> None:
        """Remove the folder, if there is one."""
        if self._path.exists():
            shutil.rmtree(self._path)

    def sync(self) -> None:
        """Remove what a killed process left of chunks half written; bring the rest to the disk."""
        metadata = self._zarr.open_array(str(self._path), mode="r").metadata
        n_chunks = -(-self._shape[0] // self._chunks[0])
        columns = (0,) * (len(self._shape) - 1)
        keys = {"zarr.json", *(metadata.encode_chunk_key((i, *columns)) for i in range(n_chunks))}
        for path in list(self._path.rglob("*")):
            if path.is_file() and path.relative_to(self._path).as_posix() not in keys:
                path.unlink()
            else:
                sync(path)
        sync(self._path)
