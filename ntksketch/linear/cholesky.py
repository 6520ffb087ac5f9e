"""Cholesky factorisation of matrices that may be large."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

_PANEL = 8192  # columns: OpenBLAS's own threaded factorisation crashes from about 16,000 on


def cholesky_factor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower Cholesky factor of a symmetric matrix, in its memory where possible.

    Panels are factorised by LAPACK and their products subtracted from what is to their right, so
    that any size works and temporaries are one panel.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), float64
        Positive definite; only the lower triangle is read, and it is overwritten.

    Returns
    -------
    ndarray of shape (n, n), float64
        The factor, zero above the diagonal.

    Raises
    ------
    scipy.linalg.LinAlgError
        If the matrix is not positive definite to working precision.
    """
    n = len(matrix)
    if n <= _PANEL:
        return scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    for start in range(0, n, _PANEL):
        panel = slice(start, min(start + _PANEL, n))
        corner = scipy.linalg.cholesky(matrix[panel, panel], lower=True, check_finite=False)
        matrix[panel, panel] = corner
        if panel.stop == n:
            break
        below = scipy.linalg.solve_triangular(
            corner, matrix[panel.stop :, panel].T, lower=True, check_finite=False
        ).T
        matrix[panel.stop :, panel] = below
        matrix[panel, panel.stop :] = 0
        for left in range(panel.stop, n, _PANEL):
            columns = slice(left, min(left + _PANEL, n))
            rows = below[left - panel.stop :]
            matrix[left:, columns] -= rows @ rows[: columns.stop - left].T
    return matrix
