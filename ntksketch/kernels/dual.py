r"""Dual functions of activations: Gaussian expectations of a pair of pre-activations.

For the rectifier :math:`\sqrt 2 \max(z, 0)` these are the arc-cosine functions of order 1 and 0
(Cho & Saul 2009, "Kernel methods for deep learning").
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np


def kappa0(t: np.ndarray) -> np.ndarray:
    r"""Return :math:`\kappa_0(t) = 1 - \arccos(t)/\pi` for t in [-1, 1], in float64."""
    return 1 - np.arccos(t) / np.pi


def kappa1(t: np.ndarray) -> np.ndarray:
    r"""Return :math:`\kappa_1(t) = (\sqrt{1-t^2} + t(\pi - \arccos t))/\pi`, in float64."""
    return (np.sqrt((1 - t) * (1 + t)) + t * (np.pi - np.arccos(t))) / np.pi


_LARGEST = 32.0  # coefficients relative to the function's values


class SqrtPolynomial(NamedTuple):
    r"""A function on [-1, 1] as one polynomial in :math:`s = \sqrt{1-|t|}` for each sign of t.

    Functions made of arc cosines have a square-root singularity at t = 1 and t = -1 and are
    analytic in s, so that a short polynomial reaches float32 accuracy where a polynomial in t never
    would.

    Attributes
    ----------
    positive, negative : tuple of float
        Coefficients in ascending powers of s for t >= 0 and t < 0.
    """

    positive: tuple[float, ...]
    negative: tuple[float, ...]

    def __call__(self, t: jax.Array) -> jax.Array:
        """Evaluate at t, of any shape, in t's dtype."""
        s = jnp.sqrt(1 - jnp.minimum(jnp.abs(t), 1))
        return jnp.where(t >= 0, _horner(self.positive, s), _horner(self.negative, s))


def _horner(coefficients: tuple[float, ...], s: jax.Array) -> jax.Array:
    value = jnp.full_like(s, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * s + np.asarray(coefficient, s.dtype)
    return value


def fit_sqrt_polynomial(
    function: Callable[[np.ndarray], np.ndarray], tolerance: float = 3e-8, max_degree: int = 20
) -> SqrtPolynomial | None:
    """Interpolate a function on [-1, 1] by polynomials in sqrt(1 - |t|) at Chebyshev points.

    Parameters
    ----------
    function : callable
        Vectorised float64 function on [-1, 1].
    tolerance : float
        Largest error wanted, relative to the largest absolute value on the grid.
    max_degree : int
        Largest degree tried.

    Returns
    -------
    SqrtPolynomial or None
        The shortest polynomials that reach the tolerance on a fine grid; None if none does, or
        if coefficients are so large that rounding would exceed it in float32.
    """
    grid = np.linspace(0, 1, 2049)
    scale = max(np.abs(function(1 - grid**2)).max(), np.abs(function(grid**2 - 1)).max())
    fitted = []
    for sign in (1, -1):

        def branch(s: np.ndarray, sign: int = sign) -> np.ndarray:
            return function(sign * (1 - s * s))

        for degree in range(2, max_degree + 1):
            poly = np.polynomial.Chebyshev.interpolate(branch, degree, domain=(0, 1))
            power = poly.convert(kind=np.polynomial.Polynomial, domain=(-1, 1)).coef
            power[0] = branch(np.zeros(1))[0]  # exact at t = 1 and t = -1
            error = np.abs(np.polynomial.polynomial.polyval(grid, power) - branch(grid)).max()
            if error <= tolerance * scale and np.abs(power).max() <= _LARGEST * scale:
                fitted.append(tuple(power.tolist()))
                break
        else:
            return None
    return SqrtPolynomial(*fitted)


@functools.cache
def arccos_polynomials() -> tuple[SqrtPolynomial, SqrtPolynomial]:
    """Return kappa0 and kappa1 as polynomials to float32 accuracy."""
    # both reach the tolerance, which is tested
    polynomial0, polynomial1 = map(fit_sqrt_polynomial, (kappa0, kappa1))
    return cast(SqrtPolynomial, polynomial0), cast(SqrtPolynomial, polynomial1)


@jax.custom_jvp
def relu_dual(cosine: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return kappa1 and kappa0 at `cosine`: exact functions in float64, polynomials in float32."""
    if cosine.dtype == jnp.float64:
        t = jnp.clip(cosine, -1, 1)
        angle = jnp.arccos(t)
        sine = jnp.sqrt((1 - t) * (1 + t))
        return (sine + t * (np.pi - angle)) / np.pi, 1 - angle / np.pi
    polynomial0, polynomial1 = arccos_polynomials()
    return polynomial1(cosine), polynomial0(cosine)


@relu_dual.defjvp
def _(primals, tangents):
    """Differentiate: kappa0, and an infinite slope at t = 1, where cosines do not change."""
    (cosine,), (change,) = primals, tangents
    kappa1, kappa0 = relu_dual(cosine)
    square = (1 - cosine) * (1 + cosine)
    inside = square > 0
    slope = jnp.where(inside, 1 / (np.pi * jnp.sqrt(jnp.where(inside, square, 1))), 0)
    return (kappa1, kappa0), (kappa0 * change, slope * change)


def rectifier_shares(slope: float) -> tuple[float, float]:
    r"""Return the shares p and q of a rectifier's dual functions.

    With slopes 1 and a they are :math:`p\,\kappa_1(t) + q\,t` and, of the derivatives,
    :math:`p\,\kappa_0(t) + q`, where :math:`p = (1-a)^2/(1+a^2)` and :math:`q = 1 - p`.
    """
    scale = 1 + slope**2
    return (1 - slope) ** 2 / scale, 2 * slope / scale


def mix_rectifier(slope: float, kappa1: Any, kappa0: Any, cosine: Any) -> tuple[Any, Any]:
    """Return a rectifier's dual functions, given the arc-cosine functions at the cosine."""
    if slope == 0:
        return kappa1, kappa0
    share, linear = rectifier_shares(slope)
    return share * kappa1 + linear * cosine, share * kappa0 + linear
