"""Randomly pivoted Cholesky factorisation of exact kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.kernels.matrix import kernel, kernel_diag
from ntksketch.kernels.zonal import ZonalKernel

_PROPOSALS = 120  # at a time
_ROUNDING = 1e-6  # of the mean of the diagonal: pivots below are rounding


def pivoted_cholesky(
    rng: np.random.Generator,
    target: Architecture | ZonalKernel,
    kind: str,
    X: Any,
    rank: int,
    weight: NDArray,
    *,
    enough: float = 0.0,
) -> tuple[NDArray[np.intp], NDArray]:
    r"""Factorise a kernel by accelerated randomly pivoted Cholesky.

    :math:`W^{1/2} K W^{1/2} \approx F F^\top`, the Nystroem approximation from the pivots' rows.
    They are drawn in proportion to the diagonal of what the pivots so far leave of the kernel; a
    block of proposals is thinned by rejection to the distribution of single draws. The kernel is
    evaluated at n times `rank` pairs of rows, and never stored.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides.
    target, kind
        The kernel.
    X : ndarray or CSR of shape (n, d)
        Rows.
    rank : int
        Largest number of pivots, at most n.
    weight : ndarray of shape (n,)
        Weights W of the rows.
    enough : float, default=0.0
        Stop where the diagonal that is left adds up to no more than this.

    Returns
    -------
    pivots : ndarray of shape (k,)
        The rows chosen, in the order of the draws; fewer than `rank` where what the others would
        add is rounding, or enough is done.
    factor : ndarray of shape (n, k)
        F, in the rows' dtype.

    References
    ----------
    Chen, Epperly, Tropp, Webber (2022), "Randomly pivoted Cholesky", arXiv:2207.06503. Epperly,
    Tropp, Webber (2024), "Embrace rejection: kernel matrix approximation by accelerated randomly
    pivoted Cholesky", arXiv:2410.03969.
    """
    n = X.shape[0]
    roots = np.sqrt(weight)
    diagonal = kernel_diag(target, X, kind=kind).astype(np.float64) * roots**2
    least = _ROUNDING * diagonal.sum() / n
    factor = np.zeros((n, rank), X.dtype)
    chosen: list[int] = []
    while len(chosen) < rank and diagonal.max() > least and diagonal.sum() > enough:
        done = len(chosen)
        proposals = rng.choice(n, size=min(_PROPOSALS, rank), p=diagonal / diagonal.sum())
        scale = roots[proposals]
        inner = kernel(target, X[proposals], kind=kind, max_seconds=math.inf)
        left = scale[:, None] * inner.astype(np.float64) * scale
        left -= factor[proposals, :done].astype(np.float64) @ factor[proposals, :done].T
        own = np.maximum(left.diagonal(), 0)
        kept, triangle = reject(rng, proposals, left, diagonal[proposals], rank - done)
        if not kept:  # the factor's rounding may have left less than the diagonal says
            diagonal[proposals] = np.minimum(diagonal[proposals], own)
            continue
        pivots = proposals[kept]
        columns = kernel(target, X, X[pivots], kind=kind, max_seconds=math.inf)
        columns = columns * (roots[:, None] * roots[pivots])
        columns -= factor[:, :done] @ factor[pivots, :done].T
        solved = scipy.linalg.solve_triangular(triangle, columns.T.astype(np.float64), lower=True)
        factor[:, done : done + len(kept)] = solved.T
        diagonal = np.maximum(diagonal - np.einsum("ij,ij->j", solved, solved), 0)
        diagonal[pivots] = 0
        chosen += pivots.tolist()
    return np.array(chosen, np.intp), factor[:, : len(chosen)]


def reject(
    rng: np.random.Generator, proposals: NDArray, left: NDArray, bound: NDArray, most: int
) -> tuple[list[int], NDArray[np.float64]]:
    """Thin proposals drawn in proportion to `bound` to draws by what their predecessors leave.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides.
    proposals : ndarray of shape (b,)
        Rows, of which each is kept once at most.
    left : ndarray of shape (b, b)
        Kernel of the proposals that earlier landmarks leave; overwritten.
    bound : ndarray of shape (b,)
        Its diagonal, by which the proposals were drawn.
    most : int
        Number of proposals that may be kept.

    Returns
    -------
    kept : list of int
        The positions of the proposals kept.
    triangle : ndarray of shape (len(kept), len(kept))
        The Cholesky factor of their kernel.
    """
    kept: list[int] = []
    columns = []
    for i, accept in enumerate(rng.random(len(bound))):
        pivot = left[i, i]
        if len(kept) == most or pivot <= 0 or accept * bound[i] >= pivot:
            continue
        column = left[:, i] / np.sqrt(pivot)
        left -= np.outer(column, column)
        left[:, proposals == proposals[i]] = 0  # and no rounding
        kept.append(i)
        columns.append(column)
    return kept, np.tril(np.array(columns).T[kept]) if kept else np.zeros((0, 0))
