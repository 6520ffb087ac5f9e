"""The explicit view of linear layers on images and signals: they act on features of pixels.

States are those of :mod:`ntksketch.features.state`, with spatial axes between rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ntksketch.architectures import Architecture, Dense, LastStep, Reverse
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, per_axis
from ntksketch.architectures.spatial import AvgPool, Conv, Flatten, GlobalAvgPool, Input
from ntksketch.features.state import Explicit, Widths, linear, linear_widths
from ntksketch.kernels.propagate import Variance, propagate_variance
from ntksketch.networks.windows import windows_of

_LEAST_HIDDEN = 256


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


def join_widths(widths: Sequence[Widths]) -> Widths:
    """Return the widths of what `join` makes."""
    return Widths(sum(w.phi for w in widths), sum(w.psi for w in widths))


class Tracked(NamedTuple):
    """Features of rows or pixels, and the exact kernels of each with itself.

    Attributes
    ----------
    features : Explicit
        Or what a method has in their place.
    variance : Variance or None
        None behind pools, where it depends on pairs of pixels.
    """

    features: Any
    variance: Variance | None

    def behind(self, layer: Architecture, features: Any) -> Tracked:
        """Return the state behind a layer that makes these features."""
        if self.variance is None or isinstance(layer, AvgPool | GlobalAvgPool):
            return Tracked(features, None)
        return Tracked(features, propagate_variance(layer, self.variance))


def join_tracked(states: Sequence[Tracked]) -> Tracked:
    """Return the state of a sum."""
    features = join([state.features for state in states])
    variances = [state.variance for state in states if state.variance is not None]
    if len(variances) < len(states):
        return Tracked(features, None)
    return Tracked(features, jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *variances))


def start_tracked(rows: Any, psi: Any = None) -> Tracked:
    """Return the state of rows or pixels, (n, ..., a), before layers with weights."""
    squares = jnp.einsum("...j,...j->...", rows, rows)
    return Tracked(Explicit(rows, psi), Variance(squares, jnp.zeros_like(squares)))


def as_rows(features: Any) -> Any:
    """Return features of pixels as rows, (n pixels, a)."""
    return features.reshape(-1, features.shape[-1])


def as_pixels(features: Any, like: Any) -> Any:
    """Return rows as features of the pixels of other features."""
    return features.reshape(*like.shape[:-1], features.shape[-1])


def by_row(function: Callable[[Any], Any], features: Any) -> Any:
    """Apply a function of rows to those of pixels; rows themselves may be sparse."""
    if len(features.shape) == 2:
        return function(features)
    return as_pixels(function(as_rows(features)), features)


def split_first(
    architecture: Architecture,
) -> tuple[Dense | Input | None, tuple[Architecture, ...]]:
    """Split off a first Dense layer or an Input; None stands for neither."""
    first, *rest = as_layers(architecture)
    return (first, tuple(rest)) if isinstance(first, Dense | Input) else (None, (first, *rest))


def pixels_of(layer: Architecture | None) -> Shape:
    """Return the spatial axes behind a first layer."""
    return layer.shape[:-1] if isinstance(layer, Input) else ()


def hidden_of_pixels(n_components: int) -> int:
    """Return the default number of hidden columns, of which each costs one a pixel."""
    return max(n_components // 4, _LEAST_HIDDEN)


@linear.register
def _(layer: Input, state: Explicit) -> Explicit:
    return both(lambda a: a.reshape(len(a), *layer.shape), state)


@linear_widths.register
def _(layer: Input, widths: Widths, shape: Shape = ()) -> Widths:
    return Widths(layer.shape[-1], 0)


@linear_widths.register
def _(layer: Conv, widths: Widths, shape: Shape = ()) -> Widths:
    size = math.prod(per_axis(layer, "filter_size", len(shape)))
    return linear_widths(
        Dense(layer.weight_std, layer.bias_std), Widths(*(size * w for w in widths))
    )


@linear_widths.register
def _(layer: Flatten, widths: Widths, shape: Shape = ()) -> Widths:
    return Widths(*(math.prod(shape) * w for w in widths))


@linear_widths.register(AvgPool)
@linear_widths.register(GlobalAvgPool)
@linear_widths.register(LastStep)
@linear_widths.register(Reverse)
def _(layer: Any, widths: Widths, shape: Shape = ()) -> Widths:
    return widths


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
