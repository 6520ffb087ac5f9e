import jax
import numpy as np
import pytest
from oracles import count_sketch_matrix
from sketch_statistics import (
    COSINES,
    SEEDS,
    assert_mean,
    assert_variance,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import CountSketch


@pytest.mark.parametrize(("d", "m"), [(1, 1), (5, 8), (8, 8), (20, 8), (17, 1)])
def test_each_column_goes_to_one_bucket_and_buckets_are_balanced(d, m):
    S = np.abs(count_sketch_matrix(CountSketch.init(jax.random.key(0), d, m)))
    np.testing.assert_array_equal(S.sum(axis=1), np.ones(d))
    load = S.sum(axis=0)
    assert load.max() - load.min() <= 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("d", "m"), [(5, 8), (8, 8)])
def test_isometry_when_as_large_as_its_input(d, m, seed):
    S = count_sketch_matrix(CountSketch.init(jax.random.key(seed), d, m))
    np.testing.assert_array_equal(S @ S.T, np.eye(d))


@pytest.mark.parametrize("seed", SEEDS)
def test_unbiased_with_the_exact_variance(seed):
    d, m = 30, 8
    run = np.arange(d) // m
    different_runs = np.triu(run[:, None] != run[None, :])
    xs, ys = np.stack([unit_pair(d, cosine, seed) for cosine in COSINES], axis=1)
    products = sketched_products(lambda key: CountSketch.init(key, d, m), [xs], [ys], seed)
    for cosine, x, y, sample in zip(COSINES, xs, ys, products, strict=True):
        exact = (different_runs * (np.outer(x, y) + np.outer(y, x)) ** 2).sum() / m
        independent_buckets = (1 + cosine**2 - 2 * (x**2 * y**2).sum()) / m
        assert_mean(sample, cosine)
        assert_variance(sample, exact)
        assert exact <= independent_buckets
