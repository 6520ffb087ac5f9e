"""The functions that a finite network applies to every unit."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from ntksketch.architectures import Activation, Elementwise, Erf, Gelu, Rectifier, Sin
from ntksketch.architectures.activations import check_shape_kept


@functools.singledispatch
def activate(layer: Activation, z: jax.Array) -> jax.Array:
    """Return the activation of an array, in its dtype."""
    raise NotImplementedError(f"a finite network has no rule for {type(layer).__name__}")


@activate.register
def _(layer: Rectifier, z: jax.Array) -> jax.Array:
    slope = math.sqrt(2 / (1 + layer.slope**2))
    return jnp.where(z >= 0, slope * z, slope * layer.slope * z)


@activate.register
def _(layer: Erf, z: jax.Array) -> jax.Array:
    return jax.scipy.special.erf(z)


@activate.register
def _(layer: Gelu, z: jax.Array) -> jax.Array:
    return jax.nn.gelu(z, approximate=False)


@activate.register
def _(layer: Sin, z: jax.Array) -> jax.Array:
    return layer.amplitude * jnp.sin(layer.frequency * z + layer.phase)


@activate.register
def _(layer: Elementwise, z: jax.Array) -> jax.Array:
    def checked(function: Any, name: str, z: jax.Array) -> jax.Array:
        values = jnp.asarray(function(z), z.dtype)
        check_shape_kept(z.shape, values.shape, name)
        return values

    derivative = layer.derivative
    if derivative is None:
        return checked(layer.function, "function", z)
    function = jax.custom_jvp(lambda z: checked(layer.function, "function", z))
    function.defjvps(lambda tangent, _, z: checked(derivative, "derivative", z) * tangent)
    return function(z)
