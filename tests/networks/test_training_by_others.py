"""Finite networks under an optimiser of another library."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from network_table import rows_for

import ntksketch as ntk

RATE, STEPS = 0.05, 3
NETWORKS = {  # layers without parameters have empty dictionaries
    "mlp": ntk.mlp(2, bias_std=0.3),
    "rnn": ntk.rnn(1, bias_std=0.3, state_std=0.7),
}


def problem(name):
    architecture, X = NETWORKS[name], rows_for(name, 6).astype(np.float32)
    params = ntk.init_network(architecture, jax.random.key(0), 16, input_shape=X.shape[1:])
    y = X.reshape(len(X), -1)[:, :1]
    return functools.partial(ntk.apply_network, architecture), params, X, y


def loss_of(f, X, y):
    return lambda params: jnp.mean((f(params, X) - y) ** 2) / 2


def trained(optimizer, loss, params):
    state, losses = optimizer.init(params), []
    step = jax.jit(jax.value_and_grad(loss))
    for _ in range(STEPS):
        value, gradient = step(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(value))
    return params, [*losses, float(loss(params))]


def leaves(params):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("linear", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_steps_of_optax_are_those_of_gradient_descent(name, linear):
    f, start, X, y = problem(name)
    assert {} in start
    loss = loss_of(ntk.linearize(f, start) if linear else f, X, y)
    found, losses = trained(optax.sgd(RATE), loss, start)
    expected = start
    for _ in range(STEPS):
        gradient = jax.grad(loss)(expected)
        expected = jax.tree.map(lambda p, g: p - RATE * g, expected, gradient)
    assert jax.tree.structure(found) == jax.tree.structure(start)
    wanted = leaves(expected)
    for path, leaf in leaves(found).items():
        np.testing.assert_allclose(leaf, wanted[path], rtol=1e-5, atol=1e-6, err_msg=path)
    assert all(np.diff(losses) < 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_adam_moves_everything_but_the_first_state(name):
    f, start, X, y = problem(name)
    found, losses = trained(optax.adam(1e-2), loss_of(f, X, y), start)
    assert losses[-1] < losses[0]
    before = leaves(start)
    still = {path for path, leaf in leaves(found).items() if np.array_equal(leaf, before[path])}
    assert still == {path for path in before if "'state'" in path}
    assert len(still) == (name == "rnn")
