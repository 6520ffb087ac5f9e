"""Exact kernels as functions of the standard deviations of the layers, with derivatives."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Dense, Residual, Serial, serial
from ntksketch.data.blocks import require_memory, tile_side
from ntksketch.kernels.gram import (
    check_expansions,
    check_kind,
    check_rows,
    precision,
    sparse_inner_products,
    squared_norms,
)
from ntksketch.kernels.gram import fill as fill_tiles
from ntksketch.kernels.propagate import (
    Covariance,
    Variance,
    dense_covariance,
    dense_variance,
    propagate,
    propagate_variance,
    through,
)

_TEMPORARIES = 8  # arrays of a tile's shape kept at a time, for the kernel and each derivative


def kernel_of_deviations(
    architecture: Architecture,
    kind: str,
    deviations: dict[str, float],
    X: Any,
    Y: Any = None,
    *,
    gradient: tuple[str, ...] = (),
) -> NDArray[np.float64]:
    r"""Return the exact kernel at given deviations of all Dense layers, and its derivatives.

    The deviations are arguments of the compiled code, so that another value compiles nothing.

    Parameters
    ----------
    architecture : Architecture
        The network.
    kind : {"ntk", "nngp"}
        Which kernel.
    deviations : dict
        "weight_std" and "bias_std" of every Dense layer; a missing one is the layer's own.
    X, Y : ndarray or CSR of shape (n, d) and (p, d)
        Rows; Y = None means X.
    gradient : tuple of str
        Names of the deviations :math:`\sigma` for which to return
        :math:`\partial K/\partial \log \sigma`.

    Returns
    -------
    ndarray of shape (1 + len(gradient), n, p), float64
        The kernel, then the derivatives, each with an exact diagonal for Y = None.
    """
    check_kind(kind, architecture)
    X = check_rows(X).astype(np.float64, copy=False)
    symmetric = Y is None
    Y = X if symmetric else check_rows(Y, "Y").astype(np.float64, copy=False)
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X and Y must have the same number of columns, got {X.shape[1]} and {Y.shape[1]}"
        )
    parts = 1 + len(gradient)
    shape = (parts, X.shape[0], Y.shape[0])
    require_memory(
        float(np.prod(shape, dtype=float)) * 8,
        f"the exact kernel of {shape[1]:,} x {shape[2]:,} entries with {parts - 1} derivatives",
        "give fewer rows",
    )
    rows = squared_norms(X)
    columns = rows if symmetric else squared_norms(Y)
    network = _replaced(architecture, deviations)
    check_expansions(network, rows if symmetric else np.concatenate([rows, columns]))
    K = np.empty(shape)
    with precision(np.float64):
        block = functools.partial(_block, architecture, kind, gradient, deviations)
        tile = tile_side(_TEMPORARIES * parts * K.itemsize, None)
        fill_tiles(K, block, X, Y, rows, columns, tile, symmetric)
        if symmetric:
            index = np.arange(len(rows))
            K[:, index, index] = _diagonal(architecture, kind, gradient, deviations, rows)
    if not np.isfinite(K).all():
        raise ValueError(
            f"the kernel of {network} overflows; scale the rows or the standard deviations down"
        )
    return K


def diagonal_of_deviations(
    architecture: Architecture, kind: str, deviations: dict[str, float], X: Any
) -> NDArray[np.float64]:
    """Return the diagonal of the kernel at given deviations of all Dense layers, shape (n,)."""
    check_kind(kind, architecture)
    rows = squared_norms(check_rows(X), np.float64)
    with precision(np.float64):
        return np.array(_diagonal(architecture, kind, (), deviations, rows)[0])


def _block(
    architecture: Architecture,
    kind: str,
    gradient: tuple[str, ...],
    deviations: dict[str, float],
    X: Any,
    Y: Any,
    rows: NDArray,
    columns: NDArray,
) -> Any:
    inner = sparse_inner_products(X, Y)
    inner = X @ Y.T if inner is None else inner
    return _pairs(architecture, kind, gradient, deviations, inner, rows, columns)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _pairs(architecture, kind, gradient, deviations, inner, rows, columns):
    def value(deviations):
        state = Covariance(inner, jnp.zeros_like(inner), rows, columns)
        rule = functools.partial(_rule, dense_covariance, propagate, deviations)
        return getattr(through(rule, architecture, state), kind)

    return _with_derivatives(value, deviations, gradient)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _diagonal(architecture, kind, gradient, deviations, rows):
    def value(deviations):
        state = Variance(rows, jnp.zeros_like(rows))
        rule = functools.partial(_rule, dense_variance, propagate_variance, deviations)
        return getattr(through(rule, architecture, state), kind)

    return _with_derivatives(value, deviations, gradient)


def _rule(dense: Any, others: Any, deviations: dict[str, Any], layer: Any, state: Any) -> Any:
    """Return the state behind a layer, which has the given deviations if it is Dense."""
    if not isinstance(layer, Dense):
        return others(layer, state)
    own = {"weight_std": layer.weight_std, "bias_std": layer.bias_std}
    return dense(**(own | deviations), state=state)


def _replaced(layer: Architecture, deviations: dict[str, float]) -> Architecture:
    """Return a network whose Dense layers have the given deviations."""
    if isinstance(layer, Dense):
        return replace(layer, **deviations)
    if isinstance(layer, Serial):
        return serial(*(_replaced(inner, deviations) for inner in layer.layers))
    if isinstance(layer, Residual):
        shortcut = None if layer.shortcut is None else _replaced(layer.shortcut, deviations)
        return Residual(
            cast(Serial, _replaced(layer.branch, deviations)), cast(Serial | None, shortcut)
        )
    return layer


def _with_derivatives(value: Any, deviations: dict[str, Any], gradient: tuple[str, ...]) -> Any:
    """Stack a value and its derivatives with respect to the logarithms of some deviations."""
    if not gradient:
        return value(deviations)[None]

    def along(weights: Any) -> Any:
        changes = {name: jnp.zeros_like(std) for name, std in deviations.items()}
        changes |= {name: weights[i] * deviations[name] for i, name in enumerate(gradient)}
        return jax.jvp(value, (deviations,), (changes,))

    directions = jnp.eye(len(gradient))
    K, changes = jax.vmap(along, out_axes=(None, 0))(directions)
    return jnp.concatenate([K[None], changes])
