import tracemalloc

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from feature_statistics import (
    N_ERRORS,
    SEEDS,
    assert_unbiased,
    draw_map,
    gram_matrices,
    relative_error,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import ntksketch as ntk
from ntksketch.features import transform_blocks
from ntksketch.features.directions import structured_blocks
from ntksketch.features.gegenbauer import _structured_products, divide
from ntksketch.features.harmonic_function import (
    best_degree,
    orthonormal_series,
    recurrence,
    signed_weights,
)
from ntksketch.kernels.gram import precision
from ntksketch.kernels.series import legendre_polynomials, n_harmonics
from ntksketch.kernels.zonal import expansion
from ntksketch.sketches import SRHT


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_one_direction_has_the_mean_and_variance_of_its_function(dim, seed):
    """With one column nothing is exact: E ZZ' is the cut series, and E K(x, x)^2 is E g^4."""
    X = np.random.default_rng(0).standard_normal((5, dim))
    X[1] = X[0] + 0.3 * X[1]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    method = ntk.Gegenbauer(max_degree=5)
    grams = gram_matrices(method, ntk.mlp(2), X, 1, 600, seed)
    coefficients = expansion(ntk.zonal.ntk(2), dim, 5)
    cut = np.tensordot(coefficients, legendre_polynomials(np.clip(X @ X.T, -1, 1), dim, 5), 1)
    assert_unbiased(grams, cut)
    if dim > 3:  # too heavy tails for the standard error of a fourth moment
        return
    moment = signed_weights(tuple(coefficients.tolist()), dim)[1]
    fourth = grams[:, np.arange(5), np.arange(5)] ** 2
    error = fourth.std(axis=0, ddof=1) / np.sqrt(600)
    assert np.all(np.abs(fourth.mean(axis=0) - moment) <= N_ERRORS * error)


def test_variance_is_that_of_independent_directions_or_less():
    dim, m = 24, 12
    X = np.random.default_rng(0).standard_normal((6, dim))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    method = ntk.Gegenbauer(max_degree=4, linear="random")
    grams = gram_matrices(method, ntk.mlp(1), X, 2 * m, 300)
    feature_map = draw_map(method, ntk.mlp(1), X, 2 * m, jax.random.key(0))
    layout, coefficients = feature_map.plan.layout, expansion(ntk.zonal.ntk(1), dim, 4).copy()
    linear = coefficients[1]
    coefficients[:2] = 0
    moment = signed_weights(tuple(coefficients.tolist()), dim)[1]
    # a unit row's projection on p <= d orthonormal directions, times d/p, is d/p Beta(p/2, ...)
    p = layout.projected
    assert 0 < p <= dim
    projection = 2 * linear**2 * (dim / p - 1) / (dim + 2)
    bound = projection + (moment - coefficients.sum() ** 2) / layout.random
    variance = grams[:, np.arange(6), np.arange(6)].var(axis=0).mean()
    assert 0.1 * bound < variance < 1.1 * bound  # the mean of 6 rows and 300 draws: to 4 %


@pytest.mark.slow
def test_exact_coordinates_take_the_constant_and_linear_parts():
    """What is left of ZZ' without the random columns is c_0 |x||y| + c_1 <x, y>, per draw."""
    X = np.random.default_rng(0).standard_normal((30, 4))
    feature_map = draw_map(ntk.Gegenbauer(), ntk.mlp(2), X, 200, jax.random.key(3))
    layout = feature_map.plan.layout
    assert layout == (1, 4, 0, 195)
    Z = transform_blocks(feature_map, X)[:, :5]
    c, norms = expansion(ntk.zonal.ntk(2), 4, 1), np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(Z @ Z.T, c[0] * np.outer(norms, norms) + c[1] * X @ X.T, rtol=1e-10)


@pytest.mark.parametrize("n", [1, 2])
def test_one_dimension_and_few_columns(n):
    X = np.linspace(-1, 2, 7)[:, None]
    grams = gram_matrices(ntk.Gegenbauer(), ntk.mlp(1), X, n, 60)
    assert_unbiased(grams, ntk.kernel(ntk.mlp(1), X))


@pytest.mark.parametrize("n", [3, 4, 50])
def test_one_dimension_is_exact(n):
    """On two points the kernel is c_0 + c_1 t, for which two columns are enough."""
    X = np.array([[1.0], [-2.0], [0.5], [0.0]])
    for kernel in (ntk.mlp(3), ntk.zonal.laplace(0.3)):
        Z = ntk.NTKFeatures(kernel, "gegenbauer", n, random_state=0).fit_transform(X)
        assert relative_error(Z @ Z.T, ntk.kernel(kernel, X)) < 1e-12


@pytest.mark.parametrize(("width", "m"), [(4, 3), (6, 8), (6, 21)])
def test_structured_products_are_those_of_the_dense_matrix(width, m):
    dim = 1 << (width - 1).bit_length()
    H = scipy.linalg.hadamard(dim) / np.sqrt(dim)
    signs = structured_blocks(np.random.default_rng(0), m, dim)
    X = np.random.default_rng(1).standard_normal((5, width))
    blocks = [np.linalg.multi_dot([H * s for s in block[::-1]]) for block in signs]
    for Q in blocks:
        np.testing.assert_allclose(Q @ Q.T, np.eye(dim), atol=1e-12)
    expected = np.sqrt(dim) * np.pad(X, ((0, 0), (0, dim - width))) @ np.vstack(blocks)[:m].T
    with precision(np.float64):
        found = _structured_products(jax.numpy.asarray(X), signs, m)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
def test_structured_directions_approach_the_kernel():
    X = np.random.default_rng(0).standard_normal((40, 30))
    K = ntk.kernel(ntk.mlp(2), X)
    method = ntk.Gegenbauer(linear="random", directions="structured")
    few, many = (
        np.mean([relative_error(G, K) for G in gram_matrices(method, ntk.mlp(2), X, m, 4)])
        for m in (64, 1024)
    )
    assert many < 0.4 * few


@pytest.mark.parametrize("linear", ["random", "principal"])
def test_structured_projection_of_the_linear_part_has_its_mean_and_variance(linear):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 24)) * np.exp(-np.arange(24) / 8)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    kernel = ntk.zonal.polynomial([0.0, 2.0])
    method = ntk.Gegenbauer(linear=linear, directions="structured")
    feature_map = draw_map(method, kernel, X, 14, jax.random.key(0))
    layout, params = feature_map.plan.layout, feature_map.params
    assert layout.projected > 0
    assert (layout.principal > 0) == (linear == "principal")
    grams = []
    for key in jax.random.split(jax.random.key(1), 300):  # the principal directions stay
        projection = SRHT.init(key, 24, layout.projected, X.dtype)
        drawn = feature_map._replace(params=params._replace(projection=projection))
        Z = transform_blocks(drawn, X)
        grams.append(Z @ Z.T)
    grams = np.stack(grams)
    assert_unbiased(grams, 2 * X @ X.T)
    # at most that of independent projections: 2 |rest|^4 / p, times the square of the coefficient
    rest = np.square(X).sum(1) - np.square(X @ params.columns).sum(1) / 2
    variance = grams[:, np.arange(40), np.arange(40)].var(axis=0)
    assert variance.mean() < 1.1 * np.mean(2 * (2 * rest) ** 2) / layout.projected


def test_structured_projection_is_exact_with_as_many_columns_as_it_has_coordinates():
    X = np.random.default_rng(0).standard_normal((7, 30))
    for seed in range(3):
        method = ntk.Gegenbauer(linear="random", directions="structured")
        kernel = ntk.zonal.polynomial([0.5, 2.0])
        feature_map = draw_map(method, kernel, X, 33, jax.random.key(seed))
        assert feature_map.plan.layout.projected == 32
        Z = transform_blocks(feature_map, X)
        assert relative_error(Z @ Z.T, ntk.kernel(kernel, X)) < 1e-12


def test_structured_projection_leaves_out_principal_directions():
    """Of rows in their span nothing is projected: their linear part is exact for every draw."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 40)) * np.exp(-np.arange(40) / 6)
    method = ntk.Gegenbauer(directions="structured")
    feature_map = draw_map(method, ntk.mlp(1), X, 60, jax.random.key(0))
    layout = feature_map.plan.layout
    assert layout.principal > 0
    assert layout.projected > 0
    inside = rng.standard_normal((5, layout.principal)) @ feature_map.params.columns.T
    Z = transform_blocks(feature_map, inside)
    linear = Z[:, : layout.principal]
    assert not (np.abs(Z[:, layout.principal : layout.principal + layout.projected]) > 1e-12).any()
    c = feature_map.plan.coefficients
    np.testing.assert_allclose(linear @ linear.T, c[1] * inside @ inside.T, rtol=1e-9, atol=1e-12)
    constant = Z[:, layout.principal + layout.projected]
    np.testing.assert_allclose(constant, np.sqrt(c[0]) * np.linalg.norm(inside, axis=1), rtol=1e-9)


def test_structured_directions_make_no_matrix():
    width, m = 20_000, 2000
    X = np.ones((1, width), np.float32)
    method = ntk.Gegenbauer(linear="random", directions="structured")
    tracemalloc.start()  # which sees what NumPy allocates
    feature_map = draw_map(method, ntk.mlp(1), X, m, jax.random.key(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert feature_map.plan.layout.projected > 100
    assert peak < width * m * 4 / 8
    sparse = sp.csr_array(([1.0, 2.0], ([0, 1], [3, 7])), shape=(2, width), dtype=np.float32)
    dense = transform_blocks(feature_map, sparse.toarray())
    np.testing.assert_array_equal(transform_blocks(feature_map, sparse), dense)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.floats(0, 5), min_size=2, max_size=6),
    st.lists(st.floats(0, 1), max_size=8),
    st.integers(1, 40),
    st.integers(1, 60),
)
def test_divisions_add_up(coefficients, shares, width, n):
    left = np.array([1.0, *sorted(shares, reverse=True)])[: max(min(n - 2, width), 0) + 1]
    layout = divide(np.array(coefficients), left, width, n)
    assert min(layout) >= 0
    assert sum(layout) <= n
    if n >= 3:
        assert layout.constant == 1
        assert layout.principal < len(left)
        # nothing that has a part in the kernel goes without columns
        assert layout.random > 0 or sum(coefficients[2:]) == 0
        rest = 0 if layout.principal >= width else left[layout.principal]
        assert layout.projected > 0 or coefficients[1] * rest == 0


@pytest.mark.parametrize(
    "dim",
    [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow), 10_000],
)
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
