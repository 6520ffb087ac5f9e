import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntksketch as ntk
from ntksketch import Dense, Elementwise, LeakyRelu, Relu, Sin


def cube(z):
    return z**3


def test_mlp_takes_an_activation():
    layers = ntk.mlp(2, activation=LeakyRelu(0.3)).layers
    assert set(layers[1::2]) == {LeakyRelu(0.3)}
    assert set(layers[0::2]) == {Dense()}


@pytest.mark.parametrize("value", ["relu", jnp.tanh, Dense(), None])
def test_what_is_no_activation(value):
    with pytest.raises(TypeError, match=r"activation must be an ntksketch activation .*, got "):
        ntk.mlp(1, activation=value)


def test_a_class_in_place_of_an_activation_gets_a_hint():
    with pytest.raises(TypeError, match="a class came, call it first"):
        ntk.mlp(1, activation=Relu)  # pyright: ignore


@pytest.mark.parametrize("make", [LeakyRelu, lambda x: Sin(frequency=x), lambda x: Sin(phase=x)])
@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), ("1", TypeError), (True, TypeError)]
)
def test_parameters_are_finite_numbers(make, value, error):
    with pytest.raises(error, match=r"^\w+ must be .*, got "):
        make(value)


def test_numbers_become_floats():
    assert type(LeakyRelu(np.float32(0.5)).slope) is float
    assert LeakyRelu(-1).slope == -1.0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1.0,), TypeError),
        ((jnp.tanh, "cosh"), TypeError),
        ((jnp.tanh, None, 2.5), TypeError),
        ((jnp.tanh, None, 0), ValueError),
        ((jnp.tanh, None, 201), ValueError),
    ],
)
def test_parameters_of_any_function_are_checked(arguments, error):
    with pytest.raises(error, match="must be"):
        Elementwise(*arguments)


def test_functions_compare_by_identity_also_when_copied_or_pickled():
    layer = Elementwise(jnp.tanh, degree=20)
    assert layer == Elementwise(jnp.tanh, None, np.int64(20))
    assert layer != Elementwise(jnp.tanh)
    assert layer != Elementwise(jnp.sin, degree=20)
    assert copy.deepcopy(ntk.mlp(1, activation=layer)) == ntk.mlp(1, activation=layer)
    network = ntk.mlp(1, activation=Elementwise(cube))
    assert pickle.loads(pickle.dumps(network)) == network
    assert hash(pickle.loads(pickle.dumps(network))) == hash(network)


def test_repr_names_functions():
    assert repr(Elementwise(jnp.tanh)) == "Elementwise(tanh)"
    text = "Elementwise(softplus, sigmoid, degree=9)"
    assert repr(Elementwise(jax.nn.softplus, jax.nn.sigmoid, 9)) == text
