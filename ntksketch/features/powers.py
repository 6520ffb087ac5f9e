"""The one-shot map: powers of the rows, weighted by a polynomial's coefficients."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from ntksketch.architectures import Dense
from ntksketch.features.polynomials import (
    choose_exact,
    column_shares,
    divide_columns,
    n_monomials,
)
from ntksketch.features.state import Explicit, linear
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.gram import squared_norms
from ntksketch.kernels.zonal import Polynomial
from ntksketch.sketches import TreeSketch
from ntksketch.sketches.tree_sketch import init_base

if TYPE_CHECKING:
    from ntksketch.features.polynomial_sketch import PolynomialSketch

_HIDDEN = 1024, 2048  # bounds of the default width of hidden nodes
_NARROW = 4096  # rows up to this width have no leaves
_WIDE = 1 << 16  # up to which rows with leaves may well be dense


class Plan(NamedTuple):
    """What is fixed before anything is drawn: hashable, so that compiled code is shared.

    Attributes
    ----------
    first : Dense or None
        The layer that rows go through first.
    coefficients : tuple of float
        Those of the polynomial, in ascending powers.
    exact : tuple of int
        Powers whose features are their monomials.
    powers : tuple of (int, int)
        Powers that are sketched, with their numbers of columns.
    n_hidden : int
        Columns of hidden nodes.
    n_components : int
        Number of columns that come out.
    row_entries : int
        Bound on the entries that a row takes while its features are computed, themselves included.
    """

    first: Dense | None
    coefficients: tuple[float, ...]
    exact: tuple[int, ...]
    powers: tuple[tuple[int, int], ...]
    n_hidden: int
    n_components: int
    row_entries: int


class PolynomialMap(NamedTuple):
    """A drawn feature map: a static plan and arrays.

    Attributes
    ----------
    plan : Plan
    params : tuple
        The exact powers' monomials; the sketch of the linear part and the tree of the higher
        powers, None where there is none.
    """

    plan: Plan
    params: Any

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.plan.n_components

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        return self.plan.row_entries

    @property
    def expected(self) -> ZonalKernel | None:
        """The polynomial, as a function of the cosine of rows after the first Dense layer."""
        return Polynomial(self.plan.coefficients)

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of rows, shape (n, n_components), in its dtype.

        Dense rows go through one compiled function. The sketches that are linear in CSR rows are
        computed on the host, without densifying wide rows.
        """
        if not sp.issparse(X):
            return _apply_dense(self.plan, self.params, X)
        rows = input_rows(self.plan.first, X)
        projections = _project(self.plan, self.params, rows)
        return _apply_projected(self.plan, self.params, projections, squared_norms(rows))


def make_plan(
    method: PolynomialSketch,
    first: Dense | None,
    coefficients: tuple[float, ...],
    n_inputs: int,
    n_components: int,
) -> Plan:
    """Divide the columns among the powers of a polynomial.

    Raises
    ------
    ValueError
        If there are fewer columns than powers.
    """
    shares = column_shares(coefficients, bool(method.complex_to_real))
    n_constant = int(coefficients[0] > 0)
    smallest = n_constant + len(shares)
    if n_components < smallest:
        raise ValueError(
            f"n_components={n_components} is too small: the polynomial has {smallest} terms, each "
            f"needs a column, so that the smallest number that works is {smallest}"
        )
    left = n_components - n_constant
    largest = choose_exact(shares, n_inputs, left)
    exact = tuple(power for power in shares if power <= largest)
    left -= sum(n_monomials(n_inputs, power) for power in exact)
    rest = {power: share for power, share in shares.items() if power > largest}
    columns = divide_columns(rest, left) if rest else {}
    n_hidden, entries = hidden_width(method, n_components), 2 * n_inputs + 2 * n_components
    if columns:
        width = n_inputs if n_inputs <= _NARROW else n_hidden
        padded = 1 << (max(width, n_hidden) - 1).bit_length()
        n_leaves = 0
        if n_inputs > _NARROW:
            n_leaves = max(columns)
            # leaves copy dense rows, some at a time; still wider rows are sparse
            entries += 6 * min(n_inputs, _WIDE)
        # leaves, nodes, and the transforms of the node at hand
        entries += n_leaves * width + 2 * max(columns) * n_hidden + 8 * padded
    return Plan(first, coefficients, exact, tuple(columns.items()), n_hidden, n_components, entries)


def hidden_width(method: PolynomialSketch, n_components: int) -> int:
    """Return the number of columns of hidden nodes."""
    if method.hidden_components is not None:
        return int(method.hidden_components)
    least, most = _HIDDEN
    return min(max(least, 1 << (max(n_components, 4) - 1).bit_length() - 2), most)


def draw_powers(
    key: jax.Array, method: PolynomialSketch, plan: Plan, n_inputs: int, dtype: Any
) -> PolynomialMap:
    """Draw the map of a plan."""
    linear_key, tree_key = jax.random.split(key)
    monomials = {power: monomials_of(n_inputs, power, dtype) for power in plan.exact if power > 1}
    columns, sketch, tree = dict(plan.powers), None, None
    if 1 in columns:
        sketch = init_base(linear_key, method.base, n_inputs, columns.pop(1), dtype)
    if columns:
        tree = TreeSketch.init_powers(
            tree_key,
            n_inputs,
            columns,
            dtype,
            n_hidden=plan.n_hidden,
            leaf_width=n_inputs if n_inputs <= _NARROW else plan.n_hidden,
            base=method.base,
            complex_to_real=bool(method.complex_to_real),
        )
    return PolynomialMap(plan, (monomials, sketch, tree))


class Monomials(NamedTuple):
    r"""Exact features of a power: its monomials times the roots of their multinomials.

    .. math:: \langle x, y \rangle^j = \sum_{|\alpha| = j} \binom{j}{\alpha} x^\alpha y^\alpha

    Attributes
    ----------
    columns : integer array of shape (j, n_monomials)
        The columns that each monomial multiplies.
    weights : array of shape (n_monomials,)
        Roots of the multinomial coefficients.
    """

    columns: Any
    weights: Any

    def apply(self, X: jax.Array) -> jax.Array:
        """Return the monomials of dense rows."""
        factors = [X[:, columns] for columns in jnp.asarray(self.columns)]
        return functools.reduce(operator.mul, factors) * jnp.asarray(self.weights, X.dtype)


def monomials_of(n_variables: int, power: int, dtype: Any) -> Monomials:
    """Return the exact features of a power."""
    alike = itertools.combinations_with_replacement(range(n_variables), power)
    columns = np.array(list(alike), np.int32)
    # j! / prod(alpha!), where each run of equal columns counts up 1, 2, ..., alpha
    runs, multiplicities = np.ones(len(columns)), np.ones(len(columns))
    for before, after in itertools.pairwise(columns.T):
        runs = np.where(before == after, runs + 1, 1)
        multiplicities *= runs
    weights = np.sqrt(math.factorial(power) / multiplicities)
    return Monomials(np.ascontiguousarray(columns.T), weights.astype(dtype))


class Projections(NamedTuple):
    """What the features need from the rows, linear in them.

    Attributes
    ----------
    rows : array or None
        The rows themselves, for exact powers.
    linear : array or None
        Sketch of the rows.
    leaves : tuple of arrays or None
        Leaves of the tree.
    """

    rows: Any
    linear: Any
    leaves: Any


def input_rows(first: Dense | None, X: Any) -> Any:
    """Return the rows after the first Dense layer."""
    return X if first is None else linear(first, Explicit(X, None)).phi


def reciprocal_norms(squares: jax.Array) -> jax.Array:
    """Return 1/|x|, and 0 for a row of zeros, from squared norms."""
    positive = squares > 0
    return jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, squares, 1)), 0)


def _project(plan: Plan, params: Any, rows: Any) -> Projections:
    _, sketch, tree = params
    exact = None
    if plan.exact:
        exact = rows.toarray() if sp.issparse(rows) else rows
    return Projections(
        exact,
        None if sketch is None else sketch.apply(rows),
        None if tree is None else tree.project(*[rows] * len(tree.leaves)),
    )


@functools.partial(jax.jit, static_argnums=0)
def _apply_dense(plan: Plan, params: Any, X: jax.Array) -> jax.Array:
    rows = input_rows(plan.first, X)
    squares = jnp.einsum("ij,ij->i", rows, rows)
    return _finish(plan, params, _project(plan, params, rows), squares)


@functools.partial(jax.jit, static_argnums=0)
def _apply_projected(
    plan: Plan, params: Any, projections: Projections, squares: jax.Array
) -> jax.Array:
    return _finish(plan, params, projections, squares)


def _finish(plan: Plan, params: Any, projections: Projections, squares: jax.Array) -> jax.Array:
    """Return the features from what is linear in the rows."""
    inverse = reciprocal_norms(squares)[:, None]
    norms = squares[:, None] * inverse
    monomials, _, tree = params
    columns = dict(plan.powers)
    parts = {0: jnp.ones_like(inverse)} if plan.coefficients[0] else {}
    if plan.exact:
        unit = projections.rows * inverse
        parts |= {j: monomials[j].apply(unit) if j > 1 else unit for j in plan.exact}
    if 1 in columns:
        parts[1] = projections.linear * inverse
        del columns[1]
    if columns:
        parts |= tree.powers([leaf * inverse for leaf in projections.leaves], columns)
    weighted = [
        parts[power] * (norms * np.asarray(coefficient**0.5, squares.dtype))
        for power, coefficient in enumerate(plan.coefficients)
        if coefficient
    ]
    width = sum(part.shape[1] for part in weighted)
    # where every power is exact, columns may be left over
    padding = jnp.zeros((len(squares), plan.n_components - width), squares.dtype)
    return jnp.concatenate([*weighted, padding], axis=1)
