"""Rows that are read piece by piece: what every format offers, and the checks that all share."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import operator
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.blocks import block_slices, budget_bytes, rows_per_block
from ntksketch.data.checks import (
    SourceError,
    file_details,
    opening,
    require_finite,
    row_dtype,
    stamp,
)
from ntksketch.data.checksum import checksum
from ntksketch.data.mapped import MappedArray

_MOST_ROWS = 8192  # of a block whose size is left to us
_HASHED_ENTRIES = 2**16  # of targets, that are read at a time
_TARGET_COPIES = 4  # of their rows: as text, in lines, as numbers, and some
_SAMPLE_BYTES = 2**20  # of each of the three places that a fingerprint looks at


class Block(NamedTuple):
    """Consecutive rows of a source.

    Parameters
    ----------
    start : int
        Index of the first row.
    X : ndarray or CSR array of shape (n, d)
        The rows.
    y : ndarray of shape (n,) or (n, n_targets), or None
        Their targets, where the source has targets.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.data import open_source
    >>> [block.start for block in open_source(np.ones((5, 2))).blocks(2)]
    [0, 2, 4]
    """

    start: int
    X: Any
    y: NDArray | None


class Source:
    """Rows, and perhaps targets, that are read piece by piece; made by `open_source`.

    A format defines `_rows` and, where targets are stored with the rows, `_target_rows`.

    Parameters
    ----------
    name : str
        What messages call it: the path of a file.
    format : str
        Name of the format.
    shape : tuple of (int, int)
        Numbers of rows and columns.
    dtype : dtype
        Type of the stored values.
    targets : array-like of shape (n,) or (n, n_targets), or path of a .npy file, default=None
        Targets that are stored apart.
    files : iterable of Path, default=()
        Files whose size and time must stay while they are read.

    Attributes
    ----------
    name, format : str
        As given.
    shape : tuple of (int or None, int)
        Numbers of rows and columns; None for the rows of an iterable of unknown length.
    dtype : dtype
        float32 if that is what is stored, else float64.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> source = ntk.data.open_source(np.ones((6, 2), np.float32), targets=np.arange(6))
    >>> isinstance(source, ntk.data.Source), source.shape, source.dtype, source.has_targets
    (True, (6, 2), dtype('float32'), True)
    """

    def __init__(
        self,
        name: str,
        format: str,
        shape: tuple[int | None, int],
        dtype: Any,
        *,
        targets: Any = None,
        files: Iterable[Path] = (),
    ) -> None:
        self.name, self.format = name, format
        if shape[1] < 1:
            raise SourceError(f"{name}: rows need at least one column, got shape {shape}")
        if shape[0] is not None and shape[0] < 0:
            raise SourceError(f"{name}: it is damaged, it says that it has {shape[0]} rows")
        self.shape = shape
        self.dtype = row_dtype(dtype, name)
        self._stamps = {path: stamp(path) for path in files}
        self._opened = self._details()
        self._set_targets(targets)

    def __repr__(self) -> str:
        return f"<{self.format} source {self.name}: shape {self.shape}, {self.dtype}>"

    @property
    def has_targets(self) -> bool:
        """Whether there are targets to read."""
        return self._targets is not None

    @property
    def row_bytes(self) -> float:
        """Bytes that a row takes in memory, on average."""
        return float(self.shape[1] * self.dtype.itemsize)

    def take(self, index: NDArray[np.intp]) -> Any:
        """Read some rows, each by its number.

        Parameters
        ----------
        index : ndarray of shape (k,)
            Their numbers, ascending.

        Returns
        -------
        ndarray or CSR array of shape (k, d), or None
            The rows; None where that costs as much as reading all of them.
        """
        return None

    def with_targets(self, targets: Any) -> Source:
        """Return the same rows with other targets.

        Parameters
        ----------
        targets : array-like of shape (n,) or (n, n_targets), or path of a .npy file
            The targets.

        Returns
        -------
        Source
            A source that reads the same rows.

        Raises
        ------
        SourceError
            If they are not one for each row, or not numbers.
        """
        other = copy.copy(self)
        other._set_targets(targets)
        return other

    def read(self, start: int, stop: int) -> Any:
        """Read consecutive rows.

        Parameters
        ----------
        start, stop : int
            First row, and the row after the last.

        Returns
        -------
        ndarray or CSR array of shape (stop - start, d)
            Finite rows in the source's dtype.

        Raises
        ------
        SourceError
            If the rows cannot be read, are not finite, or the source changed since it was opened.
        """
        return self._read_rows(start, stop, self._place(start, stop))

    def read_targets(self, start: int, stop: int) -> NDArray:
        """Read the targets of consecutive rows.

        Parameters
        ----------
        start, stop : int
            First row, and the row after the last.

        Returns
        -------
        ndarray of shape (stop - start,) or (stop - start, n_targets)
            Finite targets.

        Raises
        ------
        SourceError
            If there are none, or they cannot be used.
        """
        return self._read_targets(start, stop, self._place(start, stop))

    def blocks(self, n_rows: int | None = None, *, start: int = 0) -> Iterator[Block]:
        """Iterate over blocks of rows, with their targets if there are any.

        Parameters
        ----------
        n_rows : int, default=None
            Rows of a block; only the last may have fewer. None takes as many as scikit-learn's
            ``working_memory`` has room for, at most 8,192.
        start : int, default=0
            Row to begin with, a multiple of `n_rows`.

        Returns
        -------
        iterator of Block
            The blocks in order.

        Raises
        ------
        SourceError
            Once a block cannot be used; the message has its number, counted from row 0.
        """
        height = self._block_rows(n_rows)
        if start % height:
            raise ValueError(f"start must be a multiple of {height} rows, got {start}")
        return self._blocks(height, start)

    def target_blocks(self, working_memory: float | None = None) -> Iterator[tuple[int, NDArray]]:
        """Iterate over the targets alone.

        Parameters
        ----------
        working_memory : float, default=None
            Budget in MiB, also of rows that are parsed with the targets; None reads scikit-learn's
            setting.

        Yields
        ------
        start : int
            Index of the first row.
        y : ndarray of shape (k,) or (k, n_targets)
            The targets of as many rows as there is room for, at most 65,536.
        """
        n = self.shape[0] or 0
        height = budget_bytes(working_memory) / (_TARGET_COPIES * self.row_bytes)
        for rows in block_slices(n, int(min(max(height, 1), _HASHED_ENTRIES))):
            y = self.read_targets(rows.start, rows.stop)
            if rows.stop == n:
                self._require_unchanged(whole=True)
            yield rows.start, y

    def fingerprint(self) -> dict[str, Any]:
        """Return a cheap identity of the rows: another one means that they changed.

        Returns
        -------
        dict
            Values for JSON: format, shape, dtype, the name, size and time of each file, and a
            checksum of some rows at the beginning, in the middle and at the end.
        """
        n = self.shape[0] or 0
        height = min(n, max(1, int(_SAMPLE_BYTES // self.row_bytes)))
        starts = sorted({0, (n - height) // 2, n - height}) if n else []
        samples = (
            self._convert(self._guarded(self._rows, s, s + height, self._place(s, s + height)))
            for s in starts
        )
        return {
            "format": self.format,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "files": {path.name: list(stamp) for path, stamp in self._stamps.items()},
            "checksum": checksum(samples),
            **self._details(),
        }

    def targets_fingerprint(self) -> dict[str, Any] | None:
        """Return an identity of the targets that is complete: every one of them is read.

        Returns
        -------
        dict or None
            Values for JSON: shape, dtype and a checksum of targets given beside the rows, or which
            column they are; None without targets, or where a file can hold no others.

        Raises
        ------
        SourceError
            If they cannot be read.
        """
        targets = self._targets
        if targets is None:
            return None
        shape = tuple(map(int, targets.shape))
        height = max(1, _HASHED_ENTRIES // max(1, math.prod(shape[1:])))
        parts = (
            np.asarray(self._guarded(self._target_rows, rows.start, rows.stop, self.name))
            for rows in block_slices(shape[0], height)
        )
        return {"shape": list(shape), "dtype": str(targets.dtype), "checksum": checksum(parts)}

    def _rows(self, start: int, stop: int) -> Any:
        """Read rows as they are stored: what every format defines."""
        raise NotImplementedError

    def _details(self) -> dict[str, Any]:
        """Return more of the rows' identity, of files that are too many to be stamped one by one.

        It is compared at the end of a pass. There is none unless a format defines it.
        """
        return {}

    def _set_targets(self, targets: Any) -> None:
        path = Path(targets) if isinstance(targets, str | Path) else None
        if targets is not None:
            targets = _open_targets(targets, self.shape[0], self.name)
        self._targets: Any = targets
        self._target_stamps = {} if path is None else {path: stamp(path)}
        self._opened_targets = file_details(targets)

    def _target_rows(self, start: int, stop: int) -> Any:
        if self._targets is None:
            raise SourceError(f"{self.name} has no targets; say which: open_source(..., targets=)")
        return self._targets[start:stop]

    def _place(self, start: int, stop: int) -> str:
        if not 0 <= start <= stop <= (self.shape[0] or 0):
            raise IndexError(
                f"{self.name}: rows {start} to {stop} were asked for, and there are {self.shape[0]}"
            )
        return f"{self.name}, rows {start} to {max(stop - 1, start)}"

    def _block_rows(self, n_rows: int | None) -> int:
        if n_rows is None:
            return rows_per_block(self.row_bytes, None, most=_MOST_ROWS)
        if operator.index(n_rows) < 1:
            raise ValueError(f"n_rows must be at least 1, got {n_rows}")
        return n_rows

    def _blocks(self, n_rows: int, first: int) -> Iterator[Block]:
        for rows in block_slices(self.shape[0] or 0, n_rows, first):
            at = self._block_place(rows.start // n_rows, rows.start, rows.stop)
            X = self._read_rows(rows.start, rows.stop, at)
            y = self._read_targets(rows.start, rows.stop, at) if self.has_targets else None
            if rows.stop == self.shape[0]:
                self._require_unchanged(whole=True)
            yield Block(rows.start, X, y)

    def _block_place(self, number: int, start: int, stop: int) -> str:
        return f"{self.name}, block {number} (rows {start} to {stop - 1})"

    def _read_rows(self, start: int, stop: int, at: str) -> Any:
        X = self._convert(self._guarded(self._rows, start, stop, at))
        return self._check_rows(X, start, (stop - start, self.shape[1]), at)

    def _check_rows(self, X: Any, start: int, shape: tuple[int, int], at: str) -> Any:
        if X.shape != shape:
            raise SourceError(f"{at}: expected shape {shape}, got {X.shape}")
        require_finite(X, start, at)
        return X

    def _read_targets(self, start: int, stop: int, at: str) -> NDArray:
        y = np.array(self._guarded(self._target_rows, start, stop, at))
        if len(y) != stop - start:
            raise SourceError(f"{at}: expected {stop - start} targets, got {len(y)}")
        require_finite(y, start, f"{at}, targets")
        return y

    def _guarded(self, read: Any, start: int, stop: int, at: str) -> Any:
        """Read, and let every failure of a format's library say where it happened."""
        self._require_unchanged()
        try:
            return read(start, stop)
        except (SourceError, MemoryError):
            raise
        except Exception as error:  # each library has errors of its own
            raise SourceError(f"{at}: cannot be read: {error or type(error).__name__}") from error

    def _convert(self, X: Any) -> Any:
        if sp.issparse(X):
            return _short_indices(X.astype(self.dtype, copy=False))
        if isinstance(X, np.memmap):  # read now, by whoever asked, and not when it is used
            return np.array(X, self.dtype, order="C")
        return np.asarray(X, self.dtype, order="C")

    def _require_unchanged(self, *, whole: bool = False) -> None:
        """Raise an error if a file changed; if `whole`, also one that is not stamped."""
        for path, (size, mtime) in {**self._stamps, **self._target_stamps}.items():
            now = stamp(path)
            if now != (size, mtime):
                what = "shrank" if now[0] < size else "changed"
                raise SourceError(
                    f"{path} {what} after it was opened: it had {size:,} bytes and has "
                    f"{now[0]:,}; open it again"
                )
        if whole:
            before, targets = self._opened, self._opened_targets
            if self._details() != before or file_details(self._targets) != targets:
                raise SourceError(
                    f"{self.name} changed while it was read, and earlier blocks may be of what it "
                    "was before; open it again when nobody writes to it"
                )


def _short_indices(X: Any) -> Any:
    """Return CSR with 32-bit indices if they are enough, which is what most code takes."""
    short = np.iinfo(np.int32).max
    if X.indices.dtype == X.indptr.dtype == np.int32 or max(X.nnz, X.shape[1]) > short:
        return X
    parts = X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return sp.csr_array(parts, shape=X.shape)


def _open_targets(targets: Any, n_rows: int | None, name: str) -> Any:
    if isinstance(targets, str | Path):
        path = Path(targets)
        if path.suffix.lower() != ".npy" or not path.is_file():
            raise SourceError(
                f"targets of {name}: expected an array or a .npy file, got {str(targets)!r}"
            )
        load = functools.partial(np.load, path, mmap_mode="r", allow_pickle=False)
        with opening(path, "a whole .npy file of plain numbers"):
            targets = MappedArray(load)
    elif not (hasattr(targets, "shape") and isinstance(targets.dtype, np.dtype)):
        targets = np.asarray(targets)
        if targets.dtype == object:  # numbers of a frame's nullable type
            with contextlib.suppress(TypeError, ValueError):  # what it holds is refused below
                targets = targets.astype(np.float64)
    if targets.ndim not in (1, 2) or targets.shape[0] != n_rows:
        raise SourceError(
            f"targets of {name}: expected one for each of {n_rows} rows, got shape {targets.shape}"
        )
    if np.dtype(targets.dtype).kind not in "biuf":
        raise SourceError(f"targets of {name} must be real numbers, got dtype {targets.dtype}")
    return targets
