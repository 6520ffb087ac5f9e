"""Exact kernel ridge for more rows than an eigendecomposition is practical for.

The penalty comes from `ntksketch.diagnostics.exact_ridge` on fewer rows: it is the variance of the
noise in units of the kernel, which does not depend on their number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ntksketch.linear.cholesky import cholesky_factor


class KernelRidge(NamedTuple):
    """Dual coefficients, shape (n, k), and intercepts, shape (k,)."""

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def predict(self, K: NDArray) -> NDArray[np.float64]:
        """Predict from the kernel between new rows and the training rows."""
        return K @ self.coef + self.intercept


def solve_kernel_ridge(K: NDArray[np.float64], Y: NDArray, alpha: float) -> KernelRidge:
    """Solve (K + alpha) coef + intercept = Y with coefficients that sum to zero; overwrites K."""
    K.flat[:: len(K) + 1] += alpha
    factor = cholesky_factor(K), True
    right = np.concatenate([Y, np.ones((len(Y), 1))], axis=1)
    solved = scipy.linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False)
    by_target, by_one = np.asarray(solved[:, :-1]), np.asarray(solved[:, -1])
    intercept = by_target.sum(axis=0) / by_one.sum()
    return KernelRidge(by_target - by_one[:, None] * intercept, intercept)
