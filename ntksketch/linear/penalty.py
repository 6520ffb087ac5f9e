"""Quadratic penalties of ridge regression."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ntksketch.linear.cholesky import cholesky_factor


@dataclass(frozen=True, eq=False)
class Penalty:
    r"""The penalty :math:`\alpha\, c^\top P c` in place of :math:`\alpha |c|^2`.

    With :math:`P = F F^\top` it is plain ridge regression on the features :math:`Z F^{-\top}`,
    which are never formed.

    Attributes
    ----------
    matrix : ndarray of shape (m, m), float64
        P, symmetric and positive definite; only the lower triangle is read.
    """

    matrix: NDArray[np.float64]

    @functools.cached_property
    def factor(self) -> NDArray[np.float64]:
        """The lower Cholesky factor F of P."""
        return cholesky_factor(self.matrix.copy(order="F"))

    def columns(self, chosen: slice) -> Penalty:
        """Return the penalty of some of the coefficients, the others being zero."""
        return Penalty(np.array(self.matrix[chosen, chosen], order="F"))

    def whiten(self, Z: NDArray[np.float64], *, transpose: bool = False) -> NDArray[np.float64]:
        """Return ``F^-1 Z``, or ``F^-T Z``."""
        return scipy.linalg.solve_triangular(
            self.factor, Z, trans=int(transpose), lower=True, check_finite=False
        )
