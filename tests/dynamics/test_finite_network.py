"""A small network of JAX: its linearisation, trained by gradient descent on its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntksketch as ntk

WIDTHS = (3, 16, 16, 1)


def parameters(seed):
    keys = jax.random.split(jax.random.key(seed), len(WIDTHS) - 1)
    shapes = zip(WIDTHS[1:], WIDTHS[:-1], strict=True)
    return [
        jax.random.normal(k, shape) / shape[1] ** 0.5 for k, shape in zip(keys, shapes, strict=True)
    ]


def network(weights, X):
    """Return the outputs of a multilayer perceptron with the hyperbolic tangent."""
    for W in weights[:-1]:
        X = jnp.tanh(X @ W.T)
    return (X @ weights[-1].T)[:, 0]


@pytest.fixture(scope="module", params=[0, 1])
def linearised(request):
    """Return rows, targets, outputs at the start and Jacobians: for training, and for testing."""
    rng = np.random.default_rng(request.param)
    X, y = rng.standard_normal((14, 3)), rng.standard_normal(10)
    with jax.enable_x64(True):
        weights = parameters(request.param)
        f0 = np.asarray(network(weights, X))
        parts = jax.jacobian(network)(weights, jnp.asarray(X))
        J = np.concatenate([np.asarray(part).reshape(14, -1) for part in parts], axis=1)
    return X, y, f0, J


def train_linearised(J, f0, y, rate, n_steps):
    """Run gradient descent on the loss of the linearised network, by its gradient."""
    n = len(y)

    def loss(change):
        return jnp.sum((f0[:n] + J[:n] @ change - y) ** 2) / (2 * n)

    with jax.enable_x64(True):
        step = jax.jit(lambda change: change - rate * jax.grad(loss)(change))
        change = jnp.zeros(J.shape[1])
        for _ in range(n_steps):
            change = step(change)
        return np.asarray(f0 + J @ change)


@pytest.mark.parametrize("kernel", ["precomputed", "linear"])
def test_gradient_descent_on_the_linearised_network(linearised, kernel):
    _, y, f0, J = linearised
    K = J @ J.T
    rows, new = (K[:10, :10], K[:, :10]) if kernel == "precomputed" else (J[:10], J)
    model = ntk.GradientFlow(kernel).fit(rows, y, f0=f0[:10])
    rate = 0.8 * model.max_learning_rate_
    model.set_params(learning_rate=rate)
    for n_steps in (1, 10, 300):
        expected = train_linearised(J, f0, y, rate, n_steps)
        found = model.predict(new, n_steps, f0=f0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_small_steps_are_the_flow(linearised):
    _, y, f0, J = linearised
    K = J @ J.T
    model = ntk.GradientFlow("precomputed").fit(K[:10, :10], y, f0=f0[:10])
    rate = 1e-3 * model.max_learning_rate_
    errors = []
    for factor in (1.0, 0.5):
        expected = train_linearised(J, f0, y, factor * rate, int(400 / factor))
        found = model.predict(K[:, :10], 400 * rate, f0=f0)
        errors.append(np.abs(found - expected).max())
    assert errors[0] < 1e-3
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)  # the error of Euler's method
