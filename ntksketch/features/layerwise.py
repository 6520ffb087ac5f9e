"""Nystroem features layer by layer, for networks on images and signals.

Every activation is approximated by itself. Its landmarks are windows of pixels' features in front
of it: the NNGP features behind it are whitened values of the activation's dual function with them,
the NTK features whitened products of the tangent kernel and the dual function of the derivative.
All that is linear acts on features as on activations, so that the cost is linear in the number of
pixels, and a convolution in front of an activation is one whose filters are the landmarks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, cast

import jax
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Activation, Architecture, Dense, LastStep, Reverse
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, input_shape, output_shape
from ntksketch.architectures.spatial import (
    AvgPool,
    Flatten,
    GlobalAvgPool,
    has_lengths,
    is_recurrent,
    is_spatial,
)
from ntksketch.data.blocks import block_slices, pad_rows, rows_per_block
from ntksketch.features.base import Method
from ntksketch.features.layerwise_map import (
    Landmarks,
    LayerwiseMap,
    LayerwisePlan,
    Readout,
    Site,
    in_front,
    parts,
    readout_kernel,
    readout_of,
    sites_of,
    strength,
    windows_at,
)
from ntksketch.features.principal import sample_rows
from ntksketch.features.state import Explicit
from ntksketch.features.whitening import whitening
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.activations import dual, dual_diagonal
from ntksketch.kernels.gram import dense_rows, precision
from ntksketch.sketches.draws import generator

_WEIGHTLESS = (AvgPool, GlobalAvgPool, Flatten, LastStep, Reverse)
_HIDDEN_SHARE = 8  # of n_components, the landmarks of hidden activations at full size
_LEAST_HIDDEN = 64
_IMAGES = 32  # walked through at a time at most, while landmarks are drawn
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
    if has_lengths(target):
        return "takes sequences of different lengths: take 'nystroem'"
    if is_recurrent(target):
        return "is recurrent: take 'nystroem'"
    if not any(isinstance(layer, Activation) for layer in layers):
        return "has no activation outside of residual sums: put one before its pool, as resnet()"
    if any(not isinstance(layer, (*_WEIGHTLESS, Dense)) for layer in parts(layers)[1]):
        return (
            "has more than pools and Dense behind its last activation: put an activation behind "
            "its last convolution or residual sum, as cnn() and resnet() do"
        )
    return None


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

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
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
        head, tail = parts(as_layers(architecture))
        factors = readout_of(tail, kind)
        sites = sites_of(head, input_shape(architecture)[:-1])
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
        together = rows_per_block(X.dtype.itemsize * plan.row_entries, None, most=_IMAGES)
        marks: tuple[Landmarks, ...] = ()
        with precision(X.dtype):
            for site, width in zip(sites, widths, strict=True):
                last = len(marks) == len(sites) - 1
                windows = _choose(rng, plan, marks, images, site, width, together)
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


def _choose(
    rng: np.random.Generator,
    plan: LayerwisePlan,
    marks: tuple[Landmarks, ...],
    images: NDArray,
    site: Site,
    width: int,
    together: int,
) -> Explicit:
    """Draw different pixels of all images, and return the features in their windows.

    Images are walked through `together` at a time, on which the draw does not depend.
    """
    pixels = math.prod(site.shape)
    total = len(images) * pixels
    chosen = np.sort(rng.choice(total, min(width, total), replace=False))
    found: list[Explicit] = []
    for part in block_slices(len(chosen), together):
        image, pixel = np.divmod(chosen[part], pixels)
        at = np.stack(np.unravel_index(pixel, site.shape), axis=1) if site.shape else pixel[:, None]
        count = len(image)
        rows, at = pad_rows(images[image], together), pad_rows(at, together)
        state = Explicit(*in_front(plan, marks, rows))
        found.append(
            jax.tree.map(lambda a, n=count: np.asarray(a)[:n], windows_at(site.weights, state, at))
        )
    psi = None if found[0].psi is None else np.concatenate([state.psi for state in found])
    return Explicit(np.concatenate([state.phi for state in found]), psi)


def _landmarks(site: Site, windows: Explicit, kind: str, factors: Readout | None) -> Landmarks:
    """Compute what the activation makes of its landmarks, in float64, and whiten it."""
    dtype, count = windows.phi.dtype, len(windows.phi)
    share, bias = strength(site.weights, windows.phi.shape[1:-1])
    phi, psi = (
        np.zeros((count, 0)) if a is None else a.reshape(count, -1).astype(np.float64)
        for a in windows
    )
    squares = share * np.einsum("ij,ij->i", phi, phi) + bias
    value, tangent = np.empty((count, count)), np.empty((count, count))
    own = float(site.weights is not None)  # whether weights add to the NTK
    trainable = kind == "ntk" and bool(own or psi.shape[1])
    for part in block_slices(count, _PANEL):
        nngp = share * phi[part] @ phi.T + bias
        with precision(np.float64):
            found = dual(site.activation, cast(Any, nngp), squares[part], squares)
        value[part] = found[0]
        if trainable:
            tangent[part] = (own * nngp + share * psi[part] @ psi.T) * np.asarray(found[1])
    exact, slope = dual_diagonal(site.activation, squares)
    np.fill_diagonal(value, exact)
    if trainable:
        np.fill_diagonal(tangent, (own * squares + share * np.einsum("ij,ij->i", psi, psi)) * slope)
    pair = value, tangent if trainable else None
    if factors is not None:
        whitened = _whiten(readout_kernel(factors, *pair), dtype), None
    else:
        whitened = tuple(None if K is None else _whiten(K, dtype) for K in pair)
    first, second = (
        None if a is None else np.ascontiguousarray(np.moveaxis(a, 0, -1)) for a in windows
    )
    return Landmarks(first, second, squares.astype(dtype), *whitened)


def _whiten(K: NDArray[np.float64], dtype: np.dtype) -> NDArray:
    """Return what whitens a kernel, symmetric up to rounding, in a dtype."""
    return whitening(np.asfortranarray((K + K.T) / 2), dtype)[0]


def _row_entries(shape: tuple[int, ...], sites: Sequence[Site], widths: Sequence[int]) -> int:
    """Return how many entries a row takes."""
    entries = sum(
        _ALIVE * math.prod(site.shape) * width for site, width in zip(sites, widths, strict=True)
    )
    return 2 * math.prod(shape) + entries + widths[-1]
