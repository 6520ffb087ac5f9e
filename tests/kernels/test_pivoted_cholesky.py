import numpy as np
import pytest

import ntksketch as ntk
from ntksketch.kernels.pivoted_cholesky import pivoted_cholesky

ARCHITECTURE = ntk.mlp(1)
ROWS = np.random.default_rng(0).standard_normal((60, 4))
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, 60)


def factorise(X=ROWS, rank=20, weight=None, seed=0, **options):
    weight = np.ones(len(X)) if weight is None else weight
    rng = np.random.default_rng(seed)
    return pivoted_cholesky(rng, ARCHITECTURE, "ntk", X, rank, weight, **options)


def weighted_kernel(X=ROWS, weight=None):
    K = ntk.kernel(ARCHITECTURE, X)
    return K if weight is None else np.sqrt(weight[:, None] * weight) * K


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("seed", range(3))
def test_is_the_nystroem_approximation_of_its_pivots(seed, weight):
    pivots, F = factorise(weight=weight, seed=seed)
    assert F.shape == (60, 20)
    assert len(set(pivots)) == 20
    K = weighted_kernel(weight=weight)
    columns = K[:, pivots]
    expected = columns @ np.linalg.solve(K[np.ix_(pivots, pivots)], columns.T)
    np.testing.assert_allclose(F @ F.T, expected, atol=1e-6)
    assert np.linalg.eigvalsh(K - F @ F.T).min() > -1e-6


def test_all_rows_are_exact():
    _, F = factorise(rank=60)
    np.testing.assert_allclose(F @ F.T, weighted_kernel(), atol=1e-5)


def test_stops_when_enough_is_done():
    enough = 0.2 * np.trace(weighted_kernel())
    pivots, F = factorise(rank=60, enough=enough)
    left = np.trace(weighted_kernel() - F @ F.T)
    assert left <= enough
    assert 0 < len(pivots) < 60


def test_repeated_rows_are_taken_once():
    pivots, F = factorise(np.tile(ROWS[:5], (4, 1)), rank=20)
    assert sorted(pivots % 5) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(F @ F.T, weighted_kernel(np.tile(ROWS[:5], (4, 1))), atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_is_rounding(seed):
    """The diagonal that is left says more than the factor's rounding has."""
    rng = np.random.default_rng(seed)
    X = np.zeros((256, 4), np.float32)
    X[:2] = rng.standard_normal(4) * np.array([[1.0], [rng.uniform(0.5, 2)]])
    pivots, F = factorise(1e3 * X, rank=64, seed=seed)
    assert len(pivots) <= 2
    K = weighted_kernel(1e3 * X.astype(np.float64))
    np.testing.assert_allclose(F.astype(np.float64) @ F.T, K, atol=1e-5 * K.max())


def test_rows_of_zeros_have_nothing_to_factorise():
    pivots, F = factorise(np.zeros((7, 4)), rank=3)
    assert len(pivots) == 0
    assert F.shape == (7, 0)
    assert factorise(rank=0)[1].shape == (60, 0)


def test_float32_rows_have_float32_factors():
    _, F = factorise(ROWS.astype(np.float32))
    assert F.dtype == np.float32
