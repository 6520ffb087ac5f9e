"""The explicit view of linear layers on images and signals: they act on features of pixels.

States are those of :mod:`ntksketch.features.state`, with spatial axes between rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ntksketch.architectures import Dense, LastStep, Reverse
from ntksketch.architectures.shapes import Shape
from ntksketch.architectures.spatial import AvgPool, Conv, Flatten, GlobalAvgPool
from ntksketch.features.state import Explicit, linear
from ntksketch.networks.windows import windows_of


def spatial_shape(state: Explicit) -> Shape:
    """Return the spatial axes of a state."""
    return state.phi.shape[1:-1]


def both(function: Callable[[jax.Array], jax.Array], state: Explicit) -> Explicit:
    """Apply a linear function to both blocks."""
    return Explicit(function(state.phi), None if state.psi is None else function(state.psi))


def join(states: Sequence[Explicit]) -> Explicit:
    """Return the features of a sum of kernels."""
    psi = [state.psi for state in states if state.psi is not None]
    return Explicit(
        jnp.concatenate([state.phi for state in states], axis=-1),
        jnp.concatenate(psi, axis=-1) if psi else None,
    )


@linear.register
def _(layer: Conv, state: Explicit) -> Explicit:
    around = windows_of(layer, spatial_shape(state))
    share = 1 / math.sqrt(math.prod(around.sizes))

    def patches(features: jax.Array) -> jax.Array:
        return share * jnp.concatenate(around.slices(features), axis=-1)

    return linear(Dense(layer.weight_std, layer.bias_std), both(patches, state))


@linear.register
def _(layer: AvgPool, state: Explicit) -> Explicit:
    return both(windows_of(layer, spatial_shape(state)).average, state)


@linear.register
def _(layer: GlobalAvgPool, state: Explicit) -> Explicit:
    axes = tuple(range(1, 1 + len(spatial_shape(state))))
    return both(lambda a: a.mean(axes), state)


@linear.register
def _(layer: Flatten, state: Explicit) -> Explicit:
    share = 1 / math.sqrt(math.prod(spatial_shape(state)))
    return both(lambda a: share * a.reshape(len(a), -1), state)


@linear.register
def _(layer: LastStep, state: Explicit) -> Explicit:
    return both(lambda a: a[:, -1], state)


@linear.register
def _(layer: Reverse, state: Explicit) -> Explicit:
    return both(lambda a: a[:, ::-1], state)
