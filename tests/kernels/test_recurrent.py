"""Exact kernels of recurrent networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrent_oracle import Oracle

import ntksketch as ntk
from ntksketch import Conv, Dense, GlobalAvgPool, LastStep, Recurrent, Relu, Reverse, serial

STEPS, CHANNELS = 6, 3


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).standard_normal((4, STEPS, CHANNELS))


LAYERS = {
    "plain": {},
    "deviations": {"weight_std": 0.8, "input_std": 1.3, "bias_std": 0.4},
    "random state": {"weight_std": 1.1, "bias_std": 0.2, "state_std": 0.7},
}


SHORT = ("random state", 2)


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        pytest.param(name, depth, marks=() if (name, depth) == SHORT else pytest.mark.slow)
        for name in LAYERS
        for depth in (1, 2, 3)
    ],
)
@pytest.mark.parametrize("readout", ["last", pytest.param("mean", marks=pytest.mark.slow)])
def test_the_oracle_agrees(name, depth, readout, signals):
    architecture = ntk.rnn(depth, readout, **LAYERS[name])
    oracle = Oracle([Recurrent(**LAYERS[name])] * depth, signals)
    expected = oracle.kernels(readout)
    nngp = ntk.kernel(architecture, signals[:1], signals[1:], kind="nngp")
    np.testing.assert_allclose(nngp, expected[:1, 1:, 0], rtol=1e-9)
    K = ntk.kernel(architecture, signals)
    np.testing.assert_allclose(K, expected[:, :, 1], rtol=1e-9)
    np.testing.assert_array_equal(K.diagonal(), ntk.kernel_diag(architecture, signals))
    single = ntk.kernel(architecture, signals.astype(np.float32))
    np.testing.assert_allclose(single, expected[:, :, 1], rtol=3e-5)


@pytest.mark.parametrize("readout", ["last", pytest.param("mean", marks=pytest.mark.slow)])
def test_both_directions(readout, signals):
    both = ntk.rnn(2, readout, bidirectional=True, bias_std=0.3)
    one = ntk.rnn(2, readout, bias_std=0.3)
    forward, backward = (ntk.kernel(one, a) for a in (signals, signals[:, ::-1]))
    found = ntk.kernel(both, signals)
    np.testing.assert_allclose(found, (forward + backward) / 2, rtol=1e-12)


def test_one_step_is_a_perceptron():
    X = np.random.default_rng(1).standard_normal((5, 4))
    K = ntk.kernel(ntk.rnn(2, bias_std=0.5), X[:, None, :])
    np.testing.assert_allclose(K, ntk.kernel(
        serial(*(Dense(bias_std=0.5), Relu()) * 2, Dense()), X
    ), rtol=1e-12)  # fmt: skip


@pytest.mark.slow
def test_layers_mix(signals):
    """Behind a convolution of size one, whose input covariance it is, all is as before."""
    mixed = serial(Conv(1), Recurrent(), Recurrent(bias_std=0.1), GlobalAvgPool(), Dense())
    plain = serial(Recurrent(), Recurrent(bias_std=0.1), GlobalAvgPool(), Dense())
    nngp = ntk.kernel(mixed, signals, kind="nngp")
    np.testing.assert_allclose(nngp, ntk.kernel(plain, signals, kind="nngp"), rtol=1e-12)
    assert (ntk.kernel(mixed, signals) > ntk.kernel(plain, signals)).all()
    back = serial(Reverse(), Reverse(), Recurrent(), LastStep(), Dense())
    expected = ntk.kernel(ntk.rnn(), signals)
    np.testing.assert_array_equal(ntk.kernel(back, signals), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_wide_networks_agree(kind, readout, signals):
    """NNGP and empirical NTK of wide random networks, over draws, up to C/width."""
    width, n_draws = 256, 60
    layer = Recurrent(weight_std=0.9, bias_std=0.3, state_std=0.5)
    architecture = serial(layer, ntk.LastStep() if readout == "last" else GlobalAvgPool(), Dense())
    x = jnp.asarray(signals, jnp.float32)

    def output(params, x):
        h = layer.state_std * params["h"]
        states = []
        for t in range(STEPS):
            pre = layer.weight_std * params["W"] @ h / np.sqrt(width)
            pre = pre + layer.input_std * params["U"] @ x[t] + layer.bias_std * params["b"]
            h = np.sqrt(2) * jax.nn.relu(pre)
            states.append(h)
        last = h if readout == "last" else jnp.stack(states).mean(0)
        return params["v"] @ last / np.sqrt(width)

    def draw(key):
        keys = jax.random.split(key, 5)
        shapes = {"W": (width, width), "U": (width, CHANNELS), "b": (width,), "v": (width,)}
        params = {
            name: jax.random.normal(k, shape)
            for k, (name, shape) in zip(keys, shapes.items(), strict=False)
        }
        params["h"] = jax.random.normal(keys[4], (width,))
        if kind == "nngp":  # over many readouts of the same states
            readouts = jax.random.normal(keys[3], (200, width))
            f = jax.vmap(lambda v: jax.vmap(lambda x: output(params | {"v": v}, x))(x))(readouts)
            return f.T @ f / len(readouts)
        initial = {"h": params.pop("h")}  # is not trained
        gradient = jax.vmap(jax.grad(lambda p, x: output(p | initial, x)), (None, 0))(params, x)
        flat = [g.reshape(len(x), -1) for g in jax.tree.leaves(gradient)]
        return sum(g @ g.T for g in flat)

    jitted = jax.jit(draw)
    found = np.stack([np.asarray(jitted(jax.random.key(i))) for i in range(n_draws)])
    K = ntk.kernel(architecture, signals, kind=kind)
    error = found.std(axis=0, ddof=1) / np.sqrt(n_draws)
    assert (np.abs(found.mean(axis=0) - K) < 5 * error + 5 * np.abs(K).max() / width).all()


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        (ntk.rnn(), (3, 4, 4, 1), "needs signals, with one axis of steps"),
        (serial(Recurrent(), Dense()), (3, 4, 1), "ends with pixels"),
        (serial(LastStep(), Recurrent(), Dense()), (3, 4, 1), "needs signals"),
        (ntk.rnn(), (3, 0, 2), "at least 1|minimum of 1|empty"),
        (ntk.rnn(shape=(5, 2)), (3, 4, 2), r"rows of shape \(4, 2\), expected \(5, 2\)"),
    ],
)
def test_signals_that_do_not_fit(architecture, shape, message):
    with pytest.raises(ValueError, match=message):
        ntk.kernel(architecture, np.ones(shape))
