import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from feature_statistics import (
    N_ERRORS,
    SEEDS,
    assert_unbiased,
    draw,
    draw_map,
    relative_error,
)
from sklearn.base import clone
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch.features import resolve_method, transform_blocks
from ntksketch.features.resampled import (
    SCHEMES,
    inclusion_probabilities,
    leverage_scores,
    ridge_of_dimension,
    systematic_sample,
    weighted_features,
)

ARCHITECTURE = ntk.mlp(1)
ROWS = np.random.default_rng(0).standard_normal((12, 5))
METHODS = ["random-features", "gegenbauer", "polynomial-sketch", "nystroem"]
PUBLISHED = ntk.Resampled(scheme="with-replacement", ridge=0.01)


def oracle_scores(Z, ridge):
    G = Z.T @ Z
    return np.diagonal(G @ np.linalg.inv(G + ridge * np.trace(G) * np.eye(len(G))))


# ---------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 9), (9, 9), (9, 40)])
@pytest.mark.parametrize("ridge", [1.0, 1e-3])
def test_scores_are_the_diagonal_of_the_smoother(shape, ridge):
    Z = np.random.default_rng(0).standard_normal(shape) * np.arange(1, shape[1] + 1)
    np.testing.assert_allclose(leverage_scores(Z, ridge), oracle_scores(Z, ridge), rtol=1e-8)


@pytest.mark.parametrize("shape", [(40, 9), (9, 40)])
def test_scores_sum_to_the_dimension_that_is_asked_for(shape):
    Z = np.random.default_rng(0).standard_normal(shape)
    for dimension in (0.5, 3.0, 8.5):
        np.testing.assert_allclose(leverage_scores(Z, None, dimension).sum(), dimension, rtol=1e-4)


def test_more_dimensions_than_the_rank_give_the_rank():
    Z = np.random.default_rng(0).standard_normal((20, 3)) @ np.ones((3, 3))
    np.testing.assert_allclose(leverage_scores(Z, None, 2.0), 1 / 3, rtol=1e-4)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7)])
def test_zero_features_have_equal_scores(shape):
    np.testing.assert_array_equal(leverage_scores(np.zeros(shape), None, 2.0), np.ones(shape[1]))


def test_ridge_of_a_dimension():
    values = np.array([5.0, 1.0, 0.2, 0.0])
    for dimension in (0.1, 1.0, 2.9):
        ridge = ridge_of_dimension(values, dimension)
        np.testing.assert_allclose((values / (values + ridge)).sum(), dimension, rtol=1e-4)
    assert 0 < ridge_of_dimension(values, 4.0) < 1e-8


def test_a_column_of_its_own_direction_counts_and_copies_do_not():
    rng = np.random.default_rng(0)
    common = rng.standard_normal((50, 1)) @ np.ones((1, 10))
    Z = np.concatenate([common, rng.standard_normal((50, 1))], axis=1)
    scores = leverage_scores(Z, 1e-6)
    np.testing.assert_allclose(scores[:10], 0.1, rtol=1e-3)
    np.testing.assert_allclose(scores[10], 1.0, rtol=1e-3)


# ---------------------------------------------------------------------------------------------
# Sampling
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_kept", [1, 7, 19, 20])
def test_inclusion_probabilities_sum_to_the_number_kept(n_kept):
    scores = np.random.default_rng(0).random(20) ** 8
    p = inclusion_probabilities(scores, n_kept)
    assert np.all((p > 0) & (p <= 1))
    np.testing.assert_allclose(p.sum(), n_kept, rtol=1e-12)
    assert (p[np.argsort(scores)] == np.sort(p)).all()  # in the order of the scores
    uncertain = p < 1
    ratio = p[uncertain] / (scores + scores.mean() / 10)[uncertain]
    np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio)), rtol=1e-12)


def test_no_weight_is_large():
    scores = np.zeros(100)
    scores[0] = 1.0
    p = inclusion_probabilities(scores, 25)
    assert p[0] == 1
    np.testing.assert_allclose(p[1:], 24 / 99)
    skewed = inclusion_probabilities(np.random.default_rng(0).random(400) ** 20, 100)
    assert skewed.min() >= 100 / 400 / 11


@pytest.mark.parametrize("seed", SEEDS)
def test_systematic_sample_has_its_inclusion_probabilities(seed):
    rng = np.random.default_rng(seed)
    p = inclusion_probabilities(rng.random(15) ** 4, 6)
    n = 20_000
    counts = np.zeros(15)
    for _ in range(n):
        kept = systematic_sample(rng, p, 6)
        assert len(np.unique(kept)) == 6
        counts[kept] += 1
    assert (counts[p == 1] == n).all()
    assert np.all(np.abs(counts / n - p) <= N_ERRORS * np.sqrt(p * (1 - p) / n))


def test_systematic_sample_of_everything_and_of_equal_columns():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(systematic_sample(rng, np.ones(5), 5), np.arange(5))
    for _ in range(20):  # evenly spread
        kept = systematic_sample(rng, np.full(12, 0.25), 3)
        np.testing.assert_array_equal(np.diff(kept), [4, 4])


# ---------------------------------------------------------------------------------------------
# The map
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_all_candidates_are_the_method_itself(method):
    key = jax.random.key(3)
    Z = draw(ntk.Resampled(method, n_candidates=12), ARCHITECTURE, ROWS, 12, key)
    inner_key, *_ = jax.random.split(key, 3)
    expected = draw(resolve_method(method), ARCHITECTURE, ROWS, 12, inner_key)
    np.testing.assert_array_equal(Z, expected)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ridge", [None, 1.0, 1e-3])
@pytest.mark.parametrize("method", METHODS)
def test_features_are_columns_of_the_candidates_weighted_by_their_scores(method, ridge, scheme):
    key = jax.random.key(0)
    inner_key, *_ = jax.random.split(key, 3)
    Z = draw(resolve_method(method), ARCHITECTURE, ROWS, 40, inner_key)
    relative = ridge
    if ridge is None:
        values = np.linalg.eigvalsh(Z @ Z.T)
        relative = ridge_of_dimension(values, 9 / 16) / values.sum()
    scores = oracle_scores(Z, relative)
    p = inclusion_probabilities(scores, 9)
    if scheme == "with-replacement":
        p = 9 * scores / scores.sum()
    resampled = ntk.Resampled(method, n_candidates=40, scheme=scheme, ridge=ridge)
    kept = draw(resampled, ARCHITECTURE, ROWS, 9, key)
    weighted = np.where(p > 0, Z / np.sqrt(np.where(p > 0, p, 1)), 0)
    distances = np.abs(kept[:, :, None] - weighted[:, None, :]).max(axis=0)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-5)
    if scheme == "systematic" and method != "nystroem":  # which pads with zeros
        assert len(np.unique(distances.argmin(axis=1))) == 9


@pytest.mark.slow
@pytest.mark.parametrize("resampled", [ntk.Resampled(n_candidates=24), PUBLISHED], ids=repr)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_unbiased(resampled, kind):
    keys = jax.random.split(jax.random.key(SEEDS[0]), 200)
    features = [draw(resampled, ARCHITECTURE, ROWS, 9, key, kind) for key in keys]
    grams = np.stack([Z @ Z.T for Z in features])
    assert_unbiased(grams, ntk.kernel(ARCHITECTURE, ROWS, kind=kind))


def test_unbiased_on_rows_unlike_those_of_the_draw():
    seen = ROWS.copy()
    seen[:, 2:] = 0  # half of the candidates' linear columns do not matter there
    keys = jax.random.split(jax.random.key(SEEDS[0]), 200)
    maps = [draw_map(ntk.Resampled(), ARCHITECTURE, seen, 9, key) for key in keys]
    features = [transform_blocks(feature_map, ROWS) for feature_map in maps]
    grams = np.stack([Z @ Z.T for Z in features])
    assert_unbiased(grams, ntk.kernel(ARCHITECTURE, ROWS))


@pytest.mark.slow
def test_several_layers_and_what_a_series_leaves_out():
    arch = ntk.mlp(2)
    X = load_digits().data[:150] / 16
    K = ntk.kernel(arch, X)
    for method in METHODS:
        Z = draw(ntk.Resampled(method), arch, X, 512, jax.random.key(0))
        assert relative_error(Z @ Z.T, K) < 0.15
    feature_map = draw_map(ntk.Resampled("gegenbauer"), arch, X, 64, jax.random.key(0))
    assert feature_map.expected == feature_map.inner.expected
    assert feature_map.expected is not None


@pytest.mark.slow
def test_spectral_factor_is_smaller_than_without_resampling():
    X = load_digits().data[:300] / 16
    K = ntk.kernel(ARCHITECTURE, X)
    values, vectors = scipy.linalg.eigh(K)
    whitening = (vectors / np.sqrt(values + 0.1 * np.trace(K) / len(K))) @ vectors.T

    def factors(method):
        for seed in range(4):
            Z = whitening @ draw(method, ARCHITECTURE, X, 96, jax.random.key(seed))
            yield np.linalg.norm(Z @ Z.T - whitening @ K @ whitening, 2)

    plain, published, ours = (
        np.mean(list(factors(method)))
        for method in (
            ntk.RandomFeatures(),
            ntk.Resampled(scheme="with-replacement"),
            ntk.Resampled(),
        )
    )
    assert ours < 0.8 * plain
    assert ours < published


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_repetitions(scheme):
    weight = np.arange(12) % 4
    resampled = ntk.Resampled(scheme=scheme)
    features = ntk.NTKFeatures(ARCHITECTURE, resampled, 9, random_state=0)
    Z = features.fit(ROWS, sample_weight=weight).transform(ROWS)
    repeated = features.fit(np.repeat(ROWS, weight, axis=0)).transform(ROWS)
    np.testing.assert_allclose(repeated, Z, rtol=1e-7)


def test_scores_come_from_a_sample_of_many_rows():
    X = np.random.default_rng(0).standard_normal((2500, 3))
    weight = np.where(np.arange(2500) % 10, 1.0, 0.0)
    feature_map = draw_map(ntk.RandomFeatures(), ARCHITECTURE, X, 8, jax.random.key(0))
    rng = np.random.default_rng(0)
    Z = weighted_features(rng, feature_map, X, weight)
    assert Z.shape == (2048, 8)
    rows = {tuple(row) for row in transform_blocks(feature_map, X[weight > 0]).round(9)}
    assert {tuple(row) for row in Z.round(9)} <= rows  # weights did their part in the draw
    few = weighted_features(rng, feature_map, X[:50], 4 * weight[:50])
    assert few.shape == (45, 8)
    G = transform_blocks(feature_map, X[:50])[weight[:50] > 0]
    np.testing.assert_allclose(few.T @ few, 4 * G.T @ G, rtol=1e-10)
    weight = 1.0 + np.arange(2048)  # of all rows, as many as a sample would have
    Z = weighted_features(rng, feature_map, X[:2048], weight)
    G = transform_blocks(feature_map, X[:2048])
    np.testing.assert_allclose(Z.T @ Z, G.T * weight @ G, rtol=1e-8, atol=1e-6)


# ---------------------------------------------------------------------------------------------
# Use and misuse
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_and_dense_rows_in_their_dtype(dtype):
    X = np.where(np.random.default_rng(0).random((30, 8)) < 0.4, 1.0, 0.0).astype(dtype)
    X += np.eye(30, 8, dtype=dtype)
    fit = ntk.NTKFeatures(ARCHITECTURE, ntk.Resampled(), 20, random_state=1).fit
    Z = fit(X).transform(X)
    sparse = fit(sp.csr_array(X)).transform(sp.csr_array(X))
    assert Z.dtype == sparse.dtype == dtype
    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(sparse, Z, rtol=tolerance, atol=tolerance)


def test_estimators_take_it():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    method = ntk.Resampled(ntk.RandomFeatures(sampling="leverage"), n_candidates=512)
    model = ntk.NTKClassifier(ARCHITECTURE, method, n_components=128, random_state=0)
    assert clone(model).method is not None
    model.fit(X[:1200], y[:1200])
    assert model.score(X[1200:], y[1200:]) > 0.85
    features = ntk.NTKFeatures(ARCHITECTURE, method, 64, random_state=0).fit(X[:300])
    assert features.method_ == method
    bias = ntk.check_features(features, X[:300]).bias
    assert abs(bias.value) <= N_ERRORS * bias.standard_error


def test_representation_and_equality():
    assert repr(ntk.Resampled()) == "Resampled()"
    assert ntk.Resampled("nystroem", ridge=0.1) == ntk.Resampled("nystroem", ridge=0.1)
    assert ntk.Resampled("nystroem") != ntk.Resampled("gegenbauer")
    assert len({ntk.Resampled(), ntk.Resampled(), PUBLISHED}) == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "fourier"}, "method must be one of .* got 'fourier'"),
        ({"n_candidates": 0}, "n_candidates must be a whole number of at least 1, got 0"),
        ({"n_candidates": 2.5}, "n_candidates must be a whole number"),
        ({"n_candidates": True}, "n_candidates must be a whole number"),
        ({"scheme": "poisson"}, r"scheme must be one of \('systematic', 'with-replacement'\)"),
        ({"ridge": 0.0}, "ridge must be a positive number or None, got 0.0"),
        ({"ridge": -1}, "ridge must be a positive number"),
        ({"ridge": np.inf}, "ridge must be a positive number"),
        ({"ridge": "auto"}, "ridge must be a positive number"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        ntk.Resampled(**parameters)


def test_what_is_no_method():
    with pytest.raises(TypeError, match=r"did you mean Gegenbauer\(\)"):
        ntk.Resampled(ntk.Gegenbauer)


def test_too_few_candidates():
    features = ntk.NTKFeatures(ARCHITECTURE, ntk.Resampled(n_candidates=8), 9)
    with pytest.raises(ValueError, match="n_candidates=8 is less than n_components=9: draw more"):
        features.fit(ROWS)
