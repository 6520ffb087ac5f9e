import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntksketch.kernels.cosines import cosines, root
from ntksketch.kernels.gram import precision

jitted = jax.jit(cosines)


def of_unit_rows(t, dtype):
    """What becomes of cosines."""
    t = np.atleast_1d(np.asarray(t, dtype))
    with precision(dtype):
        return np.asarray(jitted(t[None], np.ones(1, dtype), np.ones(len(t), dtype)))[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_eight_rounding_errors_are_none(dtype):
    eps = np.finfo(dtype).eps
    inside = np.array([1, 1 + 60 * eps, 1 - 4 * eps, 1 - 8 * eps], dtype)
    np.testing.assert_array_equal(of_unit_rows(np.r_[inside, -inside], dtype), [1] * 4 + [-1] * 4)
    outside = np.array([1 - 9 * eps, 0.5, 0.0, -0.5, 9 * eps - 1], dtype)
    np.testing.assert_array_equal(of_unit_rows(outside, dtype), outside)


def test_nan_stays():
    assert np.isnan(of_unit_rows([np.nan, 0.3], np.float64)).tolist() == [True, False]


@settings(deadline=None, max_examples=50)
@given(st.floats(-150, 150), st.floats(-150, 150), st.floats(-0.999, 0.999))
def test_lengths_do_not_matter(left, right, t):
    a, b = np.array([10.0**left, 0.0]), np.array([10.0**right])
    with precision(np.float64):
        found = jitted(t * np.sqrt(a)[:, None] * np.sqrt(b)[None], a, b)
    # 0 beside a row of zeros; atol: subnormal numbers are flushed
    np.testing.assert_allclose(found[:, 0], [t, 0], rtol=1e-14, atol=1e-200)


def test_derivatives_are_finite_everywhere():
    a, b = np.array([4.0, 0.0]), np.array([9.0, 0.0])
    covariance = np.array([[6.0, 0.0], [0.0, 0.0]])

    def total(change):
        return cosines(covariance * (1 + change), a * (1 + change), b * (1 + change)).sum()

    with precision(np.float64):
        assert float(jax.grad(total)(0.0)) == 0  # parallel rows stay so
        slope = jax.vmap(jax.grad(root))(jnp.array([0.0, 4.0]))
        np.testing.assert_array_equal(slope, [0, 0.25])
