"""The map of Nystroem features layer by layer: networks on images taken through their landmarks."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax

from ntksketch.architectures import Activation, Architecture, Dense
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, output_shape
from ntksketch.architectures.spatial import Conv, Flatten, Residual
from ntksketch.features.pixels import join, spatial_shape, windows_of
from ntksketch.features.state import Explicit, linear
from ntksketch.kernels.activations import dual
from ntksketch.kernels.gram import dense_rows


def parts(layers: Sequence[Architecture]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the layers up to the last activation, without the input, and those behind it."""
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, Activation))
    return tuple(layers[1 : last + 1]), tuple(layers[last + 1 :])


class Readout(NamedTuple):
    """What the layers behind the last activation make of its kernels.

    NNGP times `value`, plus the NTK times `tangent`, plus a constant.
    """

    value: float
    tangent: float
    constant: float


def readout_of(tail: Sequence[Architecture], kind: str) -> Readout:
    """Return what pools and Dense layers make of a kernel; pools change no factor."""
    nngp, ntk = Readout(1.0, 0.0, 0.0), Readout(0.0, 1.0, 0.0)
    for layer in tail:
        if isinstance(layer, Dense):
            weight = layer.weight_std**2
            nngp = Readout(*(weight * x for x in nngp))
            nngp = nngp._replace(constant=nngp.constant + layer.bias_std**2)
            ntk = Readout(*(weight * x + y for x, y in zip(ntk, nngp, strict=True)))
    return nngp if kind == "nngp" else ntk


class Site(NamedTuple):
    """An activation.

    Attributes
    ----------
    weights : Dense, Conv or None
        The layer with weights right before it.
    activation : Activation
    shape : tuple of int
        Spatial axes.
    """

    weights: Any
    activation: Activation
    shape: Shape


def weights_before(layers: Sequence[Architecture], i: int) -> Dense | Conv | None:
    """Return the layer with weights right before layer i, whose landmarks are its filters."""
    before = layers[i - 1] if i else None
    return before if isinstance(before, Dense | Conv) else None


def sites_of(layers: Sequence[Architecture], shape: Shape) -> list[Site]:
    """Return the activations in the order in which `_walk` meets them."""
    found: list[Site] = []
    for i, layer in enumerate(layers):
        if isinstance(layer, Residual):
            for branch in (layer.branch, layer.shortcut):
                found += [] if branch is None else sites_of(branch.layers, shape)
        shape = output_shape(layer, shape)
        if isinstance(layer, Activation):
            found.append(Site(weights_before(layers, i), layer, shape))
    return found


class Landmarks(NamedTuple):
    """Landmarks of an activation.

    Attributes
    ----------
    phi, psi : array of shape (*window, a, l) and (*window, b, l)
        Features of the pixels in their windows; psi is None where the NTK is zero.
    squares : array of shape (l,)
        Variances of what the activation takes.
    value, slope : array of shape (l, l)
        What whitens the NNGP and NTK features. Behind the last activation `value` whitens the sum
        of both, and slope is None.
    """

    phi: Any
    psi: Any
    squares: Any
    value: Any
    slope: Any


class Pending(NamedTuple):
    """Features in front of an activation that has no landmarks yet, and of its weights."""

    state: Explicit


def _walk(
    layers: Sequence[Architecture], state: Explicit, marks: Iterator[Landmarks | None], kind: str
) -> Explicit | Pending:
    """Take features through layers, up to the first activation that has no landmarks."""
    for i, layer in enumerate(layers):
        behind = layers[i + 1] if i + 1 < len(layers) else None
        if isinstance(layer, Dense | Conv) and isinstance(behind, Activation):
            continue  # its windows' inner products are the activation's
        if isinstance(layer, Activation):
            mark = next(marks)
            if mark is None:
                return Pending(state)
            state = _whitened(mark, *_kernels(weights_before(layers, i), layer, state, mark, kind))
        elif isinstance(layer, Residual):
            shortcut = () if layer.shortcut is None else layer.shortcut.layers
            branches: list[Explicit] = []
            for branch in (layer.branch.layers, shortcut):
                found = _walk(branch, state, marks, kind)
                if isinstance(found, Pending):
                    return found
                branches.append(found)
            state = join(branches)
        else:
            state = linear(layer, state)
    return state


def _kernels(
    weights: Any, activation: Activation, state: Explicit, mark: Landmarks, kind: str
) -> tuple[jax.Array, jax.Array | None]:
    """Return NNGP and NTK between pixels behind an activation and its landmarks, (n, *S, l)."""
    around = windows_of(weights, spatial_shape(state))
    share, bias = strength(weights, around.sizes)
    nngp = share * around.correlate(state.phi, mark.phi) + bias
    ones = jnp.ones((*around.sizes, 1, 1), state.phi.dtype)
    squares = jnp.square(state.phi).sum(-1, keepdims=True)
    variance = share * around.correlate(squares, ones) + bias
    flat = nngp.reshape(-1, nngp.shape[-1])
    value, slope = dual(activation, flat, variance.ravel(), mark.squares)
    value = value.reshape(nngp.shape)
    tangent = _tangent(weights, share, nngp, state, mark, around) if kind == "ntk" else None
    if tangent is not None:
        tangent = tangent * jnp.broadcast_to(slope, flat.shape).reshape(nngp.shape)
    return value, tangent


def _tangent(
    weights: Any, share: float, nngp: jax.Array, state: Explicit, mark: Landmarks, around: Any
) -> jax.Array | None:
    """Return the NTK in front of an activation; None where it is zero."""
    own = None if weights is None else nngp  # of the weights themselves
    if state.psi is None:
        return own
    tangent = share * around.correlate(state.psi, mark.psi)
    return tangent if own is None else tangent + own


def strength(weights: Any, sizes: tuple[int, ...]) -> tuple[float, float]:
    """Return the factor of a window's inner products, and what the bias adds."""
    if weights is None:
        return 1.0, 0.0
    return weights.weight_std**2 / math.prod(sizes), weights.bias_std**2


def _whitened(mark: Landmarks, value: jax.Array, tangent: jax.Array | None) -> Explicit:
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    return Explicit(
        product(value, mark.value), None if tangent is None else product(tangent, mark.slope)
    )


def _begin(architecture: Architecture, X: Any) -> Explicit:
    return linear(as_layers(architecture)[0], Explicit(X, None))


class LayerwisePlan(NamedTuple):
    """What is fixed beside the landmarks, hashable.

    Attributes
    ----------
    architecture : Architecture
        It begins with the shape of its rows.
    kind : str
    n_components : int
    row_entries : int
        Bound on the entries that a row takes in `apply`.
    readout : Readout
    """

    architecture: Architecture
    kind: str
    n_components: int
    row_entries: int
    readout: Readout


class LayerwiseMap(NamedTuple):
    """Landmarks of all activations."""

    plan: LayerwisePlan
    params: tuple[Landmarks, ...]

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.plan.n_components

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        return self.plan.row_entries

    @property
    def expected(self) -> None:
        """None: nothing is cut off."""
        return None

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return False  # pixels have no common length

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of flat rows, in its dtype."""
        return _apply(self.plan, self.params, dense_rows(X))


@functools.partial(jax.jit, static_argnums=0)
def _apply(plan: LayerwisePlan, params: Any, X: jax.Array) -> jax.Array:
    head, tail = parts(as_layers(plan.architecture))
    last, factors = params[-1], plan.readout
    marks: Iterator[Landmarks | None] = iter([*params[:-1], None])
    state = cast(Pending, _walk(head, _begin(plan.architecture, X), marks, plan.kind)).state
    weights = weights_before(head, len(head) - 1)
    value, tangent = _kernels(weights, head[-1], state, last, plan.kind)
    features = readout_kernel(factors, value, tangent)
    flatten = [layer for layer in tail if isinstance(layer, Flatten)]
    for layer in (layer for layer in tail if not isinstance(layer, Dense | Flatten)):
        features = linear(layer, Explicit(features, None)).phi
    features = jnp.matmul(features, last.value, precision=lax.Precision.HIGHEST)
    for layer in flatten:  # which takes the features of all pixels
        features = linear(layer, Explicit(features, None)).phi
    spare = plan.n_components - features.shape[1] - int(factors.constant > 0)
    features = jnp.pad(features, ((0, 0), (0, spare)))
    if factors.constant:
        column = jnp.full((len(features), 1), math.sqrt(factors.constant), features.dtype)
        features = jnp.concatenate([features, column], axis=1)
    return features


def readout_kernel(factors: Readout, value: Any, tangent: Any) -> Any:
    """Return the kernel of the readout, without its constant."""
    if tangent is None or not factors.tangent:
        return factors.value * value
    return factors.value * value + factors.tangent * tangent


@functools.partial(jax.jit, static_argnums=0)
def in_front(
    plan: LayerwisePlan, marks: tuple[Landmarks, ...], X: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Return the features in front of the first activation without landmarks."""
    head, _ = parts(as_layers(plan.architecture))
    start = _begin(plan.architecture, X)
    return cast(Pending, _walk(head, start, iter((*marks, None)), plan.kind)).state


@functools.partial(jax.jit, static_argnums=0)
def windows_at(weights: Any, state: Explicit, pixels: jax.Array) -> Explicit:
    """Return the features in the window of one pixel of each image, whose indices are given."""
    around = windows_of(weights, spatial_shape(state))
    psi = None if state.psi is None else around.take(state.psi, pixels)
    return Explicit(around.take(state.phi, pixels), psi)
