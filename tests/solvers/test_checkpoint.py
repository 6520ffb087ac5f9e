import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import ntksketch as ntk
from ntksketch.data.archive import read_archive, write_archive
from ntksketch.linear.conjugate_gradients import CGState
from ntksketch.solvers import Checkpoint, checkpoint

RNG = np.random.default_rng(0)
X = RNG.standard_normal((70, 4))
Y = np.stack([np.abs(X[:, 0]), X[:, 1] ** 2], 1)


def solve(path, X=X, y=Y, alphas=(0.01, 1.0), architecture=None, **options):
    arguments = {"tolerance": 1e-10, "random_state": 0, "rank": 10, **options}
    return ntk.solve_kernel_ridge(
        architecture or ntk.mlp(1), X, y, alphas, checkpoint=path, **arguments
    )


def interrupt(path, max_iter=6, **options):
    """Stop a solve early, by its cap on iterations."""
    with pytest.warns(ConvergenceWarning, match="goes on from the checkpoint"):
        return solve(path, max_iter=max_iter, **options)


def trace(monkeypatch):
    """Return a list that grows by each state of any solve."""
    states, see = [], checkpoint.StateFile.see

    def recorded(self, state):
        states.append(state)
        see(self, state)

    monkeypatch.setattr(checkpoint.StateFile, "see", recorded)
    return states


@pytest.mark.parametrize("stop", [1, 6, 17])
def test_goes_on_with_the_same_iterates_bit_for_bit(tmp_path, monkeypatch, stop):
    states = trace(monkeypatch)
    whole = solve(tmp_path / "whole.npz")
    expected = states.copy()
    assert len(expected) > 20
    path = tmp_path / "parts.npz"
    interrupt(path, max_iter=stop)
    states.clear()
    resumed = solve(path)
    assert [s.iteration for s in states] == list(range(stop + 1, len(expected) + 1))
    for a, b in zip(states, expected[stop:], strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(resumed.dual_coef, whole.dual_coef)
    np.testing.assert_array_equal(resumed.intercept, whole.intercept)
    np.testing.assert_array_equal(resumed.status.iterations, whole.status.iterations)


def test_a_finished_solve_is_read_and_not_repeated(tmp_path, monkeypatch):
    whole = solve(tmp_path / "state.npz")
    states = trace(monkeypatch)
    again = solve(tmp_path / "state.npz")
    assert not states
    np.testing.assert_array_equal(again.dual_coef, whole.dual_coef)


def test_an_exception_on_the_way_leaves_the_last_iteration(tmp_path, monkeypatch):
    path, product = tmp_path / "state.npz", ntk.kernels.products.KernelProduct.product
    calls = []

    def interrupted(self, V):
        calls.append(1)
        if len(calls) > 8:
            raise KeyboardInterrupt
        return product(self, V)

    monkeypatch.setattr(ntk.kernels.products.KernelProduct, "product", interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve(path)
    assert read_archive(path)["iteration"] == 8
    monkeypatch.undo()
    np.testing.assert_array_equal(solve(path).dual_coef, solve(tmp_path / "whole.npz").dual_coef)


KILLED = """
import os, sys
import numpy as np
import ntksketch as ntk
from ntksketch.solvers import Checkpoint
from ntksketch.solvers.checkpoint import StateFile

see = StateFile.see

def killed(self, state):
    see(self, state)
    if state.iteration == 9:
        os._exit(9)

StateFile.see = killed
X = np.random.default_rng(0).standard_normal((70, 4))
Y = np.stack([np.abs(X[:, 0]), X[:, 1] ** 2], 1)
ntk.solve_kernel_ridge(ntk.mlp(1), X, Y, (0.01, 1.0), tolerance=1e-10, random_state=0, rank=10,
                       checkpoint=Checkpoint(sys.argv[1], iterations=4))
"""


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_saved_last(tmp_path):
    path = tmp_path / "state.npz"
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == 9
    assert read_archive(path)["iteration"] == 8
    solution = solve(path)
    assert solution.status.converged
    np.testing.assert_allclose(
        solution.dual_coef, solve(tmp_path / "whole.npz").dual_coef, rtol=1e-6, atol=1e-8
    )


def test_saves_every_so_many_iterations_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        checkpoint, "write_archive", lambda path, arrays: saved.append(arrays["iteration"])
    )
    interrupt(Checkpoint(tmp_path / "state.npz", iterations=3), max_iter=8)
    assert saved == [3, 6, 8]
    saved.clear()
    interrupt(tmp_path / "state.npz", max_iter=8)
    assert saved == [8]  # 300 seconds have not passed


def test_saves_every_so_many_seconds(tmp_path, monkeypatch):
    now, saved = [0.0], []

    def clock():
        now[0] += 1.0  # a second an iteration, and one a save
        return now[0]

    monkeypatch.setattr(checkpoint.time, "monotonic", clock)
    monkeypatch.setattr(
        checkpoint, "write_archive", lambda path, arrays: saved.append(arrays["iteration"])
    )
    interrupt(Checkpoint(tmp_path / "state.npz", seconds=3.0), max_iter=10)
    assert saved == [3, 6, 9, 10]


OTHER = {
    "X": {"X": X + np.eye(70, 4)},
    "y": {"y": Y + 1},
    "alphas": {"alphas": (0.01, 2.0)},
    "architecture": {"architecture": ntk.mlp(2)},
    "fit_intercept": {"fit_intercept": False},
    "sample_weight": {"sample_weight": np.arange(70.0)},
    "rank": {"rank": 11},
    "random_state": {"random_state": 1},
    "dtype": {"X": X.astype(np.float32)},
}


@pytest.mark.parametrize("name", OTHER)
def test_another_problem_is_refused_by_name(tmp_path, name):
    path = tmp_path / "state.npz"
    interrupt(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"another problem: its {name} is .*; give another path"):
        solve(path, **OTHER[name])
    assert path.read_bytes() == before


def test_another_kind_of_kernel_and_another_activation_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    interrupt(path)
    with pytest.raises(ValueError, match=r"its architecture is .*\(ntk\), and here it is .*\(nngp"):
        solve(path, kind="nngp")
    with pytest.raises(ValueError, match=r"LeakyRelu\(negative_slope=0\.1\)|LeakyRelu"):
        solve(path, architecture=ntk.mlp(1, activation=ntk.LeakyRelu(0.1)))


def test_the_same_kernel_by_another_name_goes_on(tmp_path):
    path = tmp_path / "state.npz"
    interrupt(path, architecture=ntk.zonal.from_function(lambda t: np.exp(t - 1)))
    other = ntk.zonal.from_function(lambda t: np.exp(t) / np.e)  # prints with another address
    assert solve(path, architecture=other).status.converged


def test_tolerance_and_cap_and_memory_may_change(tmp_path):
    path = tmp_path / "state.npz"
    first = solve(path, tolerance=1e-3)
    second = solve(path, tolerance=1e-9, working_memory=0.01)
    assert second.status.iterations.max() > first.status.iterations.max()
    np.testing.assert_allclose(
        second.dual_coef, solve(tmp_path / "whole.npz").dual_coef, rtol=1e-5, atol=1e-6
    )


def test_without_a_seed_the_checkpoints_is_taken(tmp_path):
    path = tmp_path / "state.npz"
    interrupt(path, random_state=None)
    assert solve(path, random_state=None).status.converged


@pytest.mark.parametrize("content", [b"", b"PK but no archive"])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    for seed in (0, None):
        with pytest.raises(ValueError, match="not a whole npz file"):
            solve(path, random_state=seed)


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    write_archive(path, {"a": np.ones(3)})
    for seed in (0, None):
        with pytest.raises(ValueError, match="no checkpoint of this version"):
            solve(path, random_state=seed)


def test_a_missing_folder_is_noticed_at_the_start(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        solve(tmp_path / "none" / "state.npz")


def test_the_file_holds_the_state_and_text(tmp_path):
    path = tmp_path / "state.npz"
    interrupt(path)
    arrays = read_archive(path)
    assert set(CGState._fields) < arrays.keys()
    assert all(array.dtype.kind in "fibU" for array in arrays.values())
    assert os.listdir(tmp_path) == ["state.npz"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seconds": 0}, ValueError, "seconds must be positive, got 0"),
        ({"seconds": "often"}, TypeError, "seconds must be a number or None"),
        ({"iterations": 2.5}, TypeError, "iterations must be a number or None"),
        ({"iterations": 0}, ValueError, "iterations must be positive"),
    ],
)
def test_bad_intervals(options, error, message):
    with pytest.raises(error, match=message):
        Checkpoint("state.npz", **options)
