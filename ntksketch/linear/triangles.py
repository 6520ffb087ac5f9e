"""Symmetric matrices of which a triangle is in use, panel by panel and so without copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_PANEL = 256  # columns at a time


def panels(n: int, width: int = _PANEL) -> Iterator[slice]:
    """Yield the slices of consecutive columns."""
    for start in range(0, n, width):
        yield slice(start, min(start + width, n))


def add_lower(target: NDArray, source: NDArray, scale: float = 1.0) -> None:
    """Add the lower triangle of a matrix to that of another, whose upper one is left alone."""
    for columns in panels(len(target)):
        corner, below = (columns, columns), (slice(columns.stop, None), columns)
        target[corner] += scale * np.tril(source[corner])
        target[below] += source[below] if scale == 1.0 else scale * source[below]


def mirror_lower(matrix: NDArray) -> None:
    """Copy the lower triangle onto the upper one, in place."""
    for columns in panels(len(matrix)):
        corner = np.tril(matrix[columns, columns])
        matrix[columns, columns] = corner + np.tril(corner, -1).T
        matrix[columns, columns.stop :] = matrix[columns.stop :, columns].T


def clear_upper(matrix: NDArray) -> None:
    """Set what is strictly above the diagonal to zero, in place."""
    for columns in panels(len(matrix)):
        matrix[columns, columns] = np.tril(matrix[columns, columns])
        matrix[columns, columns.stop :] = 0
