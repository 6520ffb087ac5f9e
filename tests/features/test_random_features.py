import itertools

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from feature_statistics import (
    N_ERRORS,
    SEEDS,
    assert_unbiased,
    draw,
    gram_matrices,
    relative_error,
)
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch import Dense, RandomFeatures, Relu, serial
from ntksketch.features.directions import SAMPLINGS
from ntksketch.features.products import PRODUCTS

ROWS = np.random.default_rng(0).standard_normal((6, 5))
METHODS = [
    RandomFeatures(sampling, product, variance_reduction)
    for sampling, product, variance_reduction in itertools.product(
        SAMPLINGS, PRODUCTS, (True, False)
    )
]


@pytest.fixture(scope="module")
def digits():
    return load_digits().data / 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_unbiased_at_depth_1(method, seed):
    architecture = ntk.mlp(1)
    grams = gram_matrices(method, architecture, ROWS, 48, n_keys=200, seed=seed)
    assert_unbiased(grams, ntk.kernel(architecture, ROWS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_components", [1, 2, 3, 5])
def test_unbiased_with_few_components(n_components, seed):
    architecture = ntk.mlp(1, bias_std=0.5)
    grams = gram_matrices(RandomFeatures(), architecture, ROWS, n_components, 400, seed)
    assert_unbiased(grams, ntk.kernel(architecture, ROWS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "architecture",
    [
        ntk.mlp(1, weight_std=1.5, bias_std=0.7),
        serial(Dense(), Relu()),
        serial(Relu(), Dense()),
        serial(Dense(bias_std=0.3), Dense(), Relu(), Dense(), Dense(bias_std=0.2)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_unbiased_for_other_compositions_of_one_rectifier(architecture, kind, seed):
    grams = gram_matrices(RandomFeatures(), architecture, ROWS, 49, 200, seed, kind)
    assert_unbiased(grams, ntk.kernel(architecture, ROWS, kind=kind))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("sampling", "relative_variance"),
    # of 2 c relu(<w, x>)^2 at |x| = 1: 4 E g^4 / 2 - 1, and 4 d^2 E u^4 / 2 - 1
    [("gaussian", 5.0), ("leverage", 6 * 3 / (3 + 2) - 1)],
)
def test_variance_of_arc_cosine_features_in_three_dimensions(sampling, relative_variance, seed):
    x, m = np.array([[0.6, 0.0, 0.8]]), 20
    method = RandomFeatures(sampling, variance_reduction=False)
    squares = gram_matrices(method, ntk.mlp(1), x, m, 2000, seed, "nngp")[:, 0, 0]
    deviations = (squares - squares.mean()) ** 2
    error = deviations.std() / np.sqrt(len(squares))
    assert abs(deviations.mean() - relative_variance / m) <= N_ERRORS * error


@pytest.mark.parametrize("seed", SEEDS)
def test_leverage_and_orthogonal_directions_reduce_the_error_in_three_dimensions(seed):
    X = np.random.default_rng(1).standard_normal((20, 3))
    K = ntk.kernel(ntk.mlp(1), X, kind="nngp")

    def squared_errors(method):
        grams = gram_matrices(method, ntk.mlp(1), X, 63, 1000, seed, "nngp")
        return np.array([relative_error(G, K) ** 2 for G in grams])

    gaussian, leverage, orthogonal = (
        squared_errors(RandomFeatures(s, variance_reduction=False))
        for s in ("gaussian", "leverage", "orthogonal")
    )
    for better, worse in ((leverage, gaussian), (orthogonal, leverage)):
        error = np.hypot(better.std(), worse.std()) / np.sqrt(len(better))
        assert better.mean() < worse.mean() - 2 * error


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_error_falls_as_the_square_root_of_the_components(depth, seed, digits):
    X = digits[:100].astype(np.float32)
    K = ntk.kernel(ntk.mlp(depth), X.astype(np.float64))
    sizes = [64, 256, 1024]

    def exponent(variance_reduction, n_keys):
        errors = []
        for m in sizes:
            method = RandomFeatures(
                "leverage",
                variance_reduction=variance_reduction,
                relu_fraction=0.5,
                hidden_components=m,
            )
            grams = gram_matrices(method, ntk.mlp(depth), X, m, n_keys, seed)
            errors.append(np.mean([relative_error(G, K) ** 2 for G in grams]) / 2)
        return np.polyfit(np.log(sizes), np.log(errors), 1)[0] / 2

    assert abs(exponent(False, 64) + 0.5) <= 0.1
    # faster while the linear halves still grow towards the width of the rows
    assert exponent(True, 24) <= -0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "depth", "bound"),
    [
        (RandomFeatures("leverage"), 1, 0.08),
        (RandomFeatures("orthogonal"), 1, 0.05),
        (RandomFeatures("leverage"), 3, 0.22),
        (RandomFeatures("orthogonal"), 3, 0.12),
    ],
    ids=repr,
)
def test_error_on_digits(method, depth, bound, digits):
    architecture = ntk.mlp(depth)
    K = ntk.kernel(architecture, digits)
    errors = []
    for seed in range(5):
        Z = ntk.NTKFeatures(architecture, method, 1024, random_state=seed).fit_transform(
            digits.astype(np.float32)
        )
        errors.append(relative_error(Z @ Z.T, K))
    assert np.mean(errors) <= bound


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_variance_reduction_reduces_the_error(seed, digits):
    X = digits[:100]
    for depth in (1, 3):
        K = ntk.kernel(ntk.mlp(depth), X)
        ours, published = (
            [relative_error(G, K) for G in gram_matrices(m, ntk.mlp(depth), X, 256, 24, seed)]
            for m in (
                RandomFeatures("leverage", hidden_components=256),
                RandomFeatures("leverage", variance_reduction=False, hidden_components=256),
            )
        )
        assert np.mean(ours) < np.mean(published)


def test_pairs_of_orthogonal_directions_keep_norms_exactly():
    # all linear columns and whole blocks of pairs: sum relu(+-<u,x>)^2 = |x|^2 for every draw
    Z = draw(RandomFeatures(), ntk.mlp(1), ROWS, 20, jax.random.key(0), "nngp")
    np.testing.assert_allclose((Z**2).sum(axis=1), (ROWS**2).sum(axis=1), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("depth", [1, 2])
def test_homogeneous_without_bias_for_every_draw(method, depth):
    scales = np.array([0.0, 1e-3, 1.0, 7.0, 100.0, 2.0])[:, None]
    key = jax.random.key(1)
    Z, scaled = (draw(method, ntk.mlp(depth), X, 96, key) for X in (ROWS, scales * ROWS))
    np.testing.assert_allclose(scaled, scales * Z, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [ntk.mlp(1), ntk.mlp(3, bias_std=0.4)], ids=repr)
@pytest.mark.parametrize("method", METHODS[:6], ids=repr)
def test_sparse_rows_equal_dense_rows(architecture, method):
    X = np.where(np.random.default_rng(0).random((7, 5)) < 0.4, 1.5, 0.0)
    m = 700 if method.product == "exact" else 64
    key = jax.random.key(0)
    Z = draw(method, architecture, X, m, key)
    np.testing.assert_allclose(draw(method, architecture, sp.csr_array(X), m, key), Z, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS[:6], ids=repr)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_exact_number_of_columns(method, kind):
    for architecture, m in ((ntk.mlp(1), 97), (ntk.mlp(2, bias_std=0.1), 128)):
        assert draw(method, architecture, ROWS, m, jax.random.key(0), kind).shape == (6, m)


def test_exact_product_names_the_smallest_number_of_components():
    method = RandomFeatures(product="exact")
    with pytest.raises(ValueError, match=r"n_components=5 is too small .* works is (\d+)") as error:
        draw(method, ntk.mlp(2), ROWS, 5, jax.random.key(0))
    smallest = int(str(error.value).split()[-1])
    assert draw(method, ntk.mlp(2), ROWS, smallest, jax.random.key(0)).shape[1] == smallest
    with pytest.raises(ValueError, match=f"works is {smallest}"):
        draw(method, ntk.mlp(2), ROWS, smallest - 1, jax.random.key(0))


def test_hidden_components_too_few():
    with pytest.raises(ValueError, match="hidden_components=1 is too small"):
        draw(RandomFeatures(hidden_components=1), ntk.mlp(2), ROWS, 64, jax.random.key(0))


def test_architecture_without_nonlinearity_is_refused():
    with pytest.raises(ValueError, match="no Relu"):
        draw(RandomFeatures(), serial(Dense()), ROWS, 64, jax.random.key(0))


@pytest.mark.slow
def test_deeper_features_approach_the_exact_kernel(digits):
    X = digits[:100]
    biased = ntk.mlp(4, weight_std=1.2, bias_std=0.5)
    for architecture, kind in ((ntk.mlp(2), "nngp"), (biased, "ntk"), (biased, "nngp")):
        K = ntk.kernel(architecture, X, kind=kind)
        small, large = (
            np.mean([relative_error(G, K) for G in grams])
            for grams in (
                gram_matrices(
                    RandomFeatures(hidden_components=m), architecture, X, m, 10, kind=kind
                )
                for m in (64, 1024)
            )
        )
        assert large < 0.6 * small


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sampling": "uniform"}, "sampling must be one of"),
        ({"product": "fft"}, "product must be one of"),
        ({"relu_fraction": 1.0}, r"relu_fraction must be in \(0, 1\)"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"hidden_components": 2.5}, "hidden_components must be a whole number"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        RandomFeatures(**parameters)


def test_repr_and_equality():
    assert repr(RandomFeatures()) == "RandomFeatures()"
    assert eval(repr(RandomFeatures.published())) == RandomFeatures.published()
    assert hash(RandomFeatures()) == hash(RandomFeatures("orthogonal"))
    assert RandomFeatures() != RandomFeatures("leverage")
