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

from ntksketch.architectures import Dense
from ntksketch.features.polynomials import (
    choose_exact,
    column_shares,
    divide_columns,
    n_monomials,
)
from ntksketch.features.sketched_map import SketchedMap, reciprocal_norms
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.zonal import Polynomial
from ntksketch.sketches import TreeSketch
from ntksketch.sketches.base import densify
from ntksketch.sketches.tree_sketch import BASES

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

    @property
    def expected(self) -> ZonalKernel:
        """The polynomial, as a function of the cosine of rows after the first Dense layer."""
        return Polynomial(self.coefficients)

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return self.first is None or not self.first.bias_std

    def project(self, params: Params, rows: Any) -> Params:
        """Return the rows, for exact powers, their linear sketch, and the leaves of the tree."""
        tree = params.tree
        return Params(
            densify(rows) if self.exact else None,
            None if params.linear is None else params.linear.apply(rows),
            None if tree is None else tree.project(*[rows] * len(tree.leaves)),
        )

    def finish(self, params: Params, projected: Params, squares: jax.Array) -> jax.Array:
        """Return the powers, weighted and side by side."""
        inverse = reciprocal_norms(squares)[:, None]
        norms = squares[:, None] * inverse
        columns = dict(self.powers)
        parts = {0: jnp.ones_like(inverse)} if self.coefficients[0] else {}
        if self.exact:
            unit = projected.exact * inverse
            parts |= {j: params.exact[j].apply(unit) if j > 1 else unit for j in self.exact}
        if 1 in columns:
            parts[1] = projected.linear * inverse
            del columns[1]
        if columns:
            parts |= params.tree.powers([leaf * inverse for leaf in projected.tree], columns)
        weighted = [
            parts[power] * (norms * np.asarray(coefficient**0.5, squares.dtype))
            for power, coefficient in enumerate(self.coefficients)
            if coefficient
        ]
        width = sum(part.shape[1] for part in weighted)
        # where every power is exact, columns may be left over
        padding = jnp.zeros((len(squares), self.n_components - width), squares.dtype)
        return jnp.concatenate([*weighted, padding], axis=1)


class Params(NamedTuple):
    """Random parameters, or what they make of the rows; None where there is none.

    Attributes
    ----------
    exact : dict of int to Monomials, or array
        The monomials of exact powers; the rows themselves.
    linear : sketch, or array
        Sketch of the power 1.
    tree : TreeSketch, or tuple of arrays
        The tree of the higher powers; its leaves.
    """

    exact: Any
    linear: Any
    tree: Any


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
            # transforms of dense rows, all leaves' at once; other leaves read them in place. Still
            # wider rows are sparse
            copies = n_leaves + 5 if method.base == "srht" else 2
            entries += copies * (1 << (min(n_inputs, _WIDE) - 1).bit_length())
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
) -> SketchedMap:
    """Draw the map of a plan."""
    linear_key, tree_key = jax.random.split(key)
    monomials = {power: monomials_of(n_inputs, power, dtype) for power in plan.exact if power > 1}
    columns, sketch, tree = dict(plan.powers), None, None
    if 1 in columns:
        sketch = BASES[method.base].init(linear_key, n_inputs, columns.pop(1), dtype)
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
    return SketchedMap(plan, Params(monomials, sketch, tree))


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
