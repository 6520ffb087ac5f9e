import jax
import numpy as np
import pytest
from oracles import complex_tensor_srht_matrix
from sketch_statistics import (
    COSINES,
    SEEDS,
    assert_mean,
    assert_variance,
    assert_variance_below,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import ComplexTensorSRHT


def pairs_of(widths, seed):
    pairs = [[unit_pair(d, cosine, seed + d) for cosine in COSINES] for d in widths]
    return zip(*(np.stack(pair, axis=1) for pair in pairs), strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("widths", [(16, 13), (13, 9, 16)])
def test_exact_variance_with_independent_coordinates_is_below_that_of_real_signs(widths, seed):
    m, p = 12, len(widths)
    xs, ys = pairs_of(widths, seed)

    def init(key):
        return ComplexTensorSRHT.init(key, widths, m, balanced=False)

    products = sketched_products(init, xs, ys, seed)
    for i, cosine in enumerate(COSINES):
        fourth = np.array([(x[i] ** 2 * y[i] ** 2).sum() for x, y in zip(xs, ys, strict=True)])
        absolute = (1 + cosine**2 - fourth).prod()
        square = (2 * cosine**2 - fourth).prod()
        exact = (absolute + square - 2 * cosine ** (2 * p)) / m
        real = ((1 + 2 * cosine**2 - 2 * fourth).prod() - cosine ** (2 * p)) / m
        assert_mean(products[i], cosine**p)
        assert_variance(products[i], exact)
        assert exact <= (2 ** (p + 1) - 2) / m
        if cosine:
            assert exact < real


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [1, 7, 12])
def test_balanced_coordinates_are_unbiased_for_any_number_of_columns(m, seed):
    xs, ys = pairs_of((16, 13), seed)
    init = lambda key: ComplexTensorSRHT.init(key, (16, 13), m)  # noqa: E731
    for cosine, sample in zip(COSINES, sketched_products(init, xs, ys, seed), strict=True):
        assert_mean(sample, cosine**2)
        if m % 2 == 0:
            assert_variance_below(sample, 6 / m)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("d", "m"), [(1, 2), (5, 16), (8, 16), (7, 48)])
def test_one_factor_is_an_isometry_for_even_multiples_of_the_padded_width(d, m, seed):
    S = complex_tensor_srht_matrix(ComplexTensorSRHT.init(jax.random.key(seed), (d,), m))
    np.testing.assert_allclose(S @ S.T, np.eye(d), rtol=0, atol=1e-14)


def test_signs_are_the_four_roots_of_unity_and_factors_are_independent():
    sketch = ComplexTensorSRHT.init(jax.random.key(0), (64, 64), 64)
    for units in sketch.units:
        roots = set(map(tuple, np.asarray(units).T.tolist()))
        assert roots == {(1, 0), (0, 1), (-1, 0), (0, -1)}
    assert np.any(sketch.units[0] != sketch.units[1])
    assert np.any(sketch.indices[0] != sketch.indices[1])
