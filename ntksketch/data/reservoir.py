"""A sample of the rows of a source of any length."""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from ntksketch.data.source import Source, SourceError


def reservoir(
    source: Source,
    size: int,
    rng: np.random.Generator | int,
    *,
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, NDArray[np.intp]]:
    r"""Draw rows without replacement in one pass, for example to choose landmarks from them.

    Row :math:`i` has the key :math:`E_i / w_i` with :math:`E_i` exponential; the rows of the
    smallest keys are those of successive draws by weight. What is drawn does not depend on the
    blocks. At most two samples and a block are in memory.

    Parameters
    ----------
    source : Source
        Where the rows are.
    size : int
        Number of rows to draw; all rows of positive weight if there are no more.
    rng : Generator or int
        Random numbers, or a seed.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights; None draws uniformly.

    Returns
    -------
    X : ndarray or CSR array of shape (size, d)
        The rows, in their order in the source.
    index : ndarray of shape (size,)
        Where they are.

    References
    ----------
    Efraimidis, Spirakis (2006), "Weighted random sampling with a reservoir", Information
    Processing Letters 97(5), doi:10.1016/j.ipl.2005.11.003.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.data import open_source, reservoir
    >>> X, index = reservoir(open_source(np.eye(100)), 3, 0)
    >>> X.shape, bool((X == np.eye(100)[index]).all())
    ((3, 100), True)
    """
    if operator.index(size) < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    rng = np.random.default_rng(rng)
    weight = None if sample_weight is None else _as_weights(sample_weight)
    kept, held, read, limit = [], 0, 0, np.inf
    for block in source.blocks():
        n = block.X.shape[0]
        read += n
        keys = rng.exponential(size=n)
        if weight is not None:
            part = weight[block.start : block.start + n]
            if len(part) < n:
                raise ValueError(f"there are more rows than the {len(weight)} of sample_weight")
            with np.errstate(divide="ignore"):
                keys /= part
        below = np.flatnonzero(keys < limit)
        if not len(below):
            continue
        if len(below) > size:
            below = np.sort(below[np.argpartition(keys[below], size - 1)[:size]])
        kept.append((keys[below], block.start + below, block.X[below]))
        held += len(below)
        if held >= 2 * size:
            kept, held = [_smallest(kept, size)], size
            limit = kept[0][0].max()  # of the keys so far, the one that a row must beat
    if weight is not None and len(weight) != read:
        raise ValueError(f"there are {read} rows and {len(weight)} of sample_weight")
    if not kept:
        raise ValueError("there is no row of positive weight to draw")
    _, index, X = _smallest(kept, size)
    return X, index


def any_row(source: Source) -> Any:
    """Return the first row of a source, or one of zeros where reading it would use it up."""
    if source.shape[0] is None or source.format == "iterable":
        return np.zeros((1, source.shape[1]), source.dtype)
    return source.read(0, 1)


def look(
    source: Source, size: int, rng: np.random.Generator, sample_weight: NDArray | None = None
) -> tuple[Any, NDArray | None]:
    """Return at most `size` rows, drawn by their weights, and the weights that are left to them.

    For one row anything of its type will do: a source that is read once is left alone.
    """
    n = source.shape[0]
    if size == 1:
        return any_row(source), None
    if source.format == "iterable":
        raise SourceError(
            "iterable: it can be read only once, and the method looks at rows beforehand; take one "
            'that does not, such as method="random-features", or store the rows in a file'
        )
    if n is not None and n <= size:
        return source.read(0, n), sample_weight
    if n is not None:
        generator = copy.deepcopy(rng)  # for a sample that has to be drawn by reading
        rows = source.take(sample_indices(n, size, generator, sample_weight))
        if rows is not None:
            return rows, None
    return reservoir(source, size, rng, sample_weight=sample_weight)[0], None


def sample_indices(
    n: int, size: int, rng: np.random.Generator | int, sample_weight: NDArray | None = None
) -> NDArray[np.intp]:
    """Return the indices that `reservoir` finds for a source of n rows, without reading it."""
    keys = np.random.default_rng(rng).exponential(size=n)
    if sample_weight is not None:
        with np.errstate(divide="ignore"):
            keys /= sample_weight
    size = min(size, int(np.isfinite(keys).sum()))
    return np.sort(np.argpartition(keys, size - 1)[:size])


def _smallest(parts: list[tuple[NDArray, NDArray, Any]], size: int) -> tuple[NDArray, NDArray, Any]:
    """Join parts and keep the rows of the smallest keys, in order."""
    keys = np.concatenate([part[0] for part in parts])
    index = np.concatenate([part[1] for part in parts])
    rows = [part[2] for part in parts]
    X: Any = sp.vstack(rows, format="csr") if sp.issparse(rows[0]) else np.concatenate(rows)
    if len(keys) > size:
        chosen = np.sort(np.argpartition(keys, size - 1)[:size])
        keys, index, X = keys[chosen], index[chosen], X[chosen]
    return keys, index, X


def _as_weights(sample_weight: ArrayLike) -> NDArray[np.float64]:
    weight = np.asarray(sample_weight, np.float64)
    if weight.ndim != 1:
        raise ValueError(f"sample_weight must be one number a row, got shape {weight.shape}")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight must be finite and not negative")
    return weight
