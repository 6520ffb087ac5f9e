r"""Zonal kernels: functions of the cosine between two rows.

Off the sphere a zonal function :math:`f` stands for the homogeneous kernel
:math:`|x||y| f(\cos(x, y))`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Dense, Rectifier, Relu, mlp, serial
from ntksketch.architectures.layers import as_layers, check_architecture
from ntksketch.kernels.dual import (
    SqrtPolynomial,
    fit_sqrt_polynomial,
    kappa0,
    kappa1,
    mix_rectifier,
)
from ntksketch.kernels.series import legendre_coefficients, legendre_polynomials, power_series

__all__ = [
    "ZonalKernel",
    "from_function",
    "gamma_exponential",
    "laplace",
    "nngp",
    "ntk",
    "polynomial",
]

_NEGLIGIBLE = 1e-11  # negative coefficients up to this share of f(1) are rounding
_CHECKED_TERMS = 4096  # of a power series whose signs are checked


class ZonalKernel:
    """Scalar function f on [-1, 1] that stands for the kernel ``|x||y| f(cos(x, y))``.

    Made by :func:`ntk`, :func:`nngp`, :func:`laplace`, :func:`gamma_exponential`,
    :func:`polynomial` and :func:`from_function`. Accepted where an architecture is, by every method
    that works on zonal kernels. Calling it evaluates the function in float64.
    """

    def __call__(self, t: Any) -> np.ndarray:
        """Evaluate the function.

        Parameters
        ----------
        t : array-like of float
            Cosines in [-1, 1], of any shape.

        Returns
        -------
        ndarray of float64
            Values, of the same shape.

        Raises
        ------
        ValueError
            If a value is NaN or outside [-1, 1].
        """
        t = np.asarray(t, dtype=np.float64)
        if not np.all(np.abs(t) <= 1):
            worst = t.flat[np.argmax(~(np.abs(t.ravel()) <= 1))]
            raise ValueError(f"t must hold cosines in [-1, 1], got {worst}; divide by the norms")
        return self.evaluate(t)

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate without checks, also off the real axis.

        Parameters
        ----------
        t : ndarray
            Cosines in float64, or complex numbers inside the unit circle.

        Returns
        -------
        ndarray
            Values, of the same shape and kind.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class NetworkKernel(ZonalKernel):
    """NTK or NNGP kernel of a network whose hidden layers have no bias.

    Its function is that of the rows after a first Dense layer.

    Parameters
    ----------
    architecture : Architecture
        The network.
    kind : {"ntk", "nngp"}
        Which kernel.
    """

    architecture: Architecture
    kind: str

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate the recursion through the layers."""
        return profile(self.architecture, self.kind, t)


@dataclass(frozen=True)
class GammaExponential(ZonalKernel):
    """The function ``exp(-c |x - y|^gamma)`` of unit vectors."""

    c: float
    gamma: float

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate the exponential."""
        return np.exp(-self.c * (2 - 2 * t) ** (self.gamma / 2))


@dataclass(frozen=True)
class Polynomial(ZonalKernel):
    """A polynomial with coefficients in ascending powers, none of them negative."""

    coefficients: tuple[float, ...]

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate by Horner's rule."""
        return np.polynomial.polynomial.polyval(t, self.coefficients)


@dataclass(frozen=True)
class LegendreSeries(ZonalKernel):
    """A finite series of Legendre polynomials in `dim` dimensions."""

    dim: int
    coefficients: tuple[float, ...]

    def evaluate(self, t: NDArray) -> NDArray:
        """Sum the series."""
        values = legendre_polynomials(t, self.dim, len(self.coefficients) - 1)
        return np.tensordot(np.array(self.coefficients), values, axes=1)


@dataclass(frozen=True)
class FunctionKernel(ZonalKernel):
    """A user's function."""

    function: Callable[[NDArray], NDArray]

    def evaluate(self, t: NDArray) -> NDArray:
        """Call the function."""
        return self.function(t)


def ntk(depth: int) -> ZonalKernel:
    r"""Return the NTK of a bias-free ReLU network with `depth` hidden layers, as a function of t.

    It is :math:`K_L(t) = \mathrm{NTK}(x, y)` for unit vectors with :math:`\langle x, y\rangle = t`.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.

    Returns
    -------
    ZonalKernel
        Vectorised function with :math:`K_L(1) = L + 1`.

    References
    ----------
    Zandieh et al. (2021), arXiv:2106.07880; Geifman et al. (2020), arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.ntk(depth=1)([-1.0, 0.0, 1.0]).round(4)
    array([0.    , 0.3183, 2.    ])
    """
    return NetworkKernel(mlp(depth), "ntk")


def nngp(depth: int) -> ZonalKernel:
    r"""Return the NNGP kernel of a bias-free ReLU network, the `depth`-fold composition of kappa1.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    References
    ----------
    Cho & Saul (2009), "Kernel methods for deep learning", NeurIPS 22.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> float(ntk.zonal.nngp(depth=3)(1.0))
    1.0
    """
    return NetworkKernel(mlp(depth), "nngp")


def gamma_exponential(c: float, gamma: float) -> ZonalKernel:
    r"""Return the gamma-exponential kernel :math:`\exp(-c |x-y|^\gamma)` of unit vectors.

    As a function of the cosine it is :math:`\exp(-c (2 - 2t)^{\gamma/2})`; other rows have the
    homogeneous form :math:`|x||y| f(\cos)`.

    Parameters
    ----------
    c : float
        Inverse width, positive.
    gamma : float
        Exponent in (0, 2]: 1 is the Laplace kernel, 2 the Gaussian.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no number in its range.

    References
    ----------
    Geifman, Yadav, Kasten, Galun, Jacobs, Basri (2020), "On the similarity between the Laplace and
    Neural Tangent Kernels", arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.gamma_exponential(c=1.0, gamma=2.0)([0.0, 1.0]).round(4)
    array([0.1353, 1.    ])
    """
    for name, value, most in (("c", c, math.inf), ("gamma", gamma, 2)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a real number, got {value!r}")
        if not (0 < value <= most and math.isfinite(value)):
            limit = "positive and finite" if most == math.inf else f"in (0, {most}]"
            raise ValueError(f"{name} must be {limit}, got {value!r}")
    return GammaExponential(float(c), float(gamma))


def laplace(c: float) -> ZonalKernel:
    r"""Return the Laplace kernel :math:`\exp(-c |x-y|)` of unit vectors.

    On the sphere its eigenvalues decay at the rate of those of the NTK; other rows have the
    homogeneous form :math:`|x||y| f(\cos)`.

    Parameters
    ----------
    c : float
        Inverse width, positive.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    Raises
    ------
    TypeError, ValueError
        If `c` is no positive number.

    References
    ----------
    Geifman, Yadav, Kasten, Galun, Jacobs, Basri (2020), "On the similarity between the Laplace and
    Neural Tangent Kernels", arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.laplace(c=0.5)([-1.0, 1.0]).round(4)
    array([0.3679, 1.    ])
    """
    return gamma_exponential(c, 1.0)


def polynomial(coefficients: Sequence[float]) -> ZonalKernel:
    r"""Return the polynomial :math:`\sum_i a_i t^i` as a zonal kernel.

    Parameters
    ----------
    coefficients : sequence of float
        The coefficients :math:`a_0, a_1, \dots`, at least 0 and not all 0.

    Returns
    -------
    ZonalKernel
        Vectorised function.

    Raises
    ------
    ValueError
        If there is no positive coefficient, or one is negative or not finite.

    References
    ----------
    Schoenberg (1942), "Positive definite functions on spheres", doi:10.1215/S0012-7094-42-00908-6.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> float(ntk.zonal.polynomial([0.5, 0.0, 2.0])(-1.0))
    2.5
    """
    values = np.asarray(coefficients, dtype=np.float64)
    if values.ndim != 1 or not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ValueError(
            "coefficients must be a sequence of finite numbers of at least 0, one of them "
            f"positive, for the kernel to be positive semi-definite; got {coefficients!r}"
        )
    return Polynomial(tuple(values.tolist()))


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
    if series[worst] < -_NEGLIGIBLE * scale:
        raise ValueError(
            f"function is no kernel in every dimension: the coefficient of t^{worst} in its power "
            f"series is {series[worst]:.3g}, and none may be negative"
        )
    return FunctionKernel(function)


def split_input(architecture: Architecture) -> tuple[Dense | None, tuple[Architecture, ...]]:
    """Split off a first Dense layer, the only one whose bias keeps a kernel zonal."""
    first, *rest = as_layers(architecture)
    if isinstance(first, Dense):
        return first, tuple(rest)
    return None, (first, *rest)


def is_zonal(architecture: Architecture) -> bool:
    """Say whether the kernel is zonal in the rows after the first Dense layer."""
    _, rest = split_input(architecture)
    return all(
        isinstance(layer, Rectifier) or (isinstance(layer, Dense) and layer.bias_std == 0)
        for layer in rest
    )


def profile(
    architecture: Architecture,
    kind: str,
    t: np.ndarray,
    arc_cosines: Sequence[Callable[[NDArray], NDArray]] = (kappa1, kappa0),
) -> np.ndarray:
    """Return the zonal function f at cosines t of the rows after the first Dense layer.

    float64 or complex, exact: the kernel is f(cos) times the product of those rows' norms. Other
    functions may stand for kappa1 and kappa0.
    """
    of_order_1, of_order_0 = arc_cosines
    first, rest = split_input(architecture)
    nngp_t, ntk_t, variance = t, t if first is not None else np.zeros_like(t), 1.0
    for layer in rest:
        if isinstance(layer, Rectifier):
            cosine = nngp_t / variance if variance > 0 else np.zeros_like(t)
            if not np.iscomplexobj(t):
                cosine = np.clip(cosine, -1, 1)
            orders = of_order_1(cosine), of_order_0(cosine)
            value, slope = mix_rectifier(layer.slope, *orders, cosine)
            nngp_t, ntk_t = variance * value, ntk_t * slope
        else:
            if not isinstance(layer, Dense) or layer.bias_std != 0:
                raise ValueError(f"{serial(*rest)} is not zonal: {layer} stands behind its input")
            weight = layer.weight_std**2
            nngp_t, variance = weight * nngp_t, weight * variance
            ntk_t = weight * ntk_t + nngp_t
    return ntk_t if kind == "ntk" else nngp_t


def zonal_form(target: Architecture | ZonalKernel, kind: str) -> tuple[Dense | None, ZonalKernel]:
    """Return a kernel as a first Dense layer (None: the rows as they are) and a zonal function.

    Raises
    ------
    ValueError
        If the kernel is not zonal.
    """
    if isinstance(target, NetworkKernel):
        target, kind = target.architecture, target.kind
    if isinstance(target, ZonalKernel):
        return None, target
    first, _ = split_input(target)
    if not is_zonal(target):
        raise ValueError(
            f"{target} is not zonal: behind its first Dense layer only {serial(Dense(), Relu())} "
            "and the like keep it a function of the cosine; method='nystroem' and "
            "method='random-features' take every architecture"
        )
    return first, NetworkKernel(target, kind)


def check_target(value: Any) -> Architecture | ZonalKernel:
    """Return `value` if it stands for a kernel: an architecture or a zonal kernel."""
    return value if isinstance(value, ZonalKernel) else check_architecture(value)


@functools.lru_cache(maxsize=256)
def short_polynomial(kernel: ZonalKernel) -> SqrtPolynomial | None:
    """Return the zonal function as polynomials to float32 accuracy, or None if too many terms."""
    return fit_sqrt_polynomial(kernel.evaluate)


@functools.lru_cache(maxsize=256)
def expansion(kernel: ZonalKernel, dim: int, max_degree: int) -> NDArray[np.float64]:
    """Return the Legendre coefficients of a zonal kernel, with rounding below zero cut off.

    Raises
    ------
    ValueError
        If a coefficient is negative: the kernel is then not positive semi-definite.
    """
    coefficients = legendre_coefficients(kernel.evaluate, dim, max_degree)
    scale = float(np.abs(kernel.evaluate(np.array([1.0]))[0]))
    worst = int(coefficients.argmin())
    if coefficients[worst] < -1e-9 * scale:
        raise ValueError(
            f"{kernel} is no kernel in {dim} dimensions: its coefficient of degree {worst} is "
            f"{coefficients[worst]:.3g}, and none may be negative"
        )
    coefficients = np.where(coefficients > _NEGLIGIBLE * scale, coefficients, 0.0)
    coefficients.flags.writeable = False  # the cache's own
    return coefficients
