import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntksketch as ntk
from ntksketch import Dense, Relu, Serial, mlp, serial
from ntksketch.architectures.layers import as_layers, check_architecture

ARCHITECTURES = [
    Dense(),
    Dense(weight_std=1.5),
    Dense(bias_std=0.1),
    Dense(1 / 3, 1e-300),
    Relu(),
    serial(Dense()),
    serial(Dense(), Relu(), Dense(0.5, 2.0)),
    mlp(1),
    mlp(3, weight_std=0.7, bias_std=0.1),
    ntk.LeakyRelu(),
    ntk.LeakyRelu(-0.5),
    ntk.Erf(),
    ntk.Gelu(),
    ntk.Sin(),
    ntk.Sin(2.0, phase=0.1),
    mlp(2, activation=ntk.Gelu()),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
def test_repr_makes_an_equal_architecture(architecture):
    again = eval(repr(architecture), vars(ntk))
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert repr(again) == repr(architecture)


def test_equal_by_value_only():
    assert len(set(ARCHITECTURES)) == len(ARCHITECTURES)
    assert Dense() == Dense(1) == Dense(weight_std=1.0, bias_std=0)
    assert Dense() != Relu()
    assert serial(Dense()) != Dense()
    assert serial(Dense(), Relu()) != serial(Relu(), Dense())


def test_repr_leaves_out_defaults():
    assert repr(Dense()) == "Dense()"
    assert repr(Dense(2)) == "Dense(weight_std=2.0)"
    assert repr(serial(Dense(), Relu())) == "serial(Dense(), Relu())"


@pytest.mark.parametrize(
    ("architecture", "field"), [(Dense(), "weight_std"), (mlp(1), "layers"), (Relu(), "anything")]
)
def test_frozen(architecture, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(architecture, field, 1.0)


@pytest.mark.parametrize("value", [2, np.float32(2), np.int64(2), Fraction(2)])
def test_standard_deviations_become_floats(value):
    layer = Dense(value, bias_std=value)
    assert (type(layer.weight_std), type(layer.bias_std)) == (float, float)
    assert layer == Dense(2.0, 2.0)


@pytest.mark.parametrize("name", ["weight_std", "bias_std"])
@pytest.mark.parametrize("make", [Dense, lambda **kwargs: mlp(2, **kwargs)], ids=["Dense", "mlp"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1.0, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("1", TypeError),
        (True, TypeError),
        (None, TypeError),
        (1j, TypeError),
        (np.ones(2), TypeError),
    ],
)
def test_bad_standard_deviation(make, name, value, error):
    with pytest.raises(error, match=f"^{name} must be .*, got "):
        make(**{name: value})


@pytest.mark.parametrize(
    ("depth", "error"),
    [(0, ValueError), (-2, ValueError), (2.0, TypeError), (True, TypeError), ("2", TypeError)],
)
def test_bad_depth(depth, error):
    for make in (mlp, ntk.zonal.ntk, ntk.zonal.nngp):
        with pytest.raises(error, match=r"^depth must be .*, got "):
            make(depth)


@pytest.mark.parametrize("depth", [1, 2, np.int32(5)])
def test_mlp_is_dense_and_relu_in_turns(depth):
    dense = Dense(0.7, 0.2)
    layers = mlp(depth, weight_std=0.7, bias_std=0.2).layers
    assert len(layers) == 2 * depth + 1
    assert set(layers[0::2]) == {dense}
    assert set(layers[1::2]) == {Relu()}


def test_mlp_takes_its_options_by_name_only():
    with pytest.raises(TypeError, match="positional"):
        mlp(2, 1.0)  # pyright: ignore


def test_compositions_inside_are_flattened():
    flat = serial(Dense(), Relu(), Dense(2.0), Relu(), Dense(3.0))
    inner = serial(Relu(), serial(Dense(2.0), Relu()))
    assert serial(Dense(), inner, Dense(3.0)) == flat
    assert Serial((Dense(), inner, Dense(3.0))) == flat
    assert serial(flat) == flat
    assert list(flat) == list(flat.layers)
    assert len(flat) == 5


DEVIATIONS = st.floats(0, 1e300)
LAYERS = st.one_of(
    st.builds(Dense, DEVIATIONS, DEVIATIONS),
    st.just(Relu()),
    st.builds(ntk.LeakyRelu, st.floats(-1e300, 1e300)),
    st.builds(ntk.Sin, *[st.floats(-9, 9)] * 3),
)


@given(st.lists(LAYERS, min_size=1, max_size=5), st.integers(0, 5))
def test_any_composition(layers, at):
    network = serial(*layers)
    assert as_layers(network) == tuple(layers) == tuple(network)
    assert eval(repr(network), vars(ntk)) == network
    assert pickle.loads(pickle.dumps(network)) == network
    parts = [serial(*part) for part in (layers[:at], layers[at:]) if part]
    assert serial(*parts) == network  # composing is associative


def test_nothing_to_compose():
    with pytest.raises(ValueError, match="at least one layer"):
        serial()


@pytest.mark.parametrize("layers", [[Dense()], None, Dense()])
def test_serial_takes_a_tuple(layers):
    with pytest.raises(TypeError, match="layers must be a tuple of layers"):
        Serial(layers)


@pytest.mark.parametrize("call", [lambda x: serial(Dense(), x), check_architecture, as_layers])
@pytest.mark.parametrize("value", ["relu", None, [Dense()], lambda x: x])
def test_what_is_no_layer_is_refused(call, value):
    with pytest.raises(TypeError, match=r"made of ntksketch layers, .*, got ") as caught:
        call(value)
    assert "call it" not in str(caught.value)


def test_a_class_in_place_of_a_layer_gets_a_hint():
    with pytest.raises(TypeError, match="a layer class came, call it first"):
        serial(Dense(), Relu)  # pyright: ignore


def test_as_layers():
    assert as_layers(Dense()) == (Dense(),)
    assert as_layers(mlp(1)) == (Dense(), Relu(), Dense())


def test_bias_at_the_input_alone():
    assert mlp(2, input_bias_std=0.5) == serial(
        Dense(bias_std=0.5), Relu(), Dense(), Relu(), Dense()
    )
    assert mlp(1, bias_std=0.5, input_bias_std=0.0) == serial(Dense(), Relu(), Dense(bias_std=0.5))
    assert mlp(2, bias_std=0.3, input_bias_std=0.3) == mlp(2, bias_std=0.3)
    with pytest.raises(ValueError, match="bias_std"):
        mlp(1, input_bias_std=-1.0)


def test_bias_at_the_input_is_one_more_column_of_the_rows():
    X = np.random.default_rng(0).standard_normal((6, 3))
    longer = np.column_stack([X, np.full(6, 1.7)])
    K = ntk.kernel(mlp(3, input_bias_std=1.7), X)
    np.testing.assert_allclose(K, ntk.kernel(mlp(3), longer), rtol=1e-10)
