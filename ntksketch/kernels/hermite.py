r"""Dual functions of any activation by Hermite expansion (Han et al. 2022, arXiv:2209.04121).

With :math:`f(\sigma z) = \sum_k a_k(\sigma) h_k(z)` in the normalised Hermite polynomials,
:math:`E f(u) f(v) = \sum_k a_k(\sigma_u) a_k(\sigma_v) t^k` at the correlation t.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Elementwise
from ntksketch.architectures.activations import check_shape_kept
from ntksketch.data.blocks import block_slices, pad_rows, padded_rows
from ntksketch.kernels.cosines import root

_REACH = 12.0  # standard deviations
_NODES = 200  # on each side of zero
_BLOCK = 4096  # rows at a time
_NOTICEABLE = 0.01  # share of a mean square beyond the degree that is worth a warning


@functools.cache
def quadrature(degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes, symmetric about zero, and the Hermite polynomials there times the weights.

    Parameters
    ----------
    degree : int
        Largest degree q.

    Returns
    -------
    tuple of ndarray, of shape (N,) and (N, q + 1)
        ``values @ table`` are the expansion's coefficients; column 0 takes the mean.
    """
    half, weights = np.polynomial.legendre.leggauss(_NODES)
    half, weights = _REACH * (1 + half) / 2, _REACH * weights / 2
    nodes, weights = np.r_[-half[::-1], half], np.r_[weights[::-1], weights]
    table = np.empty((len(nodes), degree + 1))
    table[:, 0], table[:, 1] = 1, nodes
    for k in range(1, degree):
        last, before = table[:, k], table[:, k - 1]
        table[:, k + 1] = (nodes * last - np.sqrt(k) * before) / np.sqrt(k + 1)
    density = weights * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)
    return nodes, density[:, None] * table


def apply(layer: Elementwise, z: jax.Array) -> jax.Array:
    """Return the function at z."""
    return _checked(layer.function(z), z, "function")


def differentiate(layer: Elementwise, z: jax.Array) -> jax.Array:
    """Return the derivative at z."""
    if layer.derivative is not None:
        return _checked(layer.derivative(z), z, "derivative")
    return jax.jvp(lambda x: apply(layer, x), (z,), (jnp.ones_like(z),))[1]


def _checked(values: Any, z: jax.Array, name: str) -> jax.Array:
    values = jnp.asarray(values, z.dtype)
    check_shape_kept(z.shape, values.shape, name)
    return values


def _at_nodes(layer: Elementwise, variance: Any) -> tuple[jax.Array, jax.Array, NDArray]:
    nodes, table = quadrature(layer.degree)
    std = root(jnp.asarray(variance))
    z = std[:, None] * nodes.astype(std.dtype)
    return apply(layer, z), differentiate(layer, z), table.astype(std.dtype)


def _matmul(values: jax.Array, table: NDArray) -> jax.Array:
    return jnp.matmul(values, table, precision=jax.lax.Precision.HIGHEST)


def mean_squares(layer: Elementwise, variance: Any) -> tuple[Any, Any]:
    """Return E f(u)^2 and E f'(u)^2 for variances of shape (n,), by quadrature.

    NumPy in, NumPy out.
    """
    if isinstance(variance, jax.Array):
        value, slope = _mean_squares(layer, variance)
    else:
        value, slope = _in_blocks(_mean_squares, layer, variance)
    return value, slope


@functools.partial(jax.jit, static_argnums=0)
def _mean_squares(layer: Elementwise, variance: jax.Array) -> jax.Array:
    *functions, table = _at_nodes(layer, variance)
    return jnp.stack([_matmul(values**2, table[:, 0]) for values in functions])


def _in_blocks(function: Any, layer: Elementwise, variance: NDArray) -> NDArray:
    """Evaluate a function of variances with two results, for any number of rows."""
    height = padded_rows(len(variance), _BLOCK)
    parts = [
        np.asarray(function(layer, pad_rows(variance[part], height)))[:, : part.stop - part.start]
        for part in block_slices(len(variance), height)
    ]
    return np.concatenate(parts, axis=1)


def _coefficients(values: jax.Array, table: NDArray) -> jax.Array:
    """Return the coefficients to degree q, then the roots of what is left to q + 1 and q + 2.

    What is left of even and odd degrees takes the next power of its parity, which makes the series
    exact at t = 1 and t = -1.
    """
    coefficients = _matmul(values, table)
    square = _matmul(values**2, table[:, 0])
    mirrored = _matmul(values * values[:, ::-1], table[:, 0])
    q = table.shape[1] - 1
    left = []
    for parity, total in ((0, (square + mirrored) / 2), (1, (square - mirrored) / 2)):
        kept = (coefficients[:, parity::2] ** 2).sum(axis=1)
        left.append(root(jnp.maximum(total - kept, 0)))
    pair = left if q % 2 else left[::-1]
    return jnp.concatenate([coefficients, jnp.stack(pair, axis=1)], axis=1)


def dual(
    layer: Elementwise, cosine: jax.Array, rows: jax.Array, columns: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return E f(u) f(v) and E f'(u) f'(v) at the correlations of pairs with these variances."""
    *left, table = _at_nodes(layer, rows)
    *right, _ = _at_nodes(layer, columns)
    value, slope = (
        _series(_coefficients(a, table), _coefficients(b, table), cosine)
        for a, b in zip(left, right, strict=True)
    )
    return value, slope


def _series(left: jax.Array, right: jax.Array, t: jax.Array) -> jax.Array:
    """Return the sum over k of left[:, k] right[:, k] t^k, by Horner's rule."""
    last = left.shape[1] - 1

    def step(i: Any, total: jax.Array) -> jax.Array:
        return total * t + left[:, last - i, None] * right[None, :, last - i]

    return jax.lax.fori_loop(0, last + 1, step, jnp.zeros_like(t))


def warn_of_truncation(layer: Elementwise, variance: NDArray) -> None:
    """Warn if a noticeable part of the function or its derivative is beyond the degree.

    Parameters
    ----------
    layer : Elementwise
        The activation.
    variance : ndarray of shape (n,)
        Variances of the pre-activations.
    """
    value, slope = _in_blocks(_shares_beyond, layer, variance).max(axis=1)
    if max(value, slope) > _NOTICEABLE:
        warnings.warn(
            f"the Hermite expansion of {layer} to degree {layer.degree} leaves out {value:.1%} of "
            f"the mean square of the function and {slope:.1%} of the derivative's, and the kernel "
            "of nearly parallel rows errs by up to as much; raise the degree or scale the rows "
            "down",
            UserWarning,
            stacklevel=4,
        )


@functools.partial(jax.jit, static_argnums=0)
def _shares_beyond(layer: Elementwise, variance: jax.Array) -> jax.Array:
    *functions, table = _at_nodes(layer, variance)
    shares = []
    for values in functions:
        square = _matmul(values**2, table[:, 0])
        beyond = (_coefficients(values, table)[:, -2:] ** 2).sum(axis=1)
        shares.append(beyond / jnp.where(square > 0, square, 1))
    return jnp.stack(shares)
