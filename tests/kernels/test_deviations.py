"""Kernels as functions of standard deviations, against the exact kernel and finite differences."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.sparse as sp

import ntksketch as ntk
from ntksketch import Dense, Elementwise, serial
from ntksketch.kernels.deviations import diagonal_of_deviations, kernel_of_deviations

X = np.random.default_rng(0).standard_normal((6, 4))
Y = np.random.default_rng(1).standard_normal((5, 4))
BOTH = ("weight_std", "bias_std")
ACTIVATIONS = [
    ntk.Relu(),
    ntk.LeakyRelu(0.3),
    ntk.Erf(),
    ntk.Gelu(),
    ntk.Sin(0.7, 1.3, 0.4),
    Elementwise(jax.nn.softplus),
]
KINDS = [
    *(("ntk", activation) for activation in ACTIVATIONS[:-1]),
    pytest.param("ntk", ACTIVATIONS[-1], marks=pytest.mark.slow),  # compiles for long
    ("nngp", ntk.Relu()),
]


def with_deviations(network, deviations):
    """The network itself with other deviations in every Dense layer."""
    return serial(*(replace(a, **deviations) if isinstance(a, Dense) else a for a in network))


@pytest.mark.parametrize(("kind", "activation"), KINDS)
def test_values_and_derivatives(activation, kind):
    network = ntk.mlp(1 + isinstance(activation, ntk.Relu), activation=activation)
    at = {"weight_std": 1.2, "bias_std": 0.4}
    K, *changes = kernel_of_deviations(network, kind, at, X, Y, gradient=BOTH)
    np.testing.assert_allclose(
        K, ntk.kernel(with_deviations(network, at), X, Y, kind=kind), rtol=1e-11, atol=1e-13
    )
    for name, change in zip(BOTH, changes, strict=True):
        up, down = (
            kernel_of_deviations(network, kind, at | {name: at[name] * np.exp(step)}, X, Y)[0]
            for step in (1e-4, -1e-4)
        )
        difference = (up - down) / 2e-4
        np.testing.assert_allclose(change, difference, rtol=1e-6, atol=1e-7 * np.abs(K).max())


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_diagonals_and_their_derivatives_have_no_rounding(kind):
    network, at = ntk.mlp(3), {"weight_std": 0.9, "bias_std": 0.3}
    K, change = kernel_of_deviations(network, kind, at, X, gradient=("weight_std",))
    exact = ntk.kernel_diag(with_deviations(network, at), X, kind=kind)
    np.testing.assert_allclose(np.diag(K), exact, rtol=1e-14)
    np.testing.assert_allclose(diagonal_of_deviations(network, kind, at, X), exact, rtol=1e-14)
    np.testing.assert_array_equal(change, change.T)
    up, down = (
        diagonal_of_deviations(network, kind, at | {"weight_std": 0.9 * np.exp(s)}, X)
        for s in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(np.diag(change), (up - down) / 2e-5, rtol=1e-8)


@pytest.mark.parametrize(("depth", "kind"), [(1, "nngp"), (3, "ntk")])
def test_without_biases_the_kernel_is_a_power_of_the_deviation(depth, kind):
    """Each of the L + 1 layers multiplies both kernels by its weights' variance."""
    rows = np.vstack([X, X, -2 * X])  # parallel and opposite ones, too
    K, weights, biases = kernel_of_deviations(
        ntk.mlp(depth), kind, {"weight_std": 1.3, "bias_std": 0.0}, rows, gradient=BOTH
    )
    scale = np.sqrt(np.outer(np.diag(K), np.diag(K)))
    assert np.all(np.abs(weights - 2 * (depth + 1) * K) <= 1e-13 * scale)
    assert not biases.any()  # with respect to the logarithm
    unit = kernel_of_deviations(ntk.mlp(depth), kind, {}, rows)[0]
    assert np.all(np.abs(K - 1.3 ** (2 * depth + 2) * unit) <= 1e-12 * scale)


def test_sparse_rows_and_single_precision_come_out_in_float64():
    network, at = ntk.mlp(1), {"bias_std": 0.5}
    expected = kernel_of_deviations(network, "ntk", at, X, Y, gradient=BOTH[1:])
    found = kernel_of_deviations(
        network, "ntk", at, sp.csr_array(X), sp.csc_array(Y), gradient=BOTH[1:]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    single = kernel_of_deviations(network, "ntk", at, X.astype(np.float32), Y)
    assert single.dtype == np.float64
    np.testing.assert_allclose(single[0], expected[0], rtol=1e-5)


def test_other_values_compile_nothing(compilations):
    network = ntk.mlp(2, activation=ntk.Erf())
    kernel_of_deviations(network, "ntk", {"weight_std": 1.0}, X, Y, gradient=("weight_std",))
    compilations.clear()
    for value in (0.5, 2.0):
        kernel_of_deviations(network, "ntk", {"weight_std": value}, X, Y, gradient=("weight_std",))
    assert not compilations


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ntk", {}, X, Y[:, :2]), "same number of columns, got 4 and 2"),
        (("NTK", {}, X), "kind must be one of"),
        (("ntk", {"weight_std": 1e120}, X), "overflows; scale the rows or the standard deviations"),
        (("ntk", {}, X * np.nan), "^X: .*NaN"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message), np.errstate(all="ignore"):
        kernel_of_deviations(ntk.mlp(1), *arguments)
