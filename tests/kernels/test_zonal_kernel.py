"""Kernel functions on [-1, 1] and their short polynomials."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import network_kernels

import ntksketch as ntk
from ntksketch import Dense, Relu, serial
from ntksketch.kernels.dual import arccos_polynomials, fit_sqrt_polynomial, kappa0, kappa1
from ntksketch.kernels.zonal import (
    LegendreSeries,
    NetworkKernel,
    expansion,
    is_homogeneous,
    is_zonal,
    profile,
    short_polynomial,
)

MAKERS = {"ntk": ntk.zonal.ntk, "nngp": ntk.zonal.nngp}
COSINES = np.array([-1.0, -0.99, -0.5, -0.1, 0.0, 0.2, 0.7, 0.999, 1.0])
kinds = pytest.mark.parametrize("kind", ["ntk", "nngp"])


def unit_rows(t):
    """Unit rows in the plane whose cosines with (1, 0) are t."""
    return np.stack([t, np.sqrt((1 - t) * (1 + t))], axis=1)


@kinds
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_is_the_kernel_of_unit_rows(depth, kind):
    f = MAKERS[kind](depth)
    X, pole = unit_rows(COSINES), np.array([[1.0, 0.0]])
    expected = network_kernels(ntk.mlp(depth), X, pole)[kind][:, 0]
    # absolute: kappa1 and its sums cancel near t = -1
    np.testing.assert_allclose(f(COSINES), expected, rtol=1e-12, atol=1e-15)


@kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stands_for_a_network(dtype, kind):
    X = np.random.default_rng(0).standard_normal((6, 3)).astype(dtype)
    f = MAKERS[kind](3)
    np.testing.assert_array_equal(ntk.kernel(f, X), ntk.kernel(ntk.mlp(3), X, kind=kind))
    np.testing.assert_array_equal(ntk.kernel_diag(f, X), ntk.kernel_diag(ntk.mlp(3), X, kind=kind))


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 100])
def test_ends_of_the_interval(depth):
    assert ntk.zonal.ntk(depth)(1.0) == depth + 1
    assert ntk.zonal.nngp(depth)(1.0) == 1
    assert np.isfinite(ntk.zonal.ntk(depth)([-1.0, 1.0])).all()


def test_known_values_of_one_hidden_layer():
    t = np.array([-1.0, 0.0])
    np.testing.assert_allclose(ntk.zonal.ntk(1)(t), [0, 1 / np.pi], atol=1e-16)
    np.testing.assert_allclose(ntk.zonal.nngp(1)(t), [0, 1 / np.pi], atol=1e-16)


@kinds
def test_grows_and_is_bounded_by_its_value_at_one(kind):
    t = np.linspace(0, 1, 1001)
    values = MAKERS[kind](4)(t)
    assert np.all(np.diff(values) > 0)
    assert np.all(np.abs(MAKERS[kind](4)(-t)) <= values)  # a power series without negative terms


@pytest.mark.parametrize("t", [0.5, [0.5], np.full((2, 3), 0.5), np.float32(0.5), 0, [True]])
def test_shapes_and_dtypes(t):
    values = ntk.zonal.ntk(2)(t)
    assert values.shape == np.shape(t)
    assert values.dtype == np.float64


@pytest.mark.parametrize("bad", [1.1, -1.0000001, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [lambda x: x, lambda x: [0.0, x], lambda x: [[0.3], [x]]])
def test_values_that_are_no_cosines(bad, place):
    with pytest.raises(ValueError, match=rf"t must hold cosines in \[-1, 1\], got {bad}"):
        ntk.zonal.ntk(2)(place(bad))


def test_value_semantics():
    f = ntk.zonal.ntk(2)
    assert f == ntk.zonal.ntk(2)
    assert hash(f) == hash(ntk.zonal.ntk(2))
    assert f != ntk.zonal.ntk(3)
    assert f != ntk.zonal.nngp(2)
    assert pickle.loads(pickle.dumps(f)) == f


def test_which_networks_are_zonal():
    assert is_zonal(ntk.mlp(3, weight_std=1.2))
    assert is_zonal(serial(Dense(1, 0.5), Relu(), Dense()))
    assert is_zonal(serial(Relu(), Dense()))
    assert is_zonal(Dense(bias_std=1.0))
    assert not is_zonal(ntk.mlp(1, bias_std=0.1))
    assert not is_zonal(serial(Dense(), Dense(bias_std=0.1)))
    with pytest.raises(ValueError, match=r"not zonal: Dense\(bias_std=0.1\) stands behind"):
        NetworkKernel(ntk.mlp(1, bias_std=0.1), "ntk")(0.5)


@kinds
@pytest.mark.parametrize(
    "network",
    [
        serial(Dense(0.8, 0.5), Relu(), Dense(1.2), Relu(), Dense(0.7)),
        serial(Relu(), Dense(1.3), Relu()),
        serial(Dense(), Dense(0.5), Relu()),
        serial(Dense(), Relu(), Dense(0.0), Relu(), Dense()),
    ],
    ids=repr,
)
def test_profile_is_the_kernel_behind_the_first_layer(network, kind):
    X = np.random.default_rng(0).standard_normal((5, 3))
    first = network.layers[0] if isinstance(network.layers[0], Dense) else Dense()
    S = first.weight_std**2 * X @ X.T + first.bias_std**2
    norms = np.sqrt(np.outer(np.diag(S), np.diag(S)))
    t = np.clip(S / norms, -1, 1)
    np.fill_diagonal(t, 1)
    np.testing.assert_allclose(
        norms * profile(network, kind, t), network_kernels(network, X)[kind], rtol=1e-12
    )


FAMILY = [
    ntk.zonal.ntk(2),
    ntk.zonal.nngp(1),
    ntk.zonal.laplace(0.6),
    ntk.zonal.gamma_exponential(1.2, 0.5),
    ntk.zonal.gamma_exponential(0.9, 2.0),
    ntk.zonal.polynomial([0.2, 0.0, 1.5, 0.1]),
    ntk.zonal.from_function(np.exp),
    LegendreSeries(4, (0.5, 0.2, 0.0, 0.3)),
]
family = pytest.mark.parametrize("kernel", FAMILY, ids=repr)


@family
def test_off_the_sphere_kernels_are_homogeneous(kernel):
    X = np.random.default_rng(0).standard_normal((7, 4))
    lengths = np.array([1e-3, 0.5, 1.0, 2.0, 7.0, 100.0, 0.0])
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    t = U @ U.T
    np.fill_diagonal(t, 1)
    K = ntk.kernel(kernel, lengths[:, None] * U)
    # absolute: a cosine's rounding is worth sqrt(eps) of nothing here, rows are far apart
    np.testing.assert_allclose(K, np.outer(lengths, lengths) * kernel(t), rtol=1e-11, atol=1e-13)
    assert np.linalg.eigvalsh(K)[0] >= -1e-12 * np.trace(K)


@family
def test_expansions_sum_to_the_kernel_on_the_sphere(kernel):
    c = expansion(kernel, 4, 40)
    assert c.min() >= 0
    assert not c.flags.writeable  # it is the cache's own
    assert expansion(kernel, 4, 40) is c
    t = np.linspace(-0.8, 0.8, 9)
    np.testing.assert_allclose(LegendreSeries(4, tuple(c))(t), kernel(t), atol=2e-3 * kernel(1.0))


def test_expansion_refuses_what_is_no_kernel_in_the_dimension():
    # P_2 in two dimensions, 2 t^2 - 1, has the constant part (2/3 - 1) < 0 in three
    kernel = LegendreSeries(2, (0.0, 0.0, 1.0))
    np.testing.assert_allclose(expansion(kernel, 2, 3), [0, 0, 1, 0], atol=1e-12)
    with pytest.raises(ValueError, match=r"no kernel in 3 dimensions: .* degree 0 is -0\.333"):
        expansion(kernel, 3, 3)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=9), st.floats(-1, 1))
def test_polynomials_are_sums_of_powers(coefficients, t):
    if not any(coefficients):
        with pytest.raises(ValueError, match="one of them positive"):
            ntk.zonal.polynomial(coefficients)
        return
    kernel = ntk.zonal.polynomial(coefficients)
    expected = math.fsum(a * t**k for k, a in enumerate(coefficients))
    assert float(kernel(t)) == pytest.approx(expected, rel=1e-12, abs=1e-13)
    assert float(kernel(1.0)) == pytest.approx(math.fsum(coefficients), rel=1e-14)


def test_members_of_the_exponential_family_meet():
    t, c = np.linspace(-1, 1, 11), 0.8
    assert ntk.zonal.laplace(c) == ntk.zonal.gamma_exponential(c, 1.0)
    gaussian = ntk.zonal.gamma_exponential(c, 2.0)(t)
    np.testing.assert_allclose(gaussian, np.exp(-2 * c * (1 - t)), rtol=1e-14)
    # wide ones are 1 - c |x - y|^gamma
    wide = (1 - ntk.zonal.gamma_exponential(1e-7, 0.7)(t)) / 1e-7
    np.testing.assert_allclose(wide, (2 - 2 * t) ** 0.35, rtol=1e-6)


@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (2, 1), (3, 4)])
def test_deep_kernels_compose(outer, inner):
    """kappa1 iterated, and T_(h+g) = T_g kappa0(S_g) ... + S, one layer more at a time."""
    S, T = (make(inner)(COSINES) for make in (ntk.zonal.nngp, ntk.zonal.ntk))
    composed = ntk.zonal.nngp(outer)(np.clip(S, -1, 1))
    for _ in range(outer):
        S, T = kappa1(np.clip(S, -1, 1)), T * kappa0(np.clip(S, -1, 1))
        T = T + S
    np.testing.assert_allclose(composed, S, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ntk.zonal.nngp(outer + inner)(COSINES), S, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ntk.zonal.ntk(outer + inner)(COSINES), T, rtol=1e-12, atol=1e-15)


def test_which_kernels_are_homogeneous():
    for homogeneous in (*FAMILY, ntk.mlp(2, weight_std=0.3), Relu(), ntk.LeakyRelu(0.3)):
        assert is_homogeneous(homogeneous)
    for other in (
        ntk.mlp(2, bias_std=0.1),
        serial(Dense(1, 0.5), Relu(), Dense()),
        serial(Dense(), Relu(), Dense(1, 0.5)),
        ntk.mlp(1, activation=ntk.Erf()),
    ):
        assert not is_homogeneous(other)


# ---------------------------------------------------------------------------------------------
# Short polynomials
# ---------------------------------------------------------------------------------------------

GRID = np.cos(np.linspace(0, np.pi, 4001))


def evaluate(polynomial, t):
    """The polynomial in float64, without JAX."""
    s = np.sqrt(1 - np.abs(t))
    positive, negative = (np.polynomial.polynomial.polyval(s, c) for c in polynomial)
    return np.where(t >= 0, positive, negative)


@kinds
@pytest.mark.parametrize("depth", range(1, 11))
def test_polynomials_reach_float32_accuracy(depth, kind):
    polynomial = short_polynomial(NetworkKernel(ntk.mlp(depth), kind))
    exact = MAKERS[kind](depth)(GRID)
    assert polynomial is not None
    assert max(map(len, polynomial)) <= 21
    # relative to the value at one: the functions themselves come near to zero
    np.testing.assert_allclose(evaluate(polynomial, GRID), exact, rtol=0, atol=1e-6 * exact[0])
    in_float32 = np.asarray(polynomial(GRID.astype(np.float32)))
    rounded = MAKERS[kind](depth)(GRID.astype(np.float32).astype(np.float64))
    assert in_float32.dtype == np.float32
    np.testing.assert_allclose(in_float32, rounded, rtol=0, atol=5e-6 * exact[0])
    acute = GRID > 0.1
    np.testing.assert_allclose(evaluate(polynomial, GRID)[acute], exact[acute], rtol=1e-6)


def test_polynomials_of_the_dual_functions():
    for polynomial, function in zip(arccos_polynomials(), (kappa0, kappa1), strict=True):
        np.testing.assert_allclose(evaluate(polynomial, GRID), function(GRID), rtol=0, atol=1e-7)


@kinds
def test_polynomials_are_exact_at_the_ends(kind):
    ends = np.array([-1.0, 1.0])
    polynomial = short_polynomial(NetworkKernel(ntk.mlp(3), kind))
    assert polynomial is not None
    np.testing.assert_array_equal(evaluate(polynomial, ends), MAKERS[kind](3)(ends))
    # cosines a rounding error above one are one
    above = np.nextafter(np.float32(1), np.float32(2))
    assert polynomial(above) == polynomial(np.float32(1))


@pytest.mark.parametrize("depth", [20, 30])
def test_no_polynomial_for_very_deep_networks(depth):
    assert short_polynomial(NetworkKernel(ntk.mlp(depth), "ntk")) is None


def test_no_polynomial_for_a_function_without_the_singularity():
    assert fit_sqrt_polynomial(lambda t: np.sin(200 * t)) is None
