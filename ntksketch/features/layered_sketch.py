"""The layered map: polynomial sketches of the arc-cosine functions, layer by layer."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Dense, Relu
from ntksketch.features.polynomials import column_shares, divide_columns, fit_polynomial
from ntksketch.features.products import Identity
from ntksketch.features.sketched_map import SketchedMap, reciprocal_norms
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.dual import kappa0, kappa1
from ntksketch.kernels.zonal import FunctionKernel, profile, split_input, zonal_form
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
    def first(self) -> Dense | None:
        """The layer that rows go through first."""
        return split_input(self.architecture)[0]

    @property
    def expected(self) -> ZonalKernel:
        """The kernel that the features approach as columns grow in number."""
        return LayeredPolynomial(self.architecture, self.kind, self.value, self.slope)

    def project(self, params: Any, rows: Any) -> Any:
        """Sketch the rows."""
        return params[0].apply(rows)

    def finish(self, params: Any, projected: Any, squares: jax.Array) -> jax.Array:
        """Go through the layers; phi has unit rows up to errors, psi is relative to their norms."""
        inverse = reciprocal_norms(squares)[:, None]
        _, layers, gaussian = params
        rest = split_input(self.architecture)[1]
        phi = projected * inverse
        psi, deviation = phi if self.first is not None else None, 1.0
        for layer, drawn in zip(rest, layers, strict=True):
            if isinstance(layer, Relu):
                if psi is not None:
                    steps = _mix(drawn.slope, self.slope, self.slope_columns, phi)
                    psi = drawn.product.apply(psi, steps)
                phi = _mix(drawn.value, self.value, self.value_columns, phi)
            elif isinstance(layer, Dense):
                deviation *= layer.weight_std
                parts = [phi * np.asarray(deviation, phi.dtype)]
                if psi is not None:
                    parts.append(psi * np.asarray(layer.weight_std, phi.dtype))
                psi = drawn.apply(jnp.concatenate(parts, axis=1))
        features = phi * np.asarray(deviation, phi.dtype)
        if self.kind == "ntk" and psi is not None:
            features = psi
        product = jnp.matmul(features, gaussian, precision=jax.lax.Precision.HIGHEST)
        return product * (squares[:, None] * inverse)


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
    if isinstance(target, ZonalKernel):
        raise ValueError(
            f"variant='layered' needs the layers of a network, got {target}; take "
            "variant='one-shot'"
        )
    zonal_form(target, kind)
    first, rest = split_input(target)
    n_inputs = X.shape[1] + bool(first is not None and first.bias_std)
    plan = _make_plan(method, target, kind, n_inputs, n_components)
    key, input_key, last_key = jax.random.split(key, 3)
    h, dtype = plan.n_hidden, X.dtype
    sketch, width = Identity(), n_inputs
    if n_inputs > h:
        sketch, width = BASES[method.base].init(input_key, n_inputs, h, dtype), h
    layers, phi, psi = [], width, width if first is not None else 0
    for layer in rest:
        key, subkey = jax.random.split(key)
        if isinstance(layer, Relu):
            layers.append(_init_relu(subkey, method, plan, phi, psi, dtype))
            phi, psi = h, h if psi else 0
        else:
            layers.append(SRHT.init(subkey, phi + psi, h, dtype))
            psi = h
    gaussian = generator(last_key).standard_normal((psi if kind == "ntk" else phi, n_components))
    gaussian *= n_components**-0.5
    return SketchedMap(plan, (sketch, tuple(layers), gaussian.astype(dtype)))


def _make_plan(
    method: PolynomialSketch, target: Architecture, kind: str, n_inputs: int, n_components: int
) -> Plan:
    h = method.hidden_components
    h = max(n_components, _LEAST_HIDDEN) if h is None else int(h)
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

    padded = 1 << (2 * h).bit_length()
    entries = 2 * n_inputs + (2 * degree + 12) * padded + 2 * n_components
    return Plan(
        target, kind, value, slope, columns(value), columns(slope), h, n_components, entries
    )


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
