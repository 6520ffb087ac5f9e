"""Plain sums of products over rows about a shift."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs

(_ssyrk,) = get_blas_funcs(["syrk"], dtype=np.float32)


class GramSums(NamedTuple):
    """Plain weighted sums over rows, such as an accelerator takes.

    Attributes
    ----------
    n_rows, weight : int, float
        Number of rows of positive weight, and their total weight.
    z, y : ndarray of shapes (m,) and (k,)
        Sums of features and targets.
    gram : ndarray of shape (m, m)
        Sums of products of features; the lower triangle is enough.
    moment : ndarray of shape (m, k)
        Sums of products of features and targets.
    y_squares : ndarray of shape (k,)
        Sums of squares of the targets.
    """

    n_rows: Any
    weight: Any
    z: Any
    y: Any
    gram: Any
    moment: Any
    y_squares: Any


class SingleSums:
    """Sums of products of float32 pieces, taken in float32, as long as there are not too many.

    Parameters
    ----------
    n_features, n_targets : int
        Number of columns of features and of targets.

    Attributes
    ----------
    n_rows : int
        Number of rows so far.
    """

    def __init__(self, n_features: int, n_targets: int) -> None:
        self._shape = n_features, n_targets
        self._gram = np.zeros((n_features, n_features), np.float32, order="F")
        self.n_rows = 0

    def begin(self, shift: tuple[NDArray, NDArray] | None) -> None:
        """Start from nothing, about a shift of features and targets, or without one."""
        m, k = self._shape
        self._centred = shift is not None
        z_shift, y_shift = (np.zeros(m), np.zeros(k)) if shift is None else shift
        self._shift = z_shift.astype(np.float32), y_shift.copy()
        self._weight, self._z, self._y = 0.0, np.zeros(m), np.zeros(k)
        self._moment, self._y_squares = np.zeros((m, k)), np.zeros(k)

    def add(
        self,
        z: NDArray[np.float32],
        y: NDArray[np.float64],
        weight: NDArray | None,
        overwrite: bool = False,
    ) -> None:
        """Add a finite piece of at least one row, all of positive weight; z may be overwritten."""
        self._weight += float(len(z) if weight is None else weight.sum())
        out = z if overwrite else None
        z, y, root = shifted(z, y, weight, self._shift if self._centred else None, out)
        beta = float(self.n_rows > 0)
        self._gram = _ssyrk(1.0, z.T, beta=beta, c=self._gram, lower=1, overwrite_c=1)
        self._moment += z.T @ y.astype(np.float32)
        self._y_squares += np.einsum("ij,ij->j", y, y)
        if self._centred:
            self._z += root.astype(np.float32) @ z
            self._y += root @ y
        self.n_rows += len(z)

    def take(self) -> tuple[GramSums, tuple[NDArray, NDArray]]:
        """Return the sums and their shift, and start again; the products are not copied."""
        z_shift, y_shift = self._shift
        n_rows, self.n_rows = self.n_rows, 0
        sums = n_rows, self._weight, self._z, self._y, self._gram, self._moment, self._y_squares
        return GramSums(*sums), (z_shift.astype(np.float64), y_shift)


def shifted(
    z: NDArray,
    y: NDArray,
    weight: NDArray | None,
    shift: tuple[NDArray, NDArray] | None,
    out: NDArray | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    """Return features and targets about a shift, times the roots of weights; and these roots."""
    if shift is not None:
        z = out = np.subtract(z, shift[0], out=out)
        y = y - shift[1]
    if weight is None:
        return z, y, np.ones(len(z))
    root = np.sqrt(weight)
    z = np.multiply(z, root[:, None].astype(z.dtype), out=out)
    return z, y * root[:, None], root


def weighted_mean(values: NDArray, weight: NDArray | None) -> NDArray[np.float64]:
    """Return the mean of rows, summed in float64."""
    weights = np.ones(len(values)) if weight is None else weight
    return np.einsum("i,ij->j", weights, values) / weights.sum()
