import jax
import numpy as np
import pytest
from oracles import srht_matrix
from scipy import sparse
from sketch_statistics import (
    COSINES,
    SEEDS,
    assert_mean,
    assert_variance,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import SRHT, srht


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("d", "m"), [(1, 3), (5, 8), (8, 8), (7, 24)])
def test_isometry_for_multiples_of_the_padded_width(d, m, seed):
    S = srht_matrix(SRHT.init(jax.random.key(seed), d, m))
    np.testing.assert_allclose(S @ S.T, np.eye(d), rtol=0, atol=1e-14)


def test_no_coordinate_is_taken_twice_before_each_was_taken_once():
    indices = np.asarray(SRHT.init(jax.random.key(0), 8, 20).indices)
    counts = np.bincount(indices, minlength=8)
    assert set(indices[:8]) == set(indices[8:16]) == set(range(8))
    assert counts.min() >= 2
    assert counts.max() <= 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [6, 20])
def test_unbiased_with_the_exact_variance(seed, m):
    d, D = 13, 16
    xs, ys = np.stack([unit_pair(d, cosine, seed) for cosine in COSINES], axis=1)
    products = sketched_products(lambda key: SRHT.init(key, d, m), [xs], [ys], seed)
    for cosine, x, y, sample in zip(COSINES, xs, ys, products, strict=True):
        independent_samples = (1 + cosine**2 - 2 * (x**2 * y**2).sum()) / m
        exact = independent_samples * (m % D) * (D - m % D) / (m * (D - 1))
        assert_mean(sample, cosine)
        assert_variance(sample, exact)
        assert exact <= independent_samples


def test_independent_coordinates_repeat():
    indices = SRHT.init(jax.random.key(0), 64, 64, balanced=False).indices
    assert len(set(indices.tolist())) < 60


def test_sparse_rows_in_several_chunks(monkeypatch):
    monkeypatch.setattr(srht, "_CHUNK_ENTRIES", 20)
    X = np.random.default_rng(0).standard_normal((4, 13))
    sketch = SRHT.init(jax.random.key(0), 13, 6)
    Z = sketch.apply(sparse.csr_array(X))
    np.testing.assert_allclose(Z, X @ srht_matrix(sketch), rtol=0, atol=1e-13)
