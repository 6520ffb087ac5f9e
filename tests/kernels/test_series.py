import math

import numpy as np
import pytest
from scipy.special import eval_chebyt, eval_gegenbauer, factorial, roots_gegenbauer

import ntksketch as ntk
from ntksketch.kernels.dual import kappa0, kappa1
from ntksketch.kernels.series import (
    legendre_coefficients,
    legendre_polynomials,
    monomial_in_legendre,
    n_harmonics,
    power_series,
)


def test_power_series_of_the_arc_cosine_functions():
    i = np.arange(20)
    c = np.array([math.comb(2 * k, k) / 4.0**k for k in i])
    expected0, expected1 = np.zeros(42), np.zeros(42)
    expected0[0], expected0[2 * i + 1] = 0.5, c / (2 * i + 1) / np.pi
    expected1[:2] = 1 / np.pi, 0.5
    expected1[2 * i + 2] = c / ((2 * i + 1) * (2 * i + 2)) / np.pi
    np.testing.assert_allclose(power_series(kappa0, 41), expected0[:41], atol=1e-15)
    np.testing.assert_allclose(power_series(kappa1, 41), expected1[:41], atol=1e-15)


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 9, 50, 784, 10_000])
@pytest.mark.parametrize(
    "kernel",
    [
        ntk.zonal.ntk(1),
        pytest.param(ntk.zonal.ntk(4), marks=pytest.mark.slow),
        ntk.zonal.laplace(1.0),
    ],
)
def test_legendre_series_sums_to_the_function(dim, kernel):
    c = legendre_coefficients(kernel.evaluate, dim, 30)
    assert c.min() > -1e-10
    t = np.array([-1.0, 1.0]) if dim == 1 else np.linspace(-0.7, 0.7, 15)
    values = c @ legendre_polynomials(t, dim, 30)
    np.testing.assert_allclose(values, kernel.evaluate(t), rtol=0, atol=4e-3)
    assert c.sum() <= kernel.evaluate(np.ones(1))[0] * (1 + 1e-9)


def test_both_ways_to_the_coefficients_agree(monkeypatch):
    f = ntk.zonal.ntk(2).evaluate
    by_series = legendre_coefficients(f, 9, 12)
    monkeypatch.setattr("ntksketch.kernels.series._SMALL_DIMENSION", 9)
    np.testing.assert_allclose(by_series, legendre_coefficients(f, 9, 12), atol=1e-10)


def test_number_of_harmonics():
    assert [n_harmonics(1, k) for k in range(4)] == [1, 1, 0, 0]
    assert [n_harmonics(2, k) for k in range(4)] == [1, 2, 2, 2]
    assert [n_harmonics(3, k) for k in range(4)] == [1, 3, 5, 7]
    assert [n_harmonics(4, k) for k in range(4)] == [1, 4, 9, 16]


@pytest.mark.parametrize("dim", [2, 3, 5, 40])
def test_legendre_polynomials_are_scaled_gegenbauer_polynomials(dim):
    t, degrees, index = np.linspace(-1, 1, 21), np.arange(13)[:, None], (dim - 2) / 2
    if dim == 2:
        expected = eval_chebyt(degrees, t)
    else:
        expected = eval_gegenbauer(degrees, index, t) / eval_gegenbauer(degrees, index, 1.0)
    np.testing.assert_allclose(legendre_polynomials(t, dim, 12), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [3, 9, 100, 10_000])
def test_powers_are_sums_of_legendre_polynomials(dim):
    t, power = np.linspace(-1, 1, 9), 7
    polynomials = legendre_polynomials(t, dim, power)
    parts = [
        monomial_in_legendre(np.array([power]), degree, dim)[0] * polynomials[degree]
        for degree in range(1, power + 1, 2)
    ]
    np.testing.assert_allclose(sum(parts), t**power, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dim", [3, pytest.param(7, marks=pytest.mark.slow)])
def test_coefficients_are_the_projections(dim):
    """c_l is N(d, l) times the mean of f P_l over the sphere."""
    nodes, weights = roots_gegenbauer(60, (dim - 2) / 2)
    polynomials = legendre_polynomials(nodes, dim, 8)
    sizes = [n_harmonics(dim, degree) for degree in range(9)]
    expected = sizes * (polynomials @ (weights * np.exp(2 * nodes))) / weights.sum()
    found = legendre_coefficients(lambda t: np.exp(2 * t), dim, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dim", [2, 3, 10, 784])
def test_harmonics_of_all_degrees_are_the_polynomials_on_the_sphere(dim):
    # homogeneous ones of degrees 6 and 5 together, exactly: whole numbers of any size
    polynomials = math.comb(6 + dim - 1, dim - 1) + math.comb(5 + dim - 1, dim - 1)
    assert sum(n_harmonics(dim, degree) for degree in range(7)) == polynomials


def test_power_series_of_gaussians_on_the_sphere():
    # exp(-c |x - y|^2) = exp(-2c) exp(2c t)
    series = power_series(ntk.zonal.gamma_exponential(0.7, 2.0).evaluate, 30)
    k = np.arange(30)
    np.testing.assert_allclose(series, np.exp(-1.4) * 1.4**k / factorial(k), rtol=0, atol=1e-15)


@pytest.mark.slow
def test_spectra_of_the_ntk_and_laplace_kernel_decay_alike():
    """Eigenvalues c_l / N(d, l) fall as l^-d (Geifman et al. 2020), odd ones of depth 1 vanish."""
    dim, degree = 3, np.arange(12, 61, 4)
    sizes = np.array([n_harmonics(dim, k) for k in range(61)])
    for kernel in (ntk.zonal.ntk(1), ntk.zonal.laplace(1.0)):
        values = legendre_coefficients(kernel.evaluate, dim, 60) / sizes
        slope = np.polyfit(np.log(degree), np.log(values[degree]), 1)[0]
        assert slope == pytest.approx(-dim, abs=0.15)
    odd = legendre_coefficients(ntk.zonal.ntk(1).evaluate, dim, 60)[3::2]
    np.testing.assert_allclose(odd, 0, atol=1e-9)


@pytest.mark.parametrize("kernel", [ntk.zonal.laplace(0.7), ntk.zonal.gamma_exponential(1.2, 0.5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_kernels_are_those_of_unit_vectors(kernel, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 4))
    norms = np.linalg.norm(X, axis=1)
    U = X / norms[:, None]
    distances = np.linalg.norm(U[:, None] - U[None], axis=2)
    expected = np.outer(norms, norms) * np.exp(-kernel.c * distances**kernel.gamma)
    K = ntk.kernel(kernel, X.astype(dtype))
    assert K.dtype == dtype
    np.testing.assert_allclose(K, expected, rtol=1e-3 if dtype == np.float32 else 1e-7)
    np.testing.assert_allclose(ntk.kernel_diag(kernel, X), norms**2, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ntk.zonal.laplace(-1.0), ValueError, "c must be positive and finite, got -1.0"),
        (lambda: ntk.zonal.laplace("1"), TypeError, "c must be a real number, got '1'"),
        (lambda: ntk.zonal.gamma_exponential(1.0, 3.0), ValueError, r"gamma must be in \(0, 2\]"),
        (lambda: ntk.zonal.polynomial([1.0, -1.0]), ValueError, "coefficients must be .* at least"),
        (lambda: ntk.zonal.polynomial([0.0]), ValueError, "one of them positive"),
        (lambda: ntk.zonal.from_function(3), TypeError, "function must be callable, got 3"),
        (lambda: ntk.zonal.from_function(lambda t: -t), ValueError, "coefficient of t.1 .* is -1"),
        (lambda: ntk.zonal.from_function(np.cos), ValueError, r"coefficient of t\^2 .* is -0.5"),
        (lambda: ntk.zonal.from_function(np.abs), ValueError, "not the sum of its power series"),
        (lambda: ntk.zonal.from_function(lambda t: t[:1]), ValueError, "finite value for each"),
        (lambda: ntk.zonal.from_function(math.exp), ValueError, "real and complex arrays"),
    ],
)
def test_functions_that_are_no_kernels(make, error, message):
    with pytest.raises(error, match=message):
        make()
