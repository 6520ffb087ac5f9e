import jax
import numpy as np
import pytest
from sketch_statistics import (
    COSINES,
    SEEDS,
    assert_mean,
    assert_variance,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import SRHT, TensorSRHT


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("widths", [(16, 13), (13, 9, 16)])
def test_unbiased_with_the_exact_variance(seed, widths):
    m, D, p = 12, 16, len(widths)
    pairs = [[unit_pair(d, cosine, seed + d) for cosine in COSINES] for d in widths]
    xs, ys = zip(*(np.stack(pair, axis=1) for pair in pairs), strict=True)
    products = sketched_products(lambda key: TensorSRHT.init(key, widths, m), xs, ys, seed)
    for i, cosine in enumerate(COSINES):
        # For each factor: the second moment of one coordinate, and the mixed moment of two, which
        # balancing correlates by -variance / (D - 1).
        fourth = np.array([(x[i] ** 2 * y[i] ** 2).sum() for x, y in zip(xs, ys, strict=True)])
        second = 1 + 2 * cosine**2 - 2 * fourth
        mixed = cosine**2 - (second - cosine**2) / (D - 1)
        mean = cosine**p
        independent_samples = (second.prod() - mean**2) / m
        exact = independent_samples + (m - 1) / m * (mixed.prod() - mean**2)
        assert_mean(products[i], mean)
        assert_variance(products[i], exact)
        assert independent_samples <= (3**p - 1) / m


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_published_variance_with_independent_coordinates(seed):
    m, widths = 12, (16, 13)
    pairs = [[unit_pair(d, cosine, seed + d) for cosine in COSINES] for d in widths]
    xs, ys = zip(*(np.stack(pair, axis=1) for pair in pairs), strict=True)

    def init(key):
        return TensorSRHT.init(key, widths, m, balanced=False)

    products = sketched_products(init, xs, ys, seed)
    for i, cosine in enumerate(COSINES):
        fourth = np.array([(x[i] ** 2 * y[i] ** 2).sum() for x, y in zip(xs, ys, strict=True)])
        second = 1 + 2 * cosine**2 - 2 * fourth
        assert_mean(products[i], cosine**2)
        # given the signs, each sample's mean over coordinates is exact: samples do not correlate
        assert_variance(products[i], (second.prod() - cosine**4) / m)


def test_factors_are_drawn_independently():
    a, b = TensorSRHT.init(jax.random.key(0), (64, 64), 64).factors
    assert np.any(a.signs != b.signs)
    assert np.any(a.indices != b.indices)


def test_one_factor_is_an_srht():
    sketch = TensorSRHT.init(jax.random.key(0), (6,), 5)
    X = np.ones((2, 6), np.float32)
    assert isinstance(sketch.factors[0], SRHT)
    np.testing.assert_array_equal(sketch.apply(X), sketch.factors[0].apply(X))
