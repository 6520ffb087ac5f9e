"""What convolutions and pools take together: windows of pixels, of activations or of features."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ntksketch.architectures.shapes import Shape, Window, windows
from ntksketch.architectures.spatial import AvgPool, Conv


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
        pixels = all(w.size == w.stride == 1 for w in self.along)
        if pixels or not self._convolves(features.dtype):
            windows = features if pixels else self.joined(features)
            filters = filters.reshape(-1, filters.shape[-1])
            return jnp.matmul(windows, filters, precision=precision)
        axes = "HW"[: len(self.along)]
        return lax.conv_general_dilated(
            self.pad(features),
            filters,
            [window.stride for window in self.along],
            "VALID",
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            precision=precision,
        )

    def _convolves(self, dtype: np.dtype) -> bool:
        """Say whether XLA has a convolution of its own, and not a loop over the output.

        On a processor that loop is slow, and reads in front of the array if the image is padded:
        a segmentation fault where no memory lies there (jaxlib 0.10.2).
        """
        fits = all((w.n_windows - 1) * w.stride >= w.before + w.after for w in self.along)
        return dtype == np.float32 and fits  # a filter that is no larger than the image

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

    def joined(self, features: jax.Array) -> jax.Array:
        """Return the features of each window side by side, of shape (n, *S', sizes * a)."""
        return jnp.concatenate(self.slices(features), axis=-1)

    def average(self, features: jax.Array) -> jax.Array:
        """Return the means over windows, of shape (n, *S', a)."""
        return sum(self.slices(features), jnp.zeros((), features.dtype)) / math.prod(self.sizes)


def windows_of(layer: Any, shape: Shape) -> Windows:
    """Return the windows of a layer; those of one that is no convolution are pixels."""
    if isinstance(layer, Conv | AvgPool):
        return Windows(windows(layer, shape), getattr(layer, "padding", "") == "circular")
    return Windows(tuple(Window(1, 1, 0, 0, length) for length in shape), False)
