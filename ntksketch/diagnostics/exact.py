"""Exact kernel ridge regression with its penalty chosen on the training rows: the yardstick."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgWarning, eigh

from ntksketch.linear.ridge import as_alphas
from ntksketch.linear.selection import penalty_grid


@dataclass(frozen=True, eq=False)
class ExactRidge:
    r"""Kernel ridge regression on all training rows; made by :func:`exact_ridge`.

    Attributes
    ----------
    dual_coef : ndarray of shape (n,) or (n, k), float64
        Coefficients a of the training rows.
    intercept : float or ndarray of shape (k,), float64
        Intercept b; zero where none was fitted.
    alpha : float
        The penalty chosen.
    alphas, gcv_scores : ndarray of shape (n_alphas,), float64
        The penalties and their scores; lower is better, infinite where no degree of freedom is
        left.
    degrees_of_freedom : float
        Trace of the hat matrix at the penalty chosen, intercept included.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.diagnostics import exact_ridge
    >>> ridge = exact_ridge(np.eye(2), [1.0, 3.0], alphas=1.0)
    >>> ridge.dual_coef, ridge.intercept
    (array([-0.5,  0.5]), 2.0)
    >>> ridge.predict([[1.0, 0.0]])
    array([1.5])
    """

    dual_coef: NDArray[np.float64]
    intercept: float | NDArray[np.float64]
    alpha: float
    alphas: NDArray[np.float64]
    gcv_scores: NDArray[np.float64]
    degrees_of_freedom: float

    def predict(self, K: ArrayLike) -> NDArray[np.float64]:
        """Predict the targets of rows from their kernel with the training rows.

        Parameters
        ----------
        K : array_like of shape (p, n)
            Kernel between the new rows and the training rows, not centred.

        Returns
        -------
        ndarray of shape (p,) or (p, k), float64
            ``K @ dual_coef + intercept``.

        Raises
        ------
        ValueError
            If `K` has not one column for each training row.
        """
        K = np.asarray(K, dtype=np.float64)
        n = len(self.dual_coef)
        if K.ndim != 2 or K.shape[1] != n:
            raise ValueError(
                f"K must have shape (p, {n}), a column for each training row, got {K.shape}"
            )
        return K @ self.dual_coef + self.intercept


def exact_ridge(
    K: ArrayLike, y: ArrayLike, alphas: ArrayLike | None = None, *, fit_intercept: bool = True
) -> ExactRidge:
    r"""Fit kernel ridge regression for a path of penalties and choose one of them.

    Minimises :math:`\sum_i (y_i - f(x_i) - b)^2 + \alpha \|f\|_K^2` with the intercept b free of
    penalty: the objective of :class:`~ntksketch.StreamingRidge` on features Z with
    :math:`ZZ^\top = K`. With the centring :math:`H = I - \mathbf{1}\mathbf{1}^\top/n` the solution
    is

    .. math::

        a = (HKH + \alpha I)^{-1} H y, \qquad b = \bar y - \tfrac1n \mathbf{1}^\top K a,

    since :math:`\mathbf{1}^\top a = 0`. One eigendecomposition of HKH serves every penalty. The
    penalty of least generalised cross-validation score [1]_ is chosen,

    .. math:: \mathrm{GCV}(\alpha) = n\,\mathrm{RSS}(\alpha) / (n - \mathrm{df}(\alpha))^2,

    averaged over targets; of equal ones the largest. It costs O(n^3) time and three n x n arrays.

    Parameters
    ----------
    K : array_like of shape (n, n)
        Kernel of the training rows, symmetric and positive semi-definite, not centred.
    y : array_like of shape (n,) or (n, k)
        Targets.
    alphas : float or array_like of shape (n_alphas,), default=None
        Penalties, at least zero; zero gives the interpolation of least norm. None is a
        logarithmic grid of 17 from 2e-7 to 10 times the largest eigenvalue.
    fit_intercept : bool, default=True
        Whether to fit b; if not, H is the identity and b = 0.

    Returns
    -------
    ExactRidge
        The solution for the penalty chosen, with all scores.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, a penalty cannot be used, or none of several
        penalties leaves a degree of freedom to choose by.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If negative eigenvalues that matter were set to zero.

    References
    ----------
    .. [1] G. H. Golub, M. Heath and G. Wahba (1979). Generalized cross-validation as a method
       for choosing a good ridge parameter. Technometrics 21(2).
       doi:10.1080/00401706.1979.10489751

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> from ntksketch.diagnostics import exact_ridge
    >>> X = np.random.default_rng(0).standard_normal((60, 3))
    >>> y = np.abs(X[:, 0])
    >>> exact = exact_ridge(ntk.kernel(ntk.mlp(depth=1), X[:50]), y[:50])
    >>> predicted = exact.predict(ntk.kernel(ntk.mlp(depth=1), X[50:], X[:50]))
    >>> bool(np.mean((predicted - y[50:]) ** 2) < 0.2 * np.var(y[50:]))
    True
    """
    K, targets, shape = _check(K, y)
    n, k = targets.shape
    means = K.mean(axis=0) if fit_intercept else np.zeros(n)
    y_mean = targets.mean(axis=0) if fit_intercept else np.zeros(k)
    centred = K - means - means[:, None] + means.mean()
    eigenvalues, vectors = eigh(centred, driver="evd", overwrite_a=True, check_finite=False)
    largest = max(float(eigenvalues[-1]), 0.0)
    path = penalty_grid(largest) if alphas is None else as_alphas(alphas)
    noise = n * float(np.finfo(np.float64).eps) * largest
    eigenvalues = _clip(eigenvalues, noise, path)
    rotated = vectors.T @ (targets - y_mean)
    shifted = eigenvalues + path[:, None]
    unfitted = (eigenvalues <= noise) & (path[:, None] == 0)
    shifted[unfitted] = np.inf  # pseudo-inverse
    # the part of each eigenvector's target that stays in the residual
    shares = np.where(unfitted, 1.0, path[:, None] / shifted)
    freedom = shares.sum(axis=1) - fit_intercept
    scores = np.full(len(path), np.inf)
    residual = (shares**2 @ rotated**2).mean(axis=1)
    enough = freedom > n * np.finfo(np.float64).eps
    np.divide(n * residual, freedom**2, out=scores, where=enough)
    best = _choose(path, scores, largest)
    dual = vectors @ (rotated / shifted[best][:, None])
    if fit_intercept:
        dual -= dual.mean(axis=0)  # zero but for rounding, which small penalties enlarge
    intercept = (y_mean - means @ dual).reshape(shape[1:])
    return ExactRidge(
        dual_coef=dual.reshape(shape),
        intercept=intercept if intercept.ndim else float(intercept),
        alpha=float(path[best]),
        alphas=path,
        gcv_scores=scores,
        degrees_of_freedom=float(n - freedom[best]),
    )


def _check(K: ArrayLike, y: ArrayLike) -> tuple[NDArray, NDArray, tuple[int, ...]]:
    """Return K, the targets as a matrix, and the shape in which they came."""
    K, y = np.asarray(K, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or len(K) == 0:
        raise ValueError(f"K must be square, a row and a column for each training row: {K.shape}")
    if y.ndim not in (1, 2) or len(y) != len(K):
        raise ValueError(
            f"y must have shape ({len(K)},) or ({len(K)}, k), a row for each of K, got {y.shape}"
        )
    for name, values in (("K", K), ("y", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity")
    return K, y.reshape(len(y), -1), y.shape


def _clip(eigenvalues: NDArray, noise: float, alphas: NDArray) -> NDArray[np.float64]:
    """Set negative eigenvalues to zero; warn if they are more than rounding."""
    clipped = -float(eigenvalues[0])
    if clipped > max(noise, 0.1 * float(alphas.min())):
        warnings.warn(
            f"negative eigenvalues of K, down to {-clipped:.3g}, were set to zero, and the "
            f"smallest alpha is {alphas.min():.3g}: give a positive semi-definite kernel in "
            f"float64, or alphas >= {10 * clipped:.3g}",
            LinAlgWarning,
            stacklevel=3,
        )
    return np.maximum(eigenvalues, 0.0)


def _choose(alphas: NDArray, scores: NDArray, largest: float) -> int:
    """Return the position of the least score, of equal ones that of the largest penalty."""
    if len(alphas) == 1:
        return 0
    if largest == 0:  # every penalty gives the same solution
        return int(alphas.argmax())
    best = scores.min()
    if not np.isfinite(best):
        raise ValueError("no penalty leaves a degree of freedom to choose by: pass larger alphas")
    return int(np.argmax(np.where(scores == best, alphas, -1.0)))
