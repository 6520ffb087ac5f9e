"""What the tests of random feature maps share."""

import os

import jax
import numpy as np

import ntksketch as ntk
from ntksketch.distributed import gather_on_mesh
from ntksketch.features import transform_blocks
from ntksketch.features.statistics import gather
from ntksketch.kernels.gram import precision
from ntksketch.linear import GramAccumulator

SEEDS = range(int(os.environ.get("NTKSKETCH_TEST_SEEDS", "1")))
N_ERRORS = 5  # standard errors


def draw_map(method, architecture, X, n_components, key, kind="ntk"):
    return method.init(key, architecture, X, kind=kind, n_components=n_components)


def draw(method, architecture, X, n_components, key, kind="ntk"):
    """Features of the rows under one key."""
    return transform_blocks(draw_map(method, architecture, X, n_components, key, kind), X)


def gram_matrices(method, architecture, X, n_components, n_keys, seed=0, kind="ntk"):
    """ZZ' in float64 for independent draws, of shape (n_keys, n, n)."""
    keys = jax.random.split(jax.random.key(seed), n_keys)
    maps = [draw_map(method, architecture, X, n_components, key, kind) for key in keys]
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *(m.params for m in maps))
    with precision(X.dtype):
        apply = jax.jit(jax.vmap(lambda params: maps[0]._replace(params=params).apply(X)))
        Z = np.asarray(apply(params), np.float64)
    return Z @ Z.transpose(0, 2, 1)


def assert_unbiased(samples, expected):
    """Every entry's mean over the first axis is the expected one, up to its standard error."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    slack = 1e-6 * np.abs(expected).max()
    assert np.all(np.abs(samples.mean(axis=0) - expected) <= N_ERRORS * error + slack)


def relative_error(G, K):
    return np.linalg.norm(G - K) / np.linalg.norm(K)


def assert_sums_on_a_mesh_are_those_of_the_host(feature_map, X):
    """Sums of features of rows of float64 and of two targets, on a mesh and on the host."""
    source = ntk.data.open_source(X, targets=X[:, :2] ** 2)
    host, mesh = (
        sums(feature_map, source, GramAccumulator()).finalise() for sums in (gather, gather_on_mesh)
    )
    for part in ("gram", "moment", "z_mean", "y_mean", "y_squares"):
        one, other = getattr(host, part), getattr(mesh, part)
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-9 * np.abs(one).max())


def assert_compiles_once(feature_map, X, compilations):
    """Nothing is compiled for more blocks of 32 rows than there were, nor for part of one."""
    budget = X.dtype.itemsize * 2 * feature_map.row_entries * 33 / 2**20
    transform_blocks(feature_map, X[:70], budget)
    compilations.clear()
    transform_blocks(feature_map, X, budget)
    assert not compilations
