"""Nystroem features layer by layer, for networks on images and signals.

Every activation is approximated by itself. Its landmarks are windows of pixels' features in front
of it: the NNGP features behind it are whitened values of the activation's dual function with them,
the NTK features whitened products of the tangent kernel and the dual function of the derivative.
All that is linear acts on features as on activations, so that the cost is linear in the number of
pixels, and a convolution in front of an activation is one whose filters are the landmarks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from ntksketch.architectures import Activation, Architecture, Dense, LastStep, Recurrent, Reverse
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, input_shape, output_shape
from ntksketch.architectures.spatial import (
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    Residual,
    all_layers,
    is_spatial,
)
from ntksketch.data.blocks import block_slices, pad_rows
from ntksketch.features.base import Method
from ntksketch.features.pixels import join, spatial_shape, windows_of
from ntksketch.features.principal import sample_rows
from ntksketch.features.state import Explicit, linear
from ntksketch.features.whitening import whitening
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.activations import dual, dual_diagonal
from ntksketch.kernels.gram import dense_rows, precision
from ntksketch.sketches.draws import generator

_WEIGHTLESS = (AvgPool, GlobalAvgPool, Flatten, LastStep, Reverse)
_HIDDEN_SHARE = 8  # of n_components, the landmarks of hidden activations at full size
_LEAST_HIDDEN = 64
_IMAGES = 32  # walked through at a time while landmarks are drawn
_PANEL = 1024  # rows of the landmarks' kernel that are computed at a time
_ALIVE = 4  # arrays as wide as an activation's features that exist at a time


def goes_by_layer(target: Any) -> bool:
    """Say whether a kernel is that of a network which :class:`LayerwiseNystroem` takes."""
    return _refusal(target) is None


def _refusal(target: Any) -> str | None:
    """Return why a kernel has no features layer by layer, or None if it has."""
    if not is_spatial(target):
        return "has no pixels: one activation after the other gains nothing, take 'nystroem'"
    layers = as_layers(target)
    if any(isinstance(layer, Recurrent) for layer in all_layers(target)):
        return "is recurrent: take 'nystroem'"
    if not any(isinstance(layer, Activation) for layer in layers):
        return "has no activation outside of residual sums: put one before its pool, as resnet()"
    if any(not isinstance(layer, (*_WEIGHTLESS, Dense)) for layer in _parts(layers)[1]):
        return (
            "has more than pools and Dense behind its last activation: put an activation behind "
            "its last convolution or residual sum, as cnn() and resnet() do"
        )
    return None


def _parts(layers: Sequence[Architecture]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the layers up to the last activation, without the input, and those behind it."""
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, Activation))
    return tuple(layers[1 : last + 1]), tuple(layers[last + 1 :])


@dataclass(frozen=True, repr=False)
class LayerwiseNystroem(Method):
    r"""Nystroem features of one activation after the other, for images and signals.

    With features :math:`\phi` of the NNGP and :math:`\psi` of the NTK of pixels, an activation with
    landmarks Z, drawn from what pixels of the sample have in front of it, gives

    .. math::

        \phi' = L^{-1} F(\langle\phi, \phi_Z\rangle), \qquad
        \psi' = M^{-1} \bigl(\langle\psi, \psi_Z\rangle \odot G(\langle\phi, \phi_Z\rangle)\bigr),

    where F and G are the dual functions of the activation and its derivative, and L and M the
    Cholesky factors of what they make of the landmarks. Convolutions take inner products with the
    landmarks of windows, pools average features. Behind the last activation the sum of both kernels
    that the readout makes is whitened once, so that `n_components` landmarks give as many
    features. The cost is linear in the number of pixels; the kernel itself takes its square.

    Parameters
    ----------
    hidden_components : int or sequence of int, default=None
        Landmarks of each activation but the last, or of each by itself, in the order of the
        layers. None takes an eighth of `n_components`, at least 64, and twice as many for each
        time that pools or strides leave a quarter of the pixels.

    Notes
    -----
    Landmarks are uniform over pixels of the sample's images. With as many landmarks as there are
    pixels the kernel of the sample is exact, up to the jitter of the whitening.

    References
    ----------
    Mairal, Koniusz, Harchaoui, Schmid (2014), "Convolutional kernel networks", arXiv:1406.3332,
    and Mairal (2016), arXiv:1605.06265, approximate NNGP-like kernels layer by layer; Arora et al.
    (2019), arXiv:1904.11955, have the NTK of convolutional networks.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.LayerwiseNystroem(hidden_components=256)
    LayerwiseNystroem(hidden_components=256)
    """

    hidden_components: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        given = self.hidden_components
        if given is None:
            return
        counts = tuple(given) if isinstance(given, tuple | list) else (given,)
        for count in counts:
            if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
                raise ValueError(
                    f"hidden_components must be whole numbers of at least 1, got {given!r}"
                )
        if isinstance(given, tuple | list):
            object.__setattr__(self, "hidden_components", tuple(map(int, counts)))

    def check_target(self, target: Architecture | ZonalKernel) -> None:
        """Raise ValueError if a kernel is none of images and signals, layer by layer."""
        refusal = _refusal(target)
        if refusal is not None:
            raise ValueError(f"{self} has no features of {target}, which {refusal}")

    def _sample_size(self, n_components: int) -> int:
        return n_components

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> LayerwiseMap:
        architecture = cast(Architecture, target)
        rng = generator(key)
        chosen, _ = sample_rows(rng, X, self.sample_size(n_components), sample_weight)
        images = dense_rows(X[chosen])
        head, tail = _parts(as_layers(architecture))
        factors = _readout(tail, kind)
        sites = _sites(head, input_shape(architecture)[:-1])
        spare, pixels = int(factors.constant > 0), _flattened(tail, sites[-1].shape)
        if n_components < spare + pixels:
            raise ValueError(
                f"n_components={n_components} is too small for {architecture}: it takes a column "
                f"for each pixel in front of Flatten and one for a bias, {spare + pixels} in all"
            )
        widths = (*self._hidden(sites, n_components), (n_components - spare) // pixels)
        plan = LayerwisePlan(
            architecture,
            kind,
            n_components,
            _row_entries(input_shape(architecture), sites, widths),
            factors,
        )
        marks: tuple[Landmarks, ...] = ()
        with precision(X.dtype):
            for site, width in zip(sites, widths, strict=True):
                last = len(marks) == len(sites) - 1
                windows = _choose(rng, plan, marks, images, site, width)
                marks += (_landmarks(site, windows, kind, factors if last else None),)
        return LayerwiseMap(plan, marks)

    def _hidden(self, sites: Sequence[Site], n_components: int) -> tuple[int, ...]:
        """Return the numbers of landmarks of all activations but the last."""
        given, hidden = self.hidden_components, sites[:-1]
        if isinstance(given, tuple):
            if len(given) != len(hidden):
                raise ValueError(
                    f"hidden_components={given} has {len(given)} numbers, and there are "
                    f"{len(hidden)} activations before the last"
                )
            return given
        if given is not None:
            return (int(given),) * len(hidden)
        pixels = [math.prod(site.shape) for site in hidden]
        least = max(n_components // _HIDDEN_SHARE, _LEAST_HIDDEN)
        doublings = [int(math.log(max(pixels) / count, 4) + 0.5) for count in pixels]
        return tuple(min(least << k, max(n_components, _LEAST_HIDDEN)) for k in doublings)


def _flattened(tail: Sequence[Architecture], shape: Shape) -> int:
    """Return the number of pixels that are kept apart to the end, one if none are."""
    for layer in tail:
        if isinstance(layer, Flatten):
            return math.prod(shape)
        shape = output_shape(layer, shape)
    return 1


class Readout(NamedTuple):
    """What the layers behind the last activation make of its kernels.

    NNGP times `value`, plus the NTK times `tangent`, plus a constant.
    """

    value: float
    tangent: float
    constant: float


def _readout(tail: Sequence[Architecture], kind: str) -> Readout:
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


def _sites(layers: Sequence[Architecture], shape: Shape) -> list[Site]:
    """Return the activations in the order in which `_walk` meets them."""
    found: list[Site] = []
    for i, layer in enumerate(layers):
        before = layers[i - 1] if i else None
        if isinstance(layer, Residual):
            for branch in (layer.branch, layer.shortcut):
                found += [] if branch is None else _sites(branch.layers, shape)
        shape = output_shape(layer, shape)
        if isinstance(layer, Activation):
            weights = before if isinstance(before, Dense | Conv) else None
            found.append(Site(weights, layer, shape))
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
            before = layers[i - 1] if i and isinstance(layers[i - 1], Dense | Conv) else None
            mark = next(marks)
            if mark is None:
                return Pending(state)
            state = _whitened(mark, *_kernels(before, layer, state, mark, kind))
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
    share, bias = _strength(weights, around.sizes)
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


def _strength(weights: Any, sizes: tuple[int, ...]) -> tuple[float, float]:
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
    return Explicit(X.reshape(len(X), *input_shape(architecture)), None)


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

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of flat rows, in its dtype."""
        return _apply(self.plan, self.params, dense_rows(X))


@functools.partial(jax.jit, static_argnums=0)
def _apply(plan: LayerwisePlan, params: tuple[Landmarks, ...], X: jax.Array) -> jax.Array:
    head, tail = _parts(as_layers(plan.architecture))
    marks, factors = iter((*params[:-1], None)), plan.readout
    state = cast(Pending, _walk(head, _begin(plan.architecture, X), marks, plan.kind)).state
    before = head[-2] if len(head) > 1 and isinstance(head[-2], Dense | Conv) else None
    value, tangent = _kernels(before, head[-1], state, params[-1], plan.kind)
    features = _sum(factors, value, tangent)
    flatten = [layer for layer in tail if isinstance(layer, Flatten)]
    for layer in (layer for layer in tail if not isinstance(layer, Dense | Flatten)):
        features = linear(layer, Explicit(features, None)).phi
    features = jnp.matmul(features, params[-1].value, precision=lax.Precision.HIGHEST)
    for layer in flatten:  # which takes the features of all pixels
        features = linear(layer, Explicit(features, None)).phi
    spare = plan.n_components - features.shape[1] - int(factors.constant > 0)
    features = jnp.pad(features, ((0, 0), (0, spare)))
    if factors.constant:
        column = jnp.full((len(features), 1), math.sqrt(factors.constant), features.dtype)
        features = jnp.concatenate([features, column], axis=1)
    return features


def _sum(factors: Readout, value: Any, tangent: Any) -> Any:
    """Return the kernel of the readout, without its constant."""
    if tangent is None or not factors.tangent:
        return factors.value * value
    return factors.value * value + factors.tangent * tangent


@functools.partial(jax.jit, static_argnums=0)
def _in_front(
    plan: LayerwisePlan, marks: tuple[Landmarks, ...], X: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Return the features in front of the first activation without landmarks."""
    head, _ = _parts(as_layers(plan.architecture))
    start = _begin(plan.architecture, X)
    return cast(Pending, _walk(head, start, iter((*marks, None)), plan.kind)).state


@functools.partial(jax.jit, static_argnums=0)
def _windows(weights: Any, state: Explicit, pixels: jax.Array) -> Explicit:
    around = windows_of(weights, spatial_shape(state))
    psi = None if state.psi is None else around.take(state.psi, pixels)
    return Explicit(around.take(state.phi, pixels), psi)


def _choose(
    rng: np.random.Generator,
    plan: LayerwisePlan,
    marks: tuple[Landmarks, ...],
    images: NDArray,
    site: Site,
    width: int,
) -> Explicit:
    """Draw different pixels of all images, and return the features in their windows."""
    pixels = math.prod(site.shape)
    total = len(images) * pixels
    chosen = np.sort(rng.choice(total, min(width, total), replace=False))
    found: list[Explicit] = []
    for part in block_slices(len(chosen), _IMAGES):
        image, pixel = np.divmod(chosen[part], pixels)
        at = np.stack(np.unravel_index(pixel, site.shape), axis=1) if site.shape else pixel[:, None]
        count = len(image)
        rows, at = pad_rows(images[image], _IMAGES), pad_rows(at, _IMAGES)
        state = Explicit(*_in_front(plan, marks, rows))
        found.append(
            jax.tree.map(lambda a, n=count: np.asarray(a)[:n], _windows(site.weights, state, at))
        )
    psi = None if found[0].psi is None else np.concatenate([state.psi for state in found])
    return Explicit(np.concatenate([state.phi for state in found]), psi)


def _landmarks(site: Site, windows: Explicit, kind: str, factors: Readout | None) -> Landmarks:
    """Compute what the activation makes of its landmarks, in float64, and whiten it."""
    dtype, count = windows.phi.dtype, len(windows.phi)
    share, bias = _strength(site.weights, windows.phi.shape[1:-1])
    flat = [None if a is None else a.reshape(count, -1).astype(np.float64) for a in windows]
    squares = share * np.einsum("ij,ij->i", flat[0], flat[0]) + bias
    value, tangent = np.empty((count, count)), np.empty((count, count))
    trainable = kind == "ntk" and not (flat[1] is None and site.weights is None)
    for part in block_slices(count, _PANEL):
        nngp = share * flat[0][part] @ flat[0].T + bias
        with precision(np.float64):
            found = dual(site.activation, nngp, squares[part], squares)
        value[part] = found[0]
        if trainable:
            theta = 0.0 if site.weights is None else nngp
            if flat[1] is not None:
                theta = theta + share * flat[1][part] @ flat[1].T
            tangent[part] = theta * np.asarray(found[1])
    own, slope = dual_diagonal(site.activation, squares)
    np.fill_diagonal(value, own)
    if trainable:
        theta = 0.0 if site.weights is None else squares
        if flat[1] is not None:
            theta = theta + share * np.einsum("ij,ij->i", flat[1], flat[1])
        np.fill_diagonal(tangent, theta * slope)
    pair = value, tangent if trainable else None
    if factors is not None:
        whitened = _whiten(_sum(factors, *pair), dtype), None
    else:
        whitened = tuple(None if K is None else _whiten(K, dtype) for K in pair)
    filters = jax.tree.map(lambda a: np.ascontiguousarray(np.moveaxis(a, 0, -1)), windows)
    return Landmarks(*filters, squares.astype(dtype), *whitened)


def _whiten(K: NDArray[np.float64], dtype: np.dtype) -> NDArray:
    """Return what whitens a kernel, symmetric up to rounding, in a dtype."""
    return whitening(np.asfortranarray((K + K.T) / 2), dtype)[0]


def _row_entries(shape: tuple[int, ...], sites: Sequence[Site], widths: Sequence[int]) -> int:
    """Return how many entries a row takes."""
    entries = sum(
        _ALIVE * math.prod(site.shape) * width for site, width in zip(sites, widths, strict=True)
    )
    return 2 * math.prod(shape) + entries + widths[-1]
