"""Choice of the ridge penalty: a default grid and two scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError

from ntksketch.linear.gram import GramStatistics
from ntksketch.linear.ridge import (
    RidgeSolution,
    as_alphas,
    factored_ridge,
    join_solutions,
    ridge_path,
)
from ntksketch.linear.rows import as_block, as_weights, pieces

_N_PROBES = 32
_QUICK_FEATURES = 2048  # up to which a factorisation takes no time to speak of
_ROWS_FOR_PROBES = 4  # rows a feature from which probes know the degrees of freedom well enough


def default_alphas(stats: GramStatistics, n_alphas: int = 17) -> NDArray[np.float64]:
    """Return a logarithmic grid of penalties that scales with the features.

    Parameters
    ----------
    stats : GramStatistics
        Statistics of the rows.
    n_alphas : int, default=17
        Number of penalties.

    Returns
    -------
    ndarray of shape (n_alphas,), float64
        From 2e-7 to 10 times the Gram matrix's largest eigenvalue, or from 1e-6 where products
        were taken in float32; where the eigenvalue is zero, these numbers themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, default_alphas
    >>> stats = GramAccumulator().update(np.array([[-1.0], [1.0]]), np.array([1.0, 5.0]))
    >>> default_alphas(stats.finalise())[[0, -1]]
    array([4.e-07, 2.e+01])
    """
    return penalty_grid(stats.largest_eigenvalue, n_alphas, smallest=max(2e-7, 8 * stats.epsilon))


def penalty_grid(
    largest_eigenvalue: float, n_alphas: int = 17, smallest: float = 2e-7
) -> NDArray[np.float64]:
    """Return the default penalties for a Gram or kernel matrix of this largest eigenvalue."""
    # from twice the smallest penalty that is accurate, since the eigenvalue may be a lower
    # estimate; rounding of float32 products moves eigenvalues by some of its epsilons
    return np.geomspace(smallest, 10.0, n_alphas) * (largest_eigenvalue or 1.0)


def gcv_scores(stats: GramStatistics, path: RidgeSolution) -> NDArray[np.float64]:
    r"""Score each penalty by generalised cross-validation.

    .. math:: \mathrm{GCV}(\alpha) = n \, \mathrm{RSS}(\alpha) / (n - \mathrm{df}(\alpha))^2

    averaged over targets [1]_, where :math:`n` is the total weight. Residuals below the
    rounding error of the statistics count as that error: interpolation scores no better than
    its arithmetic.

    Parameters
    ----------
    stats : GramStatistics
        Statistics of the rows.
    path : RidgeSolution
        Result of `ridge_path` on the same statistics.

    Returns
    -------
    ndarray of shape (n_alphas,), float64
        Scores, lower is better; infinite where no degree of freedom is left.

    Raises
    ------
    ValueError
        If the degrees of freedom are unknown, as after a Cholesky solve.

    References
    ----------
    .. [1] G. H. Golub, M. Heath and G. Wahba (1979). Generalized cross-validation as a method
       for choosing a good ridge parameter. Technometrics 21(2).
       doi:10.1080/00401706.1979.10489751

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, gcv_scores, ridge_path
    >>> stats = GramAccumulator().update(np.array([[-1.0], [1.0]]), np.array([1.0, 5.0]))
    >>> stats = stats.finalise()
    >>> gcv_scores(stats, ridge_path(stats, [2.0, 6.0]))
    array([16., 16.])
    """
    if path.degrees_of_freedom is None:
        raise ValueError("gcv_scores needs degrees of freedom: pass the result of ridge_path")
    n = stats.total_weight
    floor = stats.epsilon * stats.y_squares
    residual = np.maximum(path.residual_squares, floor).mean(axis=1)
    freedom = n - path.degrees_of_freedom
    scores = np.full(freedom.shape, np.inf)
    return np.divide(n * residual, freedom**2, out=scores, where=freedom > n * stats.epsilon)


def search_by_gcv(
    stats: GramStatistics, alphas: ArrayLike
) -> tuple[RidgeSolution, NDArray[np.float64]]:
    r"""Find the penalty of least generalised cross-validation score without trying them all.

    The sorted penalties are descended, with one Cholesky factorisation a try: in steps of 4, 2 and
    1 from the lower quarter; with more than 2,048 features, where a try costs seconds, in single
    steps from the best penalty of every fourth feature, measured against the largest eigenvalues.
    With at least four rows a feature the degrees of freedom are estimated from 32 fixed random
    probes, which leaves a standard error of at most :math:`\sqrt{m}/4` of at least :math:`3m`
    that enter the score; otherwise they are exact.

    Parameters
    ----------
    stats : GramStatistics
        Statistics of the rows.
    alphas : float or array_like of shape (n_alphas,)
        Penalties, positive.

    Returns
    -------
    path : RidgeSolution
        A solution for each penalty that was tried, by increasing penalty.
    scores : ndarray of shape (n_tried,), float64
        Their scores.

    Raises
    ------
    ValueError
        If there is no penalty, or one is negative, infinite or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, default_alphas, search_by_gcv
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.standard_normal((100, 8))
    >>> stats = GramAccumulator().update(Z, Z[:, 0] + rng.standard_normal(100)).finalise()
    >>> path, scores = search_by_gcv(stats, default_alphas(stats))
    >>> len(scores) < 17, bool(path.alphas[scores.argmin()] > 1)
    (True, True)
    """
    grid = np.sort(as_alphas(alphas))
    scorer = _Scorer(stats, grid)
    best, steps = len(grid) // 4, (4, 2, 1)
    if len(stats.gram) > _QUICK_FEATURES and stats.largest_eigenvalue:
        few = stats.columns(slice(None, None, 4))
        scale = few.largest_eigenvalue / stats.largest_eigenvalue
        path, scores = search_by_gcv(few, scale * grid)
        best, steps = int(np.searchsorted(scale * grid, path.alphas[scores.argmin()])), (1,)
        del few
    while best < len(grid) - 1 and not np.isfinite(scorer(best)):  # too many degrees of freedom
        best += 1
    for step in steps:
        moved = True
        while moved:
            around = [i for i in (best, best + step, best - step) if 0 <= i < len(grid)]
            nearest = min(around, key=scorer)
            moved, best = nearest != best, nearest
    solved = [solution for _, solution in sorted(scorer.solutions.items())]
    path = join_solutions(solved) if solved else ridge_path(stats, grid)
    return path, gcv_scores(stats, path)


class _Scorer:
    """Cross-validation scores of penalties by index, solved once; infinite without a factor."""

    def __init__(self, stats: GramStatistics, grid: NDArray[np.float64]) -> None:
        self.stats, self.grid, self.probes = stats, grid, None
        if stats.total_weight >= _ROWS_FOR_PROBES * len(stats.gram):
            shape = (len(stats.gram), _N_PROBES)
            self.probes = np.random.default_rng(0).choice([-1.0, 1.0], size=shape)
        self.solutions: dict[int, RidgeSolution] = {}
        self.scores: dict[int, float] = {}

    def __call__(self, i: int) -> float:
        if i not in self.scores:
            try:
                self.solutions[i] = factored_ridge(self.stats, self.grid[i], self.probes)
                self.scores[i] = float(gcv_scores(self.stats, self.solutions[i])[0])
            except LinAlgError:
                self.scores[i] = np.inf
        return self.scores[i]


def holdout_scores(
    path: RidgeSolution, Z: ArrayLike, Y: ArrayLike, sample_weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Score each penalty by the mean squared error on rows kept aside.

    Parameters
    ----------
    path : RidgeSolution
        Coefficients for each penalty.
    Z : array_like of shape (n, m)
        Features of the rows.
    Y : array_like of shape (n,) or (n, k)
        Their targets.
    sample_weight : float or array_like of shape (n,), optional
        Non-negative weights of the rows.

    Returns
    -------
    ndarray of shape (n_alphas,), float64
        Weighted mean squared errors, averaged over targets.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or no row has a positive weight.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, holdout_scores, ridge_path
    >>> stats = GramAccumulator().update(np.array([[-1.0], [1.0]]), np.array([1.0, 5.0]))
    >>> path = ridge_path(stats.finalise(), [2.0, 6.0])
    >>> holdout_scores(path, np.array([[2.0]]), np.array([5.0]))
    array([0., 1.])
    """
    Z, Y = as_block(Z, Y)
    _, m, k = path.coef.shape
    if (Z.shape[1], Y.shape[1]) != (m, k):
        raise ValueError(
            f"the hold-out rows have {Z.shape[1]} feature columns and {Y.shape[1]} targets; "
            f"the solution has {m} and {k}"
        )
    weight = as_weights(1.0 if sample_weight is None else sample_weight, len(Z))
    if weight.sum() == 0.0:
        raise ValueError("no hold-out row has a positive weight")
    squares = np.zeros(len(path.alphas))
    for z, y, w in pieces(Z, Y, weight):
        z = z.astype(np.float64)
        for i, (coef, intercept) in enumerate(zip(path.coef, path.intercept, strict=True)):
            squares[i] += np.sum(w @ (y - z @ coef - intercept) ** 2)
    if not np.isfinite(squares).all():
        raise ValueError("the hold-out rows contain NaN or infinity")
    return squares / (weight.sum() * k)
