"""Exact kernels of networks with other activations than the rectifier."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import gaussian_products, network_kernels, pointwise

import ntksketch as ntk
from ntksketch import Dense, Elementwise, Erf, Gelu, LeakyRelu, Relu, Sin, serial
from ntksketch.kernels.activations import dual, dual_diagonal
from ntksketch.kernels.gram import precision
from ntksketch.kernels.hermite import quadrature
from ntksketch.kernels.zonal import is_zonal

KINDS = ("ntk", "nngp")


def softplus(z):
    return np.logaddexp(z, 0) if isinstance(z, np.ndarray) else jnp.logaddexp(z, 0)


def logistic(z):
    return 1 / (1 + np.exp(-z)) if isinstance(z, np.ndarray) else jax.nn.sigmoid(z)


SMOOTH = [
    Erf(),
    Gelu(),
    Sin(0.7, 1.3, 0.4),
    Sin(phase=np.pi / 2),
    Elementwise(softplus, logistic),
]
LEAKY = [LeakyRelu(0.2), LeakyRelu(-0.6)]
smooth = pytest.mark.parametrize("activation", SMOOTH, ids=repr)
everything = pytest.mark.parametrize("activation", SMOOTH + LEAKY, ids=repr)


def rows():
    """Rows of different norms, some nearly parallel or opposite, one of zeros."""
    X = np.random.default_rng(0).standard_normal((7, 3))
    X[1] = X[0] + 1e-2 * X[1]
    X[2] = -X[0] + 1e-3 * X[2]
    X[3] *= 0.05
    X[4] = 2 * X[0]
    X[5] = 0
    return X


# ---------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------


@everything
def test_float64_equals_the_oracle(activation):
    X = rows()
    network = ntk.mlp(2, activation=activation, weight_std=1.1, bias_std=0.3)
    expected = network_kernels(network, X)
    for kind in KINDS:
        K = ntk.kernel(network, X, kind=kind)
        np.testing.assert_allclose(K, expected[kind], rtol=1e-10)
        np.testing.assert_allclose(ntk.kernel(network, X, X, kind=kind), K, rtol=1e-7)
        np.testing.assert_array_equal(np.diag(K), ntk.kernel_diag(network, X, kind=kind))
        np.testing.assert_array_equal(K, K.T)
        values = np.linalg.eigvalsh(K)
        assert values[0] >= -1e-12 * values[-1]


@pytest.mark.parametrize("activation", [Erf(), Gelu(), SMOOTH[2], SMOOTH[4], LEAKY[0]], ids=repr)
def test_float32_equals_float64(activation):
    X = rows().astype(np.float32)
    network = ntk.mlp(1, activation=activation, weight_std=1.1, bias_std=0.3)
    K, expected = ntk.kernel(network, X), ntk.kernel(network, X.astype(np.float64))
    assert K.dtype == np.float32
    assert np.linalg.norm(K - expected) <= 1e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(np.diag(K), np.diag(expected), rtol=3e-6)


def test_a_row_of_zeros_has_the_value_at_zero():
    X = np.array([[0.0, 0.0], [1.0, 2.0]])
    for activation in (Sin(), LeakyRelu()):
        K = ntk.kernel(serial(Dense(), activation, Dense()), X)
        np.testing.assert_allclose(K[0], 0, atol=1e-16)
    cosine = ntk.kernel(serial(Dense(), Sin(phase=np.pi / 2)), X, kind="nngp")
    np.testing.assert_allclose(cosine[0], [1, np.exp(-5 / 2)], rtol=1e-12)


# ---------------------------------------------------------------------------------------------
# The dual functions alone
# ---------------------------------------------------------------------------------------------


jitted_dual = jax.jit(dual, static_argnums=0)


def evaluate(activation, covariance, a, b):
    with precision(np.float64):
        return [np.asarray(p) for p in jitted_dual(activation, covariance, a, b)]


@pytest.mark.parametrize("activation", [Erf(), Gelu(), Sin(0.7, 0.3, 0.4)], ids=repr)
def test_rows_of_very_different_lengths(activation):
    a = np.array([4.0**2, 1e-6])
    covariance = np.array([[a[0], -0.002], [0.002, -1e-6]])
    value, slope = evaluate(activation, covariance, a, a)
    for found, function in zip((value, slope), pointwise(activation), strict=True):
        for i, j in np.ndindex(2, 2):
            expected = gaussian_products(function, a[i], a[j], covariance[i, j])
            assert found[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-17)
    diagonal = dual_diagonal(activation, a)
    np.testing.assert_allclose([value[0, 0], slope[0, 0]], np.array(diagonal)[:, 0], rtol=1e-10)


def test_huge_rows_do_not_overflow():
    huge = np.array([1e30, 1e25])
    with precision(np.float32):
        a = jnp.asarray(huge, jnp.float32)
        for activation in (Erf(), Gelu()):
            for product in jitted_dual(activation, 0.5 * jnp.sqrt(a)[:, None] * jnp.sqrt(a), a, a):
                assert np.isfinite(product).all()
    np.testing.assert_allclose(dual_diagonal(Erf(), huge)[0], 1, rtol=1e-12)
    np.testing.assert_allclose(dual_diagonal(Gelu(), huge)[0], huge / 2, rtol=1e-12)


@everything
def test_duals_are_means_over_normal_pairs(activation):
    """Monte-Carlo, which knows no formula at all."""
    n, a, b, t = 200_000, 1.4, 0.6, np.array([-0.7, 0.2, 0.95])
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, n))
    value, slope = evaluate(
        activation, (t * np.sqrt(a * b))[None], np.array([a]), np.array([b] * 3)
    )
    if isinstance(activation, LeakyRelu):
        scale, low = np.sqrt(2 / (1 + activation.slope**2)), activation.slope
        functions = (
            lambda z: scale * np.where(z > 0, z, low * z),
            lambda z: scale * np.where(z > 0, 1.0, low),
        )
    else:
        functions = pointwise(activation)
    for i, cosine in enumerate(t):
        u = np.sqrt(a) * z[0]
        v = np.sqrt(b) * (cosine * z[0] + np.sqrt(1 - cosine**2) * z[1])
        for found, function in zip((value, slope), functions, strict=True):
            products = function(u) * function(v)
            error = products.std() / np.sqrt(n)
            assert abs(found[0, i] - products.mean()) <= 5 * error


def test_steep_erf_is_the_sign():
    # E sign(u) sign(v) = 2 arcsin(t) / pi
    t, steep = np.array([[-0.9, -0.2, 0.0, 0.5]]), 1e10
    value, _ = evaluate(Erf(), steep * t, np.array([steep]), np.full(4, steep))
    np.testing.assert_allclose(value, 2 / np.pi * np.arcsin(t), rtol=1e-6, atol=1e-12)


def test_steep_gelu_is_the_rectifier_and_a_flat_one_half_the_identity():
    t = np.array([[-0.9, -0.2, 0.3, 0.8]])
    value, slope = evaluate(Gelu(), 1e8 * t, np.array([1e8]), np.full(4, 1e8))
    relu, step = evaluate(Relu(), 1e8 * t, np.array([1e8]), np.full(4, 1e8))
    np.testing.assert_allclose(value, relu / 2, rtol=1e-5)
    np.testing.assert_allclose(slope, step / 2, rtol=1e-3)
    value, slope = evaluate(Gelu(), 1e-8 * t, np.array([1e-8]), np.full(4, 1e-8))
    np.testing.assert_allclose(value, 1e-8 * t / 4, rtol=0, atol=1e-15)
    np.testing.assert_allclose(slope, 1 / 4, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([*SMOOTH[:4], *LEAKY]),
    st.lists(st.floats(-3, 1.5), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
)
def test_duals_are_inner_products(activation, logarithms, t):
    """Symmetric, and bounded by the roots of the diagonals (Cauchy and Schwarz)."""
    a, b = 10.0 ** np.array(logarithms), np.array([0.7])
    covariance = (np.array(t) * np.sqrt(a * b))[:, None]
    columns = dual_diagonal(activation, b)
    diagonals = dual_diagonal(activation, a)
    pairs, swapped = (
        evaluate(activation, covariance, a, b),
        evaluate(activation, covariance.T, b, a),
    )
    for there, back, left, right in zip(pairs, swapped, diagonals, columns, strict=True):
        np.testing.assert_allclose(there, back.T, rtol=1e-9, atol=1e-14)
        bound = np.sqrt(np.broadcast_to(left, 3) * right)[:, None]
        assert np.all(np.abs(there) <= bound * (1 + 1e-9))


@everything
def test_the_second_is_the_derivative_of_the_first(activation):
    c, a, b = np.array([[-0.4, 0.0, 0.5]]), np.array([1.3]), np.full(3, 0.6)
    with precision(np.float64):
        (_, slope), (change, _) = jax.jit(
            lambda c: jax.jvp(lambda c: dual(activation, c, a, b), (c,), (jnp.ones_like(c),))
        )(c)
    np.testing.assert_allclose(change, slope, rtol=1e-9, atol=1e-15)


# ---------------------------------------------------------------------------------------------
# Rectifiers
# ---------------------------------------------------------------------------------------------


def test_leaky_rectifiers_are_zonal_and_keep_the_variance():
    X = rows()
    network = ntk.mlp(3, activation=LeakyRelu(0.3))
    assert is_zonal(network)
    assert not is_zonal(ntk.mlp(1, activation=Erf()))
    np.testing.assert_allclose(ntk.kernel_diag(network, X, kind="nngp"), (X**2).sum(axis=1))
    np.testing.assert_allclose(ntk.kernel_diag(network, X), 4 * (X**2).sum(axis=1))
    K = ntk.kernel(network, X)
    np.testing.assert_allclose(K, network_kernels(network, X)["ntk"], rtol=1e-7, atol=1e-13)
    np.testing.assert_allclose(ntk.kernel(network, 7 * X, X), 7 * ntk.kernel(network, X, X), 1e-7)


def test_special_slopes():
    X = rows()
    relu, none, line = (ntk.mlp(2, activation=a) for a in (Relu(), LeakyRelu(0.0), LeakyRelu(1.0)))
    np.testing.assert_array_equal(ntk.kernel(none, X), ntk.kernel(relu, X))
    np.testing.assert_allclose(ntk.kernel(line, X), 3 * X @ X.T, rtol=1e-10, atol=1e-12)


def test_profile_of_a_leaky_rectifier_has_a_power_series():
    f = ntk.kernels.zonal.NetworkKernel(ntk.mlp(2, activation=LeakyRelu(0.3)), "ntk")
    series = ntk.kernels.series.power_series(f.evaluate, 4096)
    assert series.min() > -1e-12
    t = np.linspace(-0.9, 0.9, 7)
    np.testing.assert_allclose(np.polynomial.polynomial.polyval(t, series), f(t), rtol=1e-9)


# ---------------------------------------------------------------------------------------------
# Hermite expansions
# ---------------------------------------------------------------------------------------------


def test_hermite_polynomials_are_orthonormal():
    nodes, table = quadrature(64)
    np.testing.assert_array_equal(nodes, -nodes[::-1])
    polynomials = table[:, :12] / table[:, :1]
    np.testing.assert_allclose(polynomials.T @ table[:, :12], np.eye(12), atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "function"),
    [(Gelu(), lambda z: jax.nn.gelu(z, approximate=False))],
    ids=["gelu"],
)
def test_expansions_equal_closed_forms(activation, function):
    X = rows()
    K, expanded = (
        ntk.kernel(ntk.mlp(1, activation=a, bias_std=0.2), X)
        for a in (activation, Elementwise(function))
    )
    np.testing.assert_allclose(expanded, K, rtol=1e-8)
    np.testing.assert_allclose(np.diag(expanded), np.diag(K), rtol=1e-13)


def test_what_is_beyond_the_degree_keeps_parallel_and_opposite_rows_exact():
    X = np.array([[1.0, 0.0], [2.0, 0.0], [-1.5, 0.0], [-1.0, 0.0]])
    low = serial(Dense(), Elementwise(jnp.abs, jnp.cos, degree=5))
    with pytest.warns(UserWarning, match=r"abs, cos, .* to degree 5 leaves out 1\.9% of the"):
        K = ntk.kernel(low, X, kind="nngp")
    np.testing.assert_allclose(K, np.abs(X @ X.T), rtol=1e-10)


def test_error_falls_with_the_degree():
    X = np.random.default_rng(0).standard_normal((8, 3))
    exact = ntk.kernel(ntk.mlp(1), X, kind="nngp") / 2  # sqrt(2) relu in place of relu
    errors = []
    for degree in (3, 32):
        layer = Elementwise(jax.nn.relu, degree=degree)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            K = ntk.kernel(serial(Dense(), layer), X, kind="nngp")
        errors.append(np.linalg.norm(K - exact) / np.linalg.norm(exact))
    assert errors[0] > 5 * errors[1]


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda z: z[:1], "function must keep the shape"), (lambda z: z.sum(), "keep the shape")],
)
def test_functions_that_are_not_elementwise(function, message):
    with pytest.raises(ValueError, match=message):
        ntk.kernel(serial(Dense(), Elementwise(function)), rows(), kind="nngp")
