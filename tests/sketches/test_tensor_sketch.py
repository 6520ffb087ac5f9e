import jax
import numpy as np
import pytest
from oracles import tensor_sketch_matrix
from sketch_statistics import (
    COSINES,
    SEEDS,
    assert_mean,
    assert_variance_below,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import TensorSketch


@pytest.mark.parametrize("widths", [(5,), (4, 3), (2, 3, 2)])
@pytest.mark.parametrize("m", [1, 7, 8])
def test_is_a_count_sketch_of_the_tensor_product(widths, m):
    S = np.abs(tensor_sketch_matrix(TensorSketch.init(jax.random.key(0), widths, m)))
    np.testing.assert_array_equal(S.max(axis=1), np.ones(np.prod(widths)))
    np.testing.assert_array_equal(S.sum(axis=1), np.ones(np.prod(widths)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("widths", "m"), [((6, 20), 9), ((9, 6, 7), 16)])
def test_unbiased_within_the_variance_bounds(seed, widths, m):
    p = len(widths)
    pairs = [[unit_pair(d, cosine, seed + d) for cosine in COSINES] for d in widths]
    xs, ys = zip(*(np.stack(pair, axis=1) for pair in pairs), strict=True)
    products = sketched_products(lambda key: TensorSketch.init(key, widths, m), xs, ys, seed)
    for cosine, sample in zip(COSINES, products, strict=True):
        assert_mean(sample, cosine**p)
        assert_variance_below(sample, min(3**p / (m - 1), (2 + 3**p) / m))
