"""Random features of activations: the function and its derivative at random pre-activations."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ntksketch.architectures import Activation, Elementwise, Erf, Gelu, Rectifier, Sin
from ntksketch.kernels import hermite
from ntksketch.networks.activations import activate


@functools.singledispatch
def values(layer: Activation, z: jax.Array) -> jax.Array:
    r"""Return :math:`f(z)/\sqrt n` for pre-activations of n directions, shape (rows, n)."""
    raise NotImplementedError(f"there are no random features for {type(layer).__name__}")


@functools.singledispatch
def slopes(layer: Activation, z: jax.Array) -> jax.Array:
    r"""Return :math:`f'(z)/\sqrt n` for pre-activations of n directions, shape (rows, n)."""
    raise NotImplementedError(f"there are no random features for {type(layer).__name__}")


def _scaled(features: jax.Array, factor: float = 1.0) -> jax.Array:
    return features * np.asarray(factor / np.sqrt(features.shape[1]), features.dtype)


@values.register
def _(layer: Rectifier, z: jax.Array):
    scale = np.asarray(np.sqrt(2 / (1 + layer.slope**2) / z.shape[1]), z.dtype)
    rectified = jnp.maximum(z, 0)
    if layer.slope:
        rectified = rectified + np.asarray(layer.slope, z.dtype) * jnp.minimum(z, 0)
    return rectified * scale


@slopes.register
def _(layer: Rectifier, z: jax.Array):
    slope = np.sqrt(2 / (1 + layer.slope**2)) * np.sqrt(1 / z.shape[1])
    return jnp.where(z >= 0, slope, layer.slope * slope).astype(z.dtype)


def pair_shares(layer: Rectifier) -> tuple[float, float]:
    r"""Return the sizes of the parts of a rectifier that are odd and even in z.

    Up to signs it is :math:`l z + m |z|`, and its derivative :math:`l + m\,\mathrm{sign}(z)`.
    """
    square = 2 * (1 + layer.slope**2)
    odd, even = ((1 + sign * layer.slope) ** 2 / square for sign in (1, -1))
    return float(np.sqrt(odd)), float(np.sqrt(even))


@values.register(Erf)
@values.register(Gelu)
@values.register(Sin)
@values.register(Elementwise)
def _(layer: Activation, z: jax.Array):
    return _scaled(activate(layer, z))


@slopes.register
def _(layer: Erf, z: jax.Array):
    return _scaled(jnp.exp(-z * z), 2 / np.sqrt(np.pi))


@slopes.register
def _(layer: Gelu, z: jax.Array):
    density = jnp.exp(-z * z / 2) * np.asarray(1 / np.sqrt(2 * np.pi), z.dtype)
    return _scaled(jax.scipy.stats.norm.cdf(z) + z * density)


@slopes.register
def _(layer: Sin, z: jax.Array):
    angle = layer.frequency * z + layer.phase
    return _scaled(jnp.cos(angle), layer.amplitude * layer.frequency)


@slopes.register
def _(layer: Elementwise, z: jax.Array):
    return _scaled(hermite.differentiate(layer, z))
