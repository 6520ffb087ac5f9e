"""Products with exact kernels that are never stored as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import (
    block_slices,
    budget_bytes,
    pad_rows,
    padded_rows,
    rows_per_block,
    store_behind,
    tile_side,
    tile_slices,
)
from ntksketch.kernels.gram import (
    PreparedRows,
    check_expansions,
    check_rows,
    entry_bytes,
    kernel_block,
    precision,
    prepare_rows,
    resolve_target,
)
from ntksketch.kernels.zonal import ZonalKernel

_COPIES = 2  # of a tile in float64, for the products


class KernelProduct:
    r"""Products with the exact kernel of rows, tile by tile.

    A tile :math:`K_{ij}` below the diagonal serves twice, in :math:`K_{ij} V_j` and
    :math:`K_{ij}^\top V_i`. Tiles that the budget leaves room for are kept from one product to the
    next, all others are computed again. Entries have the rows' dtype; they are multiplied and
    added up in float64, so that all products are with one symmetric matrix.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        What has the kernel.
    X : array-like or sparse matrix of shape (n, d)
        Rows.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    working_memory : float, default=None
        Budget in MiB for temporaries and the tiles that are kept; None reads scikit-learn's
        setting of the same name.

    Attributes
    ----------
    target, kind
        The kernel, resolved.
    rows : PreparedRows
        The rows.
    tile : int
        Rows and columns of a tile.
    """

    def __init__(
        self,
        architecture: Architecture | ZonalKernel,
        X: Any,
        *,
        kind: str = "ntk",
        working_memory: float | None = None,
    ) -> None:
        self.target, self.kind = resolve_target(architecture, kind)
        X = check_rows(X)
        self.rows = prepare_rows(self.target, self.kind, X, X.dtype, "X", working_memory)
        check_expansions(self.target, self.rows.squares)
        self._working_memory = working_memory
        bytes_each = entry_bytes(self.target, X.dtype) + _COPIES * 8
        self.tile = tile_side(bytes_each, working_memory)
        entries = self.height**2
        spare = budget_bytes(working_memory) - entries * bytes_each
        self._room = max(int(spare // (entries * X.dtype.itemsize)), 0)  # tiles
        self._kept: dict[tuple[int, int], Any] = {}

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the rows, and of the kernel's entries."""
        return self.rows.squares.dtype

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.rows.squares)

    @property
    def height(self) -> int:
        """Number of rows to which tiles are padded."""
        return padded_rows(self.n_rows, self.tile)

    def product(self, V: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``K @ V``, in float64.

        Parameters
        ----------
        V : ndarray of shape (n, c), float64
            Columns. They are padded to a power of two, so that few widths are compiled.

        Returns
        -------
        ndarray of shape (n, c), float64
            The product.
        """
        scales = self.rows.scales[:, None]
        columns = _pad_columns(V * scales)
        result = np.zeros_like(columns)

        def add(i: slice, j: slice, both: tuple[Any, Any]) -> None:
            result[i] += np.asarray(both[0])[: i.stop - i.start]
            if i != j:
                result[j] += np.asarray(both[1])[: j.stop - j.start]

        store_behind(self._tile_products(columns), add)
        return result[:, : V.shape[1]] * scales

    def _tile_products(self, columns: NDArray) -> Iterator[tuple[slice, slice, Any]]:
        for i, j in tile_slices(self.n_rows, self.n_rows, self.tile, symmetric=True):
            K = self._kept.get((i.start, j.start))
            if K is None:
                K = self._tile(i, j)
                if len(self._kept) < self._room:
                    self._kept[i.start, j.start] = K
            with precision(np.float64):
                both = _both_products(
                    K, pad_rows(columns[j], self.height), pad_rows(columns[i], self.height)
                )
            yield i, j, both

    def _tile(self, i: slice, j: slice) -> Any:
        K = self._block(self.rows, i, self.height, j)
        if i != j:
            return K
        with precision(self.dtype):  # a tile's own rounding need not be symmetric
            return _mirrored(K, pad_rows(self.rows.diagonal[i], self.height))

    def _block(self, left: PreparedRows, i: slice, height: int, j: slice) -> Any:
        """Return a padded tile of the kernel between other rows and these."""
        right = self.rows
        with precision(self.dtype):
            return kernel_block(
                self.target,
                self.kind,
                pad_rows(left.X[i], height),
                pad_rows(right.X[j], self.height),
                pad_rows(left.squares[i], height),
                pad_rows(right.squares[j], self.height),
            )

    def product_with(self, Y: Any, V: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``K(Y, X) @ V`` for other rows, in float64, without storing ``K(Y, X)``.

        Parameters
        ----------
        Y : array-like or sparse matrix of shape (p, d)
            Other rows; they are taken in the dtype of X.
        V : ndarray of shape (n, c), float64
            Columns.

        Returns
        -------
        ndarray of shape (p, c), float64
            The product.

        Raises
        ------
        ValueError
            If the rows have not as many columns as X, are not finite, or so long that their kernel
            overflows.
        """
        Y = check_rows(Y)
        if Y.shape[1] != self.rows.X.shape[1]:
            raise ValueError(
                f"X must have as many columns as the training rows, {self.rows.X.shape[1]}, "
                f"got {Y.shape[1]}"
            )
        left = prepare_rows(
            self.target,
            self.kind,
            Y.astype(self.dtype, copy=False),
            None,
            "X",
            self._working_memory,
        )
        height = padded_rows(Y.shape[0], self.tile)
        columns = _pad_columns(V * self.rows.scales[:, None])
        result = np.zeros((Y.shape[0], columns.shape[1]))

        def products() -> Iterator[tuple[slice, Any]]:
            for i, j in tile_slices(len(result), self.n_rows, self.tile, symmetric=False):
                K = self._block(left, i, height, j)
                with precision(np.float64):
                    right = _product(K, pad_rows(columns[j], self.height))
                yield i, right

        def add(i: slice, right: Any) -> None:
            result[i] += np.asarray(right)[: i.stop - i.start]

        store_behind(products(), add)
        return result[:, : V.shape[1]] * left.scales[:, None]


def _pad_columns(V: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append columns of zeros up to a power of two."""
    width = V.shape[1]
    return np.pad(V, ((0, 0), (0, (1 << max(width - 1, 0).bit_length()) - width)))


@jax.jit
def _product(K: Any, right: Any) -> jax.Array:
    return jnp.matmul(K.astype(jnp.float64), right, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _both_products(K: Any, right: Any, left: Any) -> tuple[jax.Array, jax.Array]:
    """Return ``K @ right`` and ``K.T @ left``."""
    return _product(K, right), _product(K.T, left)


@jax.jit
def _mirrored(K: Any, diagonal: Any) -> jax.Array:
    """Return the lower triangle on both sides of a given diagonal."""
    lower = jnp.tril(K, -1)
    return lower + lower.T + jnp.diag(diagonal)


class LandmarkProduct:
    r"""Products with the kernel :math:`K_{nm}` of rows and landmarks, panel by panel of rows.

    Panels that the budget leaves room for are kept; entries and sums are as in `KernelProduct`.

    Parameters
    ----------
    target, kind
        The kernel, resolved.
    X, Z : ndarray or CSR of shapes (n, d) and (m, d)
        Rows and landmarks of one dtype.
    working_memory : float, default=None
        Budget in MiB for temporaries and the panels that are kept.
    """

    def __init__(
        self,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        Z: Any,
        working_memory: float | None = None,
    ) -> None:
        self.target, self.kind = target, kind
        self.rows = prepare_rows(target, kind, X, X.dtype, "X", working_memory)
        self.landmarks = prepare_rows(target, kind, Z, X.dtype, "landmarks", working_memory)
        check_expansions(target, np.concatenate([self.rows.squares, self.landmarks.squares]))
        n, m, itemsize = X.shape[0], Z.shape[0], X.dtype.itemsize
        row_bytes = m * (entry_bytes(target, X.dtype) + _COPIES * 8)
        self.block = rows_per_block(row_bytes, working_memory)
        self.height = padded_rows(n, self.block)
        spare = budget_bytes(working_memory) - self.height * row_bytes
        self._room = max(int(spare // (self.height * m * itemsize)), 0)  # panels
        self._kept: dict[int, Any] = {}

    def adjoint(self, U: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``K_nm' U`` for U of shape (n, c), in float64."""
        U = U * self.rows.scales[:, None]
        return self._sum(lambda i, K: _adjoint(K, pad_rows(U[i], self.height)), U.shape[1])

    def normal(self, V: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``K_nm' W K_nm V`` for V of shape (m, c), in float64, in one pass."""
        width, V = V.shape[1], _pad_columns(V * self.landmarks.scales[:, None])
        weight = weight * self.rows.scales**2

        def part(i: slice, K: Any) -> jax.Array:
            return _normal(K, V, pad_rows(weight[i], self.height))

        return self._sum(part, V.shape[1])[:, :width]

    def _sum(self, part: Callable[[slice, Any], Any], width: int) -> NDArray[np.float64]:
        """Add up what a function makes of each panel."""
        result = np.zeros((len(self.landmarks.squares), width))

        def parts() -> Iterator[tuple[Any]]:
            for i in block_slices(len(self.rows.squares), self.block):
                K = self._panel(i)
                with precision(np.float64):
                    computed = part(i, K)
                yield (computed,)

        def add(computed: Any) -> None:
            result[:] += np.asarray(computed)

        store_behind(parts(), add)
        return result * self.landmarks.scales[:, None]

    def _panel(self, i: slice) -> Any:
        K = self._kept.get(i.start)
        if K is None:
            rows, landmarks = self.rows, self.landmarks
            with precision(rows.squares.dtype):
                K = kernel_block(
                    self.target,
                    self.kind,
                    pad_rows(rows.X[i], self.height),
                    landmarks.X,
                    pad_rows(rows.squares[i], self.height),
                    landmarks.squares,
                )
            if len(self._kept) < self._room:
                self._kept[i.start] = K
        return K


@jax.jit
def _adjoint(K: Any, U: Any) -> jax.Array:
    return _product(K.T, U)


@jax.jit
def _normal(K: Any, V: Any, weight: Any) -> jax.Array:
    return _product(K.T, weight[:, None] * _product(K, V))
