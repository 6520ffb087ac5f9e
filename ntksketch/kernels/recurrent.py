"""The exact view of recurrent layers: recursions along the diagonals of pairs of steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntksketch.architectures.recurrent import LastStep, Recurrent, Reverse
from ntksketch.kernels.activations import dual, dual_diagonal
from ntksketch.kernels.pixels import AllPairs, SamePixels, step
from ntksketch.kernels.propagate import Covariance


@step.register
def _(layer: LastStep, state: SamePixels, mixed_later: bool) -> Covariance:
    return Covariance(*(a[-1] for a in state))


@step.register
def _(layer: Reverse, state: Any, mixed_later: bool) -> Any:
    if isinstance(state, SamePixels):
        return SamePixels(*(a[::-1] for a in state))
    return state.map(lambda a: a[:, ::-1, :, ::-1], lambda a: a[:, ::-1, ::-1])


@step.register
def _(layer: Recurrent, state: Any, mixed_later: bool) -> Any:
    if isinstance(state, SamePixels):
        return _same_steps(layer, state)
    within, variances = [], []
    for covariance in (state.rows, state.columns):
        inputs = jnp.diagonal(covariance, axis1=1, axis2=2)
        before, after = _variances(layer, inputs.T)
        variances.append(before.T)
        within.append(_within(layer, covariance, before.T, after.T))
    return AllPairs(*_all_steps(layer, state.nngp, state.ntk, *variances), *within)


def _variances(layer: Recurrent, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the variances of pre-activations and states from those of inputs, all (length, n)."""
    weight, inner, bias = _squares(layer)

    def advance(before: jax.Array, x: jax.Array) -> Any:
        variance = weight * before + inner * x + bias
        after = dual_diagonal(layer.activation, variance)[0]
        return after, (variance, after)

    first = jnp.full_like(inputs[0], layer.state_std**2)
    return lax.scan(advance, first, inputs)[1]


def _same_steps(layer: Recurrent, state: SamePixels) -> SamePixels:
    """Return the covariances of states at the same steps, which need no others."""
    weight, inner, bias = _squares(layer)
    left, rows = _variances(layer, state.rows)
    right, columns = _variances(layer, state.columns)

    def advance(before: Any, x: Any) -> Any:
        value, tangent = before
        nngp = weight * value + inner * x[0] + bias
        ntk = nngp + weight * tangent + inner * x[1]
        value, slope = dual(layer.activation, nngp, *x[2:])
        after = value, ntk * slope
        return after, after

    first = jnp.full_like(state.nngp[0], layer.state_std**2), jnp.zeros_like(state.ntk[0])
    nngp, ntk = lax.scan(advance, first, (state.nngp, state.ntk, left, right))[1]
    return SamePixels(nngp, ntk, rows, columns)


def _all_steps(
    layer: Recurrent, nngp: jax.Array, ntk: jax.Array, left: jax.Array, right: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the covariances of states at all pairs of steps.

    Parameters
    ----------
    layer : Recurrent
        The layer.
    nngp, ntk : array of shape (n, length, p, length)
        Of the inputs.
    left, right : array of shape (n, length) and (p, length)
        Variances of pre-activations.
    """
    weight, inner, bias = _squares(layer)
    n, _, p, length = nngp.shape

    def advance(before: Any, x: Any) -> Any:
        value, tangent = before
        covariance = weight * value + inner * x[0] + bias
        theta = covariance + weight * tangent + inner * x[1]
        value, slope = dual(layer.activation, covariance.reshape(n, -1), x[2], right.ravel())
        value, slope = (
            jnp.broadcast_to(a, (n, p * length)).reshape(covariance.shape) for a in (value, slope)
        )
        after = value, theta * slope
        # step t' of the other signal meets step t' - 1 next time, and before its first, zero
        shifted = tuple(jnp.pad(a[..., :-1], ((0, 0), (0, 0), (1, 0))) for a in after)
        return shifted, after

    start = jnp.zeros((n, p, length), nngp.dtype).at[..., 0].set(layer.state_std**2)
    along = jnp.moveaxis(nngp, 1, 0), jnp.moveaxis(ntk, 1, 0), left.T
    _, (nngp, ntk) = lax.scan(advance, (start, jnp.zeros_like(start)), along)
    return jnp.moveaxis(nngp, 0, 1), jnp.moveaxis(ntk, 0, 1)


def _within(
    layer: Recurrent, covariance: jax.Array, before: jax.Array, after: jax.Array
) -> jax.Array:
    """Return the NNGP of the states of each signal at all pairs of steps, (n, length, length)."""

    def one(inner: jax.Array, variance: jax.Array) -> jax.Array:
        pairs = inner[None, :, None, :]
        nngp, _ = _all_steps(layer, pairs, jnp.zeros_like(pairs), variance[None], variance[None])
        return nngp[0, :, 0, :]

    found = jax.vmap(one)(covariance, before)
    diagonal = jnp.eye(covariance.shape[1], dtype=bool)
    return jnp.where(diagonal, after[:, :, None], found)


def _squares(layer: Recurrent) -> tuple[float, float, float]:
    return layer.weight_std**2, layer.input_std**2, layer.bias_std**2
