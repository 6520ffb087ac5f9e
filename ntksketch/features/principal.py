"""Leading directions: of rows, for exact linear coordinates, and of kernel matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.distinct import distinct_rows

MOMENT_ROWS = 4096  # rows that the directions are taken from
_WIDE = 2048  # columns from which products of rows are decomposed in place of those of columns
_MOST_WIDE = 256  # directions of wide rows, which take as many dense vectors
_ITERATIONS = 4  # of subspace iteration


def sample_rows(
    rng: np.random.Generator, X: Any, size: int, sample_weight: NDArray | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Draw at most `size` different rows one after the other in proportion to their weights.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides.
    X : ndarray or CSR of shape (n, d)
        Rows.
    size : int
        How many are wanted.
    sample_weight : ndarray of shape (n,), default=None
        Weights, which count as repetitions.

    Returns
    -------
    chosen : ndarray of shape (k,)
        Their indices in the order of the draw.
    weight : ndarray of shape (k,), float64
        Their weights, all equal rows together.
    """
    first, weight = distinct_rows(X, sample_weight)
    # the largest of log(uniform)/weight come first in a sample without replacement
    # (Efraimidis & Spirakis 2006)
    order = np.argsort(-np.log(rng.random(len(first))) / weight, kind="stable")[:size]
    return first[order], weight[order]


def principal_directions(
    rng: np.random.Generator, rows: Any, most: int, sample_weight: NDArray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leading directions of the rows' second moments and what they leave.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the sample of at most 4,096 rows.
    rows : ndarray or CSR of shape (n, d)
        Rows, not centred.
    most : int
        Largest number of directions.
    sample_weight : ndarray of shape (n,), default=None
        Weights of the rows.

    Returns
    -------
    vectors : ndarray of shape (d, k), float64
        Orthonormal columns, k at most `most` and the number of sampled rows.
    left : ndarray of shape (k' + 1,), float64
        Share of the rows' squares outside the first 0, 1, ..., k' directions, k' at most k.
        Measured on one half of the sample for directions of the other, so that few rows do not
        promise more than they keep.
    """
    chosen, weight = sample_rows(rng, rows, MOMENT_ROWS, sample_weight)
    sample: Any = rows[chosen].astype(np.float64)
    roots = np.sqrt(weight)[:, None]
    sample = sp.csr_array(sample.multiply(roots)) if sp.issparse(sample) else sample * roots
    vectors = _leading(sample, most)
    order = np.arange(sample.shape[0])
    first, second = order[::2], order[1::2] if len(order) > 1 else order
    kept = np.square(sample[second] @ _leading(sample[first], vectors.shape[1])).sum(axis=0)
    total = float(
        sample[second].power(2).sum() if sp.issparse(sample) else np.square(sample[second]).sum()
    )
    if total == 0:
        return vectors[:, :0], np.ones(1)
    return vectors, np.maximum(1 - np.concatenate([[0.0], np.cumsum(kept)]) / total, 0)


def _leading(sample: Any, most: int) -> NDArray[np.float64]:
    """Return the leading right singular vectors that are above rounding."""
    n, width = sample.shape
    wide = width > min(n, _WIDE)
    product = sample @ sample.T if wide else sample.T @ sample
    product = product.toarray() if sp.issparse(product) else product
    values, vectors = scipy.linalg.eigh(product, check_finite=False)
    if width > _WIDE:
        most = min(most, _MOST_WIDE)
    kept = np.flatnonzero(values > 1e-10 * max(values[-1], 0))[::-1][:most]
    if not wide:
        return vectors[:, kept]
    return np.asarray(sample.T @ vectors[:, kept]) / np.sqrt(values[kept])


def leading_eigenvectors(
    K: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return approximate leading eigenvalues, falling, and orthonormal vectors of K.

    Subspace iteration: Halko, Martinsson, Tropp (2011), arXiv:0909.4061.
    """
    basis = np.random.default_rng(0).standard_normal((len(K), rank + 8))
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(K @ basis)
    values, rotation = scipy.linalg.eigh(basis.T @ K @ basis)
    return values[::-1][:rank], (basis @ rotation)[:, ::-1][:, :rank]
