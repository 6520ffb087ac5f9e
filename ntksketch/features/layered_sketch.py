"""The layered map: polynomial sketches of the arc-cosine functions, layer by layer."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Activation, Architecture, Conv, Dense, Input, Relu
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, fold
from ntksketch.architectures.spatial import all_layers, is_spatial
from ntksketch.features.pixels import (
    Tracked,
    as_pixels,
    as_rows,
    by_row,
    hidden_of_pixels,
    join_tracked,
    join_widths,
    pixels_of,
    split_first,
)
from ntksketch.features.polynomials import column_shares, divide_columns, fit_polynomial
from ntksketch.features.products import Identity
from ntksketch.features.sketched_map import SketchedMap, reciprocal_norms
from ntksketch.features.state import Explicit, Widths, linear, linear_widths
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.dual import kappa0, kappa1
from ntksketch.kernels.propagate import Variance
from ntksketch.kernels.zonal import FunctionKernel, is_homogeneous, profile, zonal_form
from ntksketch.sketches import SRHT, TensorSRHT, TreeSketch
from ntksketch.sketches.draws import generator
from ntksketch.sketches.tree_sketch import BASES

if TYPE_CHECKING:
    from ntksketch.features.polynomial_sketch import PolynomialSketch

_LEAST_HIDDEN = 1024  # columns of hidden layers, which cost little below this


class Plan(NamedTuple):
    """What is fixed before anything is drawn: hashable, so that compiled code is shared.

    Attributes
    ----------
    architecture : Architecture
    kind : str
        "ntk" or "nngp".
    value, slope : tuple of float
        Coefficients of the polynomials for kappa1 and kappa0.
    value_columns, slope_columns : tuple of (int, int)
        Powers of at least 2 with their numbers of columns.
    n_hidden, n_components : int
        Columns of hidden layers and of the features.
    row_entries : int
        Bound on the entries that a row takes while its features are computed, themselves included.
    """

    architecture: Architecture
    kind: str
    value: tuple[float, ...]
    slope: tuple[float, ...]
    value_columns: tuple[tuple[int, int], ...]
    slope_columns: tuple[tuple[int, int], ...]
    n_hidden: int
    n_components: int
    row_entries: int

    @property
    def first(self) -> Dense | Input | None:
        """The layer that rows go through first."""
        return split_first(self.architecture)[0]

    @property
    def expected(self) -> ZonalKernel | None:
        """The kernel that the features approach as columns grow in number, if it is zonal."""
        if isinstance(self.first, Input):
            return None
        return LayeredPolynomial(self.architecture, self.kind, self.value, self.slope)

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return is_homogeneous(self.architecture)

    def project(self, params: Any, rows: Any) -> Any:
        """Sketch the rows, or each pixel."""
        return by_row(params[0].apply, rows)

    def finish(self, params: Any, projected: Any, squares: jax.Array) -> jax.Array:
        """Go through the layers, and to the number of columns with a Gaussian matrix."""
        first, rest = split_first(self.architecture)
        drawn, gaussian = iter(params[1]), params[2]

        def behind(layer: Architecture, state: Tracked, shape: Shape) -> Tracked:
            if isinstance(layer, Relu):
                found = self._activate(next(drawn), state)
            else:
                found = linear(layer, state.features)
                if isinstance(layer, Dense | Conv) and state.features.psi is not None:
                    found = found._replace(psi=by_row(next(drawn).apply, found.psi))
            return state.behind(layer, found)

        psi = projected if isinstance(first, Dense) else None
        variance = Variance(squares, jnp.zeros_like(squares))
        start = Tracked(Explicit(projected, psi), variance)
        phi, psi = fold(rest, start, behind, join_tracked, pixels_of(first)).features
        features = psi if self.kind == "ntk" and psi is not None else phi
        return jnp.matmul(features, gaussian, precision=jax.lax.Precision.HIGHEST)

    def _activate(self, drawn: ReluParams, state: Tracked) -> Explicit:
        """Return the features behind a rectifier, of cosines between rows or pixels."""
        phi, psi = state.features
        # behind pools the variance is that of the features, since the exact one takes pairs
        squares = jnp.square(phi).sum(-1) if state.variance is None else state.variance.nngp
        inverse = reciprocal_norms(squares)[..., None]
        unit = as_rows(phi * inverse)
        if psi is not None and drawn.slope is not None and drawn.product is not None:
            steps = _mix(drawn.slope, self.slope, self.slope_columns, unit)
            psi = as_pixels(drawn.product.apply(as_rows(psi), steps), psi)
        value = as_pixels(_mix(drawn.value, self.value, self.value_columns, unit), phi)
        return Explicit(value * (squares[..., None] * inverse), psi)


@dataclass(frozen=True)
class LayeredPolynomial(ZonalKernel):
    """A network's kernel with polynomials in place of the arc-cosine functions."""

    architecture: Architecture
    kind: str
    value: tuple[float, ...]
    slope: tuple[float, ...]

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate the recursion through the layers."""
        functions = tuple(
            functools.partial(_polynomial, coefficients=coefficients)
            for coefficients in (self.value, self.slope)
        )
        return profile(self.architecture, self.kind, t, functions)


def _polynomial(t: NDArray, coefficients: tuple[float, ...]) -> NDArray:
    return np.polynomial.polynomial.polyval(t, coefficients)


class Mixture(NamedTuple):
    """Features of a polynomial of the cosine: sketched powers, mixed to a chosen width."""

    tree: TreeSketch | None
    mix: SRHT


class ReluParams(NamedTuple):
    """Random parameters of one rectifier; the last two are None where the NTK is zero."""

    value: Mixture
    slope: Mixture | None
    product: TensorSRHT | None


def check_layered(target: Architecture | ZonalKernel) -> Architecture:
    """Return a network that has features layer by layer, or raise ValueError."""
    if isinstance(target, ZonalKernel):
        raise ValueError(
            f"variant='layered' needs the layers of a network, got {target}; take "
            "variant='one-shot'"
        )
    for layer in all_layers(target):
        if isinstance(layer, Activation) and not isinstance(layer, Relu):
            raise ValueError(
                f"variant='layered' has polynomials of the rectifier's functions, and {target} "
                f"has {layer}: take method='nystroem' or 'random-features'"
            )
    return target


def draw_layered(
    key: jax.Array,
    method: PolynomialSketch,
    target: Architecture | ZonalKernel,
    kind: str,
    X: Any,
    n_components: int,
) -> SketchedMap:
    """Draw the map of a network: the sketch of the rows, the layers and a Gaussian matrix.

    Raises
    ------
    ValueError
        If it is no ReLU network without hidden biases.
    """
    target = check_layered(target)
    if not is_spatial(target):
        zonal_form(target, kind)
    first, rest = split_first(target)
    n_inputs = first.shape[-1] if isinstance(first, Input) else X.shape[1]
    n_inputs += isinstance(first, Dense) and bool(first.bias_std)
    plan = _make_plan(method, target, kind, n_inputs, n_components)
    key, input_key, last_key = jax.random.split(key, 3)
    h, dtype = plan.n_hidden, X.dtype
    sketch, width = Identity(), n_inputs
    if n_inputs > h:
        sketch, width = BASES[method.base].init(input_key, n_inputs, h, dtype), h
    drawn: list[Any] = []

    def behind(layer: Architecture, widths: Widths, shape: Shape) -> Widths:
        nonlocal key
        if isinstance(layer, Relu):
            key, subkey = jax.random.split(key)
            drawn.append(_init_relu(subkey, method, plan, *widths, dtype))
            return Widths(h, h if widths.psi else 0)
        found = linear_widths(layer, widths, shape)
        if isinstance(layer, Dense | Conv) and widths.psi:
            key, subkey = jax.random.split(key)
            drawn.append(SRHT.init(subkey, found.psi, h, dtype))
            found = found._replace(psi=h)
        return found

    start = Widths(width, width if isinstance(first, Dense) else 0)
    phi, psi = fold(rest, start, behind, join_widths, pixels_of(first))
    gaussian = generator(last_key).standard_normal((psi if kind == "ntk" else phi, n_components))
    gaussian *= n_components**-0.5
    return SketchedMap(plan, (sketch, tuple(drawn), gaussian.astype(dtype)))


def _make_plan(
    method: PolynomialSketch, target: Architecture, kind: str, n_inputs: int, n_components: int
) -> Plan:
    h = method.hidden_components
    if h is None:
        of_pixels = is_spatial(target)
        h = hidden_of_pixels(n_components) if of_pixels else max(n_components, _LEAST_HIDDEN)
    h = int(h)
    degree = int(method.degree)
    value = fit_polynomial(FunctionKernel(kappa1), degree, method.coefficients)
    slope = fit_polynomial(FunctionKernel(kappa0), degree - 1, method.coefficients)

    def columns(coefficients: tuple[float, ...]) -> tuple[tuple[int, int], ...]:
        shares = column_shares(coefficients, bool(method.complex_to_real))
        shares.pop(1, None)
        if len(shares) > h:
            raise ValueError(
                f"hidden_components={h} is too small: the smallest number that works for "
                f"degree={degree} is {len(shares)}"
            )
        return tuple(divide_columns(shares, h).items()) if shares else ()

    entries = 2 * n_inputs + _row_entries(target, n_inputs, h, degree) + 2 * n_components
    return Plan(
        target, kind, value, slope, columns(value), columns(slope), h, n_components, entries
    )


def _row_entries(target: Architecture, n_inputs: int, h: int, degree: int) -> int:
    """Bound the entries that a row takes in the layer where most exist at a time.

    Each sketch of phi or psi keeps its columns to the end, and one at a time is padded to a power
    of two: what a transform reads, writes and works in.
    """
    most = 0

    def behind(layer: Architecture, widths: Widths, shape: Shape) -> Widths:
        nonlocal most
        found = Widths(h, h) if isinstance(layer, Relu) else linear_widths(layer, widths, shape)
        wide = max(*widths, *found, 2 * h)
        padded = 1 << (wide - 1).bit_length()
        most = max(most, math.prod(shape) * (3 * padded + sum(found) + (4 * degree + 12) * h))
        return Widths(found.phi, h) if isinstance(layer, Dense | Conv) else found

    fold(as_layers(target), Widths(n_inputs, 0), behind, join_widths)
    return most


def _init_relu(
    key: jax.Array, method: PolynomialSketch, plan: Plan, phi: int, psi: int, dtype: Any
) -> ReluParams:
    value_key, slope_key, product_key = jax.random.split(key, 3)
    h = plan.n_hidden

    def mixture(key: jax.Array, coefficients: tuple[float, ...], columns: Any) -> Mixture:
        tree_key, mix_key = jax.random.split(key)
        tree, columns = None, dict(columns)
        if columns:
            tree = TreeSketch.init_powers(
                tree_key,
                phi,
                columns,
                dtype,
                n_hidden=h,
                leaf_width=max(phi, h),
                base=method.base,
                complex_to_real=bool(method.complex_to_real),
            )
        low = sum(n for n, coefficient in zip((1, phi), coefficients, strict=False) if coefficient)
        width = low + sum(columns.values())
        return Mixture(tree, SRHT.init(mix_key, width, h, dtype))

    value = mixture(value_key, plan.value, plan.value_columns)
    if not psi:
        return ReluParams(value, None, None)
    slope = mixture(slope_key, plan.slope, plan.slope_columns)
    return ReluParams(value, slope, TensorSRHT.init(product_key, (psi, h), h, dtype))


def _mix(mixture: Mixture, coefficients: tuple[float, ...], columns: Any, phi: Any) -> Any:
    """Return the features of a polynomial of the inner product of phi."""
    parts = {0: jnp.ones_like(phi[:, :1]), 1: phi}
    if mixture.tree is not None:
        parts |= mixture.tree.powers([phi] * len(mixture.tree.leaves), dict(columns))
    weighted = [
        parts[power] * np.asarray(coefficient**0.5, phi.dtype)
        for power, coefficient in enumerate(coefficients)
        if coefficient
    ]
    return mixture.mix.apply(jnp.concatenate(weighted, axis=1))
