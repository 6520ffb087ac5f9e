"""Random draws on the host: a key decides them, whatever the floating-point precision in force."""

import jax
import numpy as np
from jax.typing import DTypeLike


def generator(key: jax.Array) -> np.random.Generator:
    """Return a NumPy generator seeded by a JAX key; drawing on the host compiles nothing."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def random_signs(key: jax.Array, size: int, dtype: DTypeLike) -> np.ndarray:
    """Draw `size` independent fair signs, -1 or +1, as an array of `dtype`."""
    return np.where(generator(key).random(size) < 0.5, -1, 1).astype(dtype)


def random_permutations(key: jax.Array, rounds: int, size: int) -> np.ndarray:
    """Draw independent permutations of ``range(size)``: (rounds, size), int32."""
    ordered = np.tile(np.arange(size, dtype=np.int32), (rounds, 1))
    return generator(key).permuted(ordered, axis=1)


def sample_coordinates(key: jax.Array, size: int, n_draws: int, balanced: bool) -> np.ndarray:
    """Draw from ``range(size)``: (n_draws,), int32, each entry uniform.

    Balanced draws are the first `n_draws` entries of a concatenation of independent random
    permutations, so that no value comes twice before every value came once; for
    ``n_draws <= size`` this is sampling without replacement. Otherwise draws are independent.
    """
    if not balanced:
        return generator(key).integers(size, size=n_draws, dtype=np.int32)
    rounds = -(-n_draws // size)
    return random_permutations(key, rounds, size).reshape(-1)[:n_draws]
