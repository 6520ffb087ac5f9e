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

from ntksketch.architectures import Dense, LastStep, Reverse
from ntksketch.architectures.shapes import Shape, Window, windows
from ntksketch.architectures.spatial import AvgPool, Conv, Flatten, GlobalAvgPool
from ntksketch.features.state import Explicit, linear


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
