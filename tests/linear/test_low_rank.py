import numpy as np
import pytest

from ntksketch.linear.low_rank import low_rank

RNG = np.random.default_rng(0)


def test_is_the_matrix_of_the_factor():
    F = RNG.standard_normal((20, 6))
    approximation = low_rank(F)
    U, values = approximation
    np.testing.assert_allclose((U * values) @ U.T, F @ F.T, atol=1e-12)
    np.testing.assert_allclose(U.T @ U, np.eye(6), atol=1e-13)


@pytest.mark.parametrize("shift", [1e-8, 1.0, 1e4])
def test_solves_with_a_shift_for_each_column(shift):
    F = RNG.standard_normal((20, 6)) * np.geomspace(1, 1e-3, 6)
    R = RNG.standard_normal((20, 2))
    shifts = np.array([shift, 3.0])
    found = low_rank(F).solve(R, shifts)
    for j, sigma in enumerate(shifts):
        expected = sigma * np.linalg.solve(F @ F.T + sigma * np.eye(20), R[:, j])
        np.testing.assert_allclose(found[:, j], expected, rtol=1e-6, atol=1e-7)


def test_columns_that_repeat_lower_the_rank():
    F = RNG.standard_normal((20, 3))
    U, values = low_rank(np.hstack([F, F[:, :2], np.zeros((20, 1))]))
    assert U.shape == (20, 3)
    assert values.min() > 0


def test_directions_left_out_of_the_factor_are_left_alone():
    unit = np.ones(20) / np.sqrt(20)
    F = RNG.standard_normal((20, 6))
    F -= np.outer(unit, unit @ F)
    U, _ = low_rank(np.hstack([F, F]))
    np.testing.assert_allclose(unit @ U, 0, atol=1e-13)


@pytest.mark.parametrize("factor", [np.zeros((5, 0)), np.zeros((5, 2)), np.zeros((0, 0))])
def test_nothing_is_the_identity(factor):
    approximation = low_rank(factor)
    assert approximation.vectors.shape == (len(factor), 0)
    R = np.ones((len(factor), 2))
    np.testing.assert_array_equal(approximation.solve(R, np.ones(2)), R)


def test_float32_factors_are_decomposed_in_float64():
    F = RNG.standard_normal((20, 6)).astype(np.float32)
    U, _ = low_rank(F)
    assert U.dtype == np.float64
    np.testing.assert_allclose(U.T @ U, np.eye(6), atol=1e-13)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_factor_is_kept_unless_it_may_be_overwritten(order):
    F = np.array(RNG.standard_normal((20, 6)), order=order)
    before = F.copy()
    kept = low_rank(F)
    np.testing.assert_array_equal(F, before)
    overwritten = low_rank(F, overwrite=True)
    np.testing.assert_array_equal(overwritten.values, kept.values)
