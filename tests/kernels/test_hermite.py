"""Hermite expansions against closed forms and SciPy's polynomials."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import eval_hermitenorm, factorial

import ntksketch as ntk
from ntksketch import Dense, Elementwise, Sin, serial
from ntksketch.kernels import hermite
from ntksketch.kernels.gram import precision

A = np.array([0.3, 1.0, 2.5])  # variances
T = np.array([-1.0, -0.6, 0.0, 0.4, 0.97, 1.0])  # correlations


def dual(layer, t=T):
    """Dual functions at every pair of variances and every correlation, shape (3, 3, len(t))."""
    with precision(np.float64):
        pairs = [hermite.dual(layer, np.full((3, 3), value), A, A) for value in t]
    return [np.stack([np.asarray(pair[i]) for pair in pairs], axis=-1) for i in (0, 1)]


def covariance():
    roots = np.sqrt(A)
    return roots[:, None, None] * roots[None, :, None] * T


@pytest.mark.parametrize("degree", [1, 5, 40])
def test_table_holds_normalised_hermite_polynomials(degree):
    nodes, table = hermite.quadrature(degree)
    k = np.arange(degree + 1)
    expected = eval_hermitenorm(k, nodes[:, None]) / np.sqrt(factorial(k))
    few = np.abs(nodes) < 5  # the rest weighs nothing
    np.testing.assert_allclose(table[few] / table[few, :1], expected[few], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("std", [0.2, 1.0, 2.0])
def test_coefficients_are_the_gaussian_integrals(std):
    _, table = hermite.quadrature(6)
    nodes, _ = hermite.quadrature(6)
    found = np.tanh(std * nodes) @ table
    for k in range(7):
        expected, _ = quad(
            lambda z, k=k: (
                np.tanh(std * z)
                * eval_hermitenorm(k, z)
                * np.exp(-z * z / 2)
                / np.sqrt(2 * np.pi * factorial(k))
            ),
            -12,
            12,
            epsabs=1e-13,
        )
        assert found[k] == pytest.approx(expected, abs=1e-11)


def test_cubes_have_their_moments():
    # E u^3 v^3 = 9 a b c + 6 c^3, E 9 u^2 v^2 = 9 (a b + 2 c^2)  (Isserlis)
    value, slope = dual(Elementwise(lambda z: z**3, lambda z: 3 * z**2, degree=3))
    c, ab = covariance(), (A[:, None] * A[None, :])[..., None]
    np.testing.assert_allclose(value, 9 * ab * c + 6 * c**3, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(slope, 9 * (ab + 2 * c**2), rtol=1e-9)


def test_exponentials_have_their_moments():
    # E e^u e^v = exp((a + b)/2 + c), and the derivative is the function itself
    value, slope = dual(Elementwise(jnp.exp, degree=60))
    expected = np.exp((A[:, None, None] + A[None, :, None]) / 2 + covariance())
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    np.testing.assert_allclose(slope, expected, rtol=1e-9)


def test_sines_equal_the_closed_form():
    X = np.random.default_rng(0).standard_normal((6, 3))
    for kind in ("ntk", "nngp"):
        closed, expanded = (
            ntk.kernel(serial(Dense(), layer, Dense(0.7, 0.2)), X, kind=kind)
            for layer in (Sin(), Elementwise(jnp.sin, degree=80))
        )
        np.testing.assert_allclose(expanded, closed, rtol=1e-8, atol=1e-10)


def test_mean_squares_of_more_rows_than_a_block():
    variances = np.linspace(0, 3, 5000)
    value, slope = hermite.mean_squares(Elementwise(lambda z: z**2), variances)
    np.testing.assert_allclose(value, 3 * variances.astype(np.float32) ** 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, 4 * variances, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [Elementwise(jnp.tanh), Elementwise(jax.nn.silu)], ids=repr)
def test_derivatives_are_taken_where_none_is_given(layer):
    z = np.linspace(-3, 3, 11)
    with precision(np.float64):
        step = 1e-6
        up, down = (np.asarray(hermite.apply(layer, jnp.asarray(z + s))) for s in (step, -step))
        slope = np.asarray(hermite.differentiate(layer, jnp.asarray(z)))
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-8, atol=1e-9)


def test_what_is_beyond_the_degree_is_counted(recwarn):
    # half of the mean square of h_1 + h_6, exactly: degree 5 leaves out h_6
    layer = Elementwise(lambda z: z + (z**6 - 15 * z**4 + 45 * z**2 - 15) / np.sqrt(720), degree=5)
    with pytest.warns(UserWarning, match=r"leaves out 50\.0% of the mean square of the function"):
        hermite.warn_of_truncation(layer, np.ones(1))
    enough = Elementwise(layer.function, degree=6)
    hermite.warn_of_truncation(enough, np.ones(1))
    assert len(recwarn) == 0


def test_what_is_left_out_inside_sums_is_warned_of():
    network = ntk.serial(
        ntk.Dense(), ntk.residual(Elementwise(jnp.sign), ntk.Dense()), ntk.Relu(), ntk.Dense()
    )
    with pytest.warns(UserWarning, match="leaves out"):
        ntk.kernel(network, np.eye(3))
