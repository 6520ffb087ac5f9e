"""How an iteration ended, as a value with cause and remedy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from ntksketch.linear.conjugate_gradients import CGResult

Kind = Literal["converged", "iteration-limit", "stagnated", "indefinite"]


@dataclass(frozen=True, eq=False)
class ConvergenceStatus:
    """How an iterative solve went.

    Attributes
    ----------
    kind : {"converged", "iteration-limit", "stagnated", "indefinite"}
        The outcome of the least certain of the systems.
    cause, remedy : str
        Why, and what to do about it; empty for "converged".
    tolerance : float
        The relative residual that was asked for.
    residuals : ndarray of shape (n_alphas, k), float64
        Relative residuals of the solutions returned, computed from them and not by recurrence.
    iterations : ndarray of shape (n_alphas, k), int
        Iterations of each system; each is a product with the kernel, which all systems share.
    rank : int
        Rank of the preconditioner.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((60, 3))
    >>> status = ntk.solve_kernel_ridge(ntk.mlp(depth=1), X, X[:, 0], alphas=[0.1, 1.0]).status
    >>> status.kind, status.residuals.shape, bool((status.residuals <= status.tolerance).all())
    ('converged', (2, 1), True)
    """

    kind: Kind
    cause: str
    remedy: str
    tolerance: float
    residuals: NDArray[np.float64]
    iterations: NDArray[np.int64]
    rank: int

    @property
    def converged(self) -> bool:
        """Whether every system is within the tolerance."""
        return self.kind == "converged"

    def __str__(self) -> str:
        if self.cause:
            return f"{self.kind}: {self.cause}; {self.remedy}"
        return (
            f"{self.kind}: relative residuals of at most {self.residuals.max(initial=0):.2g} after "
            f"{self.iterations.max(initial=0)} iterations"
        )


def report(
    result: CGResult,
    shape: tuple[int, int],
    tolerance: float,
    rank: int,
    *,
    can_resume: bool,
    stacklevel: int,
) -> ConvergenceStatus:
    """Return the status of a solve, and warn if a system is not within the tolerance."""
    kind, cause, remedy = _judge(result, tolerance, can_resume)
    status = ConvergenceStatus(
        kind=kind,
        cause=cause,
        remedy=remedy,
        tolerance=tolerance,
        residuals=result.residuals.reshape(shape),
        iterations=result.iterations.reshape(shape),
        rank=rank,
    )
    if not status.converged:
        warnings.warn(str(status), ConvergenceWarning, stacklevel=stacklevel + 1)
    return status


def _judge(result: CGResult, tolerance: float, can_resume: bool) -> tuple[Kind, str, str]:
    missed = ~result.converged
    if not missed.any():
        return "converged", "", ""
    counts = f"of {missed.size} systems"
    if result.indefinite.any():
        return (
            "indefinite",
            f"{result.indefinite.sum()} {counts} met a direction in which kernel plus alpha is "
            "negative, and stopped there",
            "use a larger alpha, or float64 rows: float32 leaves the kernel negative eigenvalues "
            "of about 1e-7 of its largest",
        )
    worst = result.residuals[missed].max()
    if result.stagnated[missed].all():
        return (
            "stagnated",
            f"rounding keeps {missed.sum()} {counts} at relative residuals of up to {worst:.2g}, "
            f"above tolerance={tolerance:g}",
            f"use tolerance >= {2 * worst:.2g}, or a larger alpha",
        )
    more = "a larger max_iter" + (" (it goes on from the checkpoint)" if can_resume else "")
    return (
        "iteration-limit",
        f"{missed.sum()} {counts} have relative residuals of up to {worst:.2g}, above "
        f"tolerance={tolerance:g}, after {result.iterations.max()} iterations",
        f"use {more}, a larger rank or a larger alpha",
    )
