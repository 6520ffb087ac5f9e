import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntksketch as ntk
from ntksketch.features.polynomials import (
    choose_exact,
    column_shares,
    divide_columns,
    fit_polynomial,
    n_monomials,
    relative_variance,
)
from ntksketch.features.powers import monomials_of
from ntksketch.kernels.dual import kappa0, kappa1
from ntksketch.kernels.zonal import FunctionKernel

ROWS = np.random.default_rng(0).standard_normal((6, 5))


def test_taylor_coefficients_are_those_of_the_arc_cosine_functions():
    # kappa1 + t kappa0, by the series with C_i = (2i)!/(4^i i!^2)
    expected = np.zeros(9)
    expected[:2] = 1 / np.pi, 1.0
    for i in range(4):
        c = math.comb(2 * i, i) / 4**i / np.pi
        expected[2 * i + 2] = c / ((2 * i + 1) * (2 * i + 2)) + c / (2 * i + 1)
    np.testing.assert_allclose(fit_polynomial(ntk.zonal.ntk(1), 8, "taylor"), expected, atol=1e-12)


@pytest.mark.parametrize("target", [ntk.zonal.ntk(1), ntk.zonal.ntk(4), ntk.zonal.laplace(1.0)])
def test_fits_have_no_negative_coefficient_and_beat_the_series(target):
    t = np.linspace(-1, 1, 500)
    errors = {}
    for fit, degree in itertools.product(("nnls", "taylor"), (4, 12)):
        coefficients = np.array(fit_polynomial(target, degree, fit))
        assert (coefficients >= 0).all()
        assert len(coefficients) <= degree + 1
        values = np.polynomial.polynomial.polyval(t, coefficients)
        errors[fit, degree] = np.linalg.norm(values - target(t))
    assert errors["nnls", 12] < errors["nnls", 4]
    for degree in (4, 12):
        assert errors["nnls", degree] < 0.7 * errors["taylor", degree]


@pytest.mark.parametrize("fit", ["nnls", "taylor"])
def test_polynomial_kernels_are_found(fit):
    coefficients = (0.25, 0.5, 0.0, 2.0)
    found = fit_polynomial(ntk.zonal.polynomial(coefficients), 3, fit)
    np.testing.assert_allclose(found, coefficients, atol=1e-9)


@pytest.mark.parametrize("n_columns", [3, 4, 7, 100, 8192])
def test_columns_are_all_dealt_out_in_proportion(n_columns):
    shares = {2: 0.6, 5: 1e-9, 8: 0.2}
    columns = divide_columns(shares, n_columns)
    assert sum(columns.values()) == n_columns
    assert min(columns.values()) >= 1
    if n_columns == 8192:
        assert abs(columns[2] / columns[8] - 3) < 0.01


def test_exact_powers_are_those_that_leave_the_least_variance():
    shares = column_shares((0.3, 1.0, 0.5, 0.0, 0.1), complex_to_real=True)
    for n_variables, n_columns in itertools.product((1, 4, 30, 1000), (3, 20, 500, 4000)):
        best = choose_exact(shares, n_variables, n_columns)

        def variance(largest, n_variables=n_variables, n_columns=n_columns):
            exact = [j for j in shares if j <= largest]
            left = n_columns - sum(math.comb(n_variables + j - 1, j) for j in exact)
            rest = sum(share for j, share in shares.items() if j > largest)
            return (rest**2 / left if rest else 0) if left >= len(shares) - len(exact) else np.inf

        assert variance(best) == min(variance(j) for j in (0, *shares))


@pytest.mark.parametrize("complex_to_real", [False, True])
@pytest.mark.parametrize("power", [2, 3, 5])
def test_relative_variance_is_that_of_the_top_node(power, complex_to_real):
    # independent samples of a sketch of two vectors with the children's cosines, in high dimension
    left = 1 << (power - 1).bit_length() - 1
    a, b = 0.5**left, 0.5 ** (power - left)
    rng = np.random.default_rng(0)

    def factor(cosine):
        s = rng.integers(4, size=(200_000, 2)) if complex_to_real else None
        if s is None:
            g = rng.standard_normal((200_000, 2))
        else:
            g = (
                rng.standard_normal((200_000, 2)) + 1j * rng.standard_normal((200_000, 2))
            ) / 2**0.5
        return g[:, 0], cosine * g[:, 0] + np.sqrt(1 - cosine**2) * g[:, 1]

    (x1, y1), (x2, y2) = factor(a), factor(b)
    products = np.real(x1 * x2 * np.conj(y1 * y2))
    samples = (2 if complex_to_real else 1) * (products - 0.5**power) ** 2
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - relative_variance(power, complex_to_real)) < 5 * error


@pytest.mark.parametrize("power", [2, 3, 4])
def test_monomials_are_exact(power):
    Z = np.asarray(monomials_of(5, power, np.float32).apply(jax.numpy.asarray(ROWS, np.float32)))
    np.testing.assert_allclose(Z @ Z.T, (ROWS @ ROWS.T) ** power, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("degree", [3, 8, 15])
def test_taylor_coefficients_of_the_arc_cosine_functions(degree):
    zeroth, first = np.zeros(40), np.zeros(40)
    zeroth[0], first[:2] = 1 / 2, (1 / np.pi, 1 / 2)
    for i in range(19):
        c = math.comb(2 * i, i) / 4**i / np.pi
        zeroth[2 * i + 1] = c / (2 * i + 1)
        first[2 * i + 2] = c / ((2 * i + 1) * (2 * i + 2))
    for function, expected in ((kappa0, zeroth), (kappa1, first)):
        found = np.zeros(degree + 1)
        coefficients = fit_polynomial(FunctionKernel(function), degree, "taylor")
        found[: len(coefficients)] = coefficients
        np.testing.assert_allclose(found, expected[: degree + 1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("function", "power"), [(kappa0, -0.5), (kappa1, -1.5)])
def test_what_a_series_misses_falls_with_the_published_power_of_the_degree(function, power):
    degrees = [16, 32, 64, 128]
    missing = [1 - sum(fit_polynomial(FunctionKernel(function), q, "taylor")) for q in degrees]
    slope = np.polyfit(np.log(degrees), np.log(missing), 1)[0]
    assert abs(slope - power) < 0.03


@pytest.mark.parametrize(("function", "start"), [(kappa0, 1), (kappa1, 2)])
def test_the_square_of_what_a_series_misses_is_that_of_its_tail(function, start):
    # by quadrature over t = cos of the angle, against the terms left out
    coefficients = fit_polynomial(FunctionKernel(function), 9, "taylor")
    angles, weights = np.polynomial.legendre.leggauss(400)
    angles, weights = (
        np.pi * (angles + 1) / 2,
        np.pi * weights / 2 * np.sin(np.pi * (angles + 1) / 2),
    )
    t = np.cos(angles)
    error = function(t) - np.polynomial.polynomial.polyval(t, coefficients)
    tail = np.zeros_like(t)
    for i in range(4000):
        n = 2 * i + start
        c = math.exp(math.lgamma(2 * i + 1) - 2 * math.lgamma(i + 1) - i * math.log(4)) / np.pi
        tail += c / ((2 * i + 1) * (2 * i + 2 if start == 2 else 1)) * t**n * (n > 9)
    np.testing.assert_allclose(weights @ error**2, weights @ tail**2, rtol=1e-3)


@pytest.mark.parametrize("degree", [4, 8, 16])
@pytest.mark.parametrize(
    "kernel", [ntk.zonal.ntk(1), ntk.zonal.ntk(4), ntk.zonal.laplace(1.0)], ids=repr
)
def test_non_negative_fits_cannot_be_improved(kernel, degree):
    # the conditions of Karush, Kuhn and Tucker, which hold at the least squares alone
    coefficients = np.zeros(degree + 1)
    found = fit_polynomial(kernel, degree, "nnls")
    coefficients[: len(found)] = found
    t = np.linspace(-1, 1, 2001)
    powers = t[:, None] ** np.arange(degree + 1)
    slopes = powers.T @ (powers @ coefficients - kernel(t))
    scale = 1e-9 * len(t)
    assert np.abs(slopes[coefficients > 0]).max() < scale
    assert slopes[coefficients == 0].min(initial=0) > -scale


@pytest.mark.parametrize("kernel", [ntk.zonal.laplace(30.0), ntk.zonal.polynomial([0] * 14 + [1])])
def test_series_without_a_coefficient_are_refused_with_the_remedy(kernel):
    message = "polynomial of degree 8 .* no coefficient above rounding: .* coefficients='nnls'"
    with pytest.raises(ValueError, match=message):
        fit_polynomial(kernel, 8, "taylor")
    assert max(fit_polynomial(kernel, 8, "nnls")) > 0
    assert max(fit_polynomial(kernel, 40, "taylor")) > 0


def test_functions_that_are_not_positive_at_1_are_refused():
    for fit, function in itertools.product(("nnls", "taylor"), (np.zeros_like, lambda t: 1 - t)):
        with pytest.raises(ValueError, match=r"must be positive at t = 1|negative coefficient"):
            fit_polynomial(FunctionKernel(function), 4, fit)


@given(
    shares=st.dictionaries(st.integers(1, 30), st.floats(1e-12, 1e6), min_size=1, max_size=12),
    spare=st.integers(0, 3000),
)
def test_columns_are_divided_as_well_as_whole_numbers_can(shares, spare):
    n_columns = len(shares) + spare
    columns = divide_columns(shares, n_columns)
    assert list(columns) == sorted(shares)
    assert sum(columns.values()) == n_columns
    assert min(columns.values()) >= 1
    order = sorted(shares, key=lambda power: shares[power])
    counts = [columns[power] for power in order]
    assert all(a <= b + 1 for a, b in itertools.pairwise(counts))
    # no column would lower the total variance by much in another place: two roundings cost at
    # most an eighth of what a column of ideal share has
    variance = sum(share**2 / columns[power] for power, share in shares.items())
    for taken, given_to in itertools.permutations(shares, 2):
        if columns[taken] > 1:
            moved = columns | {taken: columns[taken] - 1, given_to: columns[given_to] + 1}
            assert sum(s**2 / moved[power] for power, s in shares.items()) >= 0.85 * variance


@pytest.mark.parametrize(("d", "power"), [(1, 7), (3, 4), (6, 2)])
def test_monomials_are_counted(d, power):
    distinct = {tuple(sorted(i)) for i in itertools.product(range(d), repeat=power)}
    monomials = monomials_of(d, power, np.float64)
    assert n_monomials(d, power) == len(distinct) == monomials.columns.shape[1]
    # the multinomials of a power add up to the number of all sequences
    np.testing.assert_allclose((monomials.weights**2).sum(), d**power)
