"""Random features of other activations than the rectifier."""

import jax
import jax.numpy as jnp
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
from oracles import pointwise
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch import Elementwise, Erf, Gelu, LeakyRelu, RandomFeatures, Sin
from ntksketch.features.activations import pair_shares, slopes, values
from ntksketch.features.directions import sample_directions
from ntksketch.kernels.gram import precision

ROWS = np.random.default_rng(0).standard_normal((6, 5))
ACTIVATIONS = [
    ntk.Relu(),
    LeakyRelu(0.2),
    LeakyRelu(-1.7),
    Erf(),
    Gelu(),
    Sin(0.7, 1.3, 0.4),
    Elementwise(jax.nn.softplus),
    Elementwise(jnp.sin, jnp.cos),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_slopes_are_derivatives(activation):
    with precision(np.float64):
        z = jnp.linspace(-3, 3, 10)[None]  # without zero
        change, slope = jax.jit(
            lambda z: (
                jax.jvp(lambda z: values(activation, z), (z,), (jnp.ones_like(z),))[1],
                slopes(activation, z),
            )
        )(z)
    np.testing.assert_allclose(slope, change, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_values_are_the_function_over_the_root_of_the_directions(activation, dtype):
    z = np.random.default_rng(0).standard_normal((3, 8)).astype(dtype)
    if hasattr(activation, "function"):
        expected = np.asarray(activation.function(z)) / np.sqrt(8)
    elif hasattr(activation, "slope"):
        a = activation.slope
        expected = np.sqrt(2 / (1 + a**2) / 8) * np.where(z > 0, z, a * z)
    else:
        expected = pointwise(activation)[0](z) / np.sqrt(8)
    with precision(dtype):
        found = values(activation, jnp.asarray(z))
        assert found.dtype == slopes(activation, jnp.asarray(z)).dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("a", [0.0, 0.2, 1.0, -0.6, -1.0, -3.0, 5.0])
def test_a_rectifier_is_the_sum_of_an_odd_and_an_even_part(a):
    """Up to their signs, and both together have the mean square one of the rectifier."""
    odd, even = pair_shares(LeakyRelu(a))
    assert odd**2 + even**2 == pytest.approx(1, rel=1e-14)
    z = np.linspace(-2, 2, 9)
    rectified = np.sqrt(2 / (1 + a**2)) * np.where(z > 0, z, a * z)
    parts = (rectified - rectified[::-1]) / 2, (rectified + rectified[::-1]) / 2
    np.testing.assert_allclose(np.abs(parts[0]), odd * np.abs(z), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(np.abs(parts[1]), even * np.abs(z), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("function", [values, slopes])
def test_an_activation_without_a_rule(function):
    class Swish(ntk.Activation):
        pass

    with pytest.raises(NotImplementedError, match="no random features for Swish"):
        function(Swish(), jnp.ones((1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("activation", "method"),
    [
        (LeakyRelu(0.2), RandomFeatures()),
        (LeakyRelu(-1.7), RandomFeatures("leverage", variance_reduction=False)),
        (Erf(), RandomFeatures()),
        (Gelu(), RandomFeatures("gaussian", "tensor-sketch")),
        (Sin(0.7, 1.3, 0.4), RandomFeatures(product="exact")),
        (Elementwise(jax.nn.softplus), RandomFeatures()),
    ],
    ids=repr,
)
def test_unbiased_at_depth_1(activation, method, seed):
    architecture = ntk.mlp(1, activation=activation, bias_std=0.3)
    grams = gram_matrices(method, architecture, ROWS, 49, 200, seed)
    assert_unbiased(grams, ntk.kernel(architecture, ROWS))


@pytest.mark.parametrize("seed", SEEDS)
def test_orthogonal_directions_with_lengths_are_gaussian(seed):
    d, n = 3, 20_000
    W = sample_directions(jax.random.key(seed), "orthogonal", n, d, gaussian_lengths=True)
    block = W[:d] / np.linalg.norm(W[:d], axis=1, keepdims=True)
    np.testing.assert_allclose(block @ block.T, np.eye(d), atol=1e-12)
    for power, moment in ((2, d), (4, d * (d + 2)), (6, d * (d + 2) * (d + 4))):
        samples = np.linalg.norm(W, axis=1) ** power
        assert abs(samples.mean() - moment) <= N_ERRORS * samples.std() / np.sqrt(n)


def test_directions_without_a_length_are_refused():
    with pytest.raises(ValueError, match=r"sampling='leverage' .* Gelu\(\) needs; take"):
        draw(RandomFeatures("leverage"), ntk.mlp(1, activation=Gelu()), ROWS, 20, jax.random.key(0))


def test_sparse_rows_equal_dense_rows():
    X = np.where(np.random.default_rng(0).random((7, 5)) < 0.4, 1.5, 0.0)
    architecture, key = ntk.mlp(2, activation=Erf(), bias_std=0.4), jax.random.key(0)
    Z, sparse = (draw(RandomFeatures(), architecture, A, 64, key) for A in (X, sp.csr_array(X)))
    np.testing.assert_allclose(sparse, Z, atol=1e-12)


@pytest.mark.slow
def test_deeper_features_approach_the_exact_kernel():
    X = load_digits().data[:40].astype(np.float32) / 16
    architecture = ntk.mlp(2, activation=Gelu(), weight_std=1.2)
    K = ntk.kernel(architecture, X.astype(np.float64))
    small, large = (
        np.mean(
            [
                relative_error(G, K)
                for G in gram_matrices(
                    RandomFeatures(hidden_components=m), architecture, X, m, n_keys=3
                )
            ]
        )
        for m in (48, 384)
    )
    assert large < 0.6 * small
