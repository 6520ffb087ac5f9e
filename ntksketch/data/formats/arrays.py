"""Whatever has rows to slice: arrays, memory maps, Zarr and HDF5 data sets, and parts of CSR."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.checks import file_details
from ntksketch.data.mapped import MappedArray
from ntksketch.data.source import Source, SourceError


class ArraySource(Source):
    """Rows of something with a shape, a dtype and slices; images and signals become flat rows.

    Parameters
    ----------
    array : array of shape (n, d) or (n, ..., channels)
        Slices of it must give arrays. A method `file_details` returns more of its
        identity.
    name, format, targets, files
        See :class:`Source`.
    """

    def __init__(
        self,
        array: Any,
        name: str = "array",
        format: str = "array",
        *,
        targets: Any = None,
        files: Iterable[Path] = (),
    ) -> None:
        if len(array.shape) < 2:
            raise SourceError(f"{name}: rows must be a 2-D array, got shape {tuple(array.shape)}")
        self._array = array
        n, *row = map(int, array.shape)
        super().__init__(
            name, format, (n, math.prod(row)), array.dtype, targets=targets, files=files
        )

    def take(self, index: NDArray[np.intp]) -> Any:  # noqa: D102
        if not isinstance(
            self._array, np.ndarray | MappedArray
        ):  # chunks are read whole, for one row as well
            return None
        at = f"{self.name}, rows by number"
        rows = self._guarded(lambda *_: self._flat(index), 0, len(index), at)
        return self._check_rows(self._convert(rows), 0, (len(index), self.shape[1]), at)

    def _rows(self, start: int, stop: int) -> Any:
        return self._flat(slice(start, stop))

    def _flat(self, rows: Any) -> Any:
        found = self._array[rows]
        return found if found.ndim == 2 else found.reshape(len(found), -1)

    def _details(self) -> dict[str, Any]:
        return file_details(self._array)


class CSRSource(Source):
    """Rows of CSR parts, which may be memory maps: only the parts of the rows read are touched.

    Parameters
    ----------
    data, indices : array of shape (n_entries,)
        Values and their columns.
    indptr : array of shape (n + 1,)
        Where each row begins.
    shape : tuple of (int, int)
        Numbers of rows and columns.
    name, format, targets, files
        See :class:`Source`.
    """

    def __init__(
        self,
        data: Any,
        indices: Any,
        indptr: Any,
        shape: tuple[int, int],
        name: str = "CSR array",
        format: str = "csr",
        *,
        targets: Any = None,
        files: Iterable[Path] = (),
    ) -> None:
        self._parts = data, indices, indptr
        if indptr.shape != (shape[0] + 1,) or data.shape != indices.shape:
            raise SourceError(
                f"{name}: parts of shapes {data.shape}, {indices.shape} and {indptr.shape} do not "
                f"make a CSR array of shape {tuple(shape)}"
            )
        if indptr[0] != 0 or indptr[-1] != len(data):
            raise SourceError(
                f"{name}: indptr goes from {indptr[0]} to {indptr[-1]}, and there are {len(data)} "
                "entries"
            )
        super().__init__(name, format, shape, data.dtype, targets=targets, files=files)

    @property
    def row_bytes(self) -> float:  # noqa: D102
        data, indices, _ = self._parts
        entry = self.dtype.itemsize + indices.dtype.itemsize
        return 8 + entry * len(data) / max(self.shape[0] or 0, 1)

    def _rows(self, start: int, stop: int) -> Any:
        data, indices, indptr = self._parts
        ends = np.array(indptr[start : stop + 1])
        first, last = int(ends[0]), int(ends[-1])
        parts = np.array(data[first:last]), np.array(indices[first:last]), ends - first
        X = sp.csr_array(parts, shape=(stop - start, self.shape[1]))
        X.check_format(full_check=True)
        return X


def open_array(data: Any, *, targets: Any = None) -> Source:
    """Take rows from memory: an array, a data frame, or a sparse matrix, of which CSR is best."""
    if sp.issparse(data):
        X = cast(Any, sp.csr_array(data))
        return CSRSource(X.data, X.indices, X.indptr, X.shape, targets=targets)
    return ArraySource(np.asanyarray(data), targets=targets)
