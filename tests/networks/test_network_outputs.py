"""Outputs of finite networks against loops in NumPy, and what holds for every architecture."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_table import NETWORKS, rows_for
from oracles import pointwise

import ntksketch as ntk
from ntksketch import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Recurrent, Relu, serial
from ntksketch.networks.activations import activate

KEY = jax.random.key(0)


def relu(z):
    return math.sqrt(2) * np.maximum(z, 0)


def draw(architecture, X, width=6, **options):
    return ntk.init_network(
        architecture, KEY, width, input_shape=X.shape[1:], dtype=X.dtype, **options
    )


def as_numpy(params):
    return jax.tree.map(np.asarray, params)


# ---------------------------------------------------------------------------------------------
# Oracles
# ---------------------------------------------------------------------------------------------


def test_a_perceptron():
    X = rows_for("mlp with biases")
    architecture = ntk.mlp(2, weight_std=1.2, bias_std=0.4)
    params = as_numpy(draw(architecture, X, n_outputs=3))
    a = X
    for i, layer in enumerate(params[::2]):
        factor = 1.2 if i == 0 else 1.2 / math.sqrt(6)
        z = factor * a @ layer["weight"] + 0.4 * layer["bias"]
        a = relu(z)
    found = ntk.apply_network(architecture, params, X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, z, rtol=1e-12)


def convolve(layer, params, images, divisor):
    """Every output pixel, unit and offset by itself."""
    n, height, width, _ = images.shape
    weight = params["weight"]
    q1, q2, _, units = weight.shape
    s1, s2 = (layer.stride, layer.stride) if isinstance(layer.stride, int) else layer.stride
    sizes = [(height, q1, s1), (width, q2, s2)]
    if layer.padding == "valid":
        counts, before = [(a - q) // s + 1 for a, q, s in sizes], [0, 0]
    else:
        counts = [math.ceil(a / s) for a, q, s in sizes]
        before = [
            max((c - 1) * s + q - a, 0) // 2 for c, (a, q, s) in zip(counts, sizes, strict=True)
        ]
        if layer.padding == "circular":
            before = [(q - 1) // 2 for _, q, _ in sizes]
    out = np.zeros((n, *counts, units))
    for i in range(counts[0]):
        for j in range(counts[1]):
            for a in range(q1):
                for b in range(q2):
                    x, y = i * s1 + a - before[0], j * s2 + b - before[1]
                    if layer.padding == "circular":
                        x, y = x % height, y % width
                    if 0 <= x < height and 0 <= y < width:
                        out[:, i, j] += images[:, x, y] @ weight[a, b]
    out *= layer.weight_std / math.sqrt(q1 * q2 * divisor)
    return out + layer.bias_std * params["bias"] if layer.bias_std else out  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Conv(3, bias_std=0.3), Conv(2, stride=2, weight_std=1.3)),
        (Conv((3, 2), padding="valid"), Conv(3, stride=(2, 1), padding="circular", bias_std=0.2)),
    ],
)
@pytest.mark.parametrize("readout", [pytest.param("gap", marks=pytest.mark.slow), "flatten"])
def test_a_convolution(first, second, readout):
    X = np.random.default_rng(1).standard_normal((2, 6, 5, 2))
    end = GlobalAvgPool() if readout == "gap" else Flatten()
    architecture = serial(first, Relu(), second, Relu(), end, Dense(1.1))
    params = as_numpy(draw(architecture, X))
    a = relu(convolve(first, params[0], X, 1))
    a = relu(convolve(second, params[2], a, 6))
    pixels = a.shape[1] * a.shape[2]
    if readout == "gap":
        last = a.mean((1, 2)) / math.sqrt(6)
    else:
        last = a.reshape(2, -1) / math.sqrt(6 * pixels)
    expected = 1.1 * last @ params[5]["weight"]
    np.testing.assert_allclose(ntk.apply_network(architecture, params, X), expected, rtol=1e-12)


def test_pools_and_sums():
    X = np.random.default_rng(2).standard_normal((2, 5, 4, 2))
    architecture = serial(
        Conv(1), ntk.residual(Relu(), Conv(1)), AvgPool(2, stride=(2, 1)), Flatten(), Dense()
    )
    params = as_numpy(draw(architecture, X))
    a = convolve(Conv(1), params[0], X, 1)
    a = a + convolve(Conv(1), params[1]["branch"][1], relu(a), 6)
    pooled = np.zeros((2, 2, 3, 6))
    for i in range(2):
        for j in range(3):
            pooled[:, i, j] = a[:, 2 * i : 2 * i + 2, j : j + 2].mean((1, 2))
    expected = pooled.reshape(2, -1) @ params[4]["weight"] / math.sqrt(6 * 6)
    np.testing.assert_allclose(ntk.apply_network(architecture, params, X), expected, rtol=1e-12)


def states(layer, params, signals, divisor):
    width = len(params["weight"])
    found = np.zeros((len(signals), signals.shape[1], width))
    for row, signal in enumerate(signals):
        h = layer.state_std * params["state"] if layer.state_std else np.zeros(width)
        for t, x in enumerate(signal):
            z = layer.weight_std / math.sqrt(width) * h @ params["weight"]
            z = z + layer.input_std / math.sqrt(divisor) * x @ params["input"]
            h = relu(z + layer.bias_std * params["bias"])
            found[row, t] = h
    return found


@pytest.mark.parametrize("readout", ["last", pytest.param("mean", marks=pytest.mark.slow)])
def test_a_recurrent_network(readout):
    X = rows_for("rnn mean")
    options = {"weight_std": 0.9, "input_std": 1.2, "bias_std": 0.3, "state_std": 0.7}
    architecture, layer = ntk.rnn(2, readout, **options), Recurrent(**options)
    params = as_numpy(draw(architecture, X))
    h = states(layer, params[1], states(layer, params[0], X, 1), 6)
    last = h[:, -1] if readout == "last" else h.mean(1)
    expected = last @ params[3]["weight"] / math.sqrt(6)
    np.testing.assert_allclose(ntk.apply_network(architecture, params, X), expected, rtol=1e-12)


def test_two_directions():
    X = rows_for("rnn")
    architecture = ntk.rnn(1, bidirectional=True, bias_std=0.3)
    params = as_numpy(draw(architecture, X))[0]
    backward = states(Recurrent(bias_std=0.3), params["branch"][1], X[:, ::-1], 1)[:, -1]
    forward = states(Recurrent(bias_std=0.3), params["shortcut"][0], X, 1)[:, -1]
    expected = backward @ params["branch"][3]["weight"] + forward @ params["shortcut"][2]["weight"]
    found = ntk.apply_network(architecture, (params,), X)
    np.testing.assert_allclose(found, expected * math.sqrt(0.5 / 6), rtol=1e-12)


def cube(z):
    return z**3


def constant(z):
    return jnp.full_like(z, 7.0)


@pytest.mark.parametrize("layer", [ntk.Erf(), ntk.Gelu(), ntk.Sin(1.5, 0.8, 0.3)], ids=str)
def test_activations(layer):
    z = np.linspace(-3, 3, 31)
    function, derivative = pointwise(layer)
    with jax.enable_x64(True):
        value, slope = jax.jvp(lambda x: activate(layer, x), (z,), (np.ones_like(z),))
    np.testing.assert_allclose(value, function(z), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(slope, derivative(z), rtol=1e-10, atol=1e-14)


def test_an_elementwise_function_has_the_derivative_that_it_is_given():
    z = jnp.array([0.5, -2.0])
    for derivative, expected in ((None, 3 * z**2), (constant, jnp.full(2, 7.0))):
        layer = ntk.Elementwise(cube, derivative)
        value, slope = jax.jvp(lambda x, a=layer: activate(a, x), (z,), (jnp.ones(2),))
        np.testing.assert_allclose(value, z**3)
        np.testing.assert_allclose(slope, expected)
    with pytest.raises(ValueError, match="function must keep the shape"):
        activate(ntk.Elementwise(jnp.sum), z)


# ---------------------------------------------------------------------------------------------
# What holds for every architecture
# ---------------------------------------------------------------------------------------------


def each(*quick):
    """All networks, of which these are quick."""
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in NETWORKS]


@pytest.mark.parametrize("name", each("mlp with biases", "signals"))
def test_both_parameterizations_are_the_same_function(name):
    architecture, X = NETWORKS[name][0], rows_for(name)
    outputs = [
        ntk.apply_network(
            architecture, draw(architecture, X, 16, parameterization=p), X, parameterization=p
        )
        for p in ("ntk", "standard")
    ]
    assert outputs[0].shape == (3, 1)
    assert np.abs(outputs[0]).min() > 0
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", each("mlp with biases", "signals", "rnn"))
def test_gradient_descent_lowers_the_loss(name):
    architecture = NETWORKS[name][0]
    X = rows_for(name, n=4, dtype=np.float32)
    y = np.linspace(-1, 1, 4, dtype=np.float32)[:, None]
    params = draw(architecture, X, width=16)
    f = functools.partial(ntk.apply_network, architecture)

    @jax.jit
    def step(params):
        loss, gradient = jax.value_and_grad(lambda p: jnp.mean((f(p, X) - y) ** 2))(params)
        return loss, gradient, jax.tree.map(lambda a, g: a - 0.01 * g, params, gradient)

    first, gradient, _ = step(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        trained = "state" not in jax.tree_util.keystr(path)
        assert bool((leaf != 0).any()) == trained
    losses = []
    for _ in range(20):
        loss, _, params = step(params)
        losses.append(float(loss))
    assert losses[0] == first
    assert np.all(np.diff(losses) < 0)


@pytest.mark.parametrize("name", each("rnn"))
def test_gradients_are_difference_quotients(name):
    architecture, X = NETWORKS[name][0], rows_for(name, seed=5)
    params, direction = (
        ntk.init_network(
            architecture, jax.random.key(seed), 6, input_shape=X.shape[1:], dtype=X.dtype
        )
        for seed in (0, 1)
    )
    direction = jax.tree_util.tree_map_with_path(
        lambda path, a: np.asarray(a) * ("state" not in jax.tree_util.keystr(path)), direction
    )  # states have no gradient
    f = functools.partial(ntk.apply_network, architecture)
    step = 1e-6
    ends = [
        f(jax.tree.map(lambda a, b, s=s: np.asarray(a) + s * b, params, direction), X)
        for s in (step, -step)
    ]
    with jax.enable_x64(True):
        slope = np.asarray(jax.jvp(lambda p: f(p, X), (params,), (direction,))[1])
        cotangent = np.linspace(1, 2, slope.size).reshape(slope.shape)
        gradient = jax.grad(lambda p: jnp.sum(cotangent * f(p, X)))(params)
    expected = (np.asarray(ends[0]) - np.asarray(ends[1])) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
    products = jax.tree.map(lambda a, b: np.sum(np.asarray(a) * b), gradient, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), np.sum(cotangent * slope), rtol=1e-9)


def test_outputs_map_over_networks():
    """An ensemble is a stack of parameters."""
    architecture, X = NETWORKS["signals"][0], rows_for("signals", dtype=np.float32)
    members = [
        ntk.init_network(architecture, key, 6, input_shape=X.shape[1:], n_outputs=2)
        for key in jax.random.split(KEY, 3)
    ]
    f = functools.partial(ntk.apply_network, architecture)
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *members)
    found = jax.jit(jax.vmap(f, (0, None)))(stacked, X)
    assert found.shape == (3, 3, 2)
    for own, params in zip(found, members, strict=True):
        np.testing.assert_allclose(own, f(params, X), rtol=1e-5, atol=1e-6)


def test_rows_do_not_see_each_other():
    X = rows_for("signals", n=5)
    architecture = NETWORKS["signals"][0]
    params = draw(architecture, X)
    whole = ntk.apply_network(architecture, params, X)
    parts = [ntk.apply_network(architecture, params, X[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(whole, parts, rtol=1e-10)


def test_whole_numbers_are_rows():
    X = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 2), dtype=np.uint8)
    architecture = NETWORKS["cnn"][0]
    params = ntk.init_network(architecture, KEY, 6, input_shape=X.shape[1:])
    found = ntk.apply_network(architecture, params, X)
    np.testing.assert_array_equal(found, ntk.apply_network(architecture, params, X.astype(float)))


def test_flat_rows_are_images():
    X = rows_for("cnn")
    flat = ntk.cnn(2, bias_std=0.3, shape=X.shape[1:])
    params = ntk.init_network(flat, KEY, 6)
    found = ntk.apply_network(flat, params, X.reshape(3, -1))
    np.testing.assert_array_equal(found, ntk.apply_network(flat, params, X))
    other = ntk.apply_network(NETWORKS["cnn"][0], params[1:], X)
    np.testing.assert_array_equal(found, other)
    assert found.dtype == np.float32


def test_a_network_that_ends_with_pixels_has_as_many_outputs():
    X = rows_for("cnn")
    architecture = serial(Conv(), Relu(), Flatten())
    params = draw(architecture, X, n_outputs=2)
    assert ntk.apply_network(architecture, params, X).shape == (3, 6 * 5 * 2)


def test_sums_behind_flatten_match_the_units_that_they_are_added_to():
    X = rows_for("cnn")
    architecture = serial(Conv(), Flatten(), ntk.residual(Dense()), Dense())
    params = draw(architecture, X)
    assert params[2]["branch"][0]["weight"].shape == (180, 180)
    assert ntk.apply_network(architecture, params, X).shape == (3, 1)


def test_sums_of_one_layer_and_several():
    X = rows_for("mlp")
    architecture = ntk.residual(Dense(), shortcut=serial(Dense(), Relu(), Dense()))
    params = draw(architecture, X)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    assert shapes == [(4, 1), (4, 6), (6, 1)]
    assert ntk.apply_network(architecture, params, X).shape == (3, 1)


def test_rows_of_one_shape_compile_once(compilations):
    architecture = ntk.mlp(1, weight_std=1.0625)  # no other test has it
    X = np.ones((5, 3), np.float32)
    params = [ntk.init_network(architecture, k, 8, input_shape=3) for k in jax.random.split(KEY, 3)]
    ntk.apply_network(architecture, params[0], X)
    compilations.clear()
    for p in params:
        ntk.apply_network(architecture, p, X + 1)
    assert compilations == []


PARAMS = ntk.init_network(ntk.mlp(1), KEY, 8, input_shape=3)


@pytest.mark.parametrize(
    ("architecture", "params", "X", "message"),
    [
        (ntk.mlp(1), PARAMS, np.ones((2, 4)), r"params\[0\]\['weight'\] has shape \(3, 8\), expec"),
        (ntk.mlp(1), PARAMS[:2], np.ones((2, 3)), "params are not those of"),
        (ntk.mlp(1), {"weight": 1}, np.ones((2, 3)), "params are not those of"),
        (ntk.mlp(1, bias_std=1.0), PARAMS, np.ones((2, 3)), "params are not those of"),
        (ntk.mlp(2), PARAMS, np.ones((2, 3)), "params are not those of"),
        (ntk.mlp(1), PARAMS, np.ones((2, 3, 3)), "expected one axis of numbers"),
        (ntk.mlp(1), PARAMS, np.ones(3), "must have rows and columns"),
        (ntk.cnn(1), PARAMS, np.ones((2, 3)), r"begin the architecture with Input\(shape\)"),
        (ntk.cnn(1), PARAMS, np.ones((2, 3, 3, 3, 3)), "rows have shape"),
        (ntk.cnn(1, shape=(4, 4, 1)), PARAMS, np.ones((2, 3)), r"expected \(4, 4, 1\) or as many"),
    ],
)
def test_what_does_not_fit_says_so(architecture, params, X, message):
    with pytest.raises(ValueError, match=message):
        ntk.apply_network(architecture, params, X)


def test_rows_must_be_real_numbers():
    with pytest.raises(TypeError, match="array of real numbers, got one of complex128"):
        ntk.apply_network(ntk.mlp(1), PARAMS, np.ones((2, 3), complex))
    with pytest.raises(ValueError, match="parameterization must be one of"):
        ntk.apply_network(ntk.mlp(1), PARAMS, np.ones((2, 3)), parameterization="mup")
