"""The ridge that every method is given: the library's streaming solver, one choice of penalty.

Up to `GCV_LIMIT` features the penalty is chosen by generalised cross-validation on all training
rows, from one eigendecomposition. Beyond, where that takes minutes, it is chosen on hold-out rows
from `HOLDOUT_ALPHAS`, each solved by Cholesky, and the system is solved again with all rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning

from benchmarks.datasets import some_rows
from benchmarks.timing import Stages
from ntksketch.linear import (
    GramAccumulator,
    RidgeSolution,
    default_alphas,
    gcv_scores,
    holdout_scores,
    ridge_path,
    solve_ridge,
)

GCV_LIMIT = 2048
HOLDOUT_ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # of the largest eigenvalue
HOLDOUT_ROWS = 4096  # at most, and at most a tenth
BLOCK_ROWS = 8192

Transform = Callable[[NDArray[np.float32]], NDArray]


@dataclass(frozen=True, eq=False)
class Fit:
    """A ridge fit on features.

    Attributes
    ----------
    solution : RidgeSolution
        One penalty or several.
    index : int
        The chosen penalty.
    selection : str
        How it was chosen.
    relative_alpha : float
        The penalty divided by the Gram matrix's largest eigenvalue.
    """

    solution: RidgeSolution
    index: int
    selection: str

    @property
    def relative_alpha(self) -> float:
        return float(self.solution.alphas[self.index] / self.solution.largest_eigenvalue)

    def predict(self, transform: Transform, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict targets, in float64."""
        coef, intercept = self.solution.coef[self.index], self.solution.intercept[self.index]
        return np.concatenate([transform(X[rows]) @ coef + intercept for rows in blocks(len(X))])


def blocks(n: int) -> Iterator[slice]:
    """Yield slices of consecutive rows."""
    yield from (slice(start, start + BLOCK_ROWS) for start in range(0, n, BLOCK_ROWS))


def fit_ridge(
    transform: Transform, X: NDArray[np.float32], Y: NDArray, n_components: int, stages: Stages
) -> Fit:
    """Fit on features of all rows; `stages` gets featurise, accumulate and factorise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # the solution's status says it as well
        if n_components <= GCV_LIMIT:
            return _fit_by_gcv(transform, X, Y, stages)
        return _fit_by_holdout(transform, X, Y, stages)


def _accumulate(
    transform: Transform, X: NDArray[np.float32], Y: NDArray, stages: Stages
) -> GramAccumulator:
    accumulator = GramAccumulator()
    for rows in blocks(len(X)):
        with stages("featurise"):
            Z = transform(X[rows])
        with stages("accumulate"):
            accumulator.update(Z, Y[rows])
    return accumulator


def _fit_by_gcv(transform: Transform, X: NDArray[np.float32], Y: NDArray, stages: Stages) -> Fit:
    accumulator = _accumulate(transform, X, Y, stages)
    with stages("factorise"):
        stats = accumulator.finalise()
        path = ridge_path(stats, default_alphas(stats))
        scores = gcv_scores(stats, path)
    return Fit(path, int(np.argmin(scores)), "GCV")


def _fit_by_holdout(
    transform: Transform, X: NDArray[np.float32], Y: NDArray, stages: Stages
) -> Fit:
    held_out = np.zeros(len(X), bool)
    held_out[some_rows(len(X), min(HOLDOUT_ROWS, len(X) // 10))] = True
    accumulator = _accumulate(transform, X[~held_out], Y[~held_out], stages)
    with stages("featurise"):
        Z_held = transform(X[held_out])
    with stages("factorise"):
        stats = accumulator.finalise()
        largest = float(default_alphas(stats)[-1]) / 10
        scores = [
            float(holdout_scores(solve_ridge(stats, a * largest), Z_held, Y[held_out])[0])
            for a in HOLDOUT_ALPHAS
        ]
        del stats
    with stages("accumulate"):
        accumulator.update(Z_held, Y[held_out])
    with stages("factorise"):
        alpha = HOLDOUT_ALPHAS[int(np.argmin(scores))] * largest
        solution = solve_ridge(accumulator.finalise(), alpha)
    return Fit(solution, 0, f"hold-out of {held_out.sum():,} rows")
