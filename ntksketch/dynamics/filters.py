"""What training has done to an eigenvector of the kernel by a time."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_times(t: Any, *, steps: bool = False) -> tuple[NDArray[np.float64], bool]:
    """Return times as an array, and whether a single one was given.

    Parameters
    ----------
    t : float or array_like of shape (n_times,)
        Times, at least 0; infinity is the end of training.
    steps : bool, default=False
        Whether they count steps of gradient descent, and so are whole numbers.

    Returns
    -------
    times : ndarray of shape (n_times,), float64
        The times.
    single : bool
        Whether `t` is a number.

    Raises
    ------
    TypeError, ValueError
        If `t` is not as described; the message has what came.

    Examples
    --------
    >>> from ntksketch.dynamics import as_times
    >>> as_times(2)
    (array([2.]), True)
    """
    given = np.asarray(t)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"t must be a number or an array of numbers, got {t!r}")
    if given.ndim > 1 or given.size == 0:
        raise ValueError(f"t must be a number or of shape (n_times,), got shape {given.shape}")
    times = np.atleast_1d(given).astype(np.float64)
    if not (times >= 0).all():  # NaN as well
        raise ValueError(f"t must be at least 0, got {times[~(times >= 0)][0]}")
    if steps:
        parts = times[np.isfinite(times) & (times != np.floor(times))]
        if parts.size:
            raise ValueError(
                f"t counts steps of gradient descent, so that it is a whole number, got {parts[0]}:"
                " give one, or take learning_rate=None for continuous time"
            )
    return times, given.ndim == 0


def as_learning_rate(learning_rate: Any) -> float | None:
    """Return a learning rate as a float, or None; raise an error if it is not a positive number."""
    if learning_rate is None:
        return None
    if isinstance(learning_rate, bool) or not isinstance(learning_rate, Real):
        raise TypeError(f"learning_rate must be a number or None, got {learning_rate!r}")
    rate = float(learning_rate)
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate!r}")
    return rate


def learned_share(
    eigenvalues: NDArray[np.float64],
    times: NDArray[np.float64],
    learning_rate: float | None = None,
) -> NDArray[np.float64]:
    r"""Return the share of the way that each eigenvector's part of the targets has gone.

    .. math:: 1 - e^{-\lambda t}, \qquad\text{or}\qquad 1 - (1 - \eta\lambda)^t

    after t steps of gradient descent. It may exceed 1 for steps with :math:`\eta\lambda > 1`.

    Parameters
    ----------
    eigenvalues : ndarray of shape (r,), float64
        :math:`\lambda \ge 0`, with :math:`\eta\lambda < 2`.
    times : ndarray of shape (n_times,), float64
        Times, or numbers of steps.
    learning_rate : float, default=None
        :math:`\eta`; None for continuous time.

    Returns
    -------
    ndarray of shape (n_times, r), float64
        The shares, to working precision however small they are.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.dynamics import learned_share
    >>> learned_share(np.array([0.0, 1.0]), np.array([0.0, 2.0, np.inf])).round(3)
    array([[0.   , 0.   ],
           [0.   , 0.865],
           [0.   , 1.   ]])
    """
    if learning_rate is None:
        logarithms, flips = -eigenvalues, np.zeros(eigenvalues.shape, bool)
    else:
        steps = learning_rate * eigenvalues
        flips = steps > 1  # the residual changes its sign in every step
        with np.errstate(divide="ignore"):  # a step of 1 ends it
            logarithms = np.log1p(np.where(flips, steps - 2, -steps))
    exponents = np.zeros((len(times), len(eigenvalues)))
    some = (times[:, None] > 0) & (logarithms < 0)  # neither 0 times infinity
    with np.errstate(over="ignore"):  # to minus infinity, which is right
        np.multiply(times[:, None], logarithms, out=exponents, where=some)
    odd = np.where(np.isfinite(times), times, 0) % 2 == 1
    return np.where(odd[:, None] & flips, 1 + np.exp(exponents), 0 - np.expm1(exponents))
