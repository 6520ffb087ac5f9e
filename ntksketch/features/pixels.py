"""The explicit view of linear layers on images and signals: they act on features of pixels.

States are those of :mod:`ntksketch.features.state`, with spatial axes between rows and columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ntksketch.architectures import Architecture, Dense, LastStep, Reverse
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, Window, per_axis, windows
from ntksketch.architectures.spatial import AvgPool, Conv, Flatten, GlobalAvgPool, Input
from ntksketch.features.state import Explicit, Widths, linear, linear_widths
from ntksketch.kernels.propagate import Variance, propagate_variance

_LEAST_HIDDEN = 256


class Windows(NamedTuple):
    """What a layer with weights takes together: a pixel alone, or those under a filter.

    Attributes
    ----------
    along : tuple of Window
        For each spatial axis.
    wrap : bool
        Whether the other side of the image lies outside, and not zeros.
    """

    along: tuple[Window, ...]
    wrap: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """Extent along each spatial axis."""
        return tuple(window.size for window in self.along)

    @property
    def shape(self) -> Shape:
        """Spatial axes of what comes out."""
        return tuple(window.n_windows for window in self.along)

    def pad(self, features: jax.Array) -> jax.Array:
        """Return features of pixels with those outside."""
        widths = [(0, 0), *((w.before, w.after) for w in self.along), (0, 0)]
        if not any(map(any, widths)):
            return features
        return jnp.pad(features, widths, mode="wrap" if self.wrap else "constant")

    def correlate(self, features: jax.Array, filters: jax.Array) -> jax.Array:
        """Return the inner products of windows with filters.

        Parameters
        ----------
        features : array of shape (n, *S, a)
            Of pixels.
        filters : array of shape (*sizes, a, l)
            One in each last column.

        Returns
        -------
        array of shape (n, *S', l)
            With the spatial axes of `shape`.
        """
        precision = lax.Precision.HIGHEST
        if not any(
            size > 1 or w.stride > 1 for size, w in zip(self.sizes, self.along, strict=True)
        ):
            filters = filters.reshape(filters.shape[-2:])
            return jnp.matmul(features, filters, precision=precision)
        axes = "HW"[: len(self.along)]
        return lax.conv_general_dilated(
            self.pad(features),
            filters,
            [window.stride for window in self.along],
            "VALID",
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            precision=precision,
        )

    def take(self, features: jax.Array, pixels: jax.Array) -> jax.Array:
        """Return one window of each image, (n, *sizes, a), those of pixels (n, len(S'))."""
        if not self.along:
            return features
        strides = np.array([window.stride for window in self.along])

        def one(image: jax.Array, pixel: jax.Array) -> jax.Array:
            start = [pixel[i] * strides[i] for i in range(len(strides))]
            return lax.dynamic_slice(image, (*start, 0), (*self.sizes, image.shape[-1]))

        return jax.vmap(one)(self.pad(features), pixels)

    def slices(self, features: jax.Array) -> list[jax.Array]:
        """Return for each offset in a window the features there, each of shape (n, *S', a)."""
        features = self.pad(features)
        return [
            lax.slice(
                features,
                (0, *offset, 0),
                (
                    features.shape[0],
                    *(
                        o + (w.n_windows - 1) * w.stride + 1
                        for o, w in zip(offset, self.along, strict=True)
                    ),
                    features.shape[-1],
                ),
                (1, *(w.stride for w in self.along), 1),
            )
            for offset in itertools.product(*map(range, self.sizes))
        ]


def windows_of(layer: Any, shape: Shape) -> Windows:
    """Return the windows of a layer; those of one that is no convolution are pixels."""
    if isinstance(layer, Conv | AvgPool):
        return Windows(windows(layer, shape), getattr(layer, "padding", "") == "circular")
    return Windows(tuple(Window(1, 1, 0, 0, length) for length in shape), False)


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
    around = windows_of(layer, spatial_shape(state))
    return both(
        lambda a: sum(around.slices(a), jnp.zeros((), a.dtype)) / math.prod(around.sizes), state
    )


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
