"""How the columns of random features are divided among the parts of each layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ntksketch.architectures import Activation, Architecture, Dense, Rectifier
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, fold
from ntksketch.architectures.spatial import AvgPool, GlobalAvgPool, all_layers
from ntksketch.features.pixels import hidden_of_pixels, join_widths
from ntksketch.features.state import Widths, linear_widths

if TYPE_CHECKING:
    from ntksketch.features.random_features import RandomFeatures

_RELU_FRACTION = 0.5  # of a layer's columns, for phi'
_LEAST_HIDDEN = 1024  # columns of hidden layers, which cost little below this
_LINEAR_SHARE = 0.3  # of phi', for the linear part of the rectifier
_CONSTANT_SHARE = 0.3  # of psi', for the constant part of the step function


class ActivationLayout(NamedTuple):
    """Numbers of columns of one activation's features.

    Attributes
    ----------
    rectified, linear : int
        Columns of phi': one for each direction, and the linear part (0 unless directions come in
        pairs).
    constant, signed : int
        Columns of psi': the constant part of the product (0 unless directions come in pairs) and
        the rest.
    steps : int
        Directions of the step features.
    """

    rectified: int
    linear: int = 0
    constant: int = 0
    signed: int = 0
    steps: int = 0

    @property
    def widths(self) -> Widths:
        """Numbers of columns of phi' and psi'."""
        return Widths(self.rectified + self.linear, self.constant + self.signed)


class Plan(NamedTuple):
    """What is fixed before anything is drawn: hashable, so that compiled code is shared.

    Attributes
    ----------
    method : RandomFeatures
    architecture : Architecture
    kind : str
        "ntk" or "nngp".
    layouts : tuple of ActivationLayout
        One for each activation.
    width : int
        Number of columns of the layouts. It differs from `n_components`, to which they are then
        folded, where every part has just one or two columns, and where layers behind the last
        activation multiply them.
    n_components : int
        Number of columns that come out.
    row_entries : int
        Bound on the entries that a row takes while its features are computed, themselves included.
    """

    method: RandomFeatures
    architecture: Architecture
    kind: str
    layouts: tuple[ActivationLayout, ...]
    width: int
    n_components: int
    row_entries: int


def make_plan(
    method: RandomFeatures,
    architecture: Architecture,
    kind: str,
    n_features: int,
    n_components: int,
) -> Plan:
    """Divide the columns so that exactly `n_components` come out.

    Raises
    ------
    ValueError
        If `n_components` is too small; the message has the smallest that works.
    """
    tried = n_components
    while (found := _layouts(method, architecture, kind, n_features, tried)) is None:
        tried += 1
    layouts, width = found
    if method.product == "exact" and width > n_components:
        raise ValueError(
            f"n_components={n_components} is too small for {method} on {architecture} with "
            f"{n_features} columns and kind={kind!r}; the smallest that works is {width}"
        )
    entries = _row_entries(architecture, layouts, n_features) + width + n_components
    return Plan(method, architecture, kind, layouts, width, n_components, entries)


def _row_entries(
    architecture: Architecture, layouts: tuple[ActivationLayout, ...], n_features: int
) -> int:
    """Bound the entries of a row and of what the activations make of it, all kept to the end.

    Besides its columns, twice, an activation takes three copies of psi padded to a power of two:
    what a transform reads, writes and works in.
    """
    entries, remaining = n_features, iter(layouts)

    def behind(layer: Architecture, widths: Widths, shape: Shape) -> Widths:
        nonlocal entries
        if not isinstance(layer, Activation):
            return linear_widths(layer, widths, shape)
        layout = next(remaining)
        own = 3 * (1 << (widths.psi - 1).bit_length()) if layout.signed else 0
        # windows of pixels are copied, those of a vector are itself
        own += 2 * (widths.phi + widths.psi) if shape else 0
        entries += math.prod(shape) * (own + 2 * sum(layout.widths))
        return layout.widths

    fold(as_layers(architecture), Widths(n_features, 0), behind, join_widths)
    return entries


def _layouts(
    method: RandomFeatures,
    architecture: Architecture,
    kind: str,
    n_features: int,
    n_components: int,
) -> tuple[tuple[ActivationLayout, ...], int] | None:
    """Return the layout of every activation and what comes out, or None if columns are too few."""
    total = sum(isinstance(layer, Activation) for layer in all_layers(architecture))
    if not total:
        raise ValueError(
            f"{architecture} has no Relu or other activation: its kernel is linear, use the rows "
            "as they are"
        )
    layers, tail = as_layers(architecture), _tail(architecture)
    layouts: list[ActivationLayout] = []

    def behind(layer: Architecture, widths: Any, shape: Shape) -> Any:
        if widths is None or not isinstance(layer, Activation):
            return widths and linear_widths(layer, widths, shape)
        if kind == "nngp":
            widths = Widths(widths.phi, 0)
        if tail is not None and len(layouts) == total - 1:
            layout = _output_layout(method, layer, widths, tail, kind, n_components)
        else:
            target = _hidden_components(method, widths, total - len(layouts), n_components, shape)
            layout = _divide(method, layer, widths, target, 1)
            if layout is None and method.hidden_components is not None:
                raise ValueError(
                    f"hidden_components={target} is too small for {method} after a layer with "
                    f"{widths.psi} columns: take more, or None"
                )
        if layout is None:
            return None
        layouts.append(layout)
        return layout.widths

    def add(branches: list[Any]) -> Any:
        return None if None in branches else join_widths(branches)

    widths = fold(layers, Widths(n_features, 0), behind, add)
    if widths is None:
        return None
    return tuple(layouts), widths.phi if kind == "nngp" else widths.psi


def _tail(architecture: Architecture) -> tuple[Architecture, ...] | None:
    """Return what is behind the last activation, or None if the columns there cannot be counted."""
    layers = as_layers(architecture)
    tail: list[Architecture] = []
    for layer in reversed(layers):
        if isinstance(layer, Activation):
            return tuple(reversed(tail))
        tail.append(layer)
        if not isinstance(layer, Dense | AvgPool | GlobalAvgPool):
            break
    return None


def _hidden_components(
    method: RandomFeatures, widths: Widths, remaining: int, n_components: int, shape: Shape
) -> int:
    """Return the number of columns after a hidden activation."""
    if method.hidden_components is not None:
        return int(method.hidden_components)
    if shape:
        return hidden_of_pixels(n_components)
    if not method.variance_reduction and method.product != "exact":
        return n_components
    if method.product != "exact" or not widths.psi:
        return max(3 * n_components // 8, _LEAST_HIDDEN)
    # tensor products multiply the width: grow it geometrically towards n_components
    return int(widths.psi * (n_components / widths.psi) ** (1 / remaining))


def _output_layout(
    method: RandomFeatures,
    layer: Architecture,
    widths: Widths,
    tail: tuple[Architecture, ...],
    kind: str,
    n_components: int,
) -> ActivationLayout | None:
    """Divide the columns of the last activation, `tail` being the linear layers after it."""

    def total(relu: int) -> int:
        after = Widths(relu, 0)
        for linear in tail:
            after = linear_widths(linear, after)
        return after.phi if kind == "nngp" else after.psi

    fixed = total(0)  # bias coordinates
    repeats = total(1) - fixed  # how often phi' appears in the output: once a Dense layer
    return _divide(method, layer, widths, n_components - fixed, repeats)


def in_pairs(method: RandomFeatures, layer: Architecture) -> bool:
    """Say whether directions come with their opposites: rectifiers gain by it."""
    return bool(method.variance_reduction) and isinstance(layer, Rectifier)


def _divide(
    method: RandomFeatures, layer: Architecture, widths: Widths, target: int, repeats: int
) -> ActivationLayout | None:
    """Divide `target` columns between `repeats` copies of phi' and one psi'."""
    paired = in_pairs(method, layer)
    parts = 1 + paired  # of phi' and of psi', each at least one column
    relu = target // repeats if repeats else parts
    if not widths.psi:
        phi = _divide_phi(paired, widths.phi, relu)
        return ActivationLayout(*phi) if relu >= parts and relu * repeats == target else None
    fraction = method.relu_fraction or _RELU_FRACTION
    relu = max(int(fraction * target / max(repeats, 1)), parts)
    product = target - repeats * relu
    if method.product == "exact":
        copies = max(product // widths.psi, parts)
        product = copies * widths.psi
        relu = (target - product) // repeats if repeats else parts
        if relu < parts or relu * repeats + product != target:
            return None
        constant = widths.psi if paired else 0
        steps = copies - paired
    else:
        if product < parts:
            return None
        constant = _share(paired, _CONSTANT_SHARE, widths.psi, product)
        steps = method.n_steps or max(1, (product - constant) // 3)
    phi = _divide_phi(paired, widths.phi, relu)
    return ActivationLayout(*phi, constant, product - constant, steps)


def _divide_phi(paired: bool, width: int, relu: int) -> tuple[int, int]:
    """Divide the columns of phi' between directions and the linear part."""
    linear = _share(paired, _LINEAR_SHARE, width, relu)
    return relu - linear, linear


def _share(paired: bool, share: float, width: int, columns: int) -> int:
    """Return the columns of a part that is linear in features of `width` columns."""
    return min(width, max(1, int(share * columns))) if paired else 0
