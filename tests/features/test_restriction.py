import jax
import numpy as np
import pytest
import scipy.sparse as sp
from feature_statistics import draw_map

import ntksketch as ntk
from ntksketch.features import transform_blocks
from ntksketch.features.restriction import restrict

ROWS = np.random.default_rng(0).standard_normal((10, 6))
BIASED = ntk.serial(ntk.Dense(1.1, 0.4), ntk.Relu(), ntk.Dense(0.7, 0.3))
SMOOTH = ntk.mlp(2, activation=ntk.Erf())
CASES = [
    (ntk.RandomFeatures(), ntk.mlp(1)),
    (ntk.RandomFeatures(), ntk.mlp(2, bias_std=0.5)),
    (ntk.RandomFeatures(), BIASED),
    (ntk.RandomFeatures(), ntk.mlp(2, activation=ntk.LeakyRelu(0.3))),
    (ntk.RandomFeatures(), SMOOTH),
    (ntk.RandomFeatures.published(), ntk.mlp(2)),
    (ntk.RandomFeatures(), ntk.serial(ntk.Dense(), ntk.Relu())),
    (ntk.RandomFeatures(product="tensor-sketch"), ntk.mlp(1)),
    (ntk.RandomFeatures(product="exact"), ntk.mlp(1)),
    (ntk.Gegenbauer(), ntk.mlp(2)),
    (ntk.Gegenbauer(linear="random"), ntk.serial(ntk.Dense(1.1, 0.4), ntk.Relu(), ntk.Dense(0.7))),
    (ntk.Gegenbauer(directions="structured"), ntk.mlp(1)),
    (ntk.PolynomialSketch(), ntk.mlp(1)),
    (ntk.Nystroem("uniform"), ntk.mlp(1)),
]
CUT = CASES[:6] + CASES[9:11]


def case_name(value):
    return repr(value)


def cut_features(restriction, X):
    Z = transform_blocks(restriction.feature_map, X)
    return Z[:, restriction.positions] * restriction.factors


@pytest.mark.slow
@pytest.mark.parametrize(("method", "architecture"), CASES, ids=case_name)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_columns_are_those_of_the_whole_map(method, architecture, kind):
    whole = draw_map(method, architecture, ROWS, 96, jax.random.key(0), kind)
    Z = transform_blocks(whole, ROWS)
    rng = np.random.default_rng(1)
    for n in (1, 10, 40, 96):
        columns = np.sort(rng.choice(96, n, replace=False))
        restriction = restrict(whole, columns)
        assert restriction.feature_map.n_components <= 96
        np.testing.assert_allclose(
            cut_features(restriction, ROWS), Z[:, columns], rtol=1e-8, atol=1e-10
        )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "architecture"), CASES, ids=case_name)
def test_sparse_rows(method, architecture):
    X = np.where(np.random.default_rng(2).random((10, 6)) < 0.5, ROWS, 0.0)
    whole = draw_map(method, architecture, X, 64, jax.random.key(0))
    columns = np.arange(3, 64, 5)
    restriction = restrict(whole, columns)
    sparse = cut_features(restriction, sp.csr_array(X))
    np.testing.assert_allclose(sparse, transform_blocks(whole, X)[:, columns], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "architecture"),
    [CUT[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CUT[1:])],
    ids=case_name,
)
def test_few_columns_cost_little(method, architecture):
    X = np.random.default_rng(3).standard_normal((4, 40))
    whole = draw_map(method, architecture, X, 800, jax.random.key(0))
    columns = np.sort(np.random.default_rng(4).choice(800, 200, replace=False))
    restriction = restrict(whole, columns)
    assert restriction.feature_map.n_components <= 200 + 60 + 80  # full steps; exact coordinates
    assert restriction.feature_map.row_entries <= whole.row_entries


def test_draws_share_compiled_code(compilations):
    whole = draw_map(ntk.Gegenbauer(), ntk.mlp(1), ROWS, 400, jax.random.key(0))
    rng = np.random.default_rng(5)

    def compute():
        columns = np.sort(rng.choice(400, 100, replace=False))
        transform_blocks(restrict(whole, columns).feature_map, ROWS)

    for _ in range(10):
        compute()
    compilations.clear()
    for _ in range(10):
        compute()
    assert len(compilations) <= 4


def test_maps_that_are_folded_stay_whole():
    whole = draw_map(ntk.RandomFeatures(), ntk.mlp(1), ROWS, 3, jax.random.key(0))
    columns = np.array([0, 2])
    restriction = restrict(whole, columns)
    assert restriction.feature_map is whole
    np.testing.assert_array_equal(restriction.positions, columns)


def test_columns_of_padding_are_zero():
    kernel = ntk.zonal.polynomial([0.5, 2.0])
    X = np.random.default_rng(6).standard_normal((30, 6))
    whole = draw_map(ntk.Gegenbauer(), kernel, X, 12, jax.random.key(0))
    restriction = restrict(whole, np.array([2, 8, 9, 11]))
    Z = cut_features(restriction, X)
    assert Z[:, 0].any()
    assert not Z[:, 1:].any()
