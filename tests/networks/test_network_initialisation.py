"""Draws of parameters: moments, orthogonality, keys, and what is refused."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntksketch as ntk
from ntksketch import Conv, Dense, Erf, Flatten, LastStep, Recurrent, Relu, residual, serial

SEEDS = range(int(os.environ.get("NTKSKETCH_TEST_SEEDS", "3")))
N_ERRORS = 5


def draw_many(seed, n_draws, architecture, width, **options):
    """Parameters of independent draws, which lie along the first axis."""
    keys = jax.random.split(jax.random.key(seed), n_draws)
    draws = [ntk.init_network(architecture, key, width, **options) for key in keys]
    return jax.tree.map(lambda *arrays: np.stack(arrays).astype(np.float64), *draws)


def moments_are(draws, variance):
    """Mean zero and a variance, within standard errors of independent draws on the first axis."""
    for power, expected in ((1, 0.0), (2, variance)):
        sample = (draws**power).reshape(len(draws), -1).mean(1)
        error = sample.std(ddof=1) / np.sqrt(len(sample))
        assert abs(sample.mean() - expected) <= N_ERRORS * error + 1e-6 * variance


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("init", "parameterization"),
    [(init, name) for init in ("gaussian", "orthogonal") for name in ("ntk", "standard")],
)
def test_moments(init, parameterization, seed):
    layer = Recurrent(0.9, 1.3, 0.4, 0.6)
    architecture = serial(Conv(2, weight_std=1.2, bias_std=0.3), layer, LastStep(), Dense(0.7))
    options = {"input_shape": (4, 3), "n_outputs": 2}
    options |= {"init": init, "parameterization": parameterization}
    draws = draw_many(seed, 200, architecture, 8, **options)
    variances = (
        {"weight": 1.2**2 / 2, "bias": 0.3**2},
        {"weight": 0.9**2 / 8, "input": 1.3**2 / 8, "bias": 0.4**2, "state": 0.6**2},
        {},
        {"weight": 0.7**2 / 8},
    )
    assert jax.tree.structure(draws) == jax.tree.structure(variances)
    for own, expected in zip(draws, variances, strict=True):
        for name, array in own.items():
            moments_are(array, 1.0 if parameterization == "ntk" else expected[name])


def test_orthogonal_weights_are_orthogonal():
    layers = serial(Conv((3, 2)), Relu(), Conv(2), Relu(), Flatten(), Dense())
    params = ntk.init_network(
        layers, jax.random.key(0), 8, input_shape=(5, 5, 3), init="orthogonal", n_outputs=2
    )
    weights = [np.asarray(layer["weight"]) for layer in params if layer]
    assert [weight.shape[:-2] for weight in weights] == [(3, 2), (2, 2), ()]
    for weight in weights:
        for matrix in weight.reshape(-1, *weight.shape[-2:]):
            small, large = sorted(matrix.shape)
            short = matrix if matrix.shape[0] == small else matrix.T
            np.testing.assert_allclose(short @ short.T, large * np.eye(small), atol=3e-5 * large)


@pytest.mark.parametrize("seed", SEEDS)
def test_orthogonal_matrices_have_no_preferred_direction(seed):
    """Under the uniform law the fourth moments of entries are 3 N / (N + 2), those of N = 3 here.

    A QR decomposition whose signs are left as they come has other ones, and a mean.
    """
    draws = draw_many(seed, 2000, Dense(), 1, input_shape=3, init="orthogonal", n_outputs=3)
    draws = draws[0]["weight"]
    for power, expected in ((1, 0.0), (3, 0.0), (4, 9 / 5)):
        sample = draws**power
        error = sample.std(axis=0, ddof=1) / np.sqrt(len(sample))
        assert np.all(np.abs(sample.mean(axis=0) - expected) <= N_ERRORS * error)
    determinants = np.linalg.det(draws)
    assert abs(np.mean(determinants > 0) - 0.5) <= N_ERRORS * 0.5 / np.sqrt(len(draws))


def test_draws_follow_the_key():
    first, again, other = (
        ntk.init_network(ntk.mlp(2, bias_std=0.1), jax.random.key(seed), 5, input_shape=3)
        for seed in (0, 0, 1)
    )
    leaves = [jax.tree.leaves(params) for params in (first, again, other)]
    for a, b, c in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()
    flat = np.concatenate([np.ravel(a) for a in leaves[0]])
    assert len(np.unique(flat)) == len(flat)  # every array has a key of its own


def test_double_precision_without_the_flag():
    params = ntk.init_network(
        ntk.mlp(1), jax.random.key(0), 5, input_shape=3, dtype=np.float64, init="orthogonal"
    )
    weight = np.asarray(params[0]["weight"])
    assert weight.dtype == np.float64
    np.testing.assert_allclose(weight @ weight.T, 5 * np.eye(3), atol=1e-13)
    assert jnp.ones(1).dtype == np.float32
    single = ntk.init_network(ntk.mlp(1), jax.random.key(0), 5, input_shape=3, init="orthogonal")
    np.testing.assert_array_equal(single[0]["weight"], weight.astype(np.float32))


def test_old_keys_are_keys():
    old = jax.random.PRNGKey(0)
    assert ntk.init_network(ntk.mlp(1), old, 5, input_shape=3)[0]["weight"].shape == (3, 5)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        (
            serial(Relu(), Dense()),
            {},
            "takes the input, and the exact kernel takes them for normal",
        ),
        (serial(Dense(), Relu(), Erf(), Dense()), {}, "takes units that are not normal"),
        (
            serial(Conv(), Flatten(), Relu(), Dense()),
            {"input_shape": (4, 4, 1)},
            "takes units that are not normal",
        ),
        (serial(Dense(), Relu(), residual(Dense()), Relu(), Dense()), {}, "that are not normal"),
        (residual(Dense()), {}, "adds to the input itself"),
        (serial(Dense(), residual(Dense())), {}, "gives the 8 units that it takes, not 1"),
        (
            serial(Recurrent(), LastStep()),
            {"input_shape": (4, 2)},
            "its 8 states are the outputs, not 1: put Dense",
        ),
        (
            serial(
                residual(Conv(), Flatten(), shortcut=serial(ntk.GlobalAvgPool(), Dense())), Dense()
            ),
            {"input_shape": (2, 2, 1)},
            "give 32 and 8 units, which cannot be added",
        ),
        (Relu(), {}, "has no layer with weights"),
        (ntk.mlp(1), {"input_shape": None}, "input_shape is missing"),
        (ntk.cnn(1), {"input_shape": 12}, r"begin the architecture with Input\(shape\)"),
        (ntk.cnn(1, shape=(4, 4, 1)), {"input_shape": (5, 4, 1)}, r"expected \(4, 4, 1\)"),
        (serial(Conv(), Relu(), Dense()), {"input_shape": (4, 4, 1)}, "ends with pixels"),
        (
            ntk.rnn(shape=(4, 2), lengths=True),
            {"input_shape": 9},
            "apply one to the sequences of each length",
        ),
        (ntk.cnn(1, filter_size=5, padding="valid"), {"input_shape": (4, 4, 1)}, "needs 5 pixels"),
        (ntk.mlp(1), {"width": 0}, "width must be at least 1"),
        (ntk.mlp(1), {"n_outputs": 0}, "n_outputs must be at least 1"),
        (ntk.mlp(1), {"init": "zeros"}, "init must be one of"),
        (ntk.mlp(1), {"parameterization": "mup"}, "parameterization must be one of"),
        (ntk.mlp(1), {"dtype": np.float16}, "dtype must be float32 or float64"),
    ],
)
def test_what_has_no_network_is_refused(architecture, options, message):
    options = {"width": 8, "input_shape": 3, **options}
    with pytest.raises(ValueError, match=message):
        ntk.init_network(architecture, jax.random.key(0), **options)


def test_outputs_that_are_states():
    params = ntk.init_network(
        serial(Recurrent(), LastStep()), jax.random.key(0), 8, input_shape=(4, 2), n_outputs=8
    )
    assert params[0]["weight"].shape == (8, 8)


@pytest.mark.parametrize(
    ("key", "width", "message"),
    [(0, 8, "key must be a JAX key"), (jax.random.key(0), 8.0, "width must be a whole number")],
)
def test_types(key, width, message):
    with pytest.raises(TypeError, match=message):
        ntk.init_network(ntk.mlp(1), key, width, input_shape=3)
