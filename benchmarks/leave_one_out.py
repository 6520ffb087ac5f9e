"""Ridge regression whose penalty is chosen by leave-one-out errors, as scikit-learn's RidgeCV does.

RidgeCV takes a minute for 2,048 columns and some ten thousand rows, since it goes over the rows for
every penalty; here all penalties share two matrix products. A test holds that both agree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from ntksketch.linear.selection import penalty_grid


class LeaveOneOutRidge:
    """The fit of ``RidgeCV(alphas)``, in float64.

    Parameters
    ----------
    Z : ndarray of shape (n, m)
        Features.
    Y : ndarray of shape (n, k)
        Targets.
    alphas : ndarray of shape (n_alphas,), optional
        Penalties; the library's default grid for these features if there are none.

    Attributes
    ----------
    alphas, errors : ndarray of shape (n_alphas,)
        Penalties, and their mean squared leave-one-out errors.
    alpha : float
        The penalty of the smallest.
    coef, intercept : ndarray of shape (m, k), (k,)
    """

    def __init__(self, Z: NDArray, Y: NDArray, alphas: NDArray | None = None) -> None:
        centre, y_centre = Z.mean(axis=0, dtype=np.float64), Y.mean(axis=0)
        centred, targets = Z - centre, Y - y_centre
        eigenvalues, V = eigh(centred.T @ centred, overwrite_a=True, check_finite=False)
        eigenvalues = np.maximum(eigenvalues, 0.0)
        self.alphas = penalty_grid(float(eigenvalues[-1])) if alphas is None else alphas
        weights = 1 / (eigenvalues[:, None] + self.alphas)
        projected = centred @ V
        del centred
        moments = projected.T @ targets
        squares = np.stack(
            [
                np.square(targets - projected @ (moments * w[:, None])).mean(axis=1)
                for w in weights.T
            ],
            axis=1,
        )
        np.square(projected, out=projected)
        leverages = projected @ weights + 1 / len(Z)  # of a row: how far its own target moves it
        self.errors = np.mean(squares / (1 - leverages) ** 2, axis=0)
        best = int(np.argmin(self.errors))
        self.alpha = float(self.alphas[best])
        self.coef = V @ (moments * weights[:, best, None])
        self.intercept = y_centre - centre @ self.coef

    def predict(self, Z: NDArray) -> NDArray[np.float64]:
        """Predict targets, shape (n, k)."""
        return Z @ self.coef + self.intercept
