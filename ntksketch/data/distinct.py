"""Rows regardless of how often and in which order they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.blocks import block_slices

_BLOCK_ENTRIES = 2**20


def distinct_rows(
    X: Any, sample_weight: NDArray | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the different rows of positive weight, in an order that depends on their values alone.

    Who draws from them by their weights has the same draw for a row of weight k as for k equal
    rows, for rows in another order, and in either precision.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
        Finite rows in float32 or float64.
    sample_weight : ndarray of shape (n,), default=None
        Weights; None counts each row once.

    Returns
    -------
    first : ndarray of shape (k,)
        Index of the first of each set of equal rows.
    weight : ndarray of shape (k,), float64
        Sum of the set's weights, positive.
    """
    weight = np.ones(X.shape[0]) if sample_weight is None else np.asarray(sample_weight)
    positive = np.flatnonzero(weight > 0)
    hashes = hash_rows(X)[positive]
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    total = np.bincount(inverse.ravel(), weight[positive]).astype(np.float64)
    if X.dtype == np.float64:  # the order of the same rows in float32
        with np.errstate(over="ignore"):
            order = np.argsort(hash_rows(X[positive[first]].astype(np.float32)), kind="stable")
        first, total = first[order], total[order]
    return positive[first], total


def hash_rows(X: Any) -> NDArray[np.uint64]:
    """Hash rows to 64 bits: a random linear function, modulo 2^64, of their entries' bits.

    Equal rows have equal hashes, dense or sparse; two different rows share one with a probability
    of the order of 2^-60.
    """
    n, d = X.shape
    factors = np.random.default_rng(0).integers(2**64, size=d, dtype=np.uint64) | np.uint64(1)
    hashes = np.zeros(n, np.uint64)
    if sp.issparse(X):
        terms = _mixed_bits(X.data) * factors[X.indices]
        ends = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        return ends[X.indptr[1:]] - ends[X.indptr[:-1]]
    for rows in block_slices(n, max(1, _BLOCK_ENTRIES // d)):
        hashes[rows] = (_mixed_bits(X[rows]) * factors).sum(axis=1, dtype=np.uint64)
    return hashes


def _mixed_bits(values: NDArray) -> NDArray[np.uint64]:
    """Return the bits of each value, spread so that sums of few of them rarely agree; 0 for 0."""
    unsigned = np.uint32 if values.dtype == np.float32 else np.uint64
    bits = np.ascontiguousarray(values + values.dtype.type(0)).view(unsigned).astype(np.uint64)
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    return bits
