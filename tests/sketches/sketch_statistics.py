"""Statistical assertions on sketched inner products, in units of their measured standard error."""

import os

import jax
import jax.numpy as jnp
import numpy as np

SEEDS = range(int(os.environ.get("NTKSKETCH_TEST_SEEDS", "1")))
N_KEYS = 2000
N_ERRORS = 5  # standard errors
COSINES = (0.0, 0.6, 1.0)


def unit_pair(d, cosine, seed):
    """Two float64 unit vectors at a given cosine."""
    rng = np.random.default_rng(seed)
    x, z = np.linalg.qr(rng.standard_normal((d, 2)))[0].T
    return x, cosine * x + np.sqrt(1 - cosine**2) * z


def sketched_products(init, xs, ys, seed, n_keys=N_KEYS):
    """<S(x_1 x x_2 ...), S(y_1 x y_2 ...)> for independent sketches.

    `xs` and `ys` hold an array of shape (n_pairs, d_k) for each factor k; the result has shape
    (n_pairs, n_keys).
    """
    factors = [np.concatenate(pair).astype(np.float32) for pair in zip(xs, ys, strict=True)]

    @jax.jit
    @jax.vmap
    def products(sketch):
        x, y = jnp.split(sketch.apply(*factors), 2)
        return (x * y).sum(axis=1)

    keys = jax.random.split(jax.random.key(seed), n_keys)
    sketches = jax.tree.map(lambda *leaves: np.stack(leaves), *map(init, keys))
    return np.asarray(products(sketches), np.float64).T


def assert_mean(samples, expected):
    error = samples.std(ddof=1) / np.sqrt(len(samples))
    assert abs(samples.mean() - expected) <= N_ERRORS * error + 1e-6


def _variance_and_error(samples):
    squares = (samples - samples.mean()) ** 2
    return squares.mean(), squares.std(ddof=1) / np.sqrt(len(samples))


def assert_variance(samples, expected):
    variance, error = _variance_and_error(samples)
    assert abs(variance - expected) <= N_ERRORS * error + 1e-6


def assert_variance_below(samples, bound):
    variance, error = _variance_and_error(samples)
    assert variance <= bound + N_ERRORS * error
