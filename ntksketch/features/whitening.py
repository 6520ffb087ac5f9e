"""Whitening of kernels with landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, get_lapack_funcs

from ntksketch.linear.cholesky import cholesky_factor
from ntksketch.linear.eigenvalue import estimate_largest_eigenvalue

(_dtrtri,) = get_lapack_funcs(["trtri"], dtype=np.float64)

_NUMERICAL_RANK = 10  # pivots count from this multiple of the jitter
INDEFINITE = (
    "the landmarks' kernel is not positive semi-definite, even with its diagonal raised: check the "
    "kernel's function, or take other landmarks"
)


def jitters(K: NDArray[np.float64], dtype: np.dtype) -> list[float]:
    """Return what to add to the diagonal of a kernel between rows of some dtype, the least first.

    Rounding has the size of epsilon times the largest eigenvalue; between rows of nearly one
    direction, where the kernel is a square root of the angle's cosine, up to the square root
    of epsilon.
    """
    epsilon = max(float(np.finfo(dtype).eps), 10 * len(K) * np.finfo(np.float64).eps)
    largest = estimate_largest_eigenvalue(K) or 1.0
    root = float(np.sqrt(epsilon))
    return sorted([epsilon * largest, root * float(K.diagonal().max()), root * largest])


def factorise(K: NDArray[np.float64], dtype: np.dtype) -> tuple[NDArray[np.float64], float, int]:
    """Return the lower Cholesky factor of a kernel, the jitter that it took and the rank.

    Raises
    ------
    ValueError
        If the kernel is not positive semi-definite.
    """
    for jitter in jitters(K, dtype):
        try:
            factor = cholesky_factor(K + jitter * np.eye(len(K)))
            break
        except LinAlgError:
            continue
    else:
        raise ValueError(INDEFINITE)
    rounding = np.sqrt(np.finfo(dtype).eps) * K.diagonal().max()
    rank = int((factor.diagonal() ** 2 > max(_NUMERICAL_RANK * jitter, rounding)).sum())
    return factor, jitter, rank


def whitening(K: NDArray[np.float64], dtype: np.dtype) -> tuple[NDArray, float, int]:
    r"""Return the matrix :math:`L^{-\top}` in a dtype, the jitter and the rank."""
    factor, jitter, rank = factorise(K, dtype)
    inverse, _ = _dtrtri(factor, lower=1, overwrite_c=1)
    return np.ascontiguousarray(inverse.T, dtype=dtype), jitter, rank
