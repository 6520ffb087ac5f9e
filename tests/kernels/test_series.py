import math

import numpy as np
import pytest

import ntksketch as ntk
from ntksketch.kernels.dual import kappa0, kappa1
from ntksketch.kernels.series import (
    legendre_coefficients,
    legendre_polynomials,
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
@pytest.mark.parametrize("kernel", [ntk.zonal.ntk(1), ntk.zonal.ntk(4), ntk.zonal.laplace(1.0)])
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
