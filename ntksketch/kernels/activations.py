r"""Dual functions of activations at the covariances of pairs of rows.

For pre-activations u and v, jointly normal with variances a, b and covariance c, the exact view
needs :math:`E f(u) f(v)` and :math:`E f'(u) f'(v)`; the second is the derivative of the first in c.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntksketch.architectures import Activation, Elementwise, Erf, Gelu, Rectifier, Sin
from ntksketch.kernels import hermite
from ntksketch.kernels.cosines import cosines, root
from ntksketch.kernels.dual import mix_rectifier, relu_dual


@functools.singledispatch
def dual(
    layer: Activation, covariance: jax.Array, rows: jax.Array, columns: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the dual functions of a value and a derivative for pairs of rows.

    Parameters
    ----------
    layer : Activation
        The activation.
    covariance : array of shape (n, p)
        Covariances c.
    rows, columns : array of shape (n,) and (p,)
        Variances a and b.

    Returns
    -------
    tuple of array of shape (n, p)
        The expectations of the products of values and of derivatives.
    """
    raise NotImplementedError(f"the exact kernel has no rule for {type(layer).__name__}")


@functools.singledispatch
def dual_diagonal(layer: Activation, variance: Any) -> tuple[Any, Any]:
    """Return the same for rows with themselves, from their variances; NumPy in, NumPy out."""
    raise NotImplementedError(f"the exact kernel has no rule for {type(layer).__name__}")


def _namespace(array: Any) -> Any:
    return jnp if isinstance(array, jax.Array) else np


@dual.register
def _(layer: Rectifier, covariance: jax.Array, rows: jax.Array, columns: jax.Array):
    norms = root(rows)[:, None] * root(columns)[None, :]
    cosine = cosines(covariance, rows, columns)
    value, slope = mix_rectifier(layer.slope, *relu_dual(cosine), cosine)
    return norms * value, slope


@dual_diagonal.register
def _(layer: Rectifier, variance: Any):
    return variance, 1


def _correlation(a: Any, b: Any, c: Any) -> tuple[Any, Any, Any, Any]:
    r"""Return what the duals of erf and GELU are made of.

    They are 1/(1+a), 1/(1+b), :math:`y = c/\sqrt{(1+a)(1+b)}` and :math:`1 - y^2`, the last without
    cancellation: :math:`ab - c^2` is never negative, and no product overflows.
    """
    left, right = 1 / (1 + a), 1 / (1 + b)
    y = c * jnp.sqrt(left) * jnp.sqrt(right)
    rest = jnp.maximum((a * left) * (b * right) - y * y, 0)
    return left, right, y, left + right - left * right + rest


@dual.register
def _(layer: Erf, covariance: jax.Array, rows: jax.Array, columns: jax.Array):
    left, right, y, square = _correlation(2 * rows[:, None], 2 * columns[None, :], 2 * covariance)
    sine = jnp.sqrt(square)
    value = (2 / np.pi) * jnp.arctan2(y, sine)
    return value, (4 / np.pi) * jnp.sqrt(left) * jnp.sqrt(right) / sine


@dual_diagonal.register
def _(layer: Erf, variance: Any):
    xp = _namespace(variance)
    slope = 1 / xp.sqrt(1 + 4 * variance)
    return (2 / np.pi) * xp.arctan2(2 * variance * slope, 1), (4 / np.pi) * slope


@dual.register
def _(layer: Gelu, covariance: jax.Array, rows: jax.Array, columns: jax.Array):
    a, b = rows[:, None], columns[None, :]
    left, right, y, square = _correlation(a, b, covariance)
    return _gelu(a, b, covariance, left, right, y, square, jnp)


@dual_diagonal.register
def _(layer: Gelu, variance: Any):
    part = 1 / (1 + variance)
    y = variance * part
    return _gelu(
        variance, variance, variance, part, part, y, part * (2 - part), _namespace(variance)
    )


def _gelu(a: Any, b: Any, c: Any, left: Any, right: Any, y: Any, square: Any, xp: Any):
    sine, angle = xp.sqrt(square), xp.arctan2(y, xp.sqrt(square))
    length = xp.sqrt(left) * xp.sqrt(right)
    products = length * y * y / sine + (a * xp.sqrt(left)) * (b * xp.sqrt(right)) * sine
    value = c / 4 + (products + c * angle) / (2 * np.pi)
    bracket = 1 + left * right * (1 + 1 / square) - (a * left) * (b * right)
    return value, 1 / 4 + (angle + bracket * y / sine) / (2 * np.pi)


@dual.register
def _(layer: Sin, covariance: jax.Array, rows: jax.Array, columns: jax.Array):
    factor, sine, cosine, double = _phases(layer)
    positive = covariance >= 0
    size = jnp.where(positive, covariance, -covariance)
    apart = jnp.maximum(rows[:, None] + columns[None, :] - 2 * size, 0)
    near = jnp.exp(-(layer.frequency**2) * apart / 2)
    change = jnp.expm1(-2 * layer.frequency**2 * size) / 2
    value = near * (sine + jnp.where(positive, -double, 1) * change)
    slope = near * (cosine + jnp.where(positive, double, 1) * change)
    return factor * value, factor * layer.frequency**2 * slope


@dual_diagonal.register
def _(layer: Sin, variance: Any):
    factor, sine, cosine, double = _phases(layer)
    change = double * _namespace(variance).expm1(-2 * layer.frequency**2 * variance) / 2
    return factor * (sine - change), factor * layer.frequency**2 * (cosine + change)


def _phases(layer: Sin) -> tuple[float, float, float, float]:
    """Return the squared amplitude and sin(c)^2, cos(c)^2 and cos(2c) of the phase c."""
    sine, cosine = np.sin(layer.phase), np.cos(layer.phase)
    return layer.amplitude**2, float(sine**2), float(cosine**2), float(cosine**2 - sine**2)


@dual.register
def _(layer: Elementwise, covariance: jax.Array, rows: jax.Array, columns: jax.Array):
    return hermite.dual(layer, cosines(covariance, rows, columns), rows, columns)


@dual_diagonal.register
def _(layer: Elementwise, variance: Any):
    return hermite.mean_squares(layer, variance)
