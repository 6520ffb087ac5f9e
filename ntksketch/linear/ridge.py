"""Ridge regression from sufficient statistics, for one penalty or a whole path."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import (
    LinAlgError,
    LinAlgWarning,
    cho_solve,
    eigh,
    get_lapack_funcs,
)

from ntksketch.linear.cholesky import cholesky_factor
from ntksketch.linear.gram import GramStatistics

(_dtrtri,) = get_lapack_funcs(["trtri"], dtype=np.float64)

SMALLEST_RELATIVE_ALPHA = 1e-7  # below this share of the largest eigenvalue digits are lost


@dataclass(frozen=True)
class SolveStatus:
    """How a solve went.

    Attributes
    ----------
    kind : {"ok", "ill-conditioned", "singular"}
        The outcome.
    cause, remedy : str
        Why, and what to do about it; empty for "ok".

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, solve_ridge
    >>> stats = GramAccumulator().update(np.eye(3), np.arange(3.0)).finalise()
    >>> print(solve_ridge(stats, alpha=0.1).status)
    ok
    """

    kind: Literal["ok", "ill-conditioned", "singular"] = "ok"
    cause: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.cause}; {self.remedy}" if self.cause else self.kind


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """Ridge coefficients for each penalty.

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,), float64
        The penalties, in the order given.
    coef : ndarray of shape (n_alphas, m, k), float64
        Coefficients.
    intercept : ndarray of shape (n_alphas, k), float64
        Intercepts, zero where none was fitted.
    residual_squares : ndarray of shape (n_alphas, k), float64
        Weighted residual sum of squares on the rows of the statistics. Rounding leaves an
        error of about the statistics' epsilon times the target's sum of squares.
    degrees_of_freedom : ndarray of shape (n_alphas,), float64, or None
        Trace of the hat matrix, intercept included; None after `solve_ridge`.
    rank : int or None
        Numerical rank of the Gram matrix; None after a Cholesky solve.
    largest_eigenvalue : float
        Largest eigenvalue of the Gram matrix; a lower estimate after a Cholesky solve.
    status : SolveStatus
        Outcome of the least certain of the solves.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, ridge_path
    >>> stats = GramAccumulator().update(np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])).finalise()
    >>> solution = ridge_path(stats, alphas=[0.0, 2.0])
    >>> solution.coef.ravel().round(6), solution.degrees_of_freedom.round(6)
    (array([2., 1.]), array([2. , 1.5]))
    """

    alphas: NDArray[np.float64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    residual_squares: NDArray[np.float64]
    degrees_of_freedom: NDArray[np.float64] | None
    rank: int | None
    largest_eigenvalue: float
    status: SolveStatus


def solve_ridge(stats: GramStatistics, alpha: float) -> RidgeSolution:
    r"""Solve one ridge regression by a Cholesky factorisation.

    Minimises :math:`\sum_i w_i (y_i - z_i^\top c - b)^2 + \alpha |c|^2`, with the intercept
    :math:`b` free of penalty. Where there is no factor (``alpha=0`` or too small a number)
    the eigenvalues of the Gram matrix decide, as in `ridge_path`.

    Parameters
    ----------
    stats : GramStatistics
        Statistics of the rows.
    alpha : float
        Penalty, at least zero.

    Returns
    -------
    RidgeSolution
        A path of length one.

    Raises
    ------
    ValueError
        If `alpha` is negative, infinite or NaN.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If `alpha` is so small that the normal equations lose accuracy.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, solve_ridge
    >>> stats = GramAccumulator().update(np.array([[-1.0], [1.0]]), np.array([1.0, 5.0]))
    >>> solution = solve_ridge(stats.finalise(), alpha=2.0)
    >>> solution.coef, solution.intercept
    (array([[[1.]]]), array([[3.]]))
    """
    alphas = as_alphas(alpha)
    if alphas.size != 1:
        raise ValueError(f"alpha must be one number, got {alphas.size}; see ridge_path")
    alpha = float(alphas[0])
    if alpha == 0.0:
        return ridge_path(stats, alphas)
    try:
        factor = _factorise(stats, alpha)
    except LinAlgError:
        return ridge_path(stats, alphas)
    coef = np.asarray(cho_solve(factor, stats.moment, check_finite=False))
    status = _check_alphas(alphas, stats.largest_eigenvalue)
    return _assemble(stats, alphas, coef[None], None, None, stats.largest_eigenvalue, status)


def factored_ridge(
    stats: GramStatistics,
    alphas: ArrayLike,
    probes: NDArray[np.float64] | None = None,
) -> RidgeSolution:
    r"""Solve ridge regressions as `ridge_path` does, by a Cholesky factorisation for each penalty.

    The degrees of freedom are :math:`m - \alpha\,\mathrm{tr}\,F^\top(G + \alpha P)^{-1}F` with the
    penalty's factor F, the identity for plain ridge. The trace comes from the factor, or by
    Hutchinson's estimate [1]_ from probes, columns of independent random signs, with a variance of
    at most :math:`2\|\alpha F^\top(G + \alpha P)^{-1}F\|_F^2` divided by their number. Raises
    LinAlgError if a penalty is too small for a factor.

    References
    ----------
    .. [1] M. F. Hutchinson (1990). A stochastic estimator of the trace of the influence matrix
       for Laplacian smoothing splines. Communications in Statistics 19(2).
       doi:10.1080/03610919008812866
    """
    alphas = as_alphas(alphas)
    k, m = stats.moment.shape[1], len(stats.gram)
    penalty = stats.penalty
    if probes is not None and penalty is not None:
        probes = penalty.root(probes)
    right = stats.moment if probes is None else np.hstack([stats.moment, probes])
    coef, freedom = np.empty((len(alphas), m, k)), np.empty(len(alphas))
    for i, alpha in enumerate(alphas):
        factor = _factorise(stats, float(alpha))
        solved = np.asarray(cho_solve(factor, right, check_finite=False))
        coef[i] = solved[:, :k]
        if probes is None and penalty is not None:
            trace = penalty.squares_behind(factor[0])
        elif probes is None:
            inverse, _ = _dtrtri(factor[0], lower=1, overwrite_c=1)
            trace = _squares_of_lower(inverse)
        else:
            trace = np.einsum("ij,ij->", probes, solved[:, k:]) / probes.shape[1]
        freedom[i] = m - alpha * trace + stats.fit_intercept
    status = _check_alphas(alphas, stats.largest_eigenvalue)
    return _assemble(stats, alphas, coef, freedom, None, stats.largest_eigenvalue, status)


def _factorise(stats: GramStatistics, alpha: float) -> tuple[NDArray[np.float64], bool]:
    """Return the Cholesky factor of the penalised Gram matrix, as `cho_solve` takes it."""
    gram, penalty = stats.gram, stats.penalty
    if penalty is not None:
        return cholesky_factor(penalty.penalised(gram, alpha), clear=False), True
    penalised = gram.copy(order="F")
    penalised.flat[:: len(gram) + 1] += alpha
    return cholesky_factor(penalised, clear=False), True


def _squares_of_lower(matrix: NDArray[np.float64]) -> float:
    """Return the sum of squares of a lower triangle, whatever lies above it."""
    return sum(float(np.vdot(c := matrix[j:, j], c)) for j in range(len(matrix)))


def ridge_path(stats: GramStatistics, alphas: ArrayLike) -> RidgeSolution:
    r"""Solve ridge regressions for many penalties by one eigendecomposition.

    With :math:`G = V \Lambda V^\top` the coefficients are
    :math:`V (\Lambda + \alpha)^{-1} V^\top M` for every :math:`\alpha`, and the degrees of
    freedom :math:`\sum_j \lambda_j / (\lambda_j + \alpha)`, plus one for an intercept. The
    objective is that of `solve_ridge`; ``alpha=0`` gives the solution of least norm. With a penalty
    matrix P the eigenvalues are those of G relative to P, :math:`V^\top P V = I`.

    Parameters
    ----------
    stats : GramStatistics
        Statistics of the rows.
    alphas : float or array_like of shape (n_alphas,)
        Penalties, at least zero, in any order.

    Returns
    -------
    RidgeSolution
        One solution for each penalty.

    Raises
    ------
    ValueError
        If there is no penalty, or one is negative, infinite or NaN.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If a penalty is so small that the normal equations lose accuracy, if it is zero and
        the Gram matrix is singular, or if negative eigenvalues that matter were set to zero.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator, ridge_path
    >>> stats = GramAccumulator().update(np.array([[-1.0], [1.0]]), np.array([1.0, 5.0]))
    >>> path = ridge_path(stats.finalise(), [2.0, 6.0])
    >>> path.coef.ravel(), path.degrees_of_freedom
    (array([1. , 0.5]), array([1.5 , 1.25]))
    """
    alphas = as_alphas(alphas)
    if stats.penalty is None:
        eigenvalues, vectors = eigh(stats.gram, driver="evd", check_finite=False)
    else:
        relative = stats.penalty.matrix
        eigenvalues, vectors = eigh(stats.gram, relative, driver="gvd", check_finite=False)
    largest = max(float(eigenvalues[-1]), 0.0)
    noise = max(len(eigenvalues) * float(np.finfo(np.float64).eps), stats.epsilon) * largest
    rank = int((eigenvalues > noise).sum())
    status = _check_alphas(alphas, largest, rank=rank, m=len(eigenvalues))
    clipped = -float(eigenvalues[0])
    positive = alphas[alphas > 0]
    if clipped > max(noise, 0.5 * positive.min() if positive.size else 0.0):
        status = _warn(
            "ill-conditioned",
            f"negative eigenvalues of the Gram matrix, down to {-clipped:.3g}, were set to zero, "
            f"and the smallest alpha is {alphas.min():.3g}",
            f"use alpha >= {2 * clipped:.3g}, or float64 features",
        )
    eigenvalues = np.maximum(eigenvalues, 0.0)
    shifted = eigenvalues + alphas[:, None]
    shifted[(alphas[:, None] == 0) & (eigenvalues <= noise)] = np.inf  # pseudo-inverse
    coef = vectors @ ((vectors.T @ stats.moment) / shifted[:, :, None])
    freedom = (eigenvalues / shifted).sum(axis=1) + stats.fit_intercept
    return _assemble(stats, alphas, coef, freedom, rank, largest, status)


def linear_predictions(Z: NDArray, coef: NDArray, intercept: ArrayLike) -> NDArray:
    """Return ``Z coef' + intercept`` in the dtype of Z, for coefficients of (m,) or (k, m)."""
    return Z @ coef.T.astype(Z.dtype) + np.asarray(intercept, Z.dtype)


def join_solutions(solutions: Sequence[RidgeSolution]) -> RidgeSolution:
    """Return solutions on the same statistics as one; the first bad status stands for all."""
    first = solutions[0]
    joined = {
        name: np.concatenate([getattr(solution, name) for solution in solutions])
        for name in ("alphas", "coef", "intercept", "residual_squares", "degrees_of_freedom")
    }
    status = next((s.status for s in solutions if s.status.kind != "ok"), first.status)
    return replace(first, **joined, status=status)


def as_alphas(alphas: ArrayLike) -> NDArray[np.float64]:
    """Return penalties as a float64 array of shape (n_alphas,), or raise ValueError."""
    values = np.atleast_1d(np.array(alphas, dtype=np.float64))
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"alphas must be a number or one-dimensional, got shape {values.shape}")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"alphas must be finite and non-negative, got {alphas!r}")
    return values


def _assemble(
    stats: GramStatistics,
    alphas: NDArray[np.float64],
    coef: NDArray[np.float64],
    freedom: NDArray[np.float64] | None,
    rank: int | None,
    largest: float,
    status: SolveStatus,
) -> RidgeSolution:
    # (G + alpha P) c = M, so |y - Z c|^2 = |y|^2 - 2 c'M + c'G c = |y|^2 - c'M - alpha c'P c
    rooted = coef
    if stats.penalty is not None:
        rooted = np.stack([stats.penalty.root(c, transpose=True) for c in coef])
    explained = np.einsum("amk,mk->ak", coef, stats.moment)
    penalty = alphas[:, None] * np.einsum("amk,amk->ak", rooted, rooted)
    return RidgeSolution(
        alphas=alphas,
        coef=coef,
        intercept=stats.y_mean - np.einsum("m,amk->ak", stats.z_mean, coef),
        residual_squares=np.maximum(stats.y_squares - explained - penalty, 0.0),
        degrees_of_freedom=freedom,
        rank=rank,
        largest_eigenvalue=largest,
        status=status,
    )


def _check_alphas(
    alphas: NDArray[np.float64], largest: float, rank: int | None = None, m: int | None = None
) -> SolveStatus:
    """Warn about penalties that the normal equations cannot resolve."""
    limit = SMALLEST_RELATIVE_ALPHA * largest
    remedy = (
        f"use alpha {f'>= {limit:.3g}' if limit else '> 0'}, or rescale the features: alpha is "
        "measured against the eigenvalues of their Gram matrix"
    )
    status = SolveStatus()
    small = alphas[(alphas > 0) & (alphas < limit)]
    if small.size:
        cause = (
            f"alpha={small.min():.3g} is below {SMALLEST_RELATIVE_ALPHA:g} of the Gram "
            f"matrix's largest eigenvalue {largest:.3g}, where normal equations lose accuracy"
        )
        status = _warn("ill-conditioned", cause, remedy, stacklevel=4)
    if rank != m and (alphas == 0).any():
        cause = (
            f"alpha=0 and the Gram matrix of {m} features has numerical rank {rank}; "
            "the solution of least norm is returned"
        )
        status = _warn("singular", cause, remedy, stacklevel=4)
    return status


def _warn(
    kind: Literal["ill-conditioned", "singular"], cause: str, remedy: str, stacklevel: int = 3
) -> SolveStatus:
    status = SolveStatus(kind, cause, remedy)
    warnings.warn(str(status), LinAlgWarning, stacklevel=stacklevel)
    return status
