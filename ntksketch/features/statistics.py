"""Sufficient statistics of the features of a source, which are never kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from numpy.typing import NDArray

from ntksketch.data.blocks import budget_bytes, rows_per_block
from ntksketch.data.checksum import checksum
from ntksketch.data.prefetch import prefetch
from ntksketch.data.source import Source, SourceError
from ntksketch.features.base import FeatureMap
from ntksketch.features.pass_state import PassState
from ntksketch.features.transform import transform_blocks
from ntksketch.linear import GramAccumulator
from ntksketch.linear.rows import PIECE_ROWS

_CHUNK_ROWS = 8192  # rows of features between updates of the Gram matrix
_SAMPLE_ROWS = 64  # whose features tell maps apart
_COPIES = 4  # a chunk's features and the chunk's before: half the budget, the rest for making them
_READ = 12  # chunks of rows that are read, wait and are in use: together another quarter of it
READ_SHARE = 1.25  # of the budget, with these


def chunk_rows(
    feature_map: FeatureMap, dtype: Any, working_memory: float | None, row_bytes: float = 0.0
) -> int:
    """Return how many rows have their features in memory at a time.

    `row_bytes` is what a row takes that is read for it; rows that are in memory take nothing more.
    """
    feature_bytes = _COPIES * feature_map.n_components * dtype.itemsize
    most = max(feature_bytes, _READ * row_bytes)
    return rows_per_block(most, working_memory, most=_CHUNK_ROWS)


def transform_chunk(
    feature_map: FeatureMap,
    X: Any,
    working_memory: float | None,
    out: NDArray | None = None,
    start: int = 0,
) -> NDArray:
    """Return the features of one chunk, made with half of the budget."""
    half = budget_bytes(working_memory) / 2**21
    return transform_blocks(feature_map, X, half, out=out, start=start)


def weighted_blocks(
    source: Source, n_rows: int, sample_weight: NDArray | None, start: int = 0
) -> Iterator[tuple[Any, NDArray, NDArray | None]]:
    """Yield rows, targets and weights of each block, the next of which is being read."""
    with closing(prefetch(source.blocks(n_rows, start=start))) as blocks:
        for first, X, y in blocks:
            if y is None:
                raise SourceError(f"{source.name} has no targets to learn from")
            rows = slice(first, first + X.shape[0])
            yield X, y, None if sample_weight is None else sample_weight[rows]


def gather(
    feature_map: FeatureMap,
    source: Source,
    accumulator: GramAccumulator,
    *,
    sample_weight: NDArray | None = None,
    working_memory: float | None = None,
    progress: Callable[[int], object] | None = None,
    state: PassState | None = None,
) -> GramAccumulator:
    """Add the features of all rows to statistics, in place.

    Parameters
    ----------
    feature_map : FeatureMap
        The map.
    source : Source
        Rows with targets.
    accumulator : GramAccumulator
        Takes them.
    sample_weight : ndarray of shape (n,), default=None
        Weights, which count as repetitions.
    working_memory : float, default=None
        Budget in MiB beside the statistics; None reads scikit-learn's setting.
    progress : callable, default=None
        Called with the number of rows of each block that is done.
    state : PassState, default=None
        Keeps what is done on disk, and takes up what another process did.

    Returns
    -------
    GramAccumulator
        The accumulator itself.
    """
    n_rows = chunk_rows(feature_map, source.dtype, working_memory, source.row_bytes)
    done = 0
    if state is not None:
        about = _identity(feature_map, source, accumulator, n_rows, sample_weight)
        done = state.begin(about, accumulator)
        if progress is not None and done:
            progress(done)
    if done == source.shape[0]:
        return accumulator
    chunk = None  # memory that all of them share: new pages cost a tenth of what fills them
    with accumulator.batch() as batch:
        for X, y, weight in weighted_blocks(source, n_rows, sample_weight, done):
            out = None if chunk is None or len(chunk) < X.shape[0] else chunk[: X.shape[0]]
            Z = transform_chunk(feature_map, X, working_memory, out, done)
            chunk = Z if out is None else chunk
            batch.update(Z, y, weight, overwrite=True)
            done += X.shape[0]
            if done % PIECE_ROWS == 0:  # rows of weight zero do not fill the batch's pieces
                batch.settle()
            if state is not None and batch.settled:
                state.see(done, accumulator)
            if progress is not None:
                progress(X.shape[0])
    return accumulator


def _identity(
    feature_map: FeatureMap,
    source: Source,
    accumulator: GramAccumulator,
    n_rows: int,
    sample_weight: NDArray | None,
) -> dict[str, Any]:
    """Return what the statistics of a pass depend on: rows, targets, weights, features, blocks."""
    sample = next(iter(source.blocks(min(n_rows, _SAMPLE_ROWS))))
    return {
        "source": source.fingerprint(),
        "targets": [checksum([sample.y]), source.targets_fingerprint()],
        "weights": None if sample_weight is None else checksum([sample_weight]),
        "features": checksum([transform_chunk(feature_map, sample.X, None)]),
        "block_rows": n_rows,
        "fit_intercept": accumulator.fit_intercept,
    }
