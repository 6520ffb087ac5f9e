"""The explicit view: a pair of feature blocks carried through the layers.

Linear layers act on features as on activations and are the same for every method; only a
nonlinearity needs approximating, and that rule belongs to the method.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from ntksketch.architectures import Architecture, Dense


class Explicit(NamedTuple):
    """Features of rows.

    Attributes
    ----------
    phi : array of shape (n, ..., a)
        Features of the NNGP kernel: inner products approximate it.
    psi : array of shape (n, ..., b) or None
        Features of the NTK; None before the first trainable layer, where the NTK is zero.
    """

    phi: Any
    psi: Any


class Widths(NamedTuple):
    """Numbers of columns of an :class:`Explicit` state; psi is 0 where the NTK is zero."""

    phi: int
    psi: int


@functools.singledispatch
def linear(layer: Architecture, state: Explicit) -> Explicit:
    """Return the state after a linear layer."""
    raise NotImplementedError(f"the explicit view has no linear rule for {type(layer).__name__}")


@functools.singledispatch
def linear_widths(layer: Architecture, widths: Widths, shape: tuple[int, ...] = ()) -> Widths:
    """Return the widths after a linear layer, of an input with these spatial axes."""
    raise NotImplementedError(f"the explicit view has no linear rule for {type(layer).__name__}")


@linear.register
def _(layer: Dense, state: Explicit) -> Explicit:
    phi = _scale(state.phi, layer.weight_std)
    if layer.bias_std:
        phi = _append_constant(phi, layer.bias_std)
    if state.psi is None:
        return Explicit(phi, phi)
    return Explicit(phi, jnp.concatenate([phi, _scale(state.psi, layer.weight_std)], axis=-1))


@linear_widths.register
def _(layer: Dense, widths: Widths, shape: tuple[int, ...] = ()) -> Widths:
    phi = widths.phi + bool(layer.bias_std)
    return Widths(phi, phi + widths.psi)


def _scale(features: Any, factor: float) -> Any:
    return features if factor == 1 else features * np.asarray(factor, features.dtype)


def _append_constant(features: Any, value: float) -> Any:
    if sp.issparse(features):
        column = sp.csr_array(np.full((features.shape[0], 1), value, features.dtype))
        return sp.hstack([features, column], format="csr", dtype=features.dtype)
    column = jnp.full((*features.shape[:-1], 1), value, features.dtype)
    return jnp.concatenate([features, column], axis=-1)
