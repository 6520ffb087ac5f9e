"""Finite networks tend to the exact kernels: the mean over draws, and the rate."""

import functools
import os

import jax
import numpy as np
import pytest
from network_table import NETWORKS, rows_for
from scipy.stats import t as student

import ntksketch as ntk

SEEDS = range(int(os.environ.get("NTKSKETCH_TEST_SEEDS", "1")))
N_ERRORS = 4.5  # standard errors, of some tens of entries in some tens of tests
WIDTH_BIAS = 2  # allowance for finite width, in units of sqrt(K(x, x) K(y, y)) / width


def assert_tends_to_the_kernel(name, kind, init, seed, width, n_draws, n_outputs):
    architecture = NETWORKS[name][0]
    X = rows_for(name, seed=seed)
    K = ntk.kernel(architecture, X, kind=kind)
    found = ntk.monte_carlo_kernel(
        architecture,
        X.astype(np.float32),
        width=width,
        n_draws=n_draws,
        kind=kind,
        init=init,
        n_outputs=n_outputs,
        random_state=seed,
    )
    bound = np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    allowance = N_ERRORS * found.standard_error + WIDTH_BIAS * bound / width
    assert np.all(np.abs(found.mean - K) <= allowance)
    assert np.all(found.standard_error <= 0.06 * bound)  # the comparison has something to say


FAST = [
    ("mlp with biases", "gaussian"),
    ("signals", "gaussian"),
    ("rnn", "gaussian"),
]


def each(quick):
    return [
        pytest.param(name, init, marks=() if (name, init) in quick else pytest.mark.slow)
        for name in NETWORKS
        for init in ("gaussian", "orthogonal")
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "init"), each(FAST))
def test_ntk(name, init, seed):
    assert_tends_to_the_kernel(name, "ntk", init, seed, width=128, n_draws=40, n_outputs=1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "init"), each([("signals", "gaussian")]))
def test_nngp(name, init, seed):
    assert_tends_to_the_kernel(name, "nngp", init, seed, width=128, n_draws=100, n_outputs=64)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("depth", "bias_std"), [(1, 0.0), (2, 0.3)])
def test_the_error_falls_with_the_root_of_the_width(depth, bias_std, seed):
    architecture = ntk.mlp(depth, bias_std=bias_std)
    X = rows_for("mlp", n=5, seed=seed)
    K = ntk.kernel(architecture, X)
    widths = (32, 64, 128, 256, 512)
    errors = []
    for width in widths:
        n_draws = 100
        found = ntk.monte_carlo_kernel(
            architecture, X.astype(np.float32), width=width, n_draws=n_draws, random_state=seed
        )
        # the mean square distance of a draw from the limit
        squares = (found.mean - K) ** 2 + n_draws * found.standard_error**2
        errors.append(np.sqrt(np.mean(squares)))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert abs(slope + 0.5) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("bias_std", [0.0, 0.3])
@pytest.mark.parametrize("init", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "rnn"])
def test_wide_networks(name, init, bias_std):
    architecture, width, n_draws = {
        "mlp": (ntk.mlp(2, bias_std=bias_std), 4096, 12),
        "cnn": (ntk.cnn(2, bias_std=bias_std), 512, 24),
        "rnn": (ntk.rnn(1, bias_std=bias_std), 512, 200),
    }[name]
    X = rows_for(name, n=4)
    K = ntk.kernel(architecture, X)
    found = ntk.monte_carlo_kernel(
        architecture, X.astype(np.float32), width=width, n_draws=n_draws, init=init, random_state=0
    )
    bound = np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    single, whole = errors_beyond_chance(found, K, WIDTH_BIAS * bound / width, n_draws)
    assert single <= 0
    assert whole <= 0
    for wrong in (0.9, 1.1):  # a kernel that is off by a tenth is told from this one
        single, whole = errors_beyond_chance(found, wrong * K, WIDTH_BIAS * bound / width, n_draws)
        assert whole > 0


def errors_beyond_chance(found, K, bias, n_draws, level=1e-4):
    """Return by how much the mean is too far off, in its worst entry and in its norm.

    Chance exceeds each in a share `level` of cases. The quantile of an entry is one of all entries
    at once. The square of the norm is the sum of the squared standard errors on average, and has
    the widest tail where all entries move together: then it is the square of one of Student's.
    """
    entries = len(K) * (len(K) + 1) // 2
    of_entry, of_norm = (student.isf(level / (2 * count), n_draws - 1) for count in (entries, 1))
    error, norm = np.abs(found.mean - K), np.linalg.norm
    single = error - of_entry * found.standard_error - bias
    whole = norm(error) - of_norm * norm(found.standard_error) - norm(bias)
    return single.max(), whole


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_mean_and_standard_error_are_those_of_the_draws(kind):
    architecture = ntk.mlp(1)
    X, Y = rows_for("mlp"), rows_for("mlp", n=2, seed=1)
    options = {"width": 8, "kind": kind, "n_outputs": 2, "random_state": 3}
    found = ntk.monte_carlo_kernel(architecture, X, Y, n_draws=4, **options)
    seed = np.random.RandomState(3).randint(np.iinfo(np.int32).max)
    draws, f = [], functools.partial(ntk.apply_network, architecture)
    for key in jax.random.split(jax.random.key(seed), 4):
        params = ntk.init_network(architecture, key, 8, input_shape=4, n_outputs=2, dtype=X.dtype)
        if kind == "ntk":
            draws.append(ntk.empirical_ntk(f, params, X, Y))
        else:
            left, right = (np.asarray(f(params, a)) for a in (X, Y))
            draws.append(left @ right.T / 2)
    np.testing.assert_allclose(found.mean, np.mean(draws, axis=0), rtol=1e-12)
    error = np.std(draws, axis=0, ddof=1) / 2
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-10)


def test_networks_are_compiled_once(compilations):
    X = rows_for("mlp", dtype=np.float32)
    for count in range(2):
        compilations.clear()
        ntk.monte_carlo_kernel(
            ntk.mlp(1, weight_std=1.125), X, width=8, n_draws=3, random_state=count
        )
    assert compilations == []


@pytest.mark.parametrize("budget", [0.01, 64])
def test_outputs_come_in_blocks(budget):
    X = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    options = {"width": 32, "n_draws": 2, "kind": "nngp", "random_state": 0}
    found = ntk.monte_carlo_kernel(ntk.mlp(1), X, working_memory=budget, **options)
    expected = ntk.monte_carlo_kernel(ntk.mlp(1), X, **options)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_draws": 1}, ValueError, "n_draws must be at least 2"),
        ({"kind": "both"}, ValueError, "kind must be one of"),
        ({"width": 0}, ValueError, "width must be at least 1"),
        ({"init": "zeros"}, ValueError, "init must be one of"),
        ({"architecture": ntk.cnn(1)}, ValueError, r"begin the architecture with Input\(shape\)"),
        ({"architecture": ntk.Dense}, TypeError, "call it first"),
        ({"X": np.full((2, 4), np.inf)}, ValueError, "is not finite"),
    ],
)
def test_bad_arguments(options, error, message):
    options = {
        "architecture": ntk.mlp(1),
        "X": np.ones((2, 4)),
        "width": 4,
        "n_draws": 2,
        **options,
    }
    with pytest.raises(error, match=message):
        ntk.monte_carlo_kernel(options.pop("architecture"), options.pop("X"), **options)


def test_the_nngp_of_rows_that_are_not_finite_is_refused():
    with pytest.raises(ValueError, match="is not finite"):
        ntk.monte_carlo_kernel(ntk.mlp(1), np.full((2, 4), np.nan), width=4, n_draws=2, kind="nngp")
