"""The exact view of recurrent layers: recursions along the diagonals of pairs of steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntksketch.architectures.recurrent import LastStep, Recurrent, Reverse
from ntksketch.kernels.activations import dual, dual_diagonal
from ntksketch.kernels.pixels import AllPairs, Pixels, SamePixels, step
from ntksketch.kernels.propagate import Covariance, Variance, propagate_variance


@step.register
def _(layer: LastStep, state: SamePixels, mixed_later: bool) -> Covariance:
    return Covariance(*(a[-1] for a in state[:4]))


@propagate_variance.register
def _(layer: LastStep, state: Variance) -> Variance:
    return Variance(*(a[:, -1] for a in state))


@propagate_variance.register
def _(layer: Reverse, state: Variance) -> Variance:
    return Variance(*(a[:, ::-1] for a in state))


@step.register
def _(layer: Reverse, state: Any, mixed_later: bool) -> Any:
    if isinstance(state, Pixels):
        masks = (None, None) if state.begun is None else state.begun
        images = zip(state[:2], masks, strict=True)
        return Pixels(*(_reversed(a, mask, 1) for a, mask in images), begun=state.begun)
    if isinstance(state, SamePixels):  # of one length: else all pairs are needed
        return state.map(lambda a: a[::-1])
    if state.begun is None:
        return state.map(lambda a: a[:, ::-1, :, ::-1], lambda a: a[:, ::-1, ::-1])
    left, right = state.begun
    return AllPairs(
        *(_reversed(_reversed(a, left, 1), right, 3, along=2) for a in (state.nngp, state.ntk)),
        *(
            _reversed(_reversed(a, mask, 1), mask, 2)
            for a, mask in zip((state.rows, state.columns), state.begun, strict=True)
        ),
        begun=state.begun,
    )


def _reversed(array: jax.Array, begun: jax.Array | None, axis: int, along: int = 0) -> jax.Array:
    """Turn an axis of steps around, within the length of each sequence if these differ.

    Parameters
    ----------
    array : array
        With an axis of n sequences and one of their steps.
    begun : bool array of shape (n, length) or None
        Which steps have begun.
    axis, along : int
        The axes of steps and of sequences.
    """
    if begun is None:
        return jnp.flip(array, axis)
    length = begun.shape[1]
    steps = jnp.arange(length)
    source = jnp.where(begun, 2 * length - 1 - begun.sum(1, keepdims=True) - steps, steps)
    shape = [1] * array.ndim
    shape[along], shape[axis] = begun.shape
    return jnp.take_along_axis(array, source.reshape(shape), axis)


@step.register
def _(layer: Recurrent, state: Any, mixed_later: bool) -> Any:
    if isinstance(state, SamePixels):
        return _same_steps(layer, state)
    masks = (None, None) if state.begun is None else state.begun
    within, variances = [], []
    for covariance, mask in zip((state.rows, state.columns), masks, strict=True):
        inputs = jnp.diagonal(covariance, axis1=1, axis2=2)
        before, after = _variances(layer, inputs.T, None if mask is None else mask.T)
        variances.append(before.T)
        within.append(_within(layer, covariance, before.T, after.T, mask))
    between = _all_steps(layer, state.nngp, state.ntk, *variances, begun=state.begun)
    return AllPairs(*between, *within, begun=state.begun)


def _variances(
    layer: Recurrent, inputs: jax.Array, begun: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Return the variances of pre-activations and states from those of inputs, all (length, n)."""
    weight, inner, bias = _squares(layer)
    start = layer.state_std**2

    def advance(before: jax.Array, x: Any) -> Any:
        variance = weight * before + inner * x[0] + bias
        after = dual_diagonal(layer.activation, variance)[0]
        if begun is not None:
            after = jnp.where(x[1], after, start)
        return after, (variance, after)

    first = jnp.full_like(inputs[0], start)
    return lax.scan(advance, first, (inputs, begun))[1]


def _known(
    layer: Recurrent, after: tuple[jax.Array, jax.Array], left: jax.Array, right: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Put the state before the first step where sequences have not begun: of one, or of both."""
    value, tangent = after
    both, neither = left & right, ~(left | right)
    value = jnp.where(both, value, jnp.where(neither, layer.state_std**2, 0))
    return value, jnp.where(both, tangent, 0)


def _same_steps(layer: Recurrent, state: SamePixels) -> SamePixels:
    """Return the covariances of states at the same steps, which need no others."""
    weight, inner, bias = _squares(layer)
    masks = (None, None) if state.begun is None else [mask.T for mask in state.begun]
    left, rows = _variances(layer, state.rows, masks[0])
    right, columns = _variances(layer, state.columns, masks[1])

    def advance(before: Any, x: Any) -> Any:
        value, tangent = before
        inputs, theta, *variances, began, begins = x
        nngp = weight * value + inner * inputs + bias
        ntk = nngp + weight * tangent + inner * theta
        value, slope = dual(layer.activation, nngp, *variances)
        after = value, ntk * slope
        if began is not None:
            after = _known(layer, after, began[:, None], begins[None])
        return after, after

    first = jnp.full_like(state.nngp[0], layer.state_std**2), jnp.zeros_like(state.ntk[0])
    nngp, ntk = lax.scan(advance, first, (state.nngp, state.ntk, left, right, *masks))[1]
    return SamePixels(nngp, ntk, rows, columns, state.begun)


def _all_steps(
    layer: Recurrent,
    nngp: jax.Array,
    ntk: jax.Array,
    left: jax.Array,
    right: jax.Array,
    begun: Any,
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
    begun : pair of bool arrays of shape (n, length) and (p, length), or None
        Which steps have begun.
    """
    weight, inner, bias = _squares(layer)
    n, _, p, length = nngp.shape
    rows, columns = (None, None) if begun is None else begun

    def advance(before: Any, x: Any) -> Any:
        value, tangent = before
        inputs, theta, variances, began = x
        covariance = weight * value + inner * inputs + bias
        theta = covariance + weight * tangent + inner * theta
        value, slope = dual(layer.activation, covariance.reshape(n, -1), variances, right.ravel())
        value, slope = (
            jnp.broadcast_to(a, (n, p * length)).reshape(covariance.shape) for a in (value, slope)
        )
        after = value, theta * slope
        if began is not None and columns is not None:
            after = _known(layer, after, began[:, None, None], columns[None])
        # step t' of the other signal meets step t' - 1 next time, and before its first, zero
        shifted = [jnp.pad(a[..., :-1], ((0, 0), (0, 0), (1, 0))) for a in after]
        if began is not None:  # or the initial state, unless this one has begun
            edge = jnp.where(began, 0, layer.state_std**2)[:, None]
            shifted[0] = shifted[0].at[..., 0].set(edge)
        return tuple(shifted), after

    start = jnp.zeros((n, p, length), nngp.dtype).at[..., 0].set(layer.state_std**2)
    if columns is not None:
        start = start.at[..., 1:].set(jnp.where(columns[:, :-1], 0, layer.state_std**2))
    masks = None if rows is None else rows.T
    along = jnp.moveaxis(nngp, 1, 0), jnp.moveaxis(ntk, 1, 0), left.T, masks
    _, (nngp, ntk) = lax.scan(advance, (start, jnp.zeros_like(start)), along)
    return jnp.moveaxis(nngp, 0, 1), jnp.moveaxis(ntk, 0, 1)


def _within(
    layer: Recurrent,
    covariance: jax.Array,
    before: jax.Array,
    after: jax.Array,
    begun: jax.Array | None,
) -> jax.Array:
    """Return the NNGP of the states of each signal at all pairs of steps, (n, length, length)."""

    def one(inner: jax.Array, variance: jax.Array, mask: jax.Array | None) -> jax.Array:
        pairs = inner[None, :, None, :]
        masks = None if mask is None else (mask[None], mask[None])
        variances = variance[None], variance[None]
        nngp, _ = _all_steps(layer, pairs, jnp.zeros_like(pairs), *variances, masks)
        return nngp[0, :, 0, :]

    found = jax.vmap(one)(covariance, before, begun)
    diagonal = jnp.eye(covariance.shape[1], dtype=bool)
    return jnp.where(diagonal, after[:, :, None], found)


def _squares(layer: Recurrent) -> tuple[float, float, float]:
    return layer.weight_std**2, layer.input_std**2, layer.bias_std**2
