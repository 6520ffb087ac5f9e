"""Maps in two stages: sketches that are linear in the rows, then all the rest."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import scipy.sparse as sp

from ntksketch.architectures import Dense, Input
from ntksketch.features.state import Explicit, linear
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.gram import dense_rows, squared_norms


class Plan(Protocol):
    """What is fixed before anything is drawn: hashable, so that compiled code is shared."""

    @property
    def first(self) -> Dense | Input | None:
        """The layer that rows go through first."""
        ...

    @property
    def n_components(self) -> int:
        """Number of columns that come out."""
        ...

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes while its features are computed, with them."""
        ...

    @property
    def expected(self) -> ZonalKernel:
        """The kernel that more columns lead to."""
        ...

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        ...

    def project(self, params: Any, rows: Any) -> Any:
        """Return what is linear in the rows, dense arrays; takes CSR rows on the host."""
        ...

    def finish(self, params: Any, projected: Any, squares: jax.Array) -> jax.Array:
        """Return the features from what is linear in the rows or pixels, and their squares."""
        ...


class SketchedMap(NamedTuple):
    """A drawn feature map: a static plan and arrays."""

    plan: Any
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
        """The kernel that more columns lead to, of the rows after a first Dense layer."""
        return self.plan.expected

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return self.plan.is_homogeneous

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of rows, shape (n, n_components), in its dtype.

        Dense rows go through one compiled function. The sketches that are linear in CSR rows are
        computed on the host, without densifying wide rows, unless they are images.
        """
        if not sp.issparse(X) or isinstance(self.plan.first, Input):
            return _apply_dense(self.plan, self.params, dense_rows(X))
        rows = _input_rows(self.plan, X)
        projected = self.plan.project(self.params, rows)
        return _finish(self.plan, self.params, projected, squared_norms(rows))


def reciprocal_norms(squares: jax.Array) -> jax.Array:
    """Return 1/|x|, and 0 for a row of zeros, from squared norms."""
    positive = squares > 0
    return jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, squares, 1)), 0)


def _input_rows(plan: Plan, X: Any) -> Any:
    """Return the rows after the first Dense layer, or as images."""
    return X if plan.first is None else linear(plan.first, Explicit(X, None)).phi


@functools.partial(jax.jit, static_argnums=0)
def _apply_dense(plan: Plan, params: Any, X: jax.Array) -> jax.Array:
    rows = _input_rows(plan, X)
    squares = jnp.einsum("...j,...j->...", rows, rows)
    return plan.finish(params, plan.project(params, rows), squares)


@functools.partial(jax.jit, static_argnums=0)
def _finish(plan: Plan, params: Any, projected: Any, squares: jax.Array) -> jax.Array:
    return plan.finish(params, projected, squares)
