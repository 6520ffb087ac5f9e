"""Cholesky factorisation of matrices that may be large."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, get_lapack_funcs, solve_triangular

from ntksketch.linear.triangles import add_lower, clear_upper

_PANEL = 8192  # columns: OpenBLAS's own threaded factorisation crashes from about 16,000 on

(_dpotrf,) = get_lapack_funcs(["potrf"], dtype=np.float64)


def cholesky_factor(matrix: NDArray[np.float64], *, clear: bool = True) -> NDArray[np.float64]:
    """Return the lower Cholesky factor of a symmetric matrix, in its memory if in Fortran's order.

    Panels are factorised by LAPACK and their products subtracted from what is to their right, so
    that any size works and temporaries are one panel.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), float64
        Positive definite; only the lower triangle is read, and it is overwritten.
    clear : bool, default=True
        Set what is above the diagonal to zero, rather than leave it as it is.

    Returns
    -------
    ndarray of shape (n, n), float64
        The factor.

    Raises
    ------
    scipy.linalg.LinAlgError
        If the matrix is not positive definite to working precision.
    """
    matrix = np.asfortranarray(matrix)
    n = len(matrix)
    if n <= _PANEL:
        matrix = _factorise(matrix)
    else:
        for start in range(0, n, _PANEL):
            _eliminate(matrix, slice(start, min(start + _PANEL, n)))
    if clear:
        clear_upper(matrix)
    return matrix


def _factorise(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    factor, info = _dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    if info > 0:
        raise LinAlgError(f"the leading minor of order {info} is not positive")
    return factor


def _eliminate(matrix: NDArray[np.float64], panel: slice) -> None:
    """Replace a panel's columns by the factor's, and take their products from those behind."""
    corner = matrix[panel, panel] = _factorise(matrix[panel, panel].copy(order="F"))
    behind = slice(panel.stop, None)
    if not matrix[behind].size:
        return
    below = solve_triangular(corner, matrix[behind, panel].T, lower=True, check_finite=False).T
    matrix[behind, panel] = below
    for left in range(0, len(below), _PANEL):
        rows = below[left:]
        columns = slice(panel.stop + left, min(panel.stop + left + _PANEL, len(matrix)))
        width = columns.stop - columns.start
        add_lower(matrix[columns, columns], rows[:width] @ rows[:width].T, -1.0)
        matrix[columns.stop :, columns] -= rows[width:] @ rows[:width].T
