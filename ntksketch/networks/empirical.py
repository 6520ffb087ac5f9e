"""Empirical NTK: inner products of the gradients of any function of parameters and rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ntksketch.data.blocks import (
    block_slices,
    pad_rows,
    require_memory,
    tile_slices,
)
from ntksketch.data.precision import precision
from ntksketch.networks.cost import JACOBIAN, PRODUCTS, Blocks, cost_of, plan_blocks
from ntksketch.networks.network import as_rows

STRATEGIES = ("auto", JACOBIAN, PRODUCTS)
_CHUNK = 8192  # columns of a Jacobian


def empirical_ntk(
    f: Callable[[Any, Any], Any],
    params: Any,
    X: Any,
    Y: Any = None,
    *,
    strategy: str = "auto",
    trace: bool = True,
    working_memory: float | None = None,
) -> np.ndarray:
    r"""Empirical NTK of a function at its parameters.

    .. math:: \Theta_{kl}(x, y) = \sum_a
        \frac{\partial f_k(x)}{\partial \theta_a} \frac{\partial f_l(y)}{\partial \theta_a}

    Parameters
    ----------
    f : callable
        ``f(params, rows)`` returns an array of shape (n, k) for n rows, each row's outputs without
        regard to the others. It is written in JAX, and compiled anew for each new object.
    params : pytree of array
        Parameters, in float32 or float64. float64 is computed in float64, whatever JAX's flag.
    X : array-like of shape (n, ...)
        Rows.
    Y : array-like of shape (p, ...), default=None
        Other rows; None means X, of which only one triangle is then computed.
    strategy : {"auto", "jacobian", "ntk-vector"}, default="auto"
        "jacobian" contracts the Jacobians of blocks of rows. "ntk-vector" takes the derivative of
        all outputs of Y along the gradient of one output of X, and never has a Jacobian: it is
        cheaper for all pairs of many outputs, and takes less memory. "auto" estimates the
        operations of both and takes the cheaper one that fits.
    trace : bool, default=True
        Average over outputs: :math:`\frac1k \sum_k \Theta_{kk}`. False returns all pairs.
    working_memory : float, default=None
        Budget in MiB for temporaries beside the result; None reads scikit-learn's setting of the
        same name. It decides how many rows are taken together.

    Returns
    -------
    ndarray of shape (n, p) or (n, p, k, k)
        The kernel, in the dtype of the parameters.

    Raises
    ------
    MemoryError
        Before the start, if the result cannot fit, or not even one row fits the budget.
    TypeError, ValueError
        If an argument is not as described, if a row's outputs change with another row, as those of
        a batch normalisation do, or if the kernel is not finite.

    Notes
    -----
    With P parameters and a function of F operations for each row, the contraction of Jacobians
    takes :math:`O(n p k P)` operations, :math:`O(n p k^2 P)` for all pairs of outputs, and vector
    products take :math:`O(n p k F)`. F is about 2P for dense layers, and more where weights are
    shared between pixels or steps.

    References
    ----------
    Novak, Sohl-Dickstein, Schoenholz (2022), "Fast finite width neural tangent kernel",
    arXiv:2206.08720.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np
    >>> import ntksketch as ntk
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> ntk.empirical_ntk(lambda w, rows: rows @ w, jnp.zeros((2, 1)), X)
    array([[ 5., 11.],
           [11., 25.]], dtype=float32)
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}")
    dtype = _dtype_of(params)
    X = as_rows(X)
    symmetric = Y is None
    Y = X if symmetric else as_rows(Y, "Y")
    if X.shape[1:] != Y.shape[1:]:
        raise ValueError(
            f"X and Y must have rows of the same shape, got {X.shape[1:]} and {Y.shape[1:]}"
        )
    f = _hashable(f)
    with precision(dtype):
        params = jax.tree.map(jnp.asarray, params)
        X, Y = _canonical(X), None if symmetric else _canonical(Y)
        columns = X if Y is None else Y
        n, p = len(X), len(columns)
        if not (n and p):
            raise ValueError(f"there must be rows, got {n} in X and {p} in Y")
        cost = cost_of(f, params, jax.ShapeDtypeStruct((1, *X.shape[1:]), X.dtype))
        shape = (n, p) if trace else (n, p, cost.n_outputs, cost.n_outputs)
        require_memory(
            float(np.prod(shape, dtype=float)) * dtype.itemsize,
            f"the empirical NTK of shape {shape}",
            "give fewer rows, or ask for blocks of rows (Y=...)" + ("" if trace else ", or trace"),
        )
        blocks = plan_blocks(cost, n, None if symmetric else p, strategy, trace, working_memory)
        _require_rows_apart(f, params, X[0], columns[-1], float(np.finfo(dtype).eps))
        K = np.empty(shape, dtype)
        tile = _jacobian_tiles if blocks.strategy == JACOBIAN else _product_tiles
        tile(K, f, params, X, Y, blocks)
    check_finite(K, "the empirical NTK")
    return K


def check_finite(K: np.ndarray, what: str) -> None:
    """Raise ValueError if a kernel has entries that are not finite."""
    if not np.isfinite(K).all():
        raise ValueError(
            f"{what} is not finite: look for NaN or infinity in the rows and parameters, and for "
            "numbers that overflow"
        )


def _dtype_of(params: Any) -> np.dtype:
    """Return the dtype of parameters, which must be real."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("params hold no arrays")
    for path, leaf in leaves:
        dtype = getattr(leaf, "dtype", type(leaf).__name__)
        if isinstance(dtype, str) or dtype not in (np.float32, np.float64):
            raise TypeError(
                f"params must be arrays of float32 or float64, got {dtype} at "
                f"{jax.tree_util.keystr(path) or 'the top'}"
            )
    return np.result_type(*(leaf.dtype for _, leaf in leaves))


def _require_rows_apart(
    f: Callable[..., Any], params: Any, row: np.ndarray, other: np.ndarray, epsilon: float
) -> None:
    """Raise ValueError if the outputs of a row are others when another row is beside it."""
    with_other, with_itself = (
        np.asarray(_first_outputs(f, params, np.stack([row, beside])), np.float64)
        for beside in (other, row)  # one program for both, so that rounding is the same
    )
    change = np.abs(with_other - with_itself).max()
    lost = np.isfinite(with_other).all() and not np.isfinite(change)  # no variance, divided by
    if lost or change > epsilon**0.5 * np.abs(with_itself).max():
        raise ValueError(
            "f must give each row's outputs without regard to the other rows, and those of the "
            f"first row change by {change:.3g} with the row beside it: a batch normalisation, say, "
            "must use fixed means and variances"
        )


@functools.partial(jax.jit, static_argnums=0)
def _first_outputs(f: Callable[..., Any], params: Any, X: jax.Array) -> jax.Array:
    return f(params, X)[0]


def _canonical(X: Any) -> np.ndarray:
    """Return rows on the host, in the dtype that JAX would give them."""
    return np.asarray(X, jax.dtypes.canonicalize_dtype(X.dtype))


def _hashable(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callable that can be the key of a compiled program."""
    try:
        hash(f)
    except TypeError:
        return functools.partial(f)
    return f


# ---------------------------------------------------------------------------------------------
# Jacobians
# ---------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def jacobian_block(f: Callable[..., Any], params: Any, X: jax.Array) -> list[jax.Array]:
    """Return the Jacobian of rows, for each array of parameters one of shape (n, k, size)."""

    def one(row: jax.Array) -> Any:
        outputs, pull_back = jax.vjp(lambda p: f(p, row[None])[0], params)
        return jax.vmap(pull_back)(jnp.eye(len(outputs), dtype=outputs.dtype))[0]

    leaves = jax.tree.leaves(jax.vmap(one)(X))
    return [leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves]


@functools.partial(jax.jit, static_argnums=2)
def contract(left: list[jax.Array], right: list[jax.Array], trace: bool) -> jax.Array:
    """Return the inner products of Jacobians of rows: (n, p), or (n, p, k, k)."""
    n, k, _ = left[0].shape
    rows = [n, len(right[0])] if trace else [n * k, len(right[0]) * k]
    parts = [
        _inner_products(*(a.reshape(size, -1) for a, size in zip(pair, rows, strict=True)))
        for pair in zip(left, right, strict=True)
    ]
    total = sum(parts[1:], parts[0])
    return total / k if trace else total.reshape(n, k, -1, k).transpose(0, 2, 1, 3)


def _inner_products(A: jax.Array, B: jax.Array) -> jax.Array:
    """Return A B^T of few and long rows, in chunks of columns that stay in the cache."""
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    whole = A.shape[1] // _CHUNK

    def add(i: Any, total: jax.Array) -> jax.Array:
        a, b = (lax.dynamic_slice_in_dim(x, i * _CHUNK, _CHUNK, axis=1) for x in (A, B))
        return total + product(a, b.T)

    rest = product(A[:, whole * _CHUNK :], B[:, whole * _CHUNK :].T)
    return lax.fori_loop(0, whole, add, rest) if whole else rest


def _jacobian_tiles(
    K: np.ndarray,
    f: Callable[..., Any],
    params: Any,
    X: np.ndarray,
    Y: np.ndarray | None,
    blocks: Blocks,
) -> None:
    symmetric, trace = Y is None, K.ndim == 2
    columns = X if Y is None else Y
    height, width = (min(blocks.side, 1 << max(len(a) - 1, 0).bit_length()) for a in (X, columns))
    left, start = None, None
    for i, j in tile_slices(len(X), len(columns), blocks.side, symmetric):
        if i.start != start:
            left = None  # frees it before the next
            left, start = jacobian_block(f, params, pad_rows(X[i], height)), i.start
        if symmetric and i == j:
            right = left
        else:
            right = jacobian_block(f, params, pad_rows(columns[j], width))
        _store(K, i, j, contract(left, right, trace), symmetric)
        del right


# ---------------------------------------------------------------------------------------------
# Vector products
# ---------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def vector_products(
    f: Callable[..., Any], params: Any, X: jax.Array, outputs: jax.Array, Y: jax.Array
) -> jax.Array:
    """Return the derivatives of all outputs of Y along gradients of one output of each row.

    Parameters
    ----------
    f : callable
        The function.
    params : pytree
        Its parameters.
    X : array of shape (c, ...)
        Rows.
    outputs : array of shape (c,)
        The output of each.
    Y : array of shape (p, ...)
        Other rows.

    Returns
    -------
    array of shape (c, p, k)
    """

    def one(row: jax.Array, index: jax.Array) -> jax.Array:
        gradient = jax.grad(lambda p: f(p, row[None])[0, index])(params)
        return jax.jvp(lambda p: f(p, Y), (params,), (gradient,))[1]

    return jax.vmap(one)(X, outputs)


def _product_tiles(
    K: np.ndarray,
    f: Callable[..., Any],
    params: Any,
    X: np.ndarray,
    Y: np.ndarray | None,
    blocks: Blocks,
) -> None:
    symmetric, trace = Y is None, K.ndim == 2
    columns = X if Y is None else Y
    width = min(blocks.side, 1 << max(len(columns) - 1, 0).bit_length())
    for i, j in tile_slices(len(X), len(columns), blocks.side, symmetric):
        right = pad_rows(columns[j], width)
        k = jax.eval_shape(f, params, right).shape[1]
        rows, outputs = np.divmod(np.arange((i.stop - i.start) * k), k)
        tile = np.zeros((i.stop - i.start, width, *K.shape[2:]), K.dtype)
        for part in block_slices(len(rows), blocks.together):
            taken = pad_rows(rows[part], blocks.together), pad_rows(outputs[part], blocks.together)
            found = vector_products(f, params, X[i][taken[0]], taken[1], right)
            found = np.asarray(found)[: part.stop - part.start]
            if trace:
                own = found[np.arange(len(found)), :, outputs[part]]
                np.add.at(tile, rows[part], own / k)
            else:
                tile[rows[part], :, outputs[part]] = found
        _store(K, i, j, tile, symmetric)


def _store(K: np.ndarray, i: slice, j: slice, values: Any, symmetric: bool) -> None:
    """Write a tile, and its mirror image if the kernel is symmetric."""
    values = np.asarray(values)[: i.stop - i.start, : j.stop - j.start]
    mirror = values.swapaxes(0, 1)
    mirror = mirror.swapaxes(2, 3) if values.ndim == 4 else mirror
    if symmetric and i == j:  # a tile's own rounding need not be symmetric
        values = (values + mirror) / 2
        mirror = values
    K[i, j] = values
    if symmetric and i != j:
        K[j, i] = mirror
