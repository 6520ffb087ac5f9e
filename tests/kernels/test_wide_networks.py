"""Wide random networks have the exact kernels, up to their width and the draws' standard error."""

import itertools
import math
import os

import jax
import numpy as np
import pytest
from oracles import pointwise

import ntksketch as ntk

SEEDS = range(int(os.environ.get("NTKSKETCH_TEST_SEEDS", "1")))
N_ERRORS = 4  # standard errors
WIDTH_BIAS = 2  # allowance for finite width, in units of sqrt(K(x, x) K(y, y)) / width


def draw(rng, n_columns, width, depth):
    """Standard normal weights and biases of `depth` hidden layers and the readout."""
    sizes = [n_columns, *[width] * depth, 1]
    return [
        (rng.standard_normal((m, n), np.float32), rng.standard_normal(n, np.float32))
        for m, n in itertools.pairwise(sizes)
    ]


def scale(layer, weight_std, params):
    """The first layer's weights are not divided by the number of columns."""
    return weight_std if layer == 0 else weight_std / math.sqrt(len(params[layer][0]))


def rectifier(g):
    return math.sqrt(2) * np.maximum(g, 0)


def rectifier_slope(g):
    return math.sqrt(2) * (g > 0)


def empirical_kernels(
    params, X, weight_std, bias_std, function=rectifier, derivative=rectifier_slope
):
    """NTK of one network, and the readout's covariance given the hidden layers (the NNGP).

    With a_h the inputs of layer h and g_h its outputs, the NTK is the sum over layers of
    (c_h^2 a_h.a_h' + b^2) (df/dg_h . df'/dg_h'), c_h the factor of the layer's weights.
    """
    inputs, slopes = [X], []
    for layer, (weight, bias) in enumerate(params[:-1]):
        g = scale(layer, weight_std, params) * inputs[-1] @ weight + bias_std * bias
        slopes.append(derivative(g))
        inputs.append(function(g))
    slope, total = np.ones((len(X), 1), np.float32), 0.0
    for layer in reversed(range(len(params))):
        c = scale(layer, weight_std, params)
        own = c**2 * inputs[layer] @ inputs[layer].T + bias_std**2
        if layer == len(params) - 1:
            nngp = own
        total = total + own * (slope @ slope.T)
        if layer:
            slope = slopes[layer - 1] * (c * slope @ params[layer][0].T)
    return total, nngp


def output(params, x, weight_std, bias_std):
    a = x
    for layer, (weight, bias) in enumerate(params):
        g = scale(layer, weight_std, params) * a @ weight + bias_std * bias
        a = math.sqrt(2) * jax.nn.relu(g)
    return g[0]


def test_the_formula_is_the_gradients_inner_product():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3, 4)).astype(np.float32)
    params = draw(rng, 4, 8, 2)
    gradients = [jax.grad(output)(params, x, 1.3, 0.4) for x in X]
    flat = np.stack([np.concatenate([g.ravel() for g in jax.tree.leaves(t)]) for t in gradients])
    total, _ = empirical_kernels(params, X, 1.3, 0.4)
    np.testing.assert_allclose(total, flat @ flat.T, rtol=1e-5)


def assert_wide_networks_have_the_kernels(network, depth, weight_std, bias_std, seed, *functions):
    width, n_draws = 512, 24
    rng = np.random.default_rng([seed, depth])
    X = rng.standard_normal((5, 6)).astype(np.float32)
    X[1] = X[0] + 0.1 * X[1]
    X[2] = -X[0] + 0.1 * X[2]
    draws = np.array(
        [
            empirical_kernels(draw(rng, 6, width, depth), X, weight_std, bias_std, *functions)
            for _ in range(n_draws)
        ]
    )
    mean, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(n_draws)
    for kind, found, margin in zip(("ntk", "nngp"), mean, error, strict=True):
        K = ntk.kernel(network, X.astype(np.float64), kind=kind)
        bound = np.sqrt(np.outer(np.diag(K), np.diag(K)))
        allowance = N_ERRORS * margin + WIDTH_BIAS * bound / width
        assert np.all(np.abs(found - K) <= allowance)
        assert np.all(margin <= 0.1 * bound)  # the comparison has something to say


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("weight_std", "bias_std"), [(1.0, 0.0), (1.2, 0.5)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_wide_networks_have_the_exact_kernels(depth, weight_std, bias_std, seed):
    network = ntk.mlp(depth, weight_std=weight_std, bias_std=bias_std)
    assert_wide_networks_have_the_kernels(network, depth, weight_std, bias_std, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("activation", [ntk.Gelu(), ntk.Sin(1.5, 0.8, 0.3)], ids=repr)
def test_wide_networks_of_other_activations(activation, seed):
    network = ntk.mlp(2, activation=activation, weight_std=1.2, bias_std=0.5)
    functions = pointwise(activation)
    assert_wide_networks_have_the_kernels(network, 2, 1.2, 0.5, seed, *functions)
