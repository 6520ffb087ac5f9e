"""The benchmarks run end to end at tiny sizes; nothing here asserts a time."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import (
    frontier,
    imports,
    main,
    mesh,
    results,
    ridge,
    runner,
    scale,
    sparse,
    sparse_quality,
    speed,
    uci,
)
from benchmarks.__main__ import command
from benchmarks.datasets import VARIABLE, load
from benchmarks.exact import solve_kernel_ridge
from benchmarks.rendering import markdown_table, number, render
from benchmarks.timing import Stages, median_ratio, peak_memory, side_by_side
from ntksketch.diagnostics import exact_ridge

TINY = {
    "n_features": 5,
    "transform_rows": 20,
    "n_components": 16,
    "kernel_rows": 20,
    "ridge_rows": 60,
    "ridge_features": 8,
    "ridge_block": 20,
    "rounds": 1,
    "slow_rounds": 1,
}


def saved(path, module, settings, keys):
    """Measure configurations in this process, and save them as the runner does."""
    name = module.__name__.rpartition(".")[2]
    kept = results.Results(path, name, settings, resume=False)
    for configuration in module.configurations(settings):
        if configuration["key"] in keys:
            kept.add(configuration, module.measure(configuration, settings), 0.0)
    return json.loads(path.read_text())


def rows_of(table):
    """Return the cells of every Markdown table row but headers."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    starts = [i for i, row in enumerate(rows) if set(row) == {"---"}]
    return [row for i, row in enumerate(rows) if not {i, i + 1} & set(starts)]


# ---------------------------------------------------------------------------------------------
# Data sets
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(30, 28, 28), dtype=np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    mnist = {"X_train": images[:20], "X_test": images[20:]}
    np.savez(tmp_path / "mnist.npz", **mnist, y_train=labels[:20], y_test=labels[20:])
    X, y = rng.standard_normal((50, 3)) * 7 + 2, rng.standard_normal(50)
    X[:, 2] = np.arange(50)  # tells the rows apart
    np.savez(tmp_path / "california_housing.npz", X=X, y=y)
    (tmp_path / "uci_reg").mkdir()
    mask = rng.random((50, 10)) < 0.2
    np.savez(tmp_path / "uci_reg/protein.npz", X=X, y=y, test_mask=mask)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return mask


@pytest.mark.parametrize("name", ["digits", "california", "protein"])
def test_every_row_is_in_one_part(folder, name):
    data = load(name)
    assert data.X_train.dtype == data.X_test.dtype == np.float32
    train, test = ({tuple(row) for row in X.tolist()} for X in (data.X_train, data.X_test))
    assert not train & test
    assert len(data.X_train) + len(data.X_test) == (1797 if name == "digits" else 50)
    again = load(name)
    np.testing.assert_array_equal(data.X_test, again.X_test)


def test_standardised_by_training_rows_and_split_by_the_mask(folder):
    data = load("protein")
    assert len(data.X_test) == folder[:, 0].sum()
    np.testing.assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.X_train.std(axis=0), 1, rtol=1e-6)


def test_mnist_is_flat_and_scaled(folder):
    data = load("mnist")
    assert data.X_train.shape == (20, 784)
    assert 0 <= data.X_train.min() < data.X_train.max() <= 1
    assert data.targets.shape == (20, 10)
    assert data.scores(np.eye(10)[data.y_test]) == {"score": 1.0}
    assert len(data.first(7, 3).X_train) == 7


def test_unknown_and_missing_data_sets(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"one of digits.*'cifar'"):
        load("cifar")
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    def refuse(name, version):
        raise OSError("no network")

    monkeypatch.setattr("benchmarks.datasets._openml", refuse)
    with pytest.raises(RuntimeError, match=r"mnist.npz is not in .* \(no network\)"):
        load("mnist")


# ---------------------------------------------------------------------------------------------
# Times, results, tables
# ---------------------------------------------------------------------------------------------


def test_functions_run_by_turns():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = side_by_side(functions, rounds=2)
    assert calls == ["a", "b", "a", "b"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert median_ratio({"a": [2.0, 9.0, 1.0], "b": [1.0, 3.0, 1.0]}, "a", "b") == 2.0


def test_peak_memory_sees_what_was_released():
    with peak_memory() as memory:
        np.ones(8_000_000).sum()
    assert memory.peak is not None
    assert memory.peak >= 0  # exact figures are there on Linux only
    if Path("/proc/self/clear_refs").exists():
        assert 60e6 < memory.peak < 100e6


def test_cells():
    assert [number(x) for x in (None, 0.012345, 3.14159, 12345.6)] == [
        None,
        "0.0123",
        "3.14",
        "12,346",
    ]
    assert markdown_table(("a", "b"), [(1, None)]) == "| a | b |\n| --- | --- |\n| 1 |  |"


def test_resume_refuses_other_settings(tmp_path):
    path = tmp_path / "speed.json"
    results.Results(path, "speed", {"rounds": 1}, resume=False).save()
    assert results.Results(path, "speed", {"rounds": 1}, resume=True).done() == set()
    with pytest.raises(ValueError, match="its settings are"):
        results.Results(path, "speed", {"rounds": 2}, resume=True)


def test_measurements_of_keys_that_are_gone_are_forgotten(tmp_path):
    path = tmp_path / "speed.json"
    kept = results.Results(path, "speed", {}, resume=False)
    for key in ("old", "new"):
        kept.add({"key": key}, {}, 0.0)
    kept.keep({"new", "next"})
    assert kept.done() == {"new"}


def test_resume_measures_what_is_missing_or_failed(tmp_path, monkeypatch):
    asked, broken = [], {"kernel depth 3"}

    def measure_apart(name, configuration, settings):
        asked.append(configuration["key"])
        return {"error": "broken"} if configuration["key"] in broken else {"ratio": {}}

    monkeypatch.setattr(runner, "measure_apart", measure_apart)
    path = tmp_path / "speed.json"
    assert runner.run("speed", path, short=True, only="kernel") == 1
    assert asked == ["kernel depth 3", "kernel depth 1", "kernel depth 3 with bias"]
    assert not results.read(path)["complete"]
    asked.clear()
    broken.clear()
    assert runner.run("speed", path, short=True, resume=True) == 0
    everything = [c["key"] for c in speed.configurations(speed.settings(True))]
    assert sorted([*asked, "kernel depth 1", "kernel depth 3 with bias"]) == sorted(everything)
    assert results.read(path)["complete"]
    assert [m["key"] for m in results.read(path)["measurements"]] == everything
    assert [p.name for p in tmp_path.iterdir()] == ["speed.json"]


# ---------------------------------------------------------------------------------------------
# The benchmarks
# ---------------------------------------------------------------------------------------------


def test_imports_from_the_command_line(tmp_path, monkeypatch):
    settings = {"rounds": 1, "statement": "import json", "unit": "import math"}
    monkeypatch.setattr(imports, "settings", lambda short: settings)
    app = CliRunner()
    done = app.invoke(command(), ["imports", "--short", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "short"
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".md", ".png"]
    table = (folder / "imports.md").read_text()
    assert [row[0] for row in rows_of(table)] == ["`import json`", "`import math`"]
    (folder / "imports.md").unlink()
    again = app.invoke(command(), ["render", "imports", "--short", "--output", str(tmp_path)])
    assert again.exit_code == 0
    assert (folder / "imports.md").read_text() == table
    assert app.invoke(command(), ["nothing"]).exit_code == 2


def test_a_failure_in_the_process_is_an_outcome():
    outcome = runner.measure_apart("imports", {"key": "imports"}, {"statement": "1"})
    assert "KeyError" in outcome["error"]


@pytest.mark.slow
def test_speed(tmp_path):
    settings = speed.settings(True) | TINY
    keys = {"transform 1 random-features", "landmarks 1", "kernel depth 3", "pass", "factorise"}
    data = saved(tmp_path / "speed.json", speed, settings, keys)
    assert {m["key"] for m in data["measurements"]} == keys
    labels = [row[0] for row in rows_of(speed.table(data))]
    assert labels == [
        "transform, depth 1, random-features",
        "kernel with landmarks, depth 1",
        "kernel, depth 3",
        "StreamingRidge, pass",
        "StreamingRidge, one penalty",
        "StreamingRidge, search of penalties",
        "StreamingRidge, path of penalties",
    ]
    assert render(tmp_path / "speed.json")[2].stat().st_size > 0


@pytest.mark.slow
def test_mesh(tmp_path, folder):
    settings = mesh.settings(True) | {"mnist_components": [8], "synthetic": [[60, 16]]}
    settings |= {"precision": [60, 16], "block": 64, "rounds": 1, "test_rows": 20}
    keys = {"precision", "mnist 8", "synthetic 60 16"}
    data = saved(tmp_path / "mesh.json", mesh, settings, keys)
    found = {m["key"]: m for m in data["measurements"]}
    assert set(found) == keys
    assert 0 < max(found["precision"]["deviation"].values()) < 1e-5
    rows = rows_of(mesh.table(data))
    assert [row[:3] for row in rows] == [["mnist", "20", "8"], ["synthetic", "60", "16"]]
    assert render(tmp_path / "mesh.json")[2].stat().st_size > 0


@pytest.mark.slow
def test_scale(tmp_path, folder):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    np.savez(tmp_path / "beijing_pm25.npz", X=X, y=X[:, 0])
    settings = scale.settings(True) | {"beijing_rows": [100, 240], "beijing_components": 16}
    settings |= {"exact_rows": [20], "synthetic": [[200, 8]], "dask_workers": []}
    settings |= {"flow": [[40, 8]], "large_rows": 20, "large_components": [4, 8]}
    keys = {c["key"] for c in scale.configurations(settings)}
    assert len(keys) == 9
    data = saved(tmp_path / "scale.json", scale, settings, keys)
    for m in data["measurements"]:
        assert m["what"] != "beijing" or m["score"] > 0.8
        assert m["what"] == "exact" or m["peak_memory"] >= 0
    (exact,) = (m for m in data["measurements"] if m["what"] == "exact")
    assert exact["difference"] < 1e-5
    assert {s["score"] for s in exact["solvers"].values()} == {exact["solvers"]["direct"]["score"]}
    assert "With 20 rows the two differ" in scale.table(data)
    rows = rows_of(scale.table(data))
    assert [row[:3] for row in rows[:3]] == [
        ["synthetic", "200", "8"],
        ["beijing", "100", "16"],
        ["beijing", "240", "16"],
    ]
    assert [row[:3] for row in rows[3:5]] == [
        ["gradient flow", "40", "8"],
        ["ridge", "40", "8"],
    ]
    assert "With 40 rows gradient flow takes" in scale.table(data)
    assert [row[:2] for row in rows[-3:]] == [
        ["features", "4"],
        ["features", "8"],
        ["exact kernel", ""],
    ]
    assert not list(tmp_path.glob("*.checkpoint"))
    assert render(tmp_path / "scale.json")[2].stat().st_size > 0


def test_exponent_of_the_time():
    found = [{"n_rows": n, "seconds": {"pass": 1e-9 * n**1.5}} for n in (50_000, 10**5, 10**6)]
    noise = {"n_rows": 1000, "seconds": {"pass": 1.0}}  # too few rows to count
    assert scale.exponent([*found, noise]) == pytest.approx(1.5)
    assert scale.exponent(found[:1]) is None


def test_synthetic_rows_do_not_depend_on_how_many_there_are(monkeypatch):
    monkeypatch.setattr(mesh, "_STREAM_ROWS", 50)
    X, y = mesh.teacher(170, 3)
    assert len({tuple(row) for row in X.tolist()}) == 170
    for whole, part in zip((X, y), mesh.teacher(100, 3), strict=True):
        np.testing.assert_array_equal(whole[:100], part)


@pytest.mark.slow
def test_main(tmp_path):
    settings = main.settings(True) | {"gammas": [0.5, 2.0]}
    keys = {"default digits 1 128", "rbf digits 128", "exact digits 1"}
    data = saved(tmp_path / "main.json", main, settings, keys)
    rows = rows_of(main.table(data))  # the comparison has one row
    assert [row[2] for row in rows[1:]] == ["exact", "random features", "RBF features"]
    assert all(m["score"] > 0.6 for m in data["measurements"])  # of ten classes
    assert render(tmp_path / "main.json")[2].stat().st_size > 0


@pytest.mark.parametrize("module", [imports, sparse, sparse_quality, speed, uci, main, frontier])
def test_full_configurations_have_distinct_keys_and_estimates(module):
    settings = module.settings(False)
    configurations = module.configurations(settings)
    assert len({c["key"] for c in configurations}) == len(configurations)
    assert all(0 < module.estimate(c, settings) < 600 for c in configurations)


# ---------------------------------------------------------------------------------------------
# Ridge
# ---------------------------------------------------------------------------------------------


def test_ridge_fits_and_times_its_stages():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 4)).astype(np.float32)
    Y = X @ rng.standard_normal((4, 2)) + 1
    stages = Stages()
    model = ridge.fit_ridge(lambda rows: rows, X, Y, stages)
    assert set(stages) == {"featurise", "accumulate", "factorise"}
    prediction = ridge.predict(model, lambda rows: rows, X)
    np.testing.assert_allclose(prediction, Y, rtol=0, atol=1e-3)


def test_cholesky_agrees_with_the_eigendecomposition():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 60)), rng.standard_normal((40, 3))
    K = X @ X.T
    expected = exact_ridge(K, Y, 2.0)
    found = solve_kernel_ridge(K.copy(), Y, 2.0)
    np.testing.assert_allclose(found.predict(K), expected.predict(K), rtol=1e-9)
