"""The function of a direction: recurrence, signs and degree, against SciPy and brute force."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_gegenbauer, roots_gegenbauer

import ntksketch as ntk
from ntksketch.features.harmonic_function import (
    _gauss_quadrature,
    best_degree,
    orthonormal_series,
    recurrence,
    signed_weights,
)
from ntksketch.kernels.gram import precision
from ntksketch.kernels.series import n_harmonics
from ntksketch.kernels.zonal import expansion


def orthonormal(dim, degree, t):
    """sqrt(N) P_l by SciPy's Gegenbauer polynomials."""
    index = (dim - 2) / 2
    values = eval_gegenbauer(degree, index, t) / eval_gegenbauer(degree, index, 1.0)
    return math.sqrt(n_harmonics(dim, degree)) * values


def sphere_quadrature(dim, n_nodes=40):
    """Cosines of a uniform direction with a fixed one, and their probabilities."""
    nodes, weights = roots_gegenbauer(n_nodes, (dim - 2) / 2)
    return nodes, weights / weights.sum()


@pytest.mark.parametrize("dim", [3, 4, 10, 60])
def test_recurrence_is_the_mean_of_neighbours(dim):
    t, probability = sphere_quadrature(dim)
    a = recurrence(dim, 8)
    for degree in range(1, 9):
        pair = orthonormal(dim, degree, t) * orthonormal(dim, degree - 1, t)
        assert a[degree] == pytest.approx(probability @ (np.sqrt(dim) * t * pair), rel=1e-11)


def test_recurrence_on_the_circle_and_on_two_points():
    # sqrt(2) cos(l angle) on the circle; on two points z = t = +-1 and z^2 = 1
    np.testing.assert_allclose(recurrence(2, 5), [0, 1, *[1 / np.sqrt(2)] * 4], rtol=1e-14)
    np.testing.assert_array_equal(recurrence(1, 4), [0, 1, 0, 0, 0])


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 784, 10_000])
def test_gauss_quadrature_has_the_moments_of_a_coordinate(dim):
    z, weights = _gauss_quadrature(dim, 7)
    assert len(z) == (2 if dim == 1 else 7)
    moment = 1.0
    for k in range(7):  # E z^(2k) = d^k (2k - 1)!! / (d (d + 2) ... (d + 2k - 2))
        assert weights @ z ** (2 * k) == pytest.approx(moment, rel=1e-11)
        assert weights @ z ** (2 * k + 1) == pytest.approx(0, abs=1e-9 * moment)
        moment *= dim * (2 * k + 1) / (dim + 2 * k)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 500), st.integers(0, 12), st.integers(0, 2**31))
def test_series_equals_scipy(dim, degree, seed):
    rng = np.random.default_rng(seed)
    weights, t = rng.standard_normal(degree + 1), rng.uniform(-1, 1, 5)
    terms = np.array([orthonormal(dim, k, t) for k in range(degree + 1)])
    with precision(np.float64):
        found = np.asarray(orthonormal_series(weights, dim, jnp.asarray(np.sqrt(dim) * t)))
    assert np.all(np.abs(found - weights @ terms) <= 1e-11 * (np.abs(weights) @ np.abs(terms)))


@pytest.mark.parametrize("dim", [2, 3, 784, 10_000])
def test_series_is_stable_in_float32(dim):
    """At the products of a random direction, relative to the root of the mean square."""
    coefficients = expansion(ntk.zonal.ntk(3), dim, 12)
    weights = np.array(signed_weights(tuple(coefficients.tolist()), dim)[0])
    u = np.random.default_rng(0).standard_normal((4000, min(dim, 50)))
    rest = np.random.default_rng(1).chisquare(max(dim - 50, 1), 4000) * (dim > 50)
    z = (np.sqrt(dim) * u[:, 0] / np.sqrt((u**2).sum(axis=1) + rest)).astype(np.float32)
    single = np.asarray(jax.jit(lambda z: orthonormal_series(weights, dim, z))(z))
    with precision(np.float64):
        double = np.asarray(orthonormal_series(weights, dim, jnp.asarray(z, jnp.float64)))
    assert single.dtype == np.float32
    size = np.sqrt(coefficients.sum())
    assert np.sqrt(np.mean((single - double) ** 2)) <= 1e-6 * size
    # the mean square itself is the kernel of a row with itself
    squares = double**2
    assert abs(squares.mean() - size**2) <= 5 * squares.std() / np.sqrt(len(z))


@pytest.mark.parametrize("dim", [3, 20])
@pytest.mark.parametrize(
    "skipped",
    [
        pytest.param((), marks=pytest.mark.slow),
        (0, 1),
        pytest.param((0, 1, 3), marks=pytest.mark.slow),
    ],
)
def test_signs_are_the_best_of_all(dim, skipped):
    coefficients = expansion(ntk.zonal.ntk(2), dim, 6).copy()
    coefficients[list(skipped)] = 0
    t, probability = sphere_quadrature(dim)
    terms = [np.sqrt(c) * orthonormal(dim, k, t) for k, c in enumerate(coefficients)]
    moments = [
        probability @ (np.array(signs) @ terms) ** 4
        for signs in itertools.product([1.0, -1.0], repeat=7)
    ]
    weights, moment = signed_weights(tuple(coefficients.tolist()), dim)
    assert moment == pytest.approx(min(moments), rel=1e-10)
    np.testing.assert_allclose(np.square(weights), coefficients, rtol=1e-12)
    assert probability @ (np.sign(weights) @ terms) ** 4 == pytest.approx(moment, rel=1e-10)


def test_high_degrees_take_alternating_pairs_of_signs():
    weights = np.array(signed_weights((1.0,) * 17, 5)[0])
    np.testing.assert_array_equal(weights[13:], [1, -1, -1, 1])


@pytest.mark.parametrize(
    "n_directions",
    [pytest.param(10, marks=pytest.mark.slow), 1000, pytest.param(10**6, marks=pytest.mark.slow)],
)
def test_best_degree_has_the_least_error(n_directions):
    dim, total = 4, 3.0
    coefficients = expansion(ntk.zonal.ntk(2), dim, 9)
    t, probability = sphere_quadrature(dim)
    errors = {}
    for degree in range(2, 10):
        kept = coefficients[: degree + 1].copy()
        bias = total - kept.sum()
        kept[:2] = 0
        g = np.array(signed_weights(tuple(kept.tolist()), dim)[0])
        values = sum(g[k] * orthonormal(dim, k, t) for k in range(degree + 1))
        errors[degree] = bias**2 + 4 * (probability @ values**4) / n_directions
    chosen = best_degree(coefficients, total, dim, n_directions)
    assert chosen == min(errors, key=errors.__getitem__)


def test_best_degree_without_anything_random():
    assert best_degree(np.array([0.5, 1.0]), 1.5, 3, 100) == 1
    assert best_degree(np.array([0.5, 1.0, 0.0, 0.0]), 1.5, 3, 100) == 2
    assert best_degree(np.array([0.5, 0.0, 0.0, 0.4]), 0.9, 3, 10**6) == 3
