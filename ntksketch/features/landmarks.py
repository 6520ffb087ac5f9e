"""Choice of landmark rows for the Nystroem method."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.architectures.spatial import has_lengths
from ntksketch.data.blocks import block_slices
from ntksketch.features.principal import leading_eigenvectors
from ntksketch.kernels import ZonalKernel, kernel, kernel_diag
from ntksketch.kernels.gram import dense_rows
from ntksketch.kernels.pivoted_cholesky import pivoted_cholesky
from ntksketch.sketches import CountSketch

_ROWS_PER_CENTROID = 4  # that k-means reads, once each; 8 gain nothing in error, little in score
_BATCH = 4096  # rows between updates of the centroids
_SKETCHED = 1024  # columns of wide sparse rows among which k-means takes distances
_ROUNDING = 1e-6  # of the trace: ridges below are rounding

Target = Architecture | ZonalKernel


def uniform_landmarks(
    rng: np.random.Generator, target: Target, kind: str, X: Any, m: int, weight: NDArray
) -> Any:
    """Take the first rows: candidates come in the order of a weighted random draw."""
    return X[:m]


def kmeans_landmarks(
    rng: np.random.Generator, target: Target, kind: str, X: Any, m: int, weight: NDArray
) -> Any:
    """Return centroids of mini-batch k-means after one pass over at most 4 m rows.

    The row next to each centroid stands for it where there is no mean, of sequences of different
    lengths, and where means would take more memory than the candidates, of wide sparse rows. Those
    are sketched to at most 1,024 columns beforehand.

    References
    ----------
    Zhang, Tsang, Kwok (2008), "Improved Nyström low-rank approximation and error analysis", ICML.
    Sculley (2010), "Web-scale k-means clustering", WWW, doi:10.1145/1772690.1772862.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import pairwise_distances_argmin

    n = min(X.shape[0], _ROWS_PER_CENTROID * m)
    lengths = has_lengths(target)
    wide = not lengths and sp.issparse(X) and m * X.shape[1] * X.dtype.itemsize > _csr_bytes(X)
    points = dense_rows(X[:n])[:, 1:] if lengths else _narrow(rng, X[:n]) if wide else X[:n]
    if sp.issparse(points):  # scikit-learn takes no other indices
        indices = points.indices.astype(np.int32), points.indptr.astype(np.int32)
        points = sp.csr_array((points.data, *indices), shape=points.shape)
    start = dense_rows(points[:m])
    model = MiniBatchKMeans(
        m,
        init=start,
        n_init=cast(Any, 1),
        compute_labels=False,
        reassignment_ratio=0.0,
        random_state=int(rng.integers(2**31)),
    )
    for rows in np.array_split(np.arange(n), max(1, n // max(_BATCH, m))):  # of m rows or more
        model.partial_fit(points[rows], sample_weight=weight[rows])
    centroids = np.asarray(model.cluster_centers_, dtype=X.dtype)
    if not (lengths or wide):
        return centroids
    nearest = np.unique(pairwise_distances_argmin(centroids, points))
    return X[_filled(rng, nearest, X.shape[0], m)]


def _csr_bytes(X: Any) -> int:
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes


def _narrow(rng: np.random.Generator, X: Any) -> Any:
    """Return sparse rows of few columns at about the same distances."""
    if X.shape[1] <= _SKETCHED:
        return X
    key = jax.random.key(int(rng.integers(2**31)))
    return CountSketch.init(key, X.shape[1], _SKETCHED, X.dtype).apply(X)


def leverage_landmarks(
    rng: np.random.Generator, target: Target, kind: str, X: Any, m: int, weight: NDArray
) -> Any:
    """Sample rows by approximate ridge leverage scores, recursively.

    Starting from as many uniform rows as landmarks, the scores of twice as many are estimated from
    the sample before, until all rows are scored.

    References
    ----------
    Musco, Musco (2017), "Recursive sampling for the Nyström method", arXiv:1605.07583.
    """
    n = X.shape[0]
    chosen, scales = np.arange(m), np.ones(m)
    size = m
    while size < n:
        size = min(2 * size, n)
        rows = X[:size]
        scores = ridge_leverage_scores(target, kind, rows, X[chosen], scales)
        scores = scores * weight[:size]
        chosen = _sample(rng, scores, m)
        kept = np.minimum(m * scores[chosen] / scores.sum(), 1)
        scales = np.sqrt(1 / kept)
    return X[np.sort(chosen)]


def ridge_leverage_scores(
    target: Target, kind: str, X: Any, S: Any, scales: NDArray, ridge: float | None = None
) -> NDArray[np.float64]:
    r"""Estimate the ridge leverage scores of rows from a weighted sample of rows.

    .. math::

        \tilde\tau_i = \frac1\lambda \Bigl(K_{ii} - K_{iS} D (D K_{SS} D + \lambda I)^{-1} D K_{Si}
        \Bigr),

    with the scales on the diagonal of D; exact if S is all rows with scales 1.

    Parameters
    ----------
    target, kind
        The kernel.
    X, S : ndarray or CSR of shapes (n, d) and (s, d)
        Rows, and the sample.
    scales : ndarray of shape (s,)
        One over the square roots of the sample's probabilities.
    ridge : float, default=None
        The ridge; None takes the mean of the sample's eigenvalues behind the first s / (4 log s),
        the rank that s rows can be relied on for.

    Returns
    -------
    ndarray of shape (n,), float64
        Scores in (0, 1].
    """
    inner = kernel(target, S, kind=kind, max_seconds=math.inf).astype(np.float64)
    weighted = scales[:, None] * inner * scales
    s = len(scales)
    if ridge is None:
        rank = max(1, int(s / (4 * np.log(max(s, 2)))))
        top, _ = leading_eigenvectors(weighted, rank)
        ridge = max((float(np.trace(weighted)) - float(top.sum())) / rank, 0.0)
    # below, what the sample explains and what is there differ by rounding alone
    least = max(_ROUNDING, np.sqrt(np.finfo(X.dtype).eps)) * float(np.trace(weighted)) / s
    ridge = max(ridge, least, np.finfo(float).tiny)
    weighted.flat[:: s + 1] += ridge
    factor = scipy.linalg.cholesky(weighted, lower=True, overwrite_a=True)
    scores = np.empty(X.shape[0])
    for rows in block_slices(X.shape[0], 4096):
        cross = kernel(target, S, X[rows], kind=kind, max_seconds=math.inf).astype(np.float64)
        cross = cross * scales[:, None]
        explained = scipy.linalg.solve_triangular(factor, cross, lower=True, overwrite_b=True)
        diagonal = kernel_diag(target, X[rows], kind=kind).astype(np.float64)
        scores[rows] = (diagonal - np.einsum("ij,ij->j", explained, explained)) / ridge
    return np.clip(scores, np.finfo(X.dtype).eps, 1)


def rpcholesky_landmarks(
    rng: np.random.Generator, target: Target, kind: str, X: Any, m: int, weight: NDArray
) -> Any:
    """Sample rows by accelerated randomly pivoted Cholesky.

    References
    ----------
    Chen, Epperly, Tropp, Webber (2022), arXiv:2207.06503; Epperly, Tropp, Webber (2024),
    arXiv:2410.03969.
    """
    pivots, _ = pivoted_cholesky(rng, target, kind, X, m, weight)
    return X[_filled(rng, pivots, X.shape[0], m)]  # the rest is rounding: any other rows do


def _filled(rng: np.random.Generator, chosen: NDArray, n: int, m: int) -> NDArray:
    """Return m different rows of n, sorted: those chosen, and random ones if these are fewer."""
    if len(chosen) < m:
        others = np.setdiff1d(np.arange(n), chosen)
        chosen = np.append(chosen, rng.permutation(others)[: m - len(chosen)])
    return np.sort(chosen)


def _sample(rng: np.random.Generator, scores: NDArray, m: int) -> NDArray[np.intp]:
    """Draw m different rows, each next one in proportion to the scores; zeros come last."""
    with np.errstate(divide="ignore"):
        keys = np.log(rng.random(len(scores))) / scores
    return np.argsort(-keys, kind="stable")[:m]


SELECTIONS: dict[str, Callable[..., Any]] = {
    "kmeans": kmeans_landmarks,
    "uniform": uniform_landmarks,
    "leverage": leverage_landmarks,
    "rpcholesky": rpcholesky_landmarks,
}
