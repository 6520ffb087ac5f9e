"""A pass that was stopped goes on, to the bits of one that was not."""

import subprocess
import sys

import numpy as np
import pytest

import ntksketch as ntk
from ntksketch.data import open_source
from ntksketch.features.pass_state import PassState

MEMORY = 0.1


def regressor(**options):
    options = {"n_components": 24, "working_memory": MEMORY, "random_state": 0} | options
    return ntk.NTKRegressor(ntk.mlp(1), options.pop("method", "nystroem"), **options)


def problem(n=600, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5)).astype(dtype)
    return X, np.column_stack([np.sin(X[:, 0]), X[:, 1]]), rng.integers(0, 3, n).astype(float)


class Stopped(Exception):
    pass


def stop_after(blocks):
    """Raise when so many blocks are done."""
    done = []

    def progress(n_rows):
        done.append(n_rows)
        if len(done) == blocks:
            raise Stopped

    return progress


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Save after every block."""
    monkeypatch.setattr(PassState.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr("ntksketch.features.pass_state._SHARE", 0)


def stopped(path, *data, blocks=2, **options):
    with pytest.raises(Stopped):
        regressor(**options).fit(*data, progress=stop_after(blocks), checkpoint=path)
    assert path.exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["nystroem", "random-features"])
def test_the_same_bits(method, dtype, tmp_path):
    X, Y, weight = problem(1500, dtype)
    path = tmp_path / "fit.pass"
    expected = regressor(method=method).fit(X, Y, weight)
    for blocks in (2, 2):  # stopped, and stopped again: the first call tells of what was done
        stopped(path, X, Y, weight, blocks=blocks, method=method)
    counted = []
    model = regressor(method=method)
    model.fit(X, Y, weight, progress=counted.append, checkpoint=path)
    assert sum(counted) == 1500
    assert counted[0] > counted[1]
    np.testing.assert_array_equal(model.ridge_.coef_, expected.ridge_.coef_)
    np.testing.assert_array_equal(model.ridge_.intercept_, expected.ridge_.intercept_)
    assert not path.exists()


@pytest.mark.parametrize("single", [True, False])
def test_all_rows_were_done(single, tmp_path):
    """What is left is to solve."""
    X, Y, _ = problem()
    Y = Y[:, 0] if single else Y
    path = tmp_path / "fit.pass"
    n_blocks = []
    expected = regressor().fit(X, Y, progress=n_blocks.append)
    stopped(path, X, Y, blocks=len(n_blocks))
    model = regressor().fit(X, Y, checkpoint=path)
    np.testing.assert_array_equal(model.ridge_.coef_, expected.ridge_.coef_)
    assert model.predict(X).shape == Y.shape


def test_a_classifier_and_a_file(tmp_path):
    X, Y, _ = problem()
    y = np.digitize(Y[:, 0], [-0.5, 0.5])
    np.save(tmp_path / "X.npy", X)
    source = open_source(tmp_path / "X.npy", targets=y)
    model = ntk.NTKClassifier(n_components=24, working_memory=MEMORY, random_state=0)
    expected = model.fit(source).decision_function(X)
    path = tmp_path / "fit.pass"
    with pytest.raises(Stopped):
        model.fit(source, progress=stop_after(3), checkpoint=path)
    np.testing.assert_array_equal(model.fit(source, checkpoint=path).decision_function(X), expected)


def test_a_state_of_something_else_is_refused(tmp_path):
    X, Y, weight = problem()
    path = tmp_path / "fit.pass"
    stopped(path, X, Y)
    before = path.read_bytes()
    later = Y.copy()
    later[590:, 1] += 1
    others = {
        "features": (regressor(random_state=1), X, Y, None),
        "fit_intercept": (regressor(fit_intercept=False), X, Y, None),
        "source": (regressor(), X + 1, Y, None),
        "targets": (regressor(), X, later, None),
        "weights": (regressor(), X, Y, weight),
        "block_rows": (regressor(working_memory=2 * MEMORY), X, Y, None),
    }
    for name, (model, *data) in others.items():
        with pytest.raises(ValueError, match=rf"of another pass: its ({name}|features) is"):
            model.fit(*data, checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(ValueError, match="not a whole npz file"):
        regressor().fit(X, Y, checkpoint=path)
    with path.open("wb") as file:
        np.savez(file, a=1)
    with pytest.raises(ValueError, match="holds no pass over rows"):
        regressor().fit(X, Y, checkpoint=path)


def test_targets_of_a_file_that_changed_are_refused(tmp_path):
    X, Y, _ = problem()
    np.save(tmp_path / "Y.npy", Y)
    source = open_source(X, targets=tmp_path / "Y.npy")
    path = tmp_path / "fit.pass"
    stopped(path, source)
    Y[400] += 1
    np.save(tmp_path / "Y.npy", Y)
    source = open_source(X, targets=tmp_path / "Y.npy")
    with pytest.raises(ValueError, match="its targets is"):
        regressor().fit(source, checkpoint=path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_rows_of_weight_zero_do_not_keep_it_from_saving(share, monkeypatch, tmp_path):
    monkeypatch.setattr("ntksketch.features.statistics.PIECE_ROWS", 256)
    monkeypatch.setattr("ntksketch.linear.gram.PIECE_ROWS", 256)
    X, Y, _ = problem(3000, np.float32)
    weight = (np.random.default_rng(1).random(len(X)) >= share).astype(float)
    saved, save = [], PassState.save
    monkeypatch.setattr(
        PassState, "save", lambda self, rows, sums: (saved.append(rows), save(self, rows, sums))
    )
    path = tmp_path / "fit.pass"
    expected = regressor().fit(X, Y, weight, checkpoint=path)
    assert set(range(256, 3000, 256)) <= set(saved)
    for blocks in (3, 3):
        stopped(path, X, Y, weight, blocks=blocks)
    model = regressor().fit(X, Y, weight, checkpoint=path)
    np.testing.assert_array_equal(model.ridge_.coef_, expected.ridge_.coef_)


def test_what_cannot_keep_a_state(tmp_path):
    X, Y, _ = problem()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        regressor().fit(X, Y, checkpoint=tmp_path / "no" / "fit.pass")
    blocks = open_source([(X, Y)])
    with pytest.raises(ValueError, match="iterable"):
        regressor(method="random-features").fit(blocks, checkpoint=tmp_path / "fit.pass")
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="rows that are not Dask's"):
        regressor().fit(da.from_array(X), Y, checkpoint=tmp_path / "fit.pass")


KILLED = """
import os, sys
import numpy as np
import ntksketch as ntk
from ntksketch.features.pass_state import PassState

PassState.__init__.__defaults__ = (0.0,)
X, Y = np.load("X.npy"), np.load("Y.npy")
done = []

def progress(n_rows):
    done.append(n_rows)
    if len(done) == 4:
        os.kill(os.getpid(), 9)

model = ntk.NTKRegressor(ntk.mlp(1), n_components=24, working_memory=0.1, random_state=0)
model.fit(X, Y, progress=progress, checkpoint="fit.pass")
"""


@pytest.mark.slow
def test_a_process_that_was_killed(tmp_path):
    X, Y, _ = problem()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Y.npy", Y)
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=False)
    assert done.returncode == -9
    path = tmp_path / "fit.pass"
    assert path.exists()
    model = regressor().fit(X, Y, checkpoint=path)
    np.testing.assert_array_equal(model.ridge_.coef_, regressor().fit(X, Y).ridge_.coef_)
