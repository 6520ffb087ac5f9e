"""The finite view: what each layer makes of units, given its weights.

Units have shape (n, *S, a), S being the spatial axes. A new layer registers one rule here and, if
it has parameters, one in :mod:`ntksketch.networks.plan`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntksketch.architectures import (
    Activation,
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Input,
    LastStep,
    Recurrent,
    Residual,
    Reverse,
)
from ntksketch.networks.activations import activate
from ntksketch.networks.observed import Observed, given, value_of
from ntksketch.networks.windows import windows_of

Params = Mapping[str, Any]


def walk(layers: Sequence[Architecture], params: Sequence[Params], units: jax.Array) -> jax.Array:
    """Take units through layers."""
    for layer, own in zip(layers, params, strict=True):
        units = forward(layer, own, units)
    return units


@functools.singledispatch
def forward(layer: Architecture, params: Params, units: jax.Array) -> jax.Array:
    """Return the units behind a layer with weights of their true size."""
    raise NotImplementedError(f"a finite network has no rule for {type(layer).__name__}")


def biased(units: jax.Array, params: Params) -> jax.Array:
    """Return units with a layer's bias, if it has one."""
    if "bias" not in params:
        return units
    return given(params["bias"], None, units + value_of(params["bias"]))


def _product(units: jax.Array, weight: Any) -> jax.Array:
    product = jnp.matmul(units, value_of(weight), precision=lax.Precision.HIGHEST)
    return given(weight, units, product)


@forward.register
def _(layer: Input, params: Params, units: jax.Array) -> jax.Array:
    return units


@forward.register
def _(layer: Dense, params: Params, units: jax.Array) -> jax.Array:
    return biased(_product(units, params["weight"]), params)


@forward.register
def _(layer: Conv, params: Params, units: jax.Array) -> jax.Array:
    around, weight = windows_of(layer, units.shape[1:-1]), params["weight"]
    products = around.correlate(units, value_of(weight))
    if isinstance(weight, Observed):
        products = weight.given(around.joined(units), products)
    return biased(products, params)


@forward.register
def _(layer: Activation, params: Params, units: jax.Array) -> jax.Array:
    return activate(layer, units)


@forward.register
def _(layer: AvgPool, params: Params, units: jax.Array) -> jax.Array:
    return windows_of(layer, units.shape[1:-1]).average(units)


@forward.register
def _(layer: GlobalAvgPool, params: Params, units: jax.Array) -> jax.Array:
    return units.mean(tuple(range(1, units.ndim - 1)))


@forward.register
def _(layer: Flatten, params: Params, units: jax.Array) -> jax.Array:
    return units.reshape(len(units), -1)


@forward.register
def _(layer: LastStep, params: Params, units: jax.Array) -> jax.Array:
    return units[:, -1]


@forward.register
def _(layer: Reverse, params: Params, units: jax.Array) -> jax.Array:
    return units[:, ::-1]


@forward.register
def _(layer: Residual, params: Params, units: jax.Array) -> jax.Array:
    shortcut = units
    if layer.shortcut is not None:
        shortcut = walk(layer.shortcut.layers, params["shortcut"], units)
    return walk(layer.branch.layers, params["branch"], units) + shortcut


@forward.register
def _(layer: Recurrent, params: Params, units: jax.Array) -> jax.Array:
    inputs = biased(_product(units, params["input"]), params)
    first = jnp.zeros((len(inputs), inputs.shape[-1]), inputs.dtype)
    if "state" in params:  # the exact view does not train it
        first = first + lax.stop_gradient(params["state"])

    def advance(before: jax.Array, taken: jax.Array) -> tuple[jax.Array, jax.Array]:
        after = activate(layer.activation, _product(before, params["weight"]) + taken)
        return after, after

    states = lax.scan(advance, first, jnp.moveaxis(inputs, 1, 0))[1]
    return jnp.moveaxis(states, 0, 1)
