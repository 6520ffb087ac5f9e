"""What exact kernels cost, told and refused."""

import math
import time

import numpy as np
import pytest

import ntksketch as ntk
from ntksketch.kernels import cost

NETWORK = ntk.cnn(1, shape=(4, 4, 1))
MILLISECOND = 1e-3


@pytest.fixture
def slow(monkeypatch):
    """A machine that takes a millisecond for each entry, and counts how often it is timed."""
    timed = []

    def seconds(*arguments):
        timed.append(arguments)
        return MILLISECOND

    monkeypatch.setattr(cost, "_entry_seconds", seconds)
    return timed


def test_numbers(slow):
    found = ntk.kernel_cost(NETWORK, 100, dtype=np.float32)
    assert found == ntk.KernelCost(5050, 16**2, 4e4, 5050 * MILLISECOND)
    assert ntk.kernel_cost(NETWORK, 100, 30) == ntk.KernelCost(3000, 256, 24e3, 3000 * MILLISECOND)
    flat = ntk.cnn(1, readout="flatten", shape=(4, 4, 1))
    assert ntk.kernel_cost(flat, 10).pixel_pairs == 16
    assert ntk.kernel_cost(ntk.rnn(1, "mean", shape=(7, 2)), 10).pixel_pairs == 49
    assert ntk.kernel_cost(ntk.mlp(2), 10, n_features=784).pixel_pairs == 1
    assert str(ntk.kernel_cost(NETWORK, 4000)) == (
        "8,002,000 entries of 256 pairs of pixels; 122.1 MiB; about 2.2 h"
    )
    assert (
        str(ntk.kernel_cost(ntk.mlp(1), 100, n_features=3)) == "5,050 entries; 78.1 KiB; about 5 s"
    )


@pytest.mark.parametrize("lengths", [False, True])
def test_backwards_in_front_needs_no_more_pairs(lengths, slow):
    """Both directions read the rows themselves; behind a layer, different lengths need all."""
    both = ntk.rnn(1, bidirectional=True, shape=(7, 2), lengths=lengths)
    assert ntk.kernel_cost(both, 10).pixel_pairs == 7
    within = ntk.serial(
        ntk.Input((7, 2), lengths=lengths),
        ntk.Recurrent(),
        ntk.Reverse(),
        ntk.Recurrent(),
        ntk.LastStep(),
        ntk.Dense(),
    )
    assert ntk.kernel_cost(within, 10).pixel_pairs == (49 if lengths else 7)


def test_the_estimate_is_the_time_that_it_takes(monkeypatch):
    monkeypatch.setattr(cost, "_MOST_PAIRS", 2**20)
    network = ntk.cnn(1, shape=(8, 8, 1))
    X = np.random.default_rng(0).standard_normal((16, 64))
    cost._entry_seconds.cache_clear()
    found = ntk.kernel_cost(network, 16, 16).seconds
    taken = math.inf
    for _ in range(3):  # the first compiles the diagonal
        start = time.perf_counter()
        ntk.kernel(network, X, X)
        taken = min(taken, time.perf_counter() - start)
    assert taken / 8 < found < 8 * taken  # other processes come and go


def test_the_estimate_of_a_perceptron():
    found = ntk.kernel_cost(ntk.mlp(1), 1000, n_features=10, dtype=np.float32)
    assert 0 < found.seconds < 10


X = np.random.default_rng(0).standard_normal((64, 16))


def test_long_computations_are_refused_before_they_start(slow):
    message = r"takes 2,080 entries of 256 pairs of pixels; 32.0 KiB; about 2 s, by a tile"
    with pytest.raises(ValueError, match=message + ".* more than max_seconds=1: .*math.inf"):
        ntk.kernel(NETWORK, X, max_seconds=1)
    with pytest.raises(ValueError, match="4,096 entries"):
        ntk.kernel(NETWORK, X, X, max_seconds=1)
    with pytest.raises(ValueError, match=message):
        ntk.solve_kernel_ridge(NETWORK, X, X[:, 0], 0.1, max_seconds=1)
    with pytest.raises(ValueError, match=message):
        ntk.ExactNTKRegressor(NETWORK, max_seconds=1).fit(X.reshape(-1, 4, 4, 1), X[:, 0])
    with pytest.raises(ValueError, match=r"1,024 entries .* more than max_seconds=0.5"):
        ntk.solve_nystroem_ridge(NETWORK, X, X[:, 0], 0.1, landmarks=16, max_seconds=0.5)
    features = ntk.NTKFeatures(NETWORK, "random-features", 8, random_state=0).fit(X)
    with pytest.raises(ValueError, match=message):
        ntk.check_features(features, X, max_seconds=1)
    sizes = {"pilots": (8, 16), "n_rows": 64, "max_seconds": 0.5}
    with pytest.raises(ValueError, match=r"528 entries .* more than max_seconds=0.5"):
        ntk.suggest_n_components(NETWORK, X, "random-features", **sizes)
    assert len(slow) == 7


def test_nothing_is_timed_without_need(slow):
    K = ntk.kernel(NETWORK, X, max_seconds=math.inf)
    np.testing.assert_array_equal(ntk.kernel(NETWORK, X), K)
    assert ntk.kernel(ntk.mlp(1), X, max_seconds=1e-9).shape == (64, 64)
    assert not slow
    np.testing.assert_array_equal(ntk.kernel(NETWORK, X, max_seconds=2.1), K)
    assert len(slow) == 1


def test_the_default_is_an_hour(slow):
    rows = np.broadcast_to(np.float32(1), (20_000, 16))
    with pytest.raises(ValueError, match=r"200,010,000 entries .* 2 days.* than max_seconds=3600"):
        ntk.kernel(NETWORK, rows)


def test_a_tile_tells_what_no_machine_does_in_time():
    """Some 10^11 pairs of pixels in a second."""
    network = ntk.cnn(1, filter_size=1, shape=(16, 16, 1))
    rows = np.broadcast_to(np.float32(1), (2000, 256))
    with pytest.raises(ValueError, match=r"2,001,000 entries of 65,536 pairs .* more than max"):
        ntk.kernel(network, rows, max_seconds=1)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((ntk.mlp(1), 5), {}, ValueError, "n_features must say how many columns"),
        ((NETWORK, 5), {"n_features": 7}, ValueError, "n_features must be 16 for"),
        ((ntk.cnn(1), 5), {}, ValueError, "begin the architecture with Input"),
        ((NETWORK, 0), {}, ValueError, "n_rows must be at least 1"),
        ((NETWORK, 5, 2.5), {}, TypeError, "n_columns must be a whole number"),
        ((NETWORK, 5), {"dtype": int}, ValueError, "dtype must be float32 or float64"),
        ((NETWORK, 5), {"kind": "cntk"}, ValueError, "kind must be one of"),
        ((NETWORK, 5), {"working_memory": 1e-3}, MemoryError, "one pair of rows needs"),
    ],
)
def test_what_cannot_be_estimated(arguments, options, error, message):
    with pytest.raises(error, match=message):
        ntk.kernel_cost(*arguments, **options)


@pytest.mark.parametrize("limit", [0, -1, True, "1", None, math.nan])
def test_limits_are_positive(limit):
    with pytest.raises(ValueError, match="max_seconds must be a positive number"):
        ntk.kernel(NETWORK, X, max_seconds=limit)
