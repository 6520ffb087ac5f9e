"""Blocks of exact kernels, and rows prepared for them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils import check_array

from ntksketch.architectures import Architecture, Dense, Elementwise, Recurrent
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import input_shape
from ntksketch.architectures.spatial import Conv, all_layers, is_spatial
from ntksketch.data.blocks import (
    block_slices,
    pad_rows,
    padded_rows,
    rows_per_block,
    store_behind,
    tile_slices,
)
from ntksketch.data.precision import precision
from ntksketch.kernels.cosines import cosines
from ntksketch.kernels.hermite import warn_of_truncation
from ntksketch.kernels.inputs import check_sequences, with_input
from ntksketch.kernels.pixels import (
    arrays_alive,
    pairs_of_pixels,
    spatial_diagonal,
    spatial_kernel,
)
from ntksketch.kernels.propagate import (
    Covariance,
    Variance,
    propagate,
    propagate_variance,
    through,
)
from ntksketch.kernels.zonal import (
    NetworkKernel,
    ZonalKernel,
    check_target,
    is_homogeneous,
    is_zonal,
    short_polynomial,
    split_input,
)

KINDS = ("ntk", "nngp")
_TEMPORARIES = 4  # arrays of a tile's shape kept at a time
_COPIES = 4  # of a pair's own numbers
_IMAGES = 32  # whose kernels with themselves are computed at a time
# factors that keep the squares of rows in range which are shorter than its reciprocal's root
_STRETCH = {np.dtype(np.float32): 2.0**100, np.dtype(np.float64): 2.0**800}


def check_kind(kind: str, architecture: Architecture) -> str:
    """Return `kind` if it names a kernel that the architecture has."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    layers = all_layers(architecture)
    if kind == "ntk" and not any(isinstance(layer, Dense | Conv | Recurrent) for layer in layers):
        raise ValueError(f"{architecture} has no trainable layer, so its NTK is zero: add Dense()")
    return kind


def check_rows(X: Any, name: str = "X") -> Any:
    """Validate rows: finite, 2-D, float32 or float64 (everything else becomes float64)."""
    options: dict[str, Any] = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}
    try:
        if np.iscomplexobj(X):
            raise ValueError("Complex data not supported: must be real, got complex values")
        return check_array(X, input_name=name, **options)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error


def dense_rows(X: Any) -> Any:
    """Return rows as a dense array."""
    return X.toarray() if sp.issparse(X) else X


def entry_bytes(target: Architecture | ZonalKernel, dtype: Any) -> float:
    """Return the bytes of temporaries that one entry of the kernel takes."""
    itemsize = np.dtype(dtype).itemsize
    if not is_spatial(target):
        return float(_TEMPORARIES * itemsize)
    network = cast(Architecture, target)
    shape = input_shape(network)
    alive = arrays_alive(as_layers(network)[1:], shape[:-1])
    return itemsize * (alive * pairs_of_pixels(network) + _COPIES * math.prod(shape))


def squared_norms(X: Any, dtype: Any = None) -> np.ndarray:
    """Return the squared norm of each row, of shape (n,), in `dtype` (None: X's).

    The sum runs in float64: its rounding does not grow with the number of columns.
    """
    with np.errstate(over="ignore"):  # who needs finite norms checks them
        if sp.issparse(X):
            squares = X.astype(np.float64).power(2)
            norms = np.asarray(squares.sum(axis=1)).ravel()
        else:
            norms = np.einsum("ij,ij->i", X, X, dtype=np.float64)
        return norms.astype(X.dtype if dtype is None else dtype, copy=False)


def _finish(
    target: Architecture | ZonalKernel,
    kind: str,
    inner: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
) -> jax.Array:
    """Turn inner products and squared norms of inputs into the kernel."""
    state = Covariance(inner, jnp.zeros_like(inner), rows, columns)
    zonal, first = target, None
    if not isinstance(target, ZonalKernel):
        zonal = None
        if inner.dtype == jnp.float32 and is_zonal(target):
            zonal, first = NetworkKernel(target, kind), split_input(target)[0]
    polynomial = None if zonal is None else short_polynomial(zonal)
    if polynomial is None:
        return getattr(propagate(cast(Architecture, target), state), kind)
    if first is not None:
        state = propagate(first, state)
    norms = jnp.sqrt(state.rows)[:, None] * jnp.sqrt(state.columns)[None, :]
    return norms * polynomial(cosines(state.nngp, state.rows, state.columns))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dense_block(target, kind, X, Y, rows, columns):
    return _finish(target, kind, _inner_products(X, Y), rows, columns)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _inner_block(target, kind, inner, rows, columns):
    return _finish(target, kind, inner, rows, columns)


@jax.jit
def _inner_products(X, Y):
    return jnp.matmul(X, Y.T, precision=jax.lax.Precision.HIGHEST)


def sparse_inner_products(X: Any, Y: Any) -> np.ndarray | None:
    """Return the inner products of rows if one of the blocks is sparse, in X's dtype, else None."""
    if not (sp.issparse(X) or sp.issparse(Y)):
        return None
    product = X @ Y.T
    return np.asarray(product.toarray() if sp.issparse(product) else product, X.dtype)


_cosine_block = jax.jit(cosines)


def _host_block(zonal, inner, rows, columns):
    """Evaluate a zonal function that JAX cannot: exact in float64, or not a short polynomial."""
    left, right = np.sqrt(rows)[:, None], np.sqrt(columns)[None, :]
    values = zonal.evaluate(np.asarray(_cosine_block(inner, rows, columns), np.float64))
    return (left * right * values).astype(inner.dtype, copy=False)


def kernel_block(
    target: Architecture | ZonalKernel, kind: str, X: Any, Y: Any, rows: Any, columns: Any
) -> Any:
    """Return the kernel between two blocks of rows of one dtype, given their squared norms.

    Blocks are dense or CSR; each new shape compiles.
    """
    if is_spatial(target):
        return spatial_kernel(cast(Architecture, target), kind, *map(dense_rows, (X, Y)))
    dtype, inner = X.dtype, sparse_inner_products(X, Y)
    if isinstance(target, ZonalKernel) and (dtype == np.float64 or not short_polynomial(target)):
        inner = _inner_products(X, Y) if inner is None else inner
        return _host_block(target, inner, np.asarray(rows), np.asarray(columns))
    if inner is None:
        return _dense_block(target, kind, X, Y, rows, columns)
    return _inner_block(target, kind, inner, rows, columns)


class PreparedRows(NamedTuple):
    """Rows as their kernel is computed from them.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, d)
        Rows; some are multiplied by a power of two where the kernel is homogeneous.
    squares : ndarray of shape (n,)
        Their squared norms.
    short : ndarray of int
        Which of them are multiplied.
    diagonal : ndarray of shape (n,)
        The kernel of each row with itself.
    """

    X: Any
    squares: np.ndarray
    short: NDArray[np.intp]
    diagonal: np.ndarray

    @property
    def scales(self) -> NDArray[np.float64]:
        """Factors of shape (n,) that take the kernel of `X` back to that of the rows given."""
        scales = np.ones(len(self.squares))
        scales[self.short] = 1 / _STRETCH[self.squares.dtype]
        return scales


def prepare_rows(
    target: Architecture | ZonalKernel,
    kind: str,
    X: Any,
    dtype: Any,
    name: str,
    working_memory: float | None = None,
) -> PreparedRows:
    """Check that the kernel of rows is finite, and stretch rows whose squares underflow."""
    if is_spatial(target):
        _, X = with_input(target, X, name)
    squares = squared_norms(X, dtype)
    diagonal = kernel_diagonal(target, kind, X, squares, name, working_memory)
    short = np.empty(0, np.intp)
    if is_homogeneous(target):
        X, squares, short = _stretch(X, squares)
    return PreparedRows(X, squares, short, diagonal)


def _stretch(X: Any, norms: np.ndarray) -> tuple[Any, np.ndarray, NDArray[np.intp]]:
    """Multiply rows so short that their squares underflow by a power of two.

    Returns the rows, their squared norms, and which of them are multiplied.
    """
    factor = _STRETCH[norms.dtype]
    short = np.flatnonzero(norms < 1 / factor)
    if len(short):  # rows of zeros stay
        short = short[np.asarray((X[short] != 0).sum(axis=1)).ravel() > 0]
    if not len(short):
        return X, norms, short
    factors = np.ones(len(norms), norms.dtype)
    factors[short] = factor
    if sp.issparse(X):
        X = sp.csr_array(X, dtype=norms.dtype, copy=True)
        X.data *= np.repeat(factors, np.diff(X.indptr))
    else:
        X = X * factors[:, None]
    norms = norms.copy()
    norms[short] = squared_norms(X[short], norms.dtype)
    return X, norms, short


def stretched(X: Any) -> tuple[Any, np.ndarray | None]:
    """Multiply rows so short that their squares underflow by a power of two.

    Returns the rows, and what takes a homogeneous function back to that of the rows given; None if
    no row is so short.
    """
    with np.errstate(over="ignore"):
        squares = X.power(2).sum(axis=1) if sp.issparse(X) else np.einsum("ij,ij->i", X, X)
    X, squares, short = _stretch(X, np.asarray(squares).ravel())  # a matrix of sparse matrices
    if not len(short):
        return X, None
    scales = np.ones_like(squares)
    scales[short] = 1 / _STRETCH[squares.dtype]
    return X, scales


def check_squares(X: Any, name: str = "X") -> None:
    """Raise ValueError if rows are so long that their squares overflow."""
    finite = np.isfinite(squared_norms(X))
    if not finite.all():
        raise ValueError(
            f"{name} has rows so long that their squares overflow {X.dtype}, such as row "
            f"{finite.argmin()} of the {len(finite):,} looked at; scale the rows down"
        )


def in_range(X: Any) -> Any:
    """Multiply all rows by a power of two if the longest is so short that its square underflows."""
    least = 1 / _STRETCH[X.dtype]
    if any((squared_norms(X[rows]) >= least).any() for rows in block_slices(X.shape[0], 256)):
        return X
    _, exponent = np.frexp(abs(X).max())
    if sp.issparse(X):
        return sp.csr_array((np.ldexp(X.data, -exponent), X.indices, X.indptr), shape=X.shape)
    return np.ldexp(X, -exponent)


def kernel_diagonal(
    target: Architecture | ZonalKernel,
    kind: str,
    X: Any,
    norms: np.ndarray,
    name: str,
    working_memory: float | None = None,
) -> np.ndarray:
    """Return the kernel of rows with themselves, checked: it bounds the kernel of all pairs."""
    with np.errstate(over="ignore", invalid="ignore"), precision(norms.dtype):
        if is_spatial(target):
            images = dense_rows(X).astype(norms.dtype, copy=False)
            check_sequences(target, images, name)
            diagonal = _image_diagonal(cast(Architecture, target), kind, images, working_memory)
        elif isinstance(target, ZonalKernel):
            diagonal = norms * target.evaluate(np.ones(1)).astype(norms.dtype)
        else:
            state = propagate_variance(target, Variance(norms, np.zeros_like(norms)))  # pyright: ignore
            diagonal = np.asarray(getattr(state, kind), dtype=norms.dtype)
    if not np.isfinite(diagonal).all():
        raise ValueError(
            f"{name} has rows so long that their kernel overflows {norms.dtype}, such as row "
            f"{np.argmin(np.isfinite(diagonal))}; scale the rows or the standard deviations down"
        )
    return diagonal


def _image_diagonal(
    target: Architecture, kind: str, images: np.ndarray, working_memory: float | None
) -> np.ndarray:
    """Return the kernel of images with themselves, some at a time."""
    each = entry_bytes(target, images.dtype)
    height = padded_rows(len(images), rows_per_block(each, working_memory, most=_IMAGES))
    diagonal = np.empty(len(images), images.dtype)
    for part in block_slices(len(images), height):
        values = spatial_diagonal(target, kind, pad_rows(images[part], height))
        diagonal[part] = np.asarray(values)[: part.stop - part.start]
    return diagonal


def check_expansions(target: Architecture | ZonalKernel, norms: np.ndarray) -> None:
    """Warn where Hermite expansions leave out too much for rows of these squared norms."""
    layers = () if isinstance(target, ZonalKernel) else all_layers(target)
    if not any(isinstance(layer, Elementwise) for layer in layers):
        return

    def rule(layer: Architecture, state: Variance) -> Variance:
        if isinstance(layer, Elementwise):
            warn_of_truncation(layer, np.asarray(state.nngp))
        return propagate_variance(layer, state)

    with precision(norms.dtype):
        state = Variance(norms, np.zeros_like(norms))  # pyright: ignore
        through(rule, cast(Architecture, target), state)


def fill(
    K: np.ndarray,
    block: Callable[..., Any],
    X: Any,
    Y: Any,
    rows: np.ndarray,
    columns: np.ndarray,
    tile: int,
    symmetric: bool,
) -> None:
    """Compute K tile by tile, each of one padded shape; mirror the lower triangle if symmetric.

    Parameters
    ----------
    K : ndarray of shape (..., n, p)
        The result; leading axes are the block's own.
    block : callable
        Takes two blocks of rows and their squared norms.
    X, Y : ndarray or CSR of shape (n, d) and (p, d)
        Rows.
    rows, columns : ndarray of shape (n,) and (p,)
        Their squared norms.
    tile : int
        Rows and columns of a tile.
    symmetric : bool
        Whether Y is X.
    """
    height, width = padded_rows(len(rows), tile), padded_rows(len(columns), tile)

    def values(i: slice, j: slice) -> Any:
        left = pad_rows(X[i].astype(K.dtype, copy=False), height)
        right = pad_rows(Y[j].astype(K.dtype, copy=False), width)
        return block(left, right, pad_rows(rows[i], height), pad_rows(columns[j], width))

    tiles = tile_slices(len(rows), len(columns), tile, symmetric)
    store = functools.partial(_store, K, symmetric)
    store_behind(((i, j, values(i, j)) for i, j in tiles), store)


def _store(K, symmetric, i, j, values):
    values = np.asarray(values)[..., : i.stop - i.start, : j.stop - j.start]
    if symmetric and i == j:  # a tile's own rounding need not be symmetric
        values = np.tril(values) + np.tril(values, -1).swapaxes(-1, -2)
    K[..., i, j] = values
    if symmetric and i != j:
        K[..., j, i] = values.swapaxes(-1, -2)


def resolve_target(
    architecture: Architecture | ZonalKernel, kind: str
) -> tuple[Architecture | ZonalKernel, str]:
    """Return what a kernel is computed from, checked: networks by layers, else a zonal function."""
    if isinstance(architecture, NetworkKernel):
        architecture, kind = architecture.architecture, architecture.kind
    target = check_target(architecture)
    if is_spatial(target) and any(
        isinstance(x, Elementwise) for x in all_layers(cast(Any, target))
    ):
        raise ValueError(
            f"{target} has an activation by its Hermite expansion, whose truncation is checked for "
            "rows and not for pixels: take Relu, LeakyRelu, Erf, Gelu or Sin"
        )
    return target, kind if isinstance(target, ZonalKernel) else check_kind(kind, target)
