import jax
import numpy as np
import pytest
from feature_statistics import relative_error

import ntksketch as ntk
from ntksketch.features.gegenbauer import divide
from ntksketch.features.harmonic_function import (
    best_degree,
    orthonormal_series,
    recurrence,
    signed_weights,
)
from ntksketch.kernels.gram import precision
from ntksketch.kernels.series import legendre_polynomials, n_harmonics
from ntksketch.kernels.zonal import expansion


@pytest.mark.parametrize("dim", [2, 3, 9, 784])
def test_series_is_the_sum_of_normalised_legendre_polynomials(dim):
    t = np.linspace(-0.9, 0.9, 7)
    weights = np.random.default_rng(0).standard_normal(7)
    norms = np.sqrt([n_harmonics(dim, degree) for degree in range(7)])
    expected = (weights * norms) @ legendre_polynomials(t, dim, 6)
    with precision(np.float64):
        values = orthonormal_series(weights, dim, jax.numpy.asarray(np.sqrt(dim) * t))
        np.testing.assert_allclose(values, expected, rtol=1e-10)


def test_recurrence_tends_to_that_of_hermite_polynomials():
    np.testing.assert_allclose(recurrence(10**8, 6), np.sqrt(np.arange(7)), rtol=1e-6)


@pytest.mark.parametrize("dim", [3, 30])
def test_signs_have_the_least_fourth_moment(dim):
    coefficients = (0.0, 0.0, 0.5, 0.2, 0.1, 0.05)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400_000, dim))
    z = np.sqrt(dim) * z[:, 0] / np.linalg.norm(z, axis=1)
    Q = legendre_polynomials(z / np.sqrt(dim), dim, 5)
    Q *= np.sqrt([n_harmonics(dim, degree) for degree in range(6)])[:, None]
    weights, moment = signed_weights(coefficients, dim)
    np.testing.assert_allclose(np.square(weights), coefficients, rtol=1e-12)
    samples = (np.array(weights) @ Q) ** 4
    assert abs(samples.mean() - moment) <= 5 * samples.std() / np.sqrt(len(z))
    others = [np.mean((np.array(weights) * signs @ Q) ** 4) for signs in ([1, 1, 1, -1, 1, 1],)]
    assert min(others) > moment


def test_degree_grows_with_the_directions_and_falls_with_the_dimension():
    def degree(dim, m):
        coefficients = expansion(ntk.zonal.ntk(2), dim, 12)
        return best_degree(coefficients, 3.0, dim, m)

    assert degree(5, 100) <= degree(5, 1000) <= degree(5, 100_000)
    assert degree(784, 1000) < degree(5, 1000)


def test_division_of_the_columns_has_the_least_error():
    coefficients = np.array([0.3, 1.0, 0.4, 0.1])
    left = np.exp(-np.arange(51) / 5)
    layout = divide(coefficients, left, 200, 120)
    assert sum(layout) == 120

    def error(principal, projected):
        rest = 119 - principal - projected
        return left[principal] ** 2 / projected + 0.5**2 / rest

    best = min(error(k, p) for k in range(51) for p in range(1, 118 - k))
    assert error(layout.principal, layout.projected) <= 1.02 * best


def test_low_degree_kernels_are_exact():
    X = np.random.default_rng(0).standard_normal((20, 4))
    kernel = ntk.zonal.polynomial([0.5, 2.0])
    Z = ntk.NTKFeatures(kernel, "gegenbauer", 9, random_state=0).fit_transform(X)
    assert relative_error(Z @ Z.T, ntk.kernel(kernel, X)) < 1e-10
    assert not Z[:, 5:].any()  # one constant and four coordinates are enough


@pytest.mark.parametrize("n", [1, 2])
def test_few_columns_are_all_random(n):
    X = np.random.default_rng(0).standard_normal((20, 4))
    Z = ntk.NTKFeatures(ntk.mlp(1), "gegenbauer", n, random_state=0).fit_transform(X)
    assert Z.shape == (20, n)
    assert np.all(Z.std(axis=0) > 0)


@pytest.mark.parametrize("dim", [1, 2, 10_000])
def test_any_dimension(dim):
    X = np.random.default_rng(0).standard_normal((30, dim)).astype(np.float32)
    K = ntk.kernel(ntk.mlp(3), X)
    Z = ntk.NTKFeatures(ntk.mlp(3), "gegenbauer", 300, random_state=0).fit_transform(X)
    assert relative_error(Z @ Z.T, K) < 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_degree": 0}, "max_degree must be a whole number from 1 to 64, got 0"),
        ({"max_degree": 2.5}, "max_degree must be a whole number"),
        ({"linear": "all"}, "linear must be one of .*got 'all'"),
        ({"directions": "gaussian"}, "directions must be one of .*got 'gaussian'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.Gegenbauer(**arguments)
