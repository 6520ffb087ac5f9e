"""Inverses of matrices of low rank plus a multiple of the identity."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import scipy.linalg
from numpy.typing import NDArray


class LowRank(NamedTuple):
    r"""A positive semi-definite matrix :math:`U \Lambda U^\top`.

    Attributes
    ----------
    vectors : ndarray of shape (n, k), float64
        Orthonormal columns U.
    values : ndarray of shape (k,), float64
        Positive eigenvalues.
    """

    vectors: NDArray[np.float64]
    values: NDArray[np.float64]

    def solve(self, R: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        r"""Return :math:`\sigma_j (U \Lambda U^\top + \sigma_j I)^{-1} r_j`.

        Parameters
        ----------
        R : ndarray of shape (n, c), float64
            Right-hand sides.
        shifts : ndarray of shape (c,), float64
            Positive shifts, one a right-hand side.

        Returns
        -------
        ndarray of shape (n, c), float64
            Solutions, times the shifts.
        """
        shares = self.values[:, None] / (self.values[:, None] + shifts)
        return R - self.vectors @ (shares * (self.vectors.T @ R))


def low_rank(factor: NDArray, *, overwrite: bool = False) -> LowRank:
    r"""Return the eigendecomposition of :math:`F F^\top` for a tall F.

    A QR and a singular value decomposition keep the digits of small eigenvalues, which those of
    :math:`F^\top F` would lose.

    Parameters
    ----------
    factor : ndarray of shape (n, r)
        F.
    overwrite : bool, default=False
        Whether its memory may be used, if it is float64 in Fortran order.

    Returns
    -------
    LowRank
        Without eigenvalues that are rounding.
    """
    if 0 in factor.shape:
        return LowRank(np.zeros((len(factor), 0)), np.zeros(0))
    Q, R = cast(Any, scipy.linalg.qr)(
        np.asarray(factor, np.float64, order="F"),
        mode="economic",
        overwrite_a=overwrite or factor.dtype != np.float64,
        check_finite=False,
    )
    rotation, singular, _ = scipy.linalg.svd(R, full_matrices=False, check_finite=False)
    rounding = max(factor.shape) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    kept = singular > rounding
    return LowRank(Q @ rotation[:, kept], singular[kept] ** 2)
