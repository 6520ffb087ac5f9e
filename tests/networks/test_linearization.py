"""First-order expansions: values, derivatives, training, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_table import NETWORKS, rows_for

import ntksketch as ntk

SHORT = "mlp with biases"
EACH = [pytest.param(n, marks=() if n == SHORT else pytest.mark.slow) for n in NETWORKS]


def network(name, width=8):
    architecture, X = NETWORKS[name][0], rows_for(name)
    draw = functools.partial(
        ntk.init_network, architecture, width=width, input_shape=X.shape[1:], dtype=np.float64
    )
    return functools.partial(ntk.apply_network, architecture), draw, X


@pytest.mark.parametrize("name", EACH)
def test_the_expansion(name):
    f, draw, X = network(name)
    start, other = (draw(jax.random.key(seed)) for seed in (0, 1))
    with jax.enable_x64(True):
        g = ntk.linearize(f, start)
        np.testing.assert_array_equal(g(start, X), f(start, X))
        direction = jax.tree.map(lambda a, b: a - b, other, start)
        slope = jax.jvp(lambda p: f(p, X), (start,), (direction,))[1]
        for at in (start, other):  # its derivative is the same everywhere
            found = jax.jvp(lambda p: g(p, X), (at,), (direction,))[1]
            np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(g(other, X), f(start, X) + slope, rtol=1e-9, atol=1e-12)


def test_the_remainder_is_of_second_order():
    f, draw, X = network("erf")
    start, direction = (draw(jax.random.key(seed)) for seed in (0, 1))
    with jax.enable_x64(True):
        g = ntk.linearize(f, start)
        remainders = []
        for size in (1e-2, 1e-3):
            near = jax.tree.map(lambda a, b, s=size: a + s * b, start, direction)
            remainders.append(np.abs(f(near, X) - g(near, X)).max())
    assert 80 < remainders[0] / remainders[1] < 125


def test_gradient_descent_follows_the_empirical_ntk():
    """Each step multiplies the residual by I - rate * NTK."""
    f, draw, X = network("mlp")
    start, y = draw(jax.random.key(0)), np.array([[1.0], [-1.0], [0.5]])
    K, rate = ntk.empirical_ntk(f, start, X), 0.02
    with jax.enable_x64(True):
        g = ntk.linearize(f, start)
        step = jax.jit(jax.grad(lambda p: jnp.sum((g(p, X) - y) ** 2) / 2))
        params, residual = start, np.asarray(f(start, X)) - y
        for _ in range(5):
            params = jax.tree.map(lambda a, b: a - rate * b, params, step(params))
            residual = residual - rate * K @ residual
            np.testing.assert_allclose(g(params, X) - y, residual, rtol=1e-9)


def test_parameters_must_be_those_of_the_expansion():
    f, draw, X = network("mlp")
    start = jax.tree.map(lambda a: np.asarray(a, np.float32), draw(jax.random.key(0)))
    g = ntk.linearize(f, start)
    for wrong in (start[:-1], jax.tree.map(lambda a: a[:1], start)):
        with pytest.raises(ValueError, match="must have the structure of those of the expansion"):
            g(wrong, X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"w": np.ones(2), "n": np.arange(3)},
            r"got int64 at \['n'\]: what is not trained belongs",
        ),
        ([jnp.ones(2), jnp.array([True])], r"got bool at \[1\]"),
        (3, "got int64 at the top"),
        (jax.random.key(0), "got key<fry> at the top"),
    ],
)
def test_parameters_that_have_no_derivative_are_refused(params, message):
    with pytest.raises(TypeError, match=message):
        ntk.linearize(lambda p, X: X, params)


@pytest.mark.parametrize("start", [2.0, 2 + 1j, np.float64(2), jnp.asarray(2, jnp.bfloat16)])
def test_numbers_of_every_precision_have_derivatives(start):
    g = ntk.linearize(lambda w, x: w**2 * x, start)
    assert complex(g(start + 1, 3.0)) == complex(3 * (start**2 + 2 * start))
