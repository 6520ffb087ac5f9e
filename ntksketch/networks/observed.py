"""Weights whose gradients are taken up row by row while a network is differentiated.

The derivative by the weights of a layer is, for each row, a sum over pixels or steps of tensor
products of what the layer takes and the derivative by what it gives. An observer turns these two
into columns, so that the derivative itself, as large as the weights, is never needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax


class Observer(Protocol):
    """What is linear in the derivative by weights; a pytree of arrays."""

    def observe(self, taken: Any, derivative: jax.Array) -> jax.Array:
        """Return columns.

        Parameters
        ----------
        taken : array of shape (n, p, a) or None
            What the layer takes at p pixels or steps; None for a bias.
        derivative : array of shape (n, p, b)
            Derivative by what it gives.

        Returns
        -------
        array of shape (n, m)
        """
        ...


class Observed(NamedTuple):
    """Weights in their true size, and what is to become of their gradient.

    Attributes
    ----------
    value : array
        The weights.
    observer : Observer
        Turns the gradient of each row into columns.
    probe : array of shape (n, m)
        Any numbers: the gradient by them is the columns.
    """

    value: jax.Array
    observer: Any
    probe: jax.Array

    def given(self, taken: Any, outputs: jax.Array) -> jax.Array:
        """Return outputs, whose derivative is observed: (n, *S, b) from (n, *S, a)."""
        if taken is not None:
            taken = jax.lax.stop_gradient(_in_rows(taken))
        return _observe(outputs, taken, self.probe, self.observer)


def value_of(weights: Any) -> jax.Array:
    """Return weights, whether they are observed or not."""
    return weights.value if isinstance(weights, Observed) else weights


def given(weights: Any, taken: Any, outputs: jax.Array) -> jax.Array:
    """Return what weights make of what they take; the derivative by it goes to an observer."""
    return weights.given(taken, outputs) if isinstance(weights, Observed) else outputs


def _in_rows(units: jax.Array) -> jax.Array:
    return units.reshape(len(units), -1, units.shape[-1])


@jax.custom_vjp
def _observe(outputs: jax.Array, taken: Any, probe: jax.Array, observer: Any) -> jax.Array:
    return outputs


def _forward(outputs: jax.Array, taken: Any, probe: jax.Array, observer: Any) -> Any:
    return outputs, (taken, observer)


def _backward(kept: Any, derivative: jax.Array) -> Any:
    taken, observer = kept
    return derivative, None, observer.observe(taken, _in_rows(derivative)), None


_observe.defvjp(_forward, _backward)
