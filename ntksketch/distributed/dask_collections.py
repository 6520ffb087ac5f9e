"""Dask arrays and data frames: statistics by pure tasks, features and predictions lazily."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.source import Source, SourceError, require_finite, row_dtype
from ntksketch.features.base import FeatureMap
from ntksketch.features.statistics import chunk_rows, transform_chunk
from ntksketch.linear.gram import GramAccumulator

_NAME = "dask array"
_GROUP_BYTES = 2**28  # of rows that a task has in memory
_GROUP_WIDTHS = 4  # times the components: rows from which a task outweighs its merge


def is_dask(value: Any) -> bool:
    """Return whether a value is one of Dask's, without importing Dask."""
    return type(value).__module__.partition(".")[0] in ("dask", "dask_expr")


def as_dask_rows(X: Any, *, known: bool = True) -> Any:
    """Return a Dask array of rows, chunked by rows alone, from an array or a data frame.

    Images and signals become flat rows.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        Rows.
    known : bool, default=True
        Compute the numbers of rows of the chunks where they are not known.

    Raises
    ------
    TypeError
        If it is neither, or its entries are not real numbers.
    ValueError
        If it has one axis, or none.
    """
    X = _as_array(X, known)
    if X.ndim < 2:
        raise ValueError(f"{_NAME}: expected rows of shape (n, d), got {X.ndim} dimensions")
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{_NAME}: rows must be real numbers, got dtype {X.dtype}")
    X = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    if X.ndim == 2:
        return X
    width = math.prod(X.shape[1:])
    return X.map_blocks(
        _flat,
        chunks=(X.chunks[0], (width,)),
        drop_axis=list(range(2, X.ndim)),
        meta=np.empty((0, width), X.dtype),
    )


def _flat(block: Any) -> Any:
    return block.reshape(len(block), -1)


def _as_array(value: Any, known: bool) -> Any:
    if type(value).__module__.startswith("dask.dataframe"):
        return value.to_dask_array(lengths=True if known else None)
    if not isinstance(getattr(value, "chunks", None), tuple):  # a Delayed has every attribute
        raise TypeError(f"expected a Dask array or data frame, got {type(value).__name__}")
    if known and np.isnan(value.shape).any():
        value = copy.copy(value).compute_chunk_sizes()
    return value


class DaskSource(Source):
    """Rows of a Dask collection, with targets and weights chunked alike.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        Rows.
    y : Dask array or series, or array-like of shape (n,) or (n, k), default=None
        Targets.
    sample_weight : Dask array or series, or array-like of shape (n,), default=None
        Weights.
    """

    def __init__(self, X: Any, y: Any = None, sample_weight: Any = None) -> None:
        self.X = as_dask_rows(X)
        n, d = map(int, self.X.shape)
        super().__init__(_NAME, "dask", (n, d), self.X.dtype, targets=y)
        self.sample_weight = None
        if sample_weight is not None:
            one_for_all = not is_dask(sample_weight) and np.ndim(sample_weight) == 0
            weight = np.full(n, sample_weight) if one_for_all else sample_weight
            self.sample_weight = self._beside("sample_weight", weight)

    def _beside(self, name: str, values: Any) -> Any:
        import dask.array as da

        chunks = self.X.chunks[0]
        values = _as_array(values, True) if is_dask(values) else np.asarray(values)
        if values.ndim not in (1, 2) or values.shape[0] != self.shape[0]:
            raise SourceError(
                f"{name}: expected one for each of {self.shape[0]} rows, got shape {values.shape}"
            )
        if not is_dask(values):
            by_row: Any = (chunks, *((-1,) * (values.ndim - 1)))
            return da.from_array(values, chunks=by_row)
        return values.rechunk({0: chunks, **({1: -1} if values.ndim == 2 else {})})

    @property
    def y(self) -> Any:
        """The targets, a Dask array; None without."""
        return self._targets

    def _set_targets(self, targets: Any) -> None:
        super()._set_targets(None)
        self._targets = None if targets is None else self._beside("y", targets)

    def with_weight(self, weight: NDArray | None) -> DaskSource:
        """Return the same rows with other weights."""
        other = copy.copy(self)
        other.sample_weight = None if weight is None else self._beside("sample_weight", weight)
        return other

    def take(self, index: NDArray[np.intp]) -> Any:  # noqa: D102
        rows = self._convert(self.X[index].compute())
        require_finite(rows, 0, f"{_NAME}, sample")
        return rows

    def _rows(self, start: int, stop: int) -> Any:
        return self.X[start:stop].compute()

    def _target_rows(self, start: int, stop: int) -> Any:
        return super()._target_rows(start, stop).compute()


class _Part(NamedTuple):
    """Some chunks that one task accumulates: lazy values, and the number of their first row."""

    start: int
    X: list[Any]
    y: list[Any]
    weight: list[Any]


def gather_by_tasks(
    feature_map: FeatureMap | None,
    source: DaskSource,
    encode: Callable[[NDArray], NDArray],
    fit_intercept: bool,
    working_memory: float | None = None,
) -> tuple[GramAccumulator, bool]:
    """Return the statistics of the features of a Dask collection.

    Each task accumulates some chunks and changes nothing, so that a task that ran on a worker that
    was lost is run again and counts once. Results are merged with their neighbours' in the order
    of the rows, whatever the order in which they come.

    Parameters
    ----------
    feature_map : FeatureMap or None
        The map, which is sent once; None takes the rows themselves.
    source : DaskSource
        Rows with targets.
    encode : callable
        Turns a chunk of targets into those of least squares.
    fit_intercept : bool
        Whether statistics are centred.
    working_memory : float, default=None
        Budget in MiB of each task beside its chunks; None reads scikit-learn's setting there.

    Returns
    -------
    accumulator : GramAccumulator
        The statistics.
    single_target : bool
        Whether a row has a number for a target rather than an array.
    """
    from dask import delayed  # pyright: ignore[reportPrivateImportUsage]

    if source.y is None:
        raise SourceError(f"{source.name} has no targets to learn from")
    settings = delayed(
        (feature_map, encode, fit_intercept, working_memory, source.dtype), traverse=False
    )
    width = source.shape[1] if feature_map is None else feature_map.n_components
    accumulate, merge = delayed(_accumulate, pure=False), delayed(_merge, pure=False)
    parts = [accumulate(settings, *part) for part in _parts(source, width)]
    while len(parts) > 1:  # neighbours: few results wait for others, whichever task is late
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [merge(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    empty = encode(np.zeros((0, *source.y.shape[1:]), source.y.dtype))
    return parts[0].compute(), empty.ndim == 1


def _parts(source: DaskSource, width: int) -> Iterator[_Part]:
    """Yield groups of consecutive chunks."""
    rows = source.X.chunks[0]
    row_bytes = source.shape[1] * source.X.dtype.itemsize
    enough = max(1, min(_GROUP_WIDTHS * width, int(_GROUP_BYTES // row_bytes)))
    lazy = [_chunks(values) for values in (source.X, source.y, source.sample_weight)]
    first = start = held = 0
    for i, n in enumerate(rows):
        held += n
        if held >= enough or i == len(rows) - 1:
            yield _Part(start, *(values[first : i + 1] for values in lazy))
            first, start, held = i + 1, start + held, 0


def _chunks(values: Any) -> list[Any]:
    return [] if values is None else list(values.to_delayed().ravel())


def _accumulate(
    settings: tuple[Any, ...],
    start: int,
    X: Sequence[Any],
    y: Sequence[Any],
    weight: Sequence[Any],
) -> GramAccumulator:
    """Return the statistics of some chunks: a task."""
    feature_map, encode, fit_intercept, working_memory, dtype = settings
    accumulator = GramAccumulator(fit_intercept)
    with accumulator.batch() as batch:
        for i, (rows, targets) in enumerate(zip(X, y, strict=True)):
            at = f"{_NAME}, rows {start} to {start + len(targets) - 1}"
            rows = _checked(rows, start, at, dtype)
            targets = encode(np.asarray(targets))
            weights = np.asarray(weight[i], np.float64) if weight else None
            height = len(targets)
            if feature_map is not None:
                height = chunk_rows(feature_map, dtype, working_memory)
            for first in range(0, len(targets), max(height, 1)):
                part = slice(first, first + height)
                Z = rows[part]
                if feature_map is not None:
                    Z = transform_chunk(feature_map, Z, working_memory, start=start + first)
                weight_part = None if weights is None else weights[part]
                batch.update(Z, targets[part], weight_part, overwrite=feature_map is not None)
            start += len(targets)
    return accumulator


def _merge(one: GramAccumulator, other: GramAccumulator) -> GramAccumulator:
    """Return the statistics of the rows of both, and leave them as they are: a task."""
    return copy.deepcopy(one).merge(other)


def _checked(rows: Any, start: int, at: str, dtype: Any) -> Any:
    """Return rows as features take them."""
    rows = sp.csr_array(rows) if sp.issparse(rows) else np.ascontiguousarray(rows)
    require_finite(rows, start, at)
    return rows.astype(dtype, copy=False)


def map_rows(
    function: Callable[[Any, Any], NDArray], X: Any, state: Any, width: int | None, dtype: Any
) -> Any:
    """Return what a function makes of each chunk of rows, lazily.

    Parameters
    ----------
    function : callable
        Takes checked rows and the state.
    X : dask.array.Array or dask.dataframe.DataFrame
        Rows; the lengths of chunks may be unknown.
    state : object
        What the function needs, which is sent once.
    width : int or None
        Number of columns of the result; None for one dimension.
    dtype : dtype
        Its type.

    Returns
    -------
    dask.array.Array
        Chunked like the rows.
    """
    from dask import delayed  # pyright: ignore[reportPrivateImportUsage]

    X = as_dask_rows(X, known=False)
    shape = () if width is None else (width,)
    return X.map_blocks(
        functools.partial(_on_chunk, function, dask_dtype(X)),
        state=delayed(state, traverse=False),
        dtype=dtype,
        chunks=(X.chunks[0], *((w,) for w in shape)),
        drop_axis=[1] if width is None else [],
        meta=np.empty((0, *shape), dtype),
    )


def _on_chunk(
    function: Callable[[Any, Any], NDArray],
    dtype: Any,
    chunk: Any,
    state: Any,
    block_info: Any = None,
) -> NDArray:
    start, stop = block_info[0]["array-location"][0]
    known = not np.isnan([start, stop]).any()
    name = _NAME if known else f"{_NAME}, a chunk"
    return function(_checked(chunk, int(start) if known else 0, name, dtype), state)


def dask_dtype(X: Any) -> np.dtype:
    """Return the type in which rows are computed: float32 if they are, else float64."""
    return row_dtype(_as_array(X, False).dtype, _NAME)
