"""The exact view's rules: how each layer maps the covariances of a pair of rows.

A new layer registers one rule in :func:`propagate` and one in :func:`propagate_variance`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ntksketch.architectures import Architecture, Dense, Relu, Serial
from ntksketch.kernels.dual import relu_dual


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


@propagate.register
def _(layer: Serial, state: Covariance) -> Covariance:
    for inner in layer.layers:
        state = propagate(inner, state)
    return state


@propagate_variance.register
def _(layer: Serial, state: Variance) -> Variance:
    for inner in layer.layers:
        state = propagate_variance(inner, state)
    return state


@propagate_variance.register
def _(layer: Dense, state: Variance) -> Variance:
    nngp = layer.weight_std**2 * state.nngp + layer.bias_std**2
    return Variance(nngp, layer.weight_std**2 * state.ntk + nngp)


@propagate.register
def _(layer: Dense, state: Covariance) -> Covariance:
    weight, bias = layer.weight_std**2, layer.bias_std**2
    nngp = weight * state.nngp + bias
    return Covariance(
        nngp, weight * state.ntk + nngp, weight * state.rows + bias, weight * state.columns + bias
    )


@propagate_variance.register
def _(layer: Relu, state: Variance) -> Variance:
    return state


@propagate.register
def _(layer: Relu, state: Covariance) -> Covariance:
    norms = jnp.sqrt(state.rows)[:, None] * jnp.sqrt(state.columns)[None, :]
    positive = norms > 0
    cosine = jnp.where(positive, state.nngp / jnp.where(positive, norms, 1), 0)
    kappa1, kappa0 = relu_dual(cosine)
    return Covariance(norms * kappa1, state.ntk * kappa0, state.rows, state.columns)
