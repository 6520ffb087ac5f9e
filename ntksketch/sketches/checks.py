"""What every sketch asks of its sizes and of its input."""

from collections.abc import Sequence
from typing import TypeAlias, cast

import jax
import numpy as np
from scipy import sparse

Rows: TypeAlias = jax.Array | np.ndarray | sparse.csr_array | sparse.csr_matrix


def check_sizes(call: str, n_features: int, n_components: int) -> None:
    """Raise ValueError unless both sizes are at least 1."""
    for name, size in (("n_features", n_features), ("n_components", n_components)):
        if size < 1:
            raise ValueError(f"{call}: {name} = {size}, expected at least 1.")


def check_width(call: str, X: Rows, n_features: int) -> None:
    """Raise ValueError unless `X` is a matrix with `n_features` columns."""
    shape = cast(tuple[int, ...], X.shape)
    if len(shape) != 2 or shape[1] != n_features:
        raise ValueError(f"{call}: X has shape {shape}, expected (n, {n_features}).")


def check_factors(call: str, factors: Sequence[Rows], n_features: Sequence[int]) -> None:
    """Raise ValueError unless there is a matrix for each width, all of equal height."""
    shapes = [cast(tuple[int, ...], X.shape) for X in factors]
    n_rows = shapes[0][:1] if shapes else ()
    if shapes != [(*n_rows, d) for d in n_features]:
        expected = ", ".join(f"(n, {d})" for d in n_features)
        raise ValueError(f"{call}: factors have shapes {shapes}, expected {expected} with one n.")


def check_some_factor(call: str, n_features: Sequence[int]) -> None:
    """Raise ValueError if no factor is given."""
    if len(n_features) < 1:
        raise ValueError(f"{call}: n_features is empty, expected the width of at least one factor.")
