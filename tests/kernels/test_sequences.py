"""Exact kernels of sequences of different lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrent_oracle import Oracle

import ntksketch as ntk
from ntksketch import Dense, GlobalAvgPool, Input, LastStep, Recurrent, Relu, Reverse, serial

CHANNELS = 2
LENGTHS = (4, 1, 2, 4)
READOUTS = pytest.mark.parametrize(
    "readout", ["last", pytest.param("mean", marks=pytest.mark.slow)]
)
OPTIONS = {"weight_std": 1.1, "input_std": 1.3, "bias_std": 0.2, "state_std": 0.7}


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((steps, CHANNELS)) for steps in LENGTHS]


CASES = [
    ("last", 2, OPTIONS),
    ("mean", 1, OPTIONS),
    ("last", 1, {}),
    ("mean", 2, OPTIONS),
    ("last", 3, {"bias_std": 0.5}),
    ("mean", 3, {}),
]


@pytest.mark.parametrize(
    ("readout", "depth", "options"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])],
)
def test_the_oracle_agrees(readout, depth, options, sequences):
    expected = Oracle([Recurrent(**options)] * depth, sequences).kernels(readout)
    architecture = ntk.rnn(depth, readout, **options)
    K = ntk.kernel(architecture, sequences)
    np.testing.assert_allclose(K, expected[:, :, 1], rtol=1e-10)
    np.testing.assert_array_equal(K.diagonal(), ntk.kernel_diag(architecture, sequences))
    assert np.linalg.eigvalsh(K).min() > 0


@READOUTS
def test_the_oracle_agrees_at_initialisation(readout, sequences):
    expected = Oracle([Recurrent(**OPTIONS)], sequences).kernels(readout)
    architecture = ntk.rnn(1, readout, **OPTIONS)
    nngp = ntk.kernel(architecture, sequences[:1], sequences[1:], kind="nngp")
    np.testing.assert_allclose(nngp, expected[:1, 1:, 0], rtol=1e-10)


@READOUTS
def test_single_precision(readout, sequences):
    architecture = ntk.rnn(1, readout, **OPTIONS)
    K = ntk.kernel(architecture, [x.astype(np.float32) for x in sequences])
    assert K.dtype == np.float32
    np.testing.assert_allclose(K, ntk.kernel(architecture, sequences), rtol=3e-5)


@READOUTS
def test_both_directions(readout, sequences):
    layers = [Recurrent(**OPTIONS)] * 2
    forward = Oracle(layers, sequences).kernels(readout)
    backward = Oracle(layers, sequences, turned=(1,)).kernels(readout)
    K = ntk.kernel(ntk.rnn(2, readout, bidirectional=True, **OPTIONS), sequences)
    np.testing.assert_allclose(K, (forward + backward)[:, :, 1] / 2, rtol=1e-10)


@pytest.mark.parametrize(
    ("readout", "layer"),
    [("last", LastStep()), pytest.param("mean", GlobalAvgPool(), marks=pytest.mark.slow)],
)
def test_backwards_within_the_network(readout, layer, sequences):
    """The second layer reads the states of the first from its end to its beginning."""
    layers = Recurrent(**OPTIONS), Recurrent(bias_std=0.4, state_std=0.5)
    expected = Oracle(layers, sequences, turned=(2,)).kernels(readout)
    K = ntk.kernel(serial(layers[0], Reverse(), layers[1], layer, Dense()), sequences)
    np.testing.assert_allclose(K, expected[:, :, 1], rtol=1e-10)


def test_without_recurrence_the_mean_is_over_own_steps(sequences):
    """A perceptron at each step, and the mean of what it gives: one number for each pair."""
    K = ntk.kernel(serial(Dense(bias_std=0.3), Relu(), GlobalAvgPool(), Dense()), sequences)
    steps = np.concatenate(sequences)
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    shares = (owner == np.arange(len(LENGTHS))[:, None]) / np.array(LENGTHS)[:, None]
    one = serial(Dense(bias_std=0.3), Relu(), Dense())
    np.testing.assert_allclose(K, shares @ ntk.kernel(one, steps) @ shares.T, rtol=1e-12)


@READOUTS
def test_one_length_is_the_kernel_of_arrays(readout):
    X = np.random.default_rng(1).standard_normal((5, 3, CHANNELS))
    architecture = ntk.rnn(1, readout, state_std=0.5)
    K = ntk.kernel(architecture, X)
    found = ntk.kernel(ntk.rnn(1, readout, state_std=0.5), list(X))
    np.testing.assert_allclose(found, K, rtol=1e-14)
    longer = serial(Input((4, CHANNELS), lengths=True), architecture)
    np.testing.assert_allclose(ntk.kernel(longer, X), K, rtol=1e-13)


@READOUTS
def test_padding_changes_nothing(readout, sequences):
    options = {"state_std": 0.7, "bias_std": 0.2, "bidirectional": readout == "last"}
    K = ntk.kernel(ntk.rnn(1, readout, **options), sequences)
    longer = ntk.rnn(1, readout, shape=(7, CHANNELS), lengths=True, **options)
    rows = ntk.pad_sequences(sequences, 7)
    np.testing.assert_allclose(ntk.kernel(longer, rows), K, rtol=1e-13)
    np.testing.assert_allclose(ntk.kernel(longer, sequences), K, rtol=1e-13)


def test_two_lists_have_the_longest_of_both(sequences):
    architecture = ntk.rnn(bias_std=0.3)
    K = ntk.kernel(architecture, sequences)
    found = ntk.kernel(architecture, sequences[1:3], sequences)
    np.testing.assert_allclose(found, K[1:3], rtol=1e-13)
    array = np.empty(len(sequences), object)
    array[:] = sequences
    np.testing.assert_array_equal(ntk.kernel(architecture, array), K)


@pytest.mark.slow
def test_tiles_and_their_padding_are_the_whole(sequences):
    """Blocks are padded with rows of zeros, sequences of no steps, which must do no harm."""
    architecture = ntk.rnn(1, "mean")
    several = [*sequences, *(2 * x for x in sequences), sequences[0][1:]]
    K = ntk.kernel(architecture, several)
    tiny = ntk.kernel(architecture, several, working_memory=0.02)
    np.testing.assert_allclose(tiny, K, rtol=1e-13)


WIDE = Recurrent(weight_std=0.9, input_std=1.2, bias_std=0.3, state_std=0.8)


@pytest.mark.parametrize(
    ("kind", "readout"),
    [
        ("ntk", "last"),
        pytest.param("nngp", "last", marks=pytest.mark.slow),
        pytest.param("ntk", "mean", marks=pytest.mark.slow),
        pytest.param("nngp", "mean", marks=pytest.mark.slow),
    ],
)
def test_wide_networks_agree(kind, readout, sequences):
    """NNGP and empirical NTK of wide random networks, over draws, up to C/width.

    The networks see each sequence alone, begin at its first step, and share one random state.
    """
    width, n_draws = 256, 40
    xs = [jnp.asarray(x, jnp.float32) for x in sequences[:3]]
    end = LastStep() if readout == "last" else GlobalAvgPool()
    K = ntk.kernel(serial(WIDE, end, Dense()), sequences[:3], kind=kind)

    def features(params, x):
        h, states = WIDE.state_std * params["h"], []
        for step in x:
            pre = WIDE.weight_std * params["W"] @ h / np.sqrt(width)
            pre = pre + WIDE.input_std * params["U"] @ step + WIDE.bias_std * params["b"]
            h = np.sqrt(2) * jax.nn.relu(pre)
            states.append(h)
        return h if readout == "last" else jnp.stack(states).mean(0)

    def draw(key):
        shapes = {"W": (width, width), "U": (width, CHANNELS), "b": (width,), "v": (width,)}
        keys = jax.random.split(key, 5)
        params = {
            name: jax.random.normal(k, shape)
            for k, (name, shape) in zip(keys, shapes.items(), strict=False)
        }
        initial = {"h": jax.random.normal(keys[4], (width,))}  # is not trained
        if kind == "nngp":  # the mean over readouts of the same states
            states = jnp.stack([features(params | initial, x) for x in xs])
            return states @ states.T / width

        def output(params, x):
            return params["v"] @ features(params | initial, x) / np.sqrt(width)

        rows = []
        for x in xs:
            gradient = jax.grad(output)(params, x)
            rows.append(jnp.concatenate([g.ravel() for g in jax.tree.leaves(gradient)]))
        G = jnp.stack(rows)
        return G @ G.T

    jitted = jax.jit(draw)
    found = np.stack([np.asarray(jitted(jax.random.key(i))) for i in range(n_draws)])
    error = found.std(axis=0, ddof=1) / np.sqrt(n_draws)
    assert (error < 0.05 * np.abs(K).max()).all()
    assert (np.abs(found.mean(axis=0) - K) < 5 * error + 5 * np.abs(K).max() / width).all()


def test_rows_are_aligned_at_their_ends(sequences):
    rows = ntk.pad_sequences(sequences, 5)
    assert rows.shape == (4, 1 + 5 * CHANNELS)
    np.testing.assert_array_equal(rows[:, 0], LENGTHS)
    for row, x in zip(rows, sequences, strict=True):
        steps = row[1:].reshape(5, CHANNELS)
        np.testing.assert_array_equal(steps[5 - len(x) :], x)
        assert not steps[: 5 - len(x)].any()
    assert ntk.pad_sequences([np.ones((2, 1), np.float32)]).dtype == np.float32
    assert ntk.pad_sequences([np.ones((2, 1), int)]).dtype == np.float64
    assert ntk.pad_sequences(sequences, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(ntk.pad_sequences([[[1], [2]], [[3]]]), [[2, 1, 2], [1, 0, 3]])


GOOD = np.ones((2, 3))


@pytest.mark.parametrize(
    ("sequences", "options", "error", "message"),
    [
        ([], {}, ValueError, "there are no sequences"),
        ([GOOD, np.ones((0, 3))], {}, ValueError, r"sequence 1 is empty, it has shape \(0, 3\)"),
        ([GOOD, np.ones((2, 2))], {}, ValueError, "sequence 1 has 2 channels, expected 3"),
        ([GOOD, np.ones(2)], {}, ValueError, r"sequence 1 has shape \(2,\), expected \(steps"),
        ([GOOD, GOOD * np.nan], {}, ValueError, "sequence 1 has NaN or infinity at step 0"),
        ([GOOD, GOOD * 1j], {}, TypeError, "sequence 1 must have real numbers, got dtype complex"),
        ([GOOD], {"length": 1}, ValueError, "sequence 0 has 2 steps, more than length=1"),
        ([GOOD], {"length": 2.5}, TypeError, "length must be a whole number"),
        ([GOOD], {"dtype": int}, ValueError, "dtype must be float32 or float64"),
    ],
)
def test_sequences_that_cannot_be_rows(sequences, options, error, message):
    with pytest.raises(error, match=message):
        ntk.pad_sequences(sequences, **options)


ROWS = ntk.pad_sequences([GOOD, GOOD[:1]], 3)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 1.5, "number 1, of 1.5 steps, expected a whole number from 1 to 3"),
        (0, 0, "number 1, of 0 steps, expected a whole number from 1 to 3"),
        (0, -1, "number 1, of -1 steps"),
        (0, 4, "number 1, of 4 steps"),
        (1, 0.5, "number 1, of 1 steps with numbers before these: sequences are aligned at"),
        (5, np.nan, "X: Input X contains NaN"),
    ],
)
def test_rows_that_are_no_sequences(column, value, message):
    rows = ROWS.copy()
    rows[1, column] = value
    architecture = ntk.rnn(shape=(3, 3), lengths=True)
    with pytest.raises(ValueError, match=message):
        ntk.kernel(architecture, rows)
    with pytest.raises(ValueError, match=message):
        ntk.kernel_diag(architecture, rows)
    if value == value:
        with pytest.raises(ValueError, match="Y has a row, " + message):
            ntk.kernel(architecture, ROWS, rows)


MIXED = [GOOD, GOOD[:1]]


@pytest.mark.parametrize(
    ("architecture", "X", "message"),
    [
        (ntk.cnn(1), MIXED, "not defined for sequences of different lengths"),
        (ntk.cnn(1, readout="flatten"), MIXED, "not defined for sequences of different lengths"),
        (serial(Input((3, 3), lengths=True), ntk.cnn(1)), ROWS, "Conv, AvgPool or Flatten"),
        (ntk.rnn(shape=(2, 3)), MIXED, r"sequences of 1 to 2 steps, expected \(2, 3\): for diff"),
        (ntk.rnn(shape=(1, 3), lengths=True), MIXED, r"number 0, of shape \(2, 3\), expected at m"),
        (ntk.rnn(shape=(2, 4), lengths=True), MIXED, "at most 2 steps of 4 channels"),
        (ntk.rnn(shape=(2, 3), lengths=True), ROWS, "rows of 10 numbers, expected 7 for seq"),
        (ntk.rnn(), np.full((2, 3, 1), np.nan), "NaN in signal 0; if they pad sequences"),
        (ntk.rnn(), [GOOD, np.ones((2, 4))], "sequence 1 has 4 channels"),
        (serial(Recurrent(), Dense()), MIXED, "ends with pixels"),
    ],
)
def test_networks_and_sequences_that_do_not_fit(architecture, X, message):
    with pytest.raises(ValueError, match=message):
        ntk.kernel(architecture, X)


def test_lengths_are_of_sequences():
    with pytest.raises(ValueError, match="lengths=True is for sequences"):
        Input((3, 3, 1), lengths=True)
    with pytest.raises(TypeError, match="lengths must be True or False"):
        Input((3, 3), lengths=1)  # pyright: ignore
    with pytest.raises(ValueError, match="lengths=True needs shape="):
        ntk.rnn(lengths=True)


def test_convolutions_take_lists_of_one_length():
    X = np.random.default_rng(2).standard_normal((3, 4, CHANNELS))
    K = ntk.kernel(ntk.cnn(1), X)
    np.testing.assert_array_equal(ntk.kernel(ntk.cnn(1), list(X)), K)
