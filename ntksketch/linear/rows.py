"""Blocks of rows as the statistics take them: checked, and in pieces that are not too large."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

PIECE_ROWS = 8192  # rows a product: bounds both the memory and the error of float32 sums


def as_weights(sample_weight: ArrayLike, n: int) -> NDArray[np.float64]:
    """Return weights as a float64 array of shape (n,), or raise ValueError."""
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n, weight)
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, expected a number or shape ({n},)"
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight contains NaN, infinity or a negative number")
    return weight


def as_block(Z: ArrayLike, Y: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return arrays of shapes (n, m) and (n, k), or raise ValueError."""
    Z, Y = np.asarray(Z), np.asarray(Y)
    if Z.ndim != 2 or Z.shape[1] == 0:
        raise ValueError(f"Z has shape {Z.shape}, expected (n, m) with at least one column")
    if Y.ndim not in (1, 2) or len(Y) != len(Z) or 0 in Y.shape[1:]:
        raise ValueError(f"Y has shape {Y.shape}, expected ({len(Z)},) or ({len(Z)}, k)")
    for name, array in (("Z", Z), ("Y", Y)):
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers")
    return Z, Y[:, None] if Y.ndim == 1 else Y


def pieces(
    Z: NDArray, Y: NDArray, weight: NDArray | None
) -> Iterator[tuple[NDArray, NDArray[np.float64], NDArray | None]]:
    """Yield pieces that are not empty, in the dtype of their products, without null rows."""
    dtype = np.float32 if Z.dtype == np.float32 else np.float64
    for start in range(0, len(Z), PIECE_ROWS):
        rows = slice(start, start + PIECE_ROWS)
        z, y, w = Z[rows], Y[rows], None if weight is None else weight[rows]
        if w is not None and not w.all():
            keep = w > 0
            z, y, w = z[keep], y[keep], w[keep]
        if len(z):
            yield np.ascontiguousarray(z, dtype), y.astype(np.float64), w


def require_finite(name: str, piece: NDArray, weight: NDArray | None) -> None:
    """Raise ValueError if a piece is not finite, or its squares are not."""
    flat = piece.ravel()
    square = float(np.vdot(flat, flat)) * (1.0 if weight is None else weight.max())
    if square <= np.finfo(piece.dtype).max:
        return
    if np.isfinite(flat).all():
        raise ValueError(f"the squares of the {name} overflow {piece.dtype}; rescale them")
    raise ValueError(f"the {name} contain NaN or infinity; remove or impute those rows")
