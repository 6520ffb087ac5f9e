"""Preconditioned conjugate gradients for many right-hand sides and shifts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Product = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Precondition = Callable[[NDArray[np.float64], NDArray[np.intp]], NDArray[np.float64]]

_PROGRESS = 0.5  # a restart that leaves more than this of the residual met rounding
_ROUNDING = 1e3 * np.finfo(np.float64).eps  # cosines of directions and their products below

_RUNNING, _ROUNDED, _INDEFINITE = range(3)  # where a system is


class CGState(NamedTuple):
    """All that the next iteration depends on; a value, whose arrays are never changed.

    Attributes
    ----------
    solution, residual, direction : ndarray of shape (n, c), float64
        Iterates; the residual is that of the recurrence.
    energy : ndarray of shape (c,), float64
        Products of the residuals with the preconditioned residuals.
    checked : ndarray of shape (c,), float64
        Relative residuals when last computed anew; infinite before.
    stopped : ndarray of shape (c,), int8
        0 for systems that run, 1 where rounding left no direction, 2 where one had negative
        curvature.
    iterations : ndarray of shape (c,), int
        Iterations of each right-hand side.
    iteration : int
        Iterations so far.
    """

    solution: NDArray[np.float64]
    residual: NDArray[np.float64]
    direction: NDArray[np.float64]
    energy: NDArray[np.float64]
    checked: NDArray[np.float64]
    stopped: NDArray[np.int8]
    iterations: NDArray[np.int64]
    iteration: int


@dataclass(frozen=True, eq=False)
class CGResult:
    """Where conjugate gradients ended.

    Attributes
    ----------
    solution : ndarray of shape (n, c), float64
        The last iterates.
    multipliers : ndarray of shape (c,), float64
        Those of the constraint; zero without one.
    residuals : ndarray of shape (c,), float64
        Norms of the residuals, computed anew, relative to the right-hand sides.
    iterations : ndarray of shape (c,), int
        Iterations of each right-hand side.
    converged : ndarray of shape (c,), bool
        Where the residual is within the tolerance.
    indefinite : ndarray of shape (c,), bool
        Where it is not because a direction had negative curvature, or a product was NaN.
    stagnated : ndarray of shape (c,), bool
        Where it is not because of rounding. What remains met the cap on iterations.
    """

    solution: NDArray[np.float64]
    multipliers: NDArray[np.float64]
    residuals: NDArray[np.float64]
    iterations: NDArray[np.int64]
    converged: NDArray[np.bool_]
    indefinite: NDArray[np.bool_]
    stagnated: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ShiftedSystems:
    r"""Linear systems that differ in their right-hand sides and in multiples of the identity.

    They are :math:`(A + \sigma_j I) x_j = b_j`, or, with a constraint s,

    .. math:: (A + \sigma_j I) x_j + \mu_j s = b_j, \qquad s^\top x_j = 0.

    Attributes
    ----------
    product : callable
        Returns ``A @ V`` for V of shape (n, w); A is symmetric.
    right : ndarray of shape (n, c), float64
        Right-hand sides b.
    shifts : ndarray of shape (c,), float64
        Shifts, one a right-hand side.
    constraint : ndarray of shape (n,), float64, or None
        A unit vector s.
    precondition : callable or None
        Takes residuals of shape (n, w) and the indices of their systems, and returns an
        approximation of the solutions, up to a factor for each: symmetric and positive definite.
    """

    product: Product
    right: NDArray[np.float64]
    shifts: NDArray[np.float64]
    constraint: NDArray[np.float64] | None = None
    precondition: Precondition | None = None

    def apply(self, V: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the systems' products with columns."""
        return self.product(V) + self.shifts[columns] * V

    def project(self, V: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return columns without their parts along the constraint."""
        s = self.constraint
        return V if s is None else V - np.outer(s, s @ V)

    def solve_roughly(
        self, R: NDArray[np.float64], columns: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return preconditioned residuals."""
        return R if self.precondition is None else self.project(self.precondition(R, columns))


def conjugate_gradients(
    systems: ShiftedSystems,
    *,
    tolerance: float,
    max_iter: int,
    state: CGState | None = None,
    callback: Callable[[CGState], None] | None = None,
) -> CGResult:
    """Solve symmetric positive definite systems by preconditioned conjugate gradients.

    Every iteration multiplies the directions of all systems that are not done by the matrix in one
    product. Where the recurrence has come below the tolerance the residuals are computed anew, and
    those that rounding kept above it start again from there.

    Parameters
    ----------
    systems : ShiftedSystems
        Matrix, shifts and right-hand sides.
    tolerance : float
        Norm of a residual, relative to that of its right-hand side, at which to stop.
    max_iter : int
        Largest number of iterations, those of `state` included.
    state : CGState, default=None
        Where to go on; None starts at zero.
    callback : callable, default=None
        Called with the state after each iteration.

    Returns
    -------
    CGResult
        Solutions, and how good they are.

    References
    ----------
    Hestenes, Stiefel (1952), "Methods of conjugate gradients for solving linear systems",
    doi:10.6028/jres.049.044.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear.conjugate_gradients import ShiftedSystems, conjugate_gradients
    >>> A, b = np.diag([1.0, 2.0]), np.array([[2.0], [6.0]])
    >>> systems = ShiftedSystems(A.__matmul__, b, np.array([1.0]))
    >>> conjugate_gradients(systems, tolerance=1e-12, max_iter=10).solution.round(6)
    array([[1.],
           [2.]])
    """
    scales = np.linalg.norm(systems.project(systems.right), axis=0)
    limits = tolerance * scales
    everything = np.arange(len(scales))
    if state is None:
        state = _start(systems)
    while True:
        while state.iteration < max_iter and len(columns := _unfinished(state, limits)):
            state = _step(systems, state, columns)
            if callback is not None:
                callback(state)
        raw = systems.right - systems.apply(state.solution, everything)
        residual = systems.project(raw)
        relative = _divide(np.linalg.norm(residual, axis=0), scales)
        converged = relative <= tolerance
        indefinite = ~converged & (state.stopped == _INDEFINITE)
        missed = ~converged & ~indefinite
        missed[_unfinished(state, limits)] = False  # those that the cap stops
        gained = relative <= _PROGRESS * state.checked
        stagnated, again = missed & ~gained, np.flatnonzero(missed & gained)
        if state.iteration >= max_iter or not len(again):
            break
        state = _restart(systems, state, again, residual[:, again], relative[again])
    return CGResult(
        solution=state.solution,
        multipliers=np.zeros(len(scales))
        if systems.constraint is None
        else systems.constraint @ raw,
        residuals=relative,
        iterations=state.iterations,
        converged=converged,
        indefinite=indefinite,
        stagnated=stagnated,
    )


def _start(systems: ShiftedSystems) -> CGState:
    residual = systems.project(systems.right)
    columns = np.arange(residual.shape[1])
    direction = systems.solve_roughly(residual, columns)
    return CGState(
        solution=np.zeros_like(residual),
        residual=residual,
        direction=direction,
        energy=_dots(residual, direction),
        checked=np.full(len(columns), np.inf),
        stopped=np.full(len(columns), _RUNNING, np.int8),
        iterations=np.zeros(len(columns), np.int64),
        iteration=0,
    )


def _unfinished(state: CGState, limits: NDArray) -> NDArray[np.intp]:
    """Return the systems that run and whose recurrence is above its limit."""
    above = np.linalg.norm(state.residual, axis=0) > limits
    return np.flatnonzero(above & (state.stopped == _RUNNING))


def _step(systems: ShiftedSystems, state: CGState, columns: NDArray[np.intp]) -> CGState:
    """Return the state after one more iteration of some systems."""
    direction, energy = state.direction[:, columns], state.energy[columns]
    product = systems.project(systems.apply(direction, columns))
    curvature = _dots(direction, product)
    sizes = np.linalg.norm(direction, axis=0) * np.linalg.norm(product, axis=0)
    good = (curvature > 0) & (energy > 0)  # not for NaN
    rounded = ~good & ((np.abs(curvature) <= _ROUNDING * sizes) | (energy <= 0))
    step = np.where(good, _divide(energy, curvature), 0.0)
    # projected again: rounding along the constraint would never leave the residual, and would grow
    # from direction to direction
    residual = systems.project(state.residual[:, columns] - step * product)
    preconditioned = systems.solve_roughly(residual, columns)
    renewed = _dots(residual, preconditioned)
    onward = systems.project(preconditioned + _divide(renewed, energy) * direction)
    stopped = np.select([good, rounded], [_RUNNING, _ROUNDED], _INDEFINITE)
    kept = columns[good]
    return state._replace(
        solution=_put(state.solution, kept, (state.solution[:, columns] + step * direction), good),
        residual=_put(state.residual, kept, residual, good),
        direction=_put(state.direction, kept, onward, good),
        energy=_put(state.energy, kept, renewed, good),
        stopped=_put(state.stopped, columns, stopped),
        iterations=_put(state.iterations, kept, state.iterations[columns] + 1, good),
        iteration=state.iteration + 1,
    )


def _restart(
    systems: ShiftedSystems,
    state: CGState,
    columns: NDArray[np.intp],
    residual: NDArray[np.float64],
    relative: NDArray[np.float64],
) -> CGState:
    """Return the state from which some systems start again, at residuals computed anew."""
    direction = systems.solve_roughly(residual, columns)
    return state._replace(
        residual=_put(state.residual, columns, residual),
        direction=_put(state.direction, columns, direction),
        energy=_put(state.energy, columns, _dots(residual, direction)),
        checked=_put(state.checked, columns, relative),
        stopped=_put(state.stopped, columns, np.full(len(columns), _RUNNING)),
    )


def _put(
    array: NDArray, columns: NDArray[np.intp], values: NDArray, chosen: NDArray | None = None
) -> NDArray:
    """Return a copy with some columns replaced by the chosen ones of other values."""
    array = array.copy()
    array[..., columns] = values if chosen is None else values[..., chosen]
    return array


def _dots(A: NDArray[np.float64], B: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ij,ij->j", A, B)


def _divide(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return quotients, zero where the divisor is."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)
