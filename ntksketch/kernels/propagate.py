"""The exact view's rules: how each layer maps the covariances of a pair of rows.

A new layer registers one rule in :func:`propagate` and one in :func:`propagate_variance`; a new
activation, its dual functions in :mod:`ntksketch.kernels.activations`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ntksketch.architectures import Activation, Architecture, Dense, Residual, Serial
from ntksketch.kernels.activations import dual, dual_diagonal


class Variance(NamedTuple):
    """Diagonal state of rows: NNGP and NTK of each row with itself, both of shape (n,)."""

    nngp: jax.Array
    ntk: jax.Array


class Covariance(NamedTuple):
    """State of pairs of rows.

    Attributes
    ----------
    nngp, ntk : array of shape (n, p)
        The two kernels so far.
    rows, columns : array of shape (n,) and (p,)
        The NNGP kernel of each row and column with itself.
    """

    nngp: jax.Array
    ntk: jax.Array
    rows: jax.Array
    columns: jax.Array


@functools.singledispatch
def propagate(layer: Architecture, state: Covariance) -> Covariance:
    """Return the state of pairs after `layer`."""
    raise NotImplementedError(f"the exact kernel has no rule for {type(layer).__name__}")


@functools.singledispatch
def propagate_variance(layer: Architecture, state: Variance) -> Variance:
    """Return the state of rows with themselves after `layer`."""
    raise NotImplementedError(f"the exact kernel has no rule for {type(layer).__name__}")


def through(rule: Callable[[Any, Any], Any], layer: Architecture, state: Any) -> Any:
    """Return the state behind a layer, by a rule for those that have no layers inside.

    Compositions pass it on; the branches of a sum have weights of their own, so that their states
    add up.
    """
    if isinstance(layer, Serial):
        for inner in layer.layers:
            state = through(rule, inner, state)
        return state
    if isinstance(layer, Residual):
        shortcut = state if layer.shortcut is None else through(rule, layer.shortcut, state)
        return jax.tree.map(operator.add, through(rule, layer.branch, state), shortcut)
    return rule(layer, state)


@propagate.register(Serial)
@propagate.register(Residual)
def _(layer: Architecture, state: Covariance) -> Covariance:
    return through(propagate, layer, state)


@propagate_variance.register(Serial)
@propagate_variance.register(Residual)
def _(layer: Architecture, state: Variance) -> Variance:
    return through(propagate_variance, layer, state)


def dense_variance(weight_std: Any, bias_std: Any, state: Variance) -> Variance:
    """Return the state of rows with themselves after a Dense layer of these deviations."""
    nngp = weight_std**2 * state.nngp + bias_std**2
    return Variance(nngp, weight_std**2 * state.ntk + nngp)


def dense_covariance(weight_std: Any, bias_std: Any, state: Any) -> Any:
    """Return the state of pairs, of rows or of pixels, behind weights of these deviations."""
    weight, bias = weight_std**2, bias_std**2
    nngp = weight * state.nngp + bias
    return state._replace(
        nngp=nngp,
        ntk=weight * state.ntk + nngp,
        rows=weight * state.rows + bias,
        columns=weight * state.columns + bias,
    )


@propagate_variance.register
def _(layer: Dense, state: Variance) -> Variance:
    return dense_variance(layer.weight_std, layer.bias_std, state)


@propagate.register
def _(layer: Dense, state: Covariance) -> Covariance:
    return dense_covariance(layer.weight_std, layer.bias_std, state)


@propagate_variance.register
def _(layer: Activation, state: Variance) -> Variance:
    value, slope = dual_diagonal(layer, state.nngp)
    return Variance(value, state.ntk * slope)


@propagate.register
def _(layer: Activation, state: Covariance) -> Covariance:
    value, slope = dual(layer, state.nngp, state.rows, state.columns)
    rows, columns = (dual_diagonal(layer, v)[0] for v in (state.rows, state.columns))
    return Covariance(value, state.ntk * slope, rows, columns)
