r"""Random Gegenbauer features: a whole network of any depth as one product and one function."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Dense
from ntksketch.data.blocks import require_memory
from ntksketch.features.base import Method
from ntksketch.features.directions import structured_blocks, uniform_directions
from ntksketch.features.harmonic_function import best_degree, orthonormal_series, signed_weights
from ntksketch.features.principal import MOMENT_ROWS, principal_directions
from ntksketch.features.state import Explicit, Widths, linear, linear_widths
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.gram import dense_rows, precision, squared_norms
from ntksketch.kernels.zonal import LegendreSeries, expansion, zonal_form
from ntksketch.sketches import SRHT
from ntksketch.sketches.draws import generator
from ntksketch.sketches.hadamard import hadamard_transform

LINEAR = ("principal", "random")
DIRECTIONS = ("orthogonal", "structured")
_LARGEST_DEGREE = 12
_FEWEST = 3  # columns for one constant, one linear and one random; fewer are all random


@dataclass(frozen=True, repr=False)
class Gegenbauer(Method):
    r"""Random Gegenbauer features of a zonal kernel: one matrix product for every depth.

    In d dimensions the kernel is :math:`f(t) = \sum_l c_l P_l(t)` with :math:`c_l \ge 0` and
    Legendre polynomials :math:`P_l`. For a uniform direction u and any signs :math:`s_l`,

    .. math::

        g(t) = \sum_{l \ge 2} s_l \sqrt{c_l N(d, l)}\, P_l(t), \qquad
        \mathbb E\, g(\langle u, x\rangle)\, g(\langle u, y\rangle) = \sum_{l\ge2} c_l P_l(
        \langle x, y\rangle)

    on the unit sphere, because polynomials of different degree are orthogonal. The constant takes
    one exact column. The linear part :math:`c_1\langle x, y\rangle` takes exact coordinates along
    the rows' principal directions and a random projection of what they leave; the columns are
    divided so that the mean square error of the kernel matrix is least. The signs are those of
    least :math:`\mathbb E\, g^4`.

    Parameters
    ----------
    max_degree : int, default=None
        Degree at which the series is cut off; None takes that of least mean square error of a
        row's kernel with itself, at most 12: high degrees mend little bias and cost much variance.
        `check_features` reports the error of the cut.
    linear : {"principal", "random"}, default="principal"
        Whether the linear part may use principal directions of the rows seen in `fit`; "random"
        does not look at the data.
    directions : {"orthogonal", "structured"}, default="orthogonal"
        "orthogonal" takes uniform directions in orthonormal blocks. "structured" takes rows of
        three Hadamard transforms with random signs in between: O(m log d) a row, with directions
        that are only nearly uniform, and projects the linear part by one such transform. No matrix
        but that of the principal directions is kept. Sparse rows are made dense, as many at a time
        as the working memory allows.

    References
    ----------
    Han, Zandieh, Avron (2022), "Random Gegenbauer features for scalable kernel methods",
    arXiv:2202.03474. Simon, Anand, DeWeese (2022), "Reverse engineering the Neural Tangent
    Kernel", arXiv:2106.03186. Yu et al. (2016), "Orthogonal random features", arXiv:1610.09072.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.Gegenbauer(max_degree=12)
    Gegenbauer(max_degree=12)
    """

    max_degree: int | None = None
    linear: str = "principal"
    directions: str = "orthogonal"

    def __post_init__(self) -> None:
        self._check_choices(linear=LINEAR, directions=DIRECTIONS)
        degree = self.max_degree
        whole = isinstance(degree, Integral) and not isinstance(degree, bool)
        if degree is not None and not (whole and 1 <= int(degree) <= 64):
            raise ValueError(f"max_degree must be a whole number from 1 to 64, got {degree!r}")

    def _sample_size(self, n_components: int) -> int:
        looks = self.linear == "principal" and n_components >= _FEWEST
        return MOMENT_ROWS if looks else 1

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> GegenbauerMap:
        first, zonal = zonal_form(target, kind)
        n_features = X.shape[1]
        width = n_features if first is None else linear_widths(first, Widths(n_features, 0)).phi
        structured = self.directions == "structured"
        dim = 1 << (width - 1).bit_length() if structured else width
        coefficients = self._coefficients(zonal, dim, n_components)
        linear_key, direction_key, sample_key = jax.random.split(key, 3)
        vectors, left = np.zeros((width, 0)), np.ones(1)
        if self.sample_size(n_components) > 1:
            with precision(X.dtype):
                rows = _behind_input(first, X)
                rows = rows if sp.issparse(rows) else np.asarray(rows)
            most = min(n_components - 2, width)
            vectors, left = principal_directions(generator(sample_key), rows, most, sample_weight)
        layout = divide(coefficients, left, width, n_components)
        if not structured:
            require_memory(
                3 * 8 * width * float(n_components),  # drawn and orthogonalised in float64
                f"the matrix of {width:,} x {n_components:,} directions",
                "take method='polynomial-sketch', or fewer components",
            )
        plan = GegenbauerPlan(self, first, dim, tuple(coefficients.tolist()), layout, n_components)
        params = _draw_params(linear_key, direction_key, plan, vectors, X.dtype)
        return GegenbauerMap(plan, params)

    def _coefficients(self, zonal: ZonalKernel, dim: int, n_components: int) -> NDArray[np.float64]:
        """Return the Legendre coefficients up to the degree of the cut."""
        most = _LARGEST_DEGREE if self.max_degree is None else int(self.max_degree)
        coefficients = expansion(zonal, dim, most)
        if self.max_degree is not None:
            return coefficients
        total = float(zonal.evaluate(np.ones(1))[0])
        return coefficients[: best_degree(coefficients, total, dim, n_components) + 1]


class Layout(NamedTuple):
    """Numbers of columns of each kind.

    Attributes
    ----------
    constant : int
        1, or 0 where so few columns are wanted that directions take the degrees 0 and 1 as well.
    principal : int
        Exact linear coordinates.
    projected : int
        Random projections of the rest of the linear part.
    random : int
        Random directions for the degrees from 2.
    """

    constant: int
    principal: int
    projected: int
    random: int


def divide(coefficients: NDArray, left: NDArray, width: int, n_components: int) -> Layout:
    r"""Divide the columns so that the mean square error of the kernel matrix is least.

    With the share :math:`r_k` of the rows' squares that k principal directions leave (`left[k]`)
    and :math:`A = \sum_{l\ge2} c_l`, p projections and m directions have squared errors in
    proportion to :math:`(c_1 r_k)^2/p` and :math:`A^2/m`; the best p and m for a sum of columns
    give :math:`(A + c_1 r_k)^2/(p + m)`.
    """
    if n_components < _FEWEST:
        return Layout(0, 0, 0, n_components)
    budget = n_components - 1
    rest = float(coefficients[2:].sum())
    k = np.arange(len(left))
    linear = coefficients[1] * np.where(k >= width, 0.0, left)
    error = np.where(rest + linear > 0, (rest + linear) ** 2 / (budget - k), 0.0)
    error[(linear > 0) & (budget - k < 1 + (rest > 0))] = np.inf  # no column for one of the two
    best = int(error.argmin())
    if linear[best] == 0:
        return Layout(1, best, 0, budget - best if rest else 0)
    columns = budget - best
    projected = round(columns * linear[best] / (rest + linear[best]))
    projected = min(max(projected, 1), columns - (rest > 0))
    return Layout(1, best, projected, columns - projected)


class GegenbauerPlan(NamedTuple):
    """What is fixed before anything is drawn, hashable.

    Attributes
    ----------
    method : Gegenbauer
    first : Dense or None
        The layer in front of the zonal function.
    dim : int
        Dimension of the sphere that the directions are on.
    coefficients : tuple of float
        Legendre coefficients in that dimension.
    layout : Layout
    n_components : int
    """

    method: Gegenbauer
    first: Dense | None
    dim: int
    coefficients: tuple[float, ...]
    layout: Layout
    n_components: int


class GegenbauerParams(NamedTuple):
    """Arrays of a Gegenbauer map.

    Attributes
    ----------
    columns : array of shape (width, n_components), or fewer columns for structured directions
        What rows are multiplied with: weighted linear columns, a column of zeros in the place of
        the constant, directions of length sqrt(dim), zeros up to the width. With a projection, the
        weighted principal directions alone.
    signs : array of shape (blocks, 3, dim)
        Signs between the Hadamard transforms of structured directions; else no block.
    projection : SRHT or None
        Projects what the principal directions leave of rows; None if `columns` does.
    """

    columns: Any
    signs: Any
    projection: SRHT | None = None


class GegenbauerMap(NamedTuple):
    """A drawn map of Gegenbauer features."""

    plan: GegenbauerPlan
    params: GegenbauerParams

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.plan.n_components

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        copies = 8 if self.plan.method.directions == "structured" else 4
        return 4 * self.plan.n_components + copies * self.plan.dim

    @property
    def expected(self) -> ZonalKernel:
        """The kernel without the degrees that are cut off."""
        return LegendreSeries(self.plan.dim, self.plan.coefficients)

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return self.plan.first is None or not self.plan.first.bias_std

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of rows, shape (n, n_components), in its dtype.

        The products of CSR rows are taken on the host, without densifying them, unless the
        directions are structured: those work on dense rows.
        """
        if not sp.issparse(X) or self.plan.method.directions == "structured":
            return _apply_dense(self.plan, self.params, dense_rows(X))
        rows = _behind_input(self.plan.first, X)
        products = rows @ np.asarray(self.params.columns)
        return _finish(self.plan, products, squared_norms(rows))


def _behind_input(first: Dense | None, X: Any) -> Any:
    """Return the rows that the zonal function is of."""
    return X if first is None else linear(first, Explicit(X, None)).phi


def _draw_params(
    linear_key: jax.Array,
    direction_key: jax.Array,
    plan: GegenbauerPlan,
    vectors: NDArray,
    dtype: Any,
) -> GegenbauerParams:
    layout, width, dim = plan.layout, len(vectors), plan.dim
    principal = vectors[:, : layout.principal]
    weight = np.sqrt(plan.coefficients[1])
    signs, rng = np.zeros((0, 3, dim)), generator(direction_key)
    structured = plan.method.directions == "structured"
    if structured and layout.random:
        signs = structured_blocks(rng, layout.random, dim)
    signs = signs.astype(dtype)
    if structured and layout.projected:
        projection = SRHT.init(linear_key, width, layout.projected, dtype)
        return GegenbauerParams((weight * principal).astype(dtype), signs, projection)
    linear_columns = [principal]
    if layout.projected:
        R = uniform_directions(generator(linear_key), layout.projected, width).T
        R = R * np.sqrt(width / layout.projected)
        linear_columns.append(R - principal @ (principal.T @ R))
    columns = [weight * part for part in linear_columns] + [np.zeros((width, layout.constant))]
    if not len(signs):
        columns.append(np.sqrt(dim) * uniform_directions(rng, layout.random, dim).T)
        columns.append(np.zeros((width, plan.n_components - sum(layout))))
    return GegenbauerParams(np.concatenate(columns, axis=1, dtype=dtype), signs)


@functools.partial(jax.jit, static_argnums=0)
def _apply_dense(plan: GegenbauerPlan, params: GegenbauerParams, X: jax.Array) -> jax.Array:
    rows = _behind_input(plan.first, X)
    products = jnp.matmul(rows, params.columns, precision=jax.lax.Precision.HIGHEST)
    if params.projection is not None:
        projected = _projected(rows, products, params.columns, params.projection, plan)
        constant = jnp.zeros((len(rows), plan.layout.constant), rows.dtype)
        products = jnp.concatenate([products, projected, constant], axis=1)
    if len(params.signs):
        structured = _structured_products(rows, params.signs, plan.layout.random)
        products = jnp.concatenate([products, structured], axis=1)
    return _finish(plan, products, jnp.einsum("ij,ij->i", rows, rows))


def _projected(
    rows: jax.Array, products: jax.Array, columns: jax.Array, projection: SRHT, plan: GegenbauerPlan
) -> jax.Array:
    """Return the weighted projection of what weighted orthonormal columns leave of rows."""
    share = jnp.matmul(products, columns.T, precision=jax.lax.Precision.HIGHEST)
    c = plan.coefficients[1]
    rest = rows - share * np.asarray(1 / c, rows.dtype)
    return jnp.asarray(projection.apply(rest)) * np.asarray(np.sqrt(c), rows.dtype)


def _structured_products(rows: jax.Array, signs: jax.Array, n_directions: int) -> jax.Array:
    """Return the products with rows of blocks (H D)^3, scaled to directions of length sqrt(dim)."""
    blocks, rounds, dim = signs.shape
    padded = jnp.pad(rows, ((0, 0), (0, dim - rows.shape[1])))
    products = jnp.broadcast_to(padded, (blocks, *padded.shape))
    for i in range(rounds):
        signed = products * signs[:, i, None, :]
        products = hadamard_transform(signed.reshape(-1, dim)).reshape(products.shape)
    scale = np.asarray(1 / dim, rows.dtype)  # three transforms of norm sqrt(dim), kept one
    return products.transpose(1, 0, 2).reshape(len(rows), -1)[:, :n_directions] * scale


@functools.partial(jax.jit, static_argnums=0)
def _finish(plan: GegenbauerPlan, products: jax.Array, squares: jax.Array) -> jax.Array:
    """Turn products into features: one pass, in which each column knows its kind."""
    norms = jnp.sqrt(squares)[:, None]
    c, layout = plan.coefficients, plan.layout
    n_linear, column = layout.principal + layout.projected, jnp.arange(plan.n_components)
    features = products
    if layout.random:
        reciprocal = jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0)
        degrees = [0.0 if i < 2 * layout.constant else value for i, value in enumerate(c)]
        weights = np.array(signed_weights(tuple(degrees), plan.dim)[0]) / np.sqrt(layout.random)
        values = norms * orthonormal_series(weights, plan.dim, products * reciprocal)
        features = jnp.where(column < n_linear, products, values)
    if layout.constant:
        constant = norms * np.asarray(np.sqrt(c[0]), norms.dtype)
        features = jnp.where(column == n_linear, constant, features)
    return features
