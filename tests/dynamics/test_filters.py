"""Shares that training has learned, against decimals of many digits and explicit steps."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntksketch.dynamics import as_times, learned_share
from ntksketch.dynamics.filters import as_learning_rate

EIGENVALUES = np.array([0.0, 1e-18, 1e-9, 0.3, 1.0, 1.7, 1.999])


def slow_share(eigenvalue, t, rate=None):
    """Compute 1 - exp(-eigenvalue t), or 1 - (1 - rate eigenvalue)^t, in 60 decimal digits."""
    getcontext().prec = 60
    eigenvalue, t = Decimal(float(eigenvalue)), Decimal(t)
    if rate is None:
        return float(1 - (-eigenvalue * t).exp())
    base, power = 1 - Decimal(float(rate)) * eigenvalue, Decimal(1)
    for _ in range(int(t)):
        power *= base
    return float(1 - power)


@pytest.mark.parametrize("t", [0, 1e-6, 0.5, 3, 1e4, 1e12])
def test_continuous_time_in_many_digits(t):
    expected = [slow_share(value, t) for value in EIGENVALUES]
    found = learned_share(EIGENVALUES, np.array([t]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("t", [0, 1, 2, 3, 100, 1001])
def test_steps_in_many_digits(t, rate):
    expected = [slow_share(value, t, rate) for value in EIGENVALUES]
    found = learned_share(EIGENVALUES, np.array([float(t)]), rate)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("rate", [None, 1.0])
def test_the_end_of_training_is_its_limit(rate):
    at_end = learned_share(EIGENVALUES, np.array([np.inf]), rate)[0]
    np.testing.assert_array_equal(at_end, EIGENVALUES > 0)
    late = learned_share(EIGENVALUES[3:], np.array([1e6]), rate)[0]
    np.testing.assert_array_equal(late, 1.0)


def test_small_steps_are_continuous_time():
    times = np.array([1.0, 10.0])
    slow = learned_share(EIGENVALUES, times)
    np.testing.assert_allclose(
        learned_share(EIGENVALUES, times * 2**20, 2.0**-20), slow, rtol=1e-5, atol=0
    )


numbers = st.floats(0, 1e300, allow_nan=False)


@given(st.lists(numbers, min_size=1, max_size=5), st.lists(numbers, min_size=1, max_size=5))
def test_shares_of_time_grow_from_nothing_to_all(eigenvalues, times):
    eigenvalues = np.sort(eigenvalues)
    shares = learned_share(eigenvalues, np.concatenate([[0.0], np.sort(times), [np.inf]]))
    assert np.isfinite(shares).all()
    assert (shares >= 0).all()
    assert (shares <= 1).all()
    assert (np.diff(shares, axis=0) >= 0).all()
    assert (np.diff(shares, axis=1) >= 0).all()
    assert not shares[0].any()
    assert not np.signbit(shares).any()


@given(
    st.lists(st.floats(0, 1.999), min_size=1, max_size=5),
    st.lists(st.integers(0, 2**60), min_size=1, max_size=5),
)
def test_what_steps_leave_shrinks(steps, times):
    times = np.concatenate([[0.0], np.sort(times).astype(float), [np.inf]])
    left = np.abs(1 - learned_share(np.array(steps), times, 1.0))
    assert np.isfinite(left).all()
    assert (left <= 1).all()
    assert (np.diff(left, axis=0) <= 1e-15).all()


def test_times():
    times, single = as_times(3)
    assert single
    assert times.tolist() == [3.0]
    assert times.dtype == np.float64
    times, single = as_times([0, np.inf], steps=True)
    assert not single
    assert times.tolist() == [0.0, np.inf]


@pytest.mark.parametrize(
    ("t", "steps", "error", "message"),
    [
        (-1.0, False, ValueError, "t must be at least 0, got -1"),
        ([0.0, np.nan], False, ValueError, "t must be at least 0, got nan"),
        (-np.inf, False, ValueError, "got -inf"),
        ([[1.0]], False, ValueError, r"got shape \(1, 1\)"),
        ([], False, ValueError, r"got shape \(0,\)"),
        ("late", False, TypeError, "t must be a number .* got 'late'"),
        (1j, False, TypeError, "t must be a number"),
        (True, False, TypeError, "t must be a number"),
        ([1, 0.5], True, ValueError, "t counts steps of gradient descent.* got 0.5"),
    ],
)
def test_times_that_cannot_be_used(t, steps, error, message):
    with pytest.raises(error, match=message):
        as_times(t, steps=steps)


@pytest.mark.parametrize(
    ("rate", "error"),
    [
        (0.0, ValueError),
        (-1, ValueError),
        (np.nan, ValueError),
        (np.inf, ValueError),
        ("fast", TypeError),
        (True, TypeError),
    ],
)
def test_learning_rates_that_cannot_be_used(rate, error):
    with pytest.raises(error, match="learning_rate must be"):
        as_learning_rate(rate)
    assert as_learning_rate(None) is None
    assert as_learning_rate(np.float32(0.5)) == 0.5
