"""JAX's floating-point precision for the length of a computation."""

from typing import Any

import jax
import numpy as np


def precision(dtype: Any):
    """Return a context in which JAX computes in `dtype`, leaving the global x64 flag alone."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)
