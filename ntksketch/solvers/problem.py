"""The data of a kernel ridge regression, checked, and the frame in which it is solved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntksketch.kernels.gram import check_rows
from ntksketch.linear.conjugate_gradients import CGResult, ShiftedSystems, conjugate_gradients
from ntksketch.linear.ridge import as_alphas
from ntksketch.linear.rows import as_weights
from ntksketch.solvers.checkpoint import Checkpoint, StateFile, digest, stored_seed
from ntksketch.solvers.status import ConvergenceStatus, report


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows, targets, weights and penalties.

    There is a system for each penalty and each target, in this order: column ``i * k + j`` of
    arrays over systems belongs to the penalty i and the target j.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, d)
        All rows.
    used : ndarray of shape (u,)
        Indices of the rows of positive weight.
    targets : ndarray of shape (n, k), float64
        Targets of all rows.
    y_shape : tuple of int
        The shape in which they came.
    weight : ndarray of shape (n,), float64
        Weights of all rows.
    alphas : ndarray of shape (n_alphas,), float64
        Penalties, above zero.
    is_path : bool
        Whether penalties came as an array.
    fit_intercept : bool
        Whether an intercept is fitted.
    """

    X: Any
    used: NDArray[np.intp]
    targets: NDArray[np.float64]
    y_shape: tuple[int, ...]
    weight: NDArray[np.float64]
    alphas: NDArray[np.float64]
    is_path: bool
    fit_intercept: bool

    @property
    def rows(self) -> Any:
        """The rows of positive weight."""
        return self.X if len(self.used) == len(self.weight) else self.X[self.used]

    @property
    def roots(self) -> NDArray[np.float64]:
        """Square roots of the positive weights."""
        return np.sqrt(self.weight[self.used])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of penalties and of targets."""
        return len(self.alphas), self.targets.shape[1]

    @property
    def shifts(self) -> NDArray[np.float64]:
        """The penalty of each system."""
        return np.repeat(self.alphas, self.targets.shape[1])

    @property
    def given_alphas(self) -> float | NDArray[np.float64]:
        """Penalties as they came."""
        return self.alphas if self.is_path else float(self.alphas[0])

    def describe(self) -> dict[str, str]:
        """Return what solutions depend on, in words or as digests."""
        return {
            "dtype": str(self.X.dtype),
            "X": digest(self.X),
            "y": digest(self.targets),
            "sample_weight": digest(self.weight),
            "alphas": str(self.alphas.tolist()),
            "fit_intercept": str(self.fit_intercept),
        }

    def unpack(self, values: NDArray[np.float64]) -> Any:
        """Return values of shape (..., systems) with axes as penalties and targets came.

        The axis of penalties is the first, that of targets the last.
        """
        values = np.moveaxis(values.reshape(*values.shape[:-1], *self.shape), -2, 0)
        if len(self.y_shape) == 1:
            values = values[..., 0]
        if not self.is_path:
            values = values[0]
        return values if values.ndim else float(values)


def check_problem(
    X: Any, y: ArrayLike, alphas: ArrayLike, fit_intercept: bool, sample_weight: ArrayLike | None
) -> Problem:
    """Return the problem, or raise an error that says what came and what was expected."""
    X = check_rows(X)
    targets = np.asarray(y, dtype=np.float64)
    if targets.ndim not in (1, 2) or len(targets) != X.shape[0] or 0 in targets.shape:
        raise ValueError(
            f"y must have shape ({X.shape[0]},) or ({X.shape[0]}, k), a row for each of X, got "
            f"{targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError("y contains NaN or infinity")
    penalties = as_alphas(alphas)
    if not penalties.all():
        raise ValueError(
            "alphas must be above zero: with alpha=0 the system may be singular; "
            "diagnostics.exact_ridge interpolates"
        )
    weight = as_weights(1.0 if sample_weight is None else sample_weight, X.shape[0])
    if not weight.any():
        raise ValueError("sample_weight is zero for every row: weight some rows above zero")
    return Problem(
        X=X,
        used=np.flatnonzero(weight),
        targets=targets.reshape(len(targets), -1),
        y_shape=targets.shape,
        weight=weight,
        alphas=penalties,
        is_path=np.ndim(alphas) > 0,
        fit_intercept=bool(fit_intercept),
    )


@dataclass(frozen=True)
class Controls:
    """When to stop, and where to save.

    Attributes
    ----------
    tolerance : float
        Relative residual at which a system is solved.
    max_iter : int
        Largest number of iterations.
    checkpoint : Checkpoint or None
        Where the state is saved.
    seed : int
        Seed of the preconditioner.
    """

    tolerance: float
    max_iter: int
    checkpoint: Checkpoint | None
    seed: int

    def solve(
        self,
        systems: ShiftedSystems,
        shape: tuple[int, int],
        rank: int,
        described: dict[str, str],
        sample: NDArray[np.float64],
    ) -> tuple[CGResult, ConvergenceStatus]:
        """Go on from the checkpoint, or start; save on the way; report, two callers up.

        Parameters
        ----------
        systems : ShiftedSystems
            What to solve.
        shape : tuple of int
            Number of penalties and of targets.
        rank : int
            Rank of the preconditioner, for the report.
        described, sample
            What solutions depend on, and a sample of the kernel, see `StateFile`.

        Returns
        -------
        result : CGResult
            Where the iteration ended.
        status : ConvergenceStatus
            How good that is.
        """
        store = state = None
        if self.checkpoint is not None:
            described = {**described, "random_state": str(self.seed)}
            store = StateFile(self.checkpoint, described, sample)
            state = store.load()
        try:
            result = conjugate_gradients(
                systems,
                tolerance=self.tolerance,
                max_iter=self.max_iter,
                state=state,
                callback=None if store is None else store.see,
            )
        finally:
            if store is not None:
                store.finish()
        status = report(
            result, shape, self.tolerance, rank, can_resume=store is not None, stacklevel=3
        )
        return result, status


def check_controls(tolerance: Any, max_iter: Any, checkpoint: Any, random_state: Any) -> Controls:
    """Return the controls, or raise an error; the seed is the checkpoint's where none is given."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real):
        raise TypeError(f"tolerance must be a number, got {tolerance!r}")
    if not 0 < float(tolerance) < 1:
        raise ValueError(f"tolerance must be above 0 and below 1, got {tolerance!r}")
    max_iter = whole_number("max_iter", max_iter, least=1)
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        if not isinstance(checkpoint, (str, os.PathLike)):
            raise TypeError(f"checkpoint must be a Checkpoint or a path, got {checkpoint!r}")
        checkpoint = Checkpoint(checkpoint)
    seed = None if random_state is None else whole_number("random_state", random_state, least=0)
    if seed is None and checkpoint is not None:
        seed = stored_seed(checkpoint.path)
    if seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    return Controls(float(tolerance), max_iter, checkpoint, seed)


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least `least`, or raise an error that names it."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if int(value) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return int(value)


def scale_columns(B: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return columns divided by their largest entries, so that no square underflows, and those."""
    scales = np.abs(B).max(axis=0)
    scales[scales == 0] = 1.0
    return B / scales, scales
