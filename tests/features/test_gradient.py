"""Gradient features against the gradients themselves and the empirical NTK."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from feature_statistics import assert_unbiased, relative_error

import ntksketch as ntk
from ntksketch.features import transform_blocks
from ntksketch.networks.network import NetworkFunction

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((6, 5))
IMAGES = RNG.standard_normal((6, 5 * 5 * 2))
SIGNALS = RNG.standard_normal((6, 7 * 2))
RAGGED = np.column_stack([SIGNALS, [7, 6, 5, 7, 7, 7]])
SHAPE = (5, 5, 2)
NETWORKS = {
    "mlp": (ntk.mlp(2), ROWS),
    "biases": (ntk.mlp(2, bias_std=0.3, activation=ntk.Erf()), ROWS),
    "cnn": (ntk.cnn(2, pooling=2, shape=SHAPE, bias_std=0.2), IMAGES),
    "strides, flatten": (
        ntk.serial(
            ntk.Input(SHAPE),
            ntk.Conv(3, stride=2, padding="circular"),
            ntk.Relu(),
            ntk.Conv((2, 1), padding="valid"),
            ntk.Relu(),
            ntk.Flatten(),
            ntk.Dense(),
        ),
        IMAGES,
    ),
    "sums": (ntk.resnet(1, shape=SHAPE), IMAGES),
    "recurrent": (
        ntk.serial(ntk.Input((7, 2)), ntk.rnn(2, state_std=0.5, bias_std=0.1)),
        SIGNALS,
    ),
}
QUICK = {"biases", "cnn", "recurrent"}
every_network = pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]
)


def draw(method, architecture, X, m, seed=0, kind="ntk"):
    return method.init(jax.random.key(seed), architecture, X, kind=kind, n_components=m)


def network_of(feature_map):
    """Return the function and parameters of the network that was drawn."""
    plan = feature_map.plan
    params = jax.tree.unflatten(jax.tree.structure(plan.network), feature_map.params.weights)
    return NetworkFunction(plan.architecture), params


def empirical(feature_map, X):
    """Return the NTK of the drawn network from its Jacobian."""
    return ntk.empirical_ntk(*network_of(feature_map), X, strategy="jacobian")


@every_network
def test_the_gradient_itself_has_the_empirical_kernel(name):
    architecture, X = NETWORKS[name]
    feature_map = draw(ntk.GradientFeatures(5, product="exact"), architecture, X, 1500)
    Z = transform_blocks(feature_map, X)
    np.testing.assert_allclose(Z @ Z.T, empirical(feature_map, X), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "X", [ROWS, pytest.param(IMAGES, marks=pytest.mark.slow)], ids=["rows", "images"]
)
def test_a_sketch_is_that_of_the_gradient(X):
    # the Jacobian by JAX, and the sketch from its definition with Hadamard matrices
    images = X is IMAGES
    architecture = NETWORKS["cnn"][0] if images else NETWORKS["biases"][0]
    for m in (7, 300):  # terms are summed last, and first
        feature_map = draw(ntk.GradientFeatures(6), architecture, X, m)
        f, params = network_of(feature_map)
        with jax.enable_x64(True):
            jacobian = jax.jacobian(lambda p: f(p, jnp.asarray(X))[:, 0])(params)  # noqa: B023
        expected = np.zeros((len(X), m))
        sketches = feature_map.params.sketches
        for gradient, (sketch, signs) in zip(jax.tree.leaves(jacobian), sketches, strict=True):
            factors = getattr(sketch, "factors", (sketch,))
            G = np.asarray(gradient).reshape(len(X), *(len(factor.signs) for factor in factors))
            rows = []
            for factor in factors:
                size = 1 << (len(factor.signs) - 1).bit_length()
                H = scipy.linalg.hadamard(size)[:, : len(factor.signs)] * factor.signs
                rows.append(H[factor.indices])
            products = "na,ka->nk" if len(rows) == 1 else "nab,ka,kb->nk"
            G = np.einsum(products, G, *rows)
            expected += signs * G / np.sqrt(m)
        np.testing.assert_allclose(transform_blocks(feature_map, X), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@every_network
def test_unbiased_for_the_empirical_kernel(name):
    architecture, X = NETWORKS[name]
    feature_map = draw(ntk.GradientFeatures(4), architecture, X, 16)
    K = empirical(feature_map, X)
    grams = []
    for seed in range(300):
        sketches = draw(ntk.GradientFeatures(4), architecture, X, 16, seed).params.sketches
        drawn = feature_map._replace(params=feature_map.params._replace(sketches=sketches))
        Z = transform_blocks(drawn, X)
        grams.append(Z @ Z.T)
    assert_unbiased(np.stack(grams), K)


@pytest.mark.slow
@every_network
def test_error_against_the_empirical_kernel_falls_with_the_root(name):
    architecture, X = NETWORKS[name]
    sizes, errors = (64, 512, 4096), []
    for m in sizes:
        drawn = [draw(ntk.GradientFeatures(8), architecture, X, m, seed) for seed in range(12)]
        errors.append(
            np.mean(
                [
                    relative_error((Z := transform_blocks(fm, X)) @ Z.T, empirical(fm, X))
                    for fm in drawn
                ]
            )
        )
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.1


def test_sparse_rows_are_never_dense():
    X = sp.random(9, 3000, density=0.01, format="csr", random_state=0)
    feature_map = draw(ntk.GradientFeatures(16), ntk.mlp(2), X, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sp.csr_matrix, "toarray", None)
        patch.setattr(sp.csr_array, "toarray", None)
        Z = transform_blocks(feature_map, X)
    np.testing.assert_allclose(Z, transform_blocks(feature_map, X.toarray()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("architecture", "width"),
    [(ntk.mlp(1), 1024), (ntk.cnn(1, shape=(2, 2, 2)), 128), (ntk.rnn(1, shape=(8, 1)), 1024)],
    ids=["units", "channels", "states"],
)
def test_width_by_default(architecture, width):
    feature_map = draw(ntk.GradientFeatures(), architecture, np.ones((2, 8)), 4)
    assert feature_map.plan.width == width


def test_published_width_is_the_largest_that_fits():
    method = ntk.GradientFeatures.published()
    assert method.initialization == "gaussian"
    for m in (6, 11, 12, 500, 1000):
        width = draw(method, ntk.mlp(1), ROWS, m).plan.width
        assert 6 * width <= m < 6 * (width + 1)  # 5 weights into a unit, and one out of it
    Z = transform_blocks(draw(method, ntk.mlp(1), ROWS, 500), ROWS)
    assert Z.shape == (6, 500)
    assert not Z[:, 498:].any()
    assert Z[:, :498].any(0).all()
    with pytest.raises(ValueError, match=r"n_components=5 is less than the 6 weights"):
        draw(method, ntk.mlp(1), ROWS, 5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_networks_that_end_with_an_activation(seed):
    # their kernel is a mean over units, of which signs make one output
    architecture = ntk.serial(ntk.Dense(), ntk.Relu(), ntk.Dense(), ntk.Relu())
    K = ntk.kernel(architecture, ROWS)
    feature_map = draw(ntk.GradientFeatures(2048), architecture, ROWS, 4096, seed)
    assert feature_map.plan.n_outputs == 2048
    Z = transform_blocks(feature_map, ROWS)
    assert relative_error(Z @ Z.T, K) < 0.15


@pytest.mark.parametrize(
    ("architecture", "X", "message"),
    [
        (ntk.zonal.laplace(1.0), ROWS, "needs the layers of a network"),
        (ntk.serial(ntk.Relu(), ntk.Dense()), ROWS, "Dense or Input first"),
        (
            ntk.serial(ntk.Input((7, 2), lengths=True), ntk.rnn(1)),
            RAGGED,
            "different lengths: take",
        ),
    ],
)
def test_what_has_no_gradient_is_refused(architecture, X, message):
    with pytest.raises(ValueError, match=message):
        draw(ntk.GradientFeatures(), architecture, X, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width"),
        ({"width": 2.5}, "width"),
        ({"product": "none"}, "product must be one of"),
        ({"initialization": "zeros"}, "initialization must be one of"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ntk.GradientFeatures(**arguments)


def test_by_name():
    features = functools.partial(ntk.NTKFeatures, ntk.mlp(1), n_components=8, random_state=0)
    by_name, by_value = (
        features(method=method).fit_transform(ROWS)
        for method in ("gradient", ntk.GradientFeatures())
    )
    np.testing.assert_array_equal(by_name, by_value)
