"""The exact view of networks on images and signals: covariances of pairs of pixels.

A pool mixes pixels, so that before it all pairs of pixels of two images count, and also all pairs
within each image, on which the variance behind the pool depends. Behind the last pool, and in
networks without any, pixel i meets pixel i alone.

Sequences of different lengths are aligned at their ends. Masks say which of their steps have begun;
what states hold of others is finite and counts for nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ntksketch.architectures import Activation, Architecture, Dense, Reverse
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import (
    Shape,
    Window,
    input_layer,
    input_shape,
    output_shape,
    windows,
)
from ntksketch.architectures.spatial import (
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    Input,
    Residual,
    has_lengths,
)
from ntksketch.kernels.activations import dual, dual_diagonal
from ntksketch.kernels.propagate import (
    Covariance,
    Variance,
    dense_covariance,
    dense_variance,
    propagate,
    propagate_variance,
)

_POOLS = (AvgPool, GlobalAvgPool)
_STATE = 4  # arrays of a state


class Begun(NamedTuple):
    """Which steps of sequences of different lengths have begun.

    Attributes
    ----------
    rows, columns : bool array of shape (n, length) and (p, length)
        For each sequence.
    """

    rows: jax.Array
    columns: jax.Array


class Pixels(NamedTuple):
    """Images themselves, in front of the first layer.

    Attributes
    ----------
    rows, columns : array of shape (n, *S, c) and (p, *S, c)
        S being the spatial axes. In all states, columns = None stands for the rows.
    begun : Begun or None
        Of sequences of different lengths.
    """

    rows: jax.Array
    columns: jax.Array
    begun: Begun | None


class AllPairs(NamedTuple):
    """Covariances of all pairs of pixels, S being the spatial axes.

    Attributes
    ----------
    nngp, ntk : array of shape (n, *S, p, *S)
        Between images.
    rows, columns : array of shape (n, *S, *S) and (p, *S, *S)
        NNGP within each image.
    begun : Begun or None
        Of sequences of different lengths.
    """

    nngp: jax.Array
    ntk: jax.Array
    rows: jax.Array
    columns: jax.Array
    begun: Begun | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial axes."""
        return self.rows.shape[1 : 1 + (self.rows.ndim - 1) // 2]

    def map(self, between: Callable[..., jax.Array], within: Callable[..., jax.Array]) -> AllPairs:
        """Apply a linear function to the arrays between images, and one to those within."""
        return AllPairs(
            between(self.nngp),
            between(self.ntk),
            within(self.rows),
            within(self.columns),
            self.begun,
        )


class SamePixels(NamedTuple):
    """Covariances of each pixel with the same one of other images, S being the spatial axes.

    Attributes
    ----------
    nngp, ntk : array of shape (*S, n, p)
        Between images.
    rows, columns : array of shape (*S, n) and (*S, p)
        NNGP of each pixel with itself.
    begun : Begun or None
        Of sequences of different lengths.
    """

    nngp: jax.Array
    ntk: jax.Array
    rows: jax.Array
    columns: jax.Array
    begun: Begun | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial axes."""
        return self.rows.shape[:-1]

    def map(self, function: Callable[[jax.Array], jax.Array]) -> SamePixels:
        """Apply a linear function to all arrays."""
        return SamePixels(*map(function, self[:4]), begun=self.begun)


def mixes_pixels(
    layers: Sequence[Architecture], *, lengths: bool = False, first: bool = False
) -> bool:
    """Say whether some of the layers needs all pairs of pixels: a pool.

    Parameters
    ----------
    layers : sequence of Architecture
        The layers.
    lengths : bool
        Whether sequences have different lengths, so that the same steps are no longer the same
        backwards.
    first : bool
        Whether images themselves come in, and not their covariances.
    """
    for layer in layers:
        if isinstance(layer, _POOLS) or (lengths and isinstance(layer, Reverse) and not first):
            return True
        if isinstance(layer, Residual):
            branches = [layer.branch] if layer.shortcut is None else [layer.branch, layer.shortcut]
            if any(mixes_pixels(b.layers, lengths=lengths, first=first) for b in branches):
                return True
        first = first and isinstance(layer, Input | Reverse)
    return False


def pairs_of_pixels(architecture: Architecture) -> int:
    """Return how many pairs of pixels of two images the first layer takes."""
    pixels = math.prod(input_shape(architecture)[:-1])
    layers = as_layers(architecture)
    mixed = mixes_pixels(layers, lengths=has_lengths(architecture), first=True)
    return pixels**2 if mixed else pixels


def arrays_alive(layers: Sequence[Architecture], shape: Shape) -> float:
    """Return how many arrays as large as the first state's exist at a time, at most.

    A state has four, all as large as each other between single images. Each layer keeps the one in
    front of it and makes the one behind it, while the one before that may not be gone yet;
    convolutions have one more for each axis, padded.

    Parameters
    ----------
    layers : sequence of Architecture
        The layers behind the input.
    shape : tuple of int
        Their spatial axes.
    """
    most, full = 0.0, math.prod(shape)
    for layer in layers:
        share = math.prod(shape) / full
        if isinstance(layer, Residual):
            branches = [layer.branch] if layer.shortcut is None else [layer.branch, layer.shortcut]
            inside = max(3 * _STATE, *(arrays_alive(b.layers, shape) for b in branches))
            alive = inside + _STATE * len(branches)
        else:
            alive = 3 * _STATE + _temporaries(layer, shape)
        most, shape = max(most, alive * share), output_shape(layer, shape)
    return most


def _temporaries(layer: Architecture, shape: Shape) -> float:
    """Return how many arrays of the size of a state's a layer makes on the way."""
    if not isinstance(layer, Conv):
        return 2.0 * _STATE
    padded = [
        ((n + window.before + window.after) / n) ** 2
        for n, window in zip(shape, windows(layer, shape), strict=True)
    ]
    copies = 2 if layer.padding == "circular" else 1  # which XLA puts together from parts
    return _STATE * copies * sum(padded)


def spatial_kernel(architecture: Architecture, kind: str, X: Any, Y: Any) -> jax.Array:
    """Return the kernel of shape (n, p) between flat rows, or (n, n) for Y = None.

    Each layer is a compiled program of its own: in one program for all of them, arrays of several
    layers are alive at a time, three times as many for three convolutions.
    """
    first, begun = input_layer(architecture), None
    if first.lengths:
        steps = jnp.arange(first.shape[0])
        begun = Begun(
            *(steps >= first.shape[0] - rows[:, :1] for rows in (X, X if Y is None else Y))
        )
        X, Y = X[:, 1:], None if Y is None else Y[:, 1:]
    images: Any = (None if Z is None else Z.reshape(len(Z), *first.shape) for Z in (X, Y))
    state = _walk(as_layers(architecture)[1:], Pixels(*images, begun=begun), False)
    return getattr(state, kind)


def spatial_diagonal(architecture: Architecture, kind: str, X: Any) -> jax.Array:
    """Return the kernel of each flat row with itself, of shape (n,)."""
    return jax.vmap(lambda row: spatial_kernel(architecture, kind, row[None], None)[0, 0])(X)


def _compiled(*static: int) -> Callable[..., Any]:
    """Compile a function of states; in each, columns may be None: they are the rows."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.partial(jax.jit, static_argnums=static)
        @functools.wraps(function)
        def compiled(*arguments: Any) -> Any:
            alone = any(getattr(a, "columns", a) is None for a in arguments)
            both = (
                a._replace(columns=a.rows) if getattr(a, "columns", a) is None else a
                for a in arguments
            )
            state = function(*both)
            return state._replace(columns=None) if alone else state

        return compiled

    return decorate


@_compiled(1)
def _covariances(state: Pixels, mixed: bool) -> AllPairs | SamePixels:
    """Return the covariances of the pixels of images, of all pairs or of the same ones."""
    return (_all_pairs if mixed else _same_pixels)(*state)


def _all_pairs(A: jax.Array, B: jax.Array, begun: Begun | None) -> AllPairs:
    shape = A.shape[1:-1]
    inner = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    flat = [images.reshape(len(images), -1, images.shape[-1]) for images in (A, B)]
    nngp = inner("nic,pjc->nipj", *flat).reshape(len(A), *shape, len(B), *shape)
    within = [inner("nic,njc->nij", x, x).reshape(len(x), *shape, *shape) for x in flat]
    return AllPairs(nngp, jnp.zeros_like(nngp), *within, begun=begun)


def _same_pixels(A: jax.Array, B: jax.Array, begun: Begun | None) -> SamePixels:
    nngp = jnp.einsum("n...c,p...c->...np", A, B, precision=lax.Precision.HIGHEST)
    squares = [jnp.moveaxis(jnp.square(x).sum(-1), 0, -1) for x in (A, B)]
    return SamePixels(nngp, jnp.zeros_like(nngp), *squares, begun=begun)


@_compiled()
def _narrow(state: AllPairs) -> SamePixels:
    """Keep of all pairs those of the same pixels."""
    letters = "hw"[: len(state.shape)]
    between = functools.partial(jnp.einsum, f"n{letters}p{letters}->{letters}np")
    within = functools.partial(jnp.einsum, f"n{letters}{letters}->{letters}n")
    return SamePixels(
        between(state.nngp),
        between(state.ntk),
        within(state.rows),
        within(state.columns),
        state.begun,
    )


def _walk(layers: Sequence[Architecture], state: Any, mixed_later: bool) -> Any:
    """Take a state through layers, behind which there are pools or not."""
    lengths = getattr(state, "begun", None) is not None
    for i, layer in enumerate(layers):
        state = _as_needed(state, layer, mixed_later or mixes_pixels(layers[i:], lengths=lengths))
        advance: Any = _sum if isinstance(layer, Residual) else _advance
        state = advance(layer, state, mixed_later or mixes_pixels(layers[i + 1 :], lengths=lengths))
    return _as_needed(state, None, mixed_later)


def _as_needed(state: Any, layer: Architecture | None, mixed: bool) -> Any:
    """Return a state with all pairs of pixels or the same ones, unless a layer takes images."""
    if isinstance(state, Pixels) and not isinstance(layer, Reverse | Residual):
        return _covariances(state, mixed)
    return _narrow(state) if isinstance(state, AllPairs) and not mixed else state


def _sum(layer: Residual, state: Any, mixed_later: bool) -> Any:
    """Return the state behind a residual sum, whose layers are compiled one by one."""
    branch = _walk(layer.branch.layers, state, mixed_later)
    shortcut = () if layer.shortcut is None else layer.shortcut.layers
    return _added(branch, _walk(shortcut, state, mixed_later))


@_compiled()
def _added(branch: Any, other: Any) -> Any:
    sums = (a + b for a, b in zip(branch[:4], other[:4], strict=True))
    return type(branch)(*sums, *branch[4:])


@functools.singledispatch
def step(layer: Architecture, state: Any, mixed_later: bool) -> Any:
    """Return the state behind a layer; `mixed_later` says whether there are pools behind it."""
    raise NotImplementedError(f"the exact kernel has no rule for {type(layer).__name__}")


_advance = _compiled(0, 2)(step)


@step.register
def _(layer: Dense, state: Any, mixed_later: bool) -> Any:
    return dense_covariance(layer.weight_std, layer.bias_std, state)


@step.register
def _(layer: Conv, state: Any, mixed_later: bool) -> Any:
    along = windows(layer, state.shape)
    wrap = layer.padding == "circular"
    averages = _averages(state, along, wrap, together=True)
    return dense_covariance(layer.weight_std, layer.bias_std, averages)


@propagate_variance.register
def _(layer: Conv, state: Variance) -> Variance:
    """Average pixels (n, *S) with themselves, which needs no pairs."""
    along = windows(layer, state.nngp.shape[1:])
    average = functools.partial(
        _average,
        along=along,
        axes=[(1 + i,) for i in range(len(along))],
        wrap=layer.padding == "circular",
    )
    return dense_variance(layer.weight_std, layer.bias_std, Variance(*map(average, state)))


@propagate_variance.register
def _(layer: Flatten, state: Variance) -> Variance:
    return Variance(*(a.mean(tuple(range(1, a.ndim))) for a in state))


@step.register
def _(layer: AvgPool, state: AllPairs, mixed_later: bool) -> Any:
    return _averages(state, windows(layer, state.shape), False, together=False)


def _averages(state: Any, along: Sequence[Window], wrap: bool, together: bool) -> Any:
    """Average over windows: the same offset in both pixels of a pair, or all pairs of offsets."""
    k = len(along)
    if isinstance(state, SamePixels):
        average = functools.partial(_average, along=along, axes=[(i,) for i in range(k)], wrap=wrap)
        return state.map(average)

    def function(left: int, right: int) -> Callable[[jax.Array], jax.Array]:
        pairs = [(left + i, right + i) for i in range(k)]
        if together:
            return functools.partial(_average, along=along, axes=pairs, wrap=wrap)
        single = [(axis,) for side in zip(*pairs, strict=True) for axis in side]
        return functools.partial(_average, along=(*along, *along), axes=single, wrap=wrap)

    return state.map(function(1, k + 2), function(1, k + 1))


def _average(
    array: jax.Array, along: Sequence[Window], axes: Sequence[tuple[int, ...]], wrap: bool
) -> jax.Array:
    """Average windows along groups of axes; those of a group move together."""
    for window, group in zip(along, axes, strict=True):
        widths = [(0, 0)] * array.ndim
        for axis in group:
            widths[axis] = (window.before, window.after)
        if window.before or window.after:
            array = jnp.pad(array, widths, mode="wrap" if wrap else "constant")
        total: Any = 0
        for offset in range(window.size):
            part = array
            for axis in group:
                last = offset + (window.n_windows - 1) * window.stride + 1
                part = lax.slice_in_dim(part, offset, last, window.stride, axis)
            total = total + part
        array = total / window.size
    return array


@step.register
def _(layer: Activation, state: Any, mixed_later: bool) -> Any:
    if isinstance(state, Covariance):
        return propagate(layer, state)
    if isinstance(state, SamePixels):
        flat = [a.reshape(-1, *a.shape[len(state.shape) :]) for a in state[:4]]
        value, slope = jax.vmap(functools.partial(dual, layer))(flat[0], flat[2], flat[3])
        value, slope = value.reshape(state.nngp.shape), slope.reshape(state.nngp.shape)
        rows, columns = (dual_diagonal(layer, v)[0] for v in (state.rows, state.columns))
        return SamePixels(value, state.ntk * slope, rows, columns, state.begun)
    pixels = math.prod(state.shape)
    n, p = len(state.rows), len(state.columns)
    within = [a.reshape(-1, pixels, pixels) for a in (state.rows, state.columns)]
    variances = [jnp.diagonal(a, axis1=1, axis2=2) for a in within]
    matrix = state.nngp.reshape(n * pixels, p * pixels)
    value, slope = dual(layer, matrix, variances[0].ravel(), variances[1].ravel())
    value, slope = value.reshape(state.nngp.shape), jnp.reshape(slope, state.nngp.shape)
    inner = [_within(layer, a, v) for a, v in zip(within, variances, strict=True)]
    rows, columns = (
        a.reshape(b.shape) for a, b in zip(inner, (state.rows, state.columns), strict=True)
    )
    return AllPairs(value, state.ntk * slope, rows, columns, state.begun)


def _within(layer: Activation, covariance: jax.Array, variance: jax.Array) -> jax.Array:
    """Return the NNGP of pairs of pixels of each image, (n, s, s), behind an activation."""
    value, _ = jax.vmap(functools.partial(dual, layer))(covariance, variance, variance)
    exact = jnp.broadcast_to(dual_diagonal(layer, variance)[0], variance.shape)
    diagonal = jnp.eye(variance.shape[1], dtype=bool)
    return jnp.where(diagonal, exact[:, :, None], value)


@step.register
def _(layer: GlobalAvgPool, state: AllPairs, mixed_later: bool) -> Covariance:
    if state.begun is not None:
        return _own_means(state, state.begun)
    k = len(state.shape)
    between = tuple(range(1, k + 1)) + tuple(range(k + 2, 2 * k + 2))
    within = tuple(range(1, 2 * k + 1))
    return Covariance(
        *(a.mean(between) for a in (state.nngp, state.ntk)),
        *(a.mean(within) for a in (state.rows, state.columns)),
    )


def _own_means(state: AllPairs, begun: Begun) -> Covariance:
    """Average over the steps of sequences of different lengths, those of each that have begun."""
    dtype = state.nngp.dtype
    # an empty sequence pads a block: its mean is zero
    shares = [mask / jnp.maximum(mask.sum(1, keepdims=True), 1).astype(dtype) for mask in begun]
    mean = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    between = (mean("nipj,ni,pj->np", a, *shares) for a in (state.nngp, state.ntk))
    within = (
        mean("nij,ni,nj->n", a, share, share)
        for a, share in zip((state.rows, state.columns), shares, strict=True)
    )
    return Covariance(*between, *within)


@step.register
def _(layer: Flatten, state: SamePixels, mixed_later: bool) -> Covariance:
    axes = tuple(range(len(state.shape)))
    return Covariance(*(a.mean(axes) for a in state[:4]))
