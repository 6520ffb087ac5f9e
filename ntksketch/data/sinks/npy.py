"""A .npy file of known size, filled block by block."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class NpyStore:
    """A .npy file that is being written.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Of the whole array.
    dtype : dtype
        Of its values.
    block_rows : int
        Rows of a block.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, block_rows: int):
        self._path, self._shape, self._dtype = path, shape, dtype
        header = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(dtype)
        np.lib.format.write_array_header_1_0(
            header, {"descr": descr, "fortran_order": False, "shape": shape}
        )
        self._header = header.getvalue()

    def create(self) -> None:
        """Make the file in its full size, its rows still zero."""
        with self._path.open("wb") as file:
            file.write(self._header)
            file.truncate(self._offset(self._shape[0]))

    def write(self, start: int, Z: NDArray) -> None:
        """Write rows, on the disk when this returns."""
        with self._path.open("r+b") as file:
            file.seek(self._offset(start))
            file.write(np.ascontiguousarray(Z).data)
            file.flush()
            os.fsync(file.fileno())

    def read(self, start: int, stop: int) -> NDArray:
        """Read rows back; fewer if the file is shorter than it should be."""
        width = math.prod(self._shape[1:])
        count = (stop - start) * width
        Z = np.fromfile(self._path, self._dtype, count, offset=self._offset(start))
        return Z[: len(Z) - len(Z) % width].reshape(-1, *self._shape[1:])

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self._path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Nothing is left to bring to the disk."""

    def _offset(self, row: int) -> int:
        return len(self._header) + row * math.prod(self._shape[1:]) * self._dtype.itemsize
