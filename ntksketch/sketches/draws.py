"""Discrete random draws, the same whatever the floating-point precision in force."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def random_signs(key: jax.Array, size: int, dtype: DTypeLike) -> jax.Array:
    """Draw `size` independent fair signs, -1 or +1, as an array of `dtype`."""
    # jax.random.rademacher draws other signs once float64 is enabled; bits do not.
    bits = jax.random.bits(key, (size,), jnp.uint32) & 1
    return 2 * bits.astype(dtype) - 1


def random_permutations(key: jax.Array, rounds: int, size: int) -> jax.Array:
    """Draw independent permutations of ``range(size)``: (rounds, size), int32."""
    # Sorting bits compiles far faster than jax.random.permutation. Equal bits, one pair in 2**32,
    # come out in order: that touches no mean of a sketch, for the signs alone make it unbiased.
    bits = jax.random.bits(key, (rounds, size), jnp.uint32)
    return jnp.argsort(bits, axis=1).astype(jnp.int32)


def balanced_sample(key: jax.Array, size: int, n_draws: int) -> jax.Array:
    """Draw from ``range(size)`` so that no value comes twice before every value came once.

    The first `n_draws` entries of a concatenation of independent random permutations: (n_draws,),
    int32. Each entry is uniform; for ``n_draws <= size`` this is sampling without replacement.
    """
    rounds = -(-n_draws // size)
    return random_permutations(key, rounds, size).reshape(-1)[:n_draws]
