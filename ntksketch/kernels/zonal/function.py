"""A user's function of the cosine, checked to be a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntksketch.kernels.series import power_series
from ntksketch.kernels.zonal.base import NEGLIGIBLE, ZonalKernel

_CHECKED_TERMS = 4096  # of a power series whose signs are checked


@dataclass(frozen=True)
class FunctionKernel(ZonalKernel):
    """A user's function."""

    function: Callable[[NDArray], NDArray]

    def evaluate(self, t: NDArray) -> NDArray:
        """Call the function."""
        return self.function(t)


def from_function(function: Callable[[NDArray], NDArray]) -> ZonalKernel:
    r"""Return a zonal kernel from a function of the cosine, checked to be one.

    The kernel is positive semi-definite in every dimension if and only if the power series of the
    function has no negative coefficient; the first 4,096 are computed and checked.

    Parameters
    ----------
    function : callable
        Vectorised function of an array: real on [-1, 1], and analytic inside the complex unit
        circle, as every formula of NumPy's functions is (but not ``abs``, ``where`` and the like).

    Returns
    -------
    ZonalKernel
        The kernel. It compares and pickles as the function does.

    Raises
    ------
    TypeError
        If `function` is not callable.
    ValueError
        If it cannot be evaluated, is not analytic, or has a negative coefficient.

    References
    ----------
    Schoenberg (1942), "Positive definite functions on spheres", doi:10.1215/S0012-7094-42-00908-6.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> ntk.zonal.from_function(lambda t: np.exp(t - 1))([0.0, 1.0]).round(4)
    array([0.3679, 1.    ])
    """
    if not callable(function):
        raise TypeError(f"function must be callable, got {function!r}")
    t = np.linspace(-0.9, 0.9, 19)
    try:
        values, ends = np.asarray(function(t)), np.asarray(function(np.array([-1.0, 1.0])))
        series = power_series(function, _CHECKED_TERMS)
    except Exception as error:
        raise ValueError(
            f"function must take real and complex arrays: {type(error).__name__}: {error}; "
            "write it with NumPy's functions, or give the coefficients of its power series to "
            "zonal.polynomial"
        ) from error
    if values.shape != t.shape or not (np.isfinite(values).all() and np.isfinite(ends).all()):
        raise ValueError("function must return a finite value for each cosine in [-1, 1]")
    scale = float(np.abs(ends).max())
    worst = int(series.argmin())
    if not np.allclose(np.polynomial.polynomial.polyval(t, series), values, atol=1e-8 * scale):
        raise ValueError(
            "function is not the sum of its power series: it must be analytic inside the unit "
            "circle, without abs, where or clip"
        )
    if series[worst] < -NEGLIGIBLE * scale:
        raise ValueError(
            f"function is no kernel in every dimension: the coefficient of t^{worst} in its power "
            f"series is {series[worst]:.3g}, and none may be negative"
        )
    return FunctionKernel(function)
