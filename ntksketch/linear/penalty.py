"""Quadratic penalties of ridge regression."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs

from ntksketch.linear.cholesky import cholesky_factor
from ntksketch.linear.triangles import mirror_lower, panels

_PANELS = 4  # of right sides: more save products and cost copies

(_dtrmm,) = get_blas_funcs(["trmm"], dtype=np.float64)


class Penalty:
    r"""The penalty :math:`\alpha\, c^\top P c` in place of :math:`\alpha |c|^2`.

    With :math:`P = F F^\top` it is plain ridge regression on the features :math:`Z F^{-\top}`,
    which are never formed. P and its Cholesky factor F share the memory of one matrix.

    Parameters
    ----------
    matrix : ndarray of shape (m, m), float64
        P, symmetric and positive definite; only the lower triangle is read. In Fortran's order it
        is overwritten.

    Attributes
    ----------
    packed : ndarray of shape (m, m), float64
        F on and below the diagonal, P above it.
    diagonal : ndarray of shape (m,), float64
        The diagonal of P.

    Raises
    ------
    scipy.linalg.LinAlgError
        If the matrix is not positive definite to working precision.
    """

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        matrix = np.asfortranarray(matrix)
        self.diagonal = matrix.diagonal().copy()
        mirror_lower(matrix)
        self.packed = cholesky_factor(matrix, clear=False)

    def __len__(self) -> int:
        return len(self.diagonal)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """P, whole: a copy."""
        matrix = self.packed.T.copy(order="F")
        np.fill_diagonal(matrix, self.diagonal)
        mirror_lower(matrix)
        return matrix

    def columns(self, chosen: slice) -> Penalty:
        """Return the penalty of some of the coefficients, the others being zero."""
        matrix = self.packed.T[chosen, chosen].copy(order="F")
        np.fill_diagonal(matrix, self.diagonal[chosen])
        return Penalty(matrix)

    def penalised(self, gram: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
        r"""Return :math:`G + \alpha P`; only its lower triangle counts."""
        result = np.empty_like(gram, order="F")
        for columns in panels(len(gram)):
            panel = slice(columns.start, None), columns
            np.multiply(self.packed.T[panel], alpha, out=result[panel])
            result[panel] += gram[panel]
        np.fill_diagonal(result, alpha * self.diagonal + gram.diagonal())
        return result

    def root(self, B: NDArray[np.float64], *, transpose: bool = False) -> NDArray[np.float64]:
        """Return ``F B``, or ``F' B``."""
        return _dtrmm(1.0, self.packed, B, lower=1, trans_a=int(transpose))

    def whiten(
        self, Z: NDArray[np.float64], *, transpose: bool = False, overwrite: bool = False
    ) -> NDArray[np.float64]:
        """Return ``F^-1 Z``, or ``F^-T Z``, in the memory of Z if that may be overwritten."""
        options = {"lower": True, "overwrite_b": overwrite, "check_finite": False}
        return scipy.linalg.solve_triangular(self.packed, Z, trans=int(transpose), **options)

    def squares_behind(self, factor: NDArray[np.float64]) -> float:
        """Return the sum of squares of ``L^-1 F`` for a lower triangular L."""
        total = 0.0
        for columns in panels(len(self), max(len(self) // _PANELS, 1)):
            rows = slice(columns.start, None)  # L^-1 F is lower triangular as well
            part = np.asfortranarray(np.tril(self.packed[rows, columns]))
            solved = scipy.linalg.solve_triangular(
                factor[rows, rows], part, lower=True, overwrite_b=True, check_finite=False
            )
            total += float(np.vdot(solved.T, solved.T))
        return total
