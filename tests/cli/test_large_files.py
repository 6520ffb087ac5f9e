"""featurize, fit and predict, from arguments to files, with what can go wrong."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from source_files import IN_MEMORY, WAYS, rows_and_targets
from typer.testing import CliRunner

import ntksketch as ntk
from ntksketch.cli.app import app
from ntksketch.cli.errors import InputError
from ntksketch.cli.loading import load
from ntksketch.data import open_source
from ntksketch.features.pass_state import PassState
from ntksketch.linear.gram import GramBatch

COLUMNS = [f"x{j}" for j in range(4)]
FIT = ("--components", "24", "--depth", "2", "--seed", "3")


def rows_of(table):
    return np.array(table[COLUMNS], order="C")  # as a source reads them


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def succeeded(*arguments):
    done = invoke(*arguments)
    assert done.exit_code == 0, done.stderr
    return done


def refused(*arguments):
    """Return the one line on stderr."""
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 or lines[0].endswith("available") or "of memory" in lines[0]
    assert lines[-1].startswith("ntksketch: ")
    return lines[-1]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A Parquet file with two targets, and its rows."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    rows = pd.DataFrame(X, columns=COLUMNS)
    rows["y"] = np.sin(X[:, 0]) + X[:, 1] ** 2
    rows["label"] = np.digitize(rows["y"], [0.5, 1.5])
    rows.drop(columns="label").to_parquet("rows.parquet", row_group_size=100)
    rows.drop(columns="y").to_parquet("labels.parquet")
    return rows


def test_regression_is_that_of_python(table):
    done = succeeded("fit", "rows.parquet", "model.safetensors", "--target", "y", *FIT, "--json")
    result = json.loads(done.stdout)
    assert result["rows"] == 400
    assert set(result["seconds"]) == {"set-up", "pass", "solve"}
    assert "400 rows of 4 columns; up to" in done.stderr
    X, y = rows_of(table), table["y"].to_numpy()
    expected = ntk.NTKRegressor(ntk.mlp(2), n_components=24, random_state=3).fit(X, y)
    assert result["alpha"] == expected.alpha_
    done = succeeded("predict", "model.safetensors", "rows.parquet", "p.npy", "--target", "y")
    np.testing.assert_array_equal(np.load("p.npy"), expected.predict(X))
    assert float(done.stdout.partition("R2: ")[2]) == pytest.approx(expected.score(X, y), rel=1e-12)


def test_classification_is_that_of_python(table):
    arguments = ("--target", "label", "--task", "classification", *FIT)
    succeeded("fit", "labels.parquet", "model.safetensors", *arguments)
    X, y = rows_of(table), table["label"].to_numpy()
    expected = ntk.NTKClassifier(ntk.mlp(2), n_components=24, random_state=3).fit(X, y)
    predict = ("predict", "model.safetensors", "labels.parquet")
    done = succeeded(*predict, "c.npy", "--target", "label", "--json")
    np.testing.assert_array_equal(np.load("c.npy"), expected.predict(X))
    assert json.loads(done.stdout)["accuracy"] == expected.score(X, y)
    np.save("X.npy", X)
    succeeded("predict", "model.safetensors", "X.npy", "s.npy", "--scores")
    np.testing.assert_array_equal(np.load("s.npy"), expected.decision_function(X))


def test_options_reach_the_model(table):
    np.save("X.npy", rows_of(table))
    np.save("y.npy", table["y"].to_numpy())
    options = ("--method", "random-features", "--bias", "0.5", "--kind", "nngp", "--memory", "32")
    penalties = ("--alpha", "0.1", "--alpha", "2")
    arguments = ("--target", "y.npy", *options, *penalties, "--components", "9")
    succeeded("fit", "X.npy", "m.safetensors", *arguments)
    model = ntk.load("m.safetensors")
    assert model.architecture == ntk.mlp(1, bias_std=0.5)
    assert (model.method, model.kind, model.n_components) == (ntk.RandomFeatures(), "nngp", 9)
    assert model.working_memory == 32
    assert model.alpha_ in (0.1, 2)


def test_sparse_text_without_its_last_columns(table):
    X = np.round(rows_of(table), 3)
    X[:, 0] = 0
    lines = [
        " ".join([f"{v}", *(f"{j + 1}:{x}" for j, x in enumerate(row) if x)])
        for v, row in zip(table["y"], X, strict=True)
    ]
    (pd.Series(lines)).to_csv("rows.libsvm", index=False, header=False, quoting=3, sep="\t")
    succeeded("fit", "rows.libsvm", "m.safetensors", *FIT)
    with open("few.libsvm", "w") as file:
        file.write("0.5 2:1.0\n1.0 1:0.25\n")
    succeeded("predict", "m.safetensors", "few.libsvm", "few.npy")
    few = np.array([[0, 1.0, 0, 0], [0.25, 0, 0, 0]])
    np.testing.assert_allclose(np.load("few.npy"), ntk.load("m.safetensors").predict(few))


def test_features_and_their_draw(table):
    X = rows_of(table)
    np.save("X.npy", X)
    done = succeeded("featurize", "X.npy", "Z.npy", *FIT, "--save", "fm.safetensors", "--json")
    assert json.loads(done.stdout) == {
        "output": "Z.npy",
        "rows": 400,
        "components": 24,
        "dtype": "float64",
    }
    expected = ntk.NTKFeatures(ntk.mlp(2), n_components=24, random_state=3).fit(X).transform(X)
    np.testing.assert_array_equal(np.load("Z.npy"), expected)
    succeeded("featurize", "X.npy", "Z.zarr", "--model", "fm.safetensors", "--network", "x")
    np.testing.assert_array_equal(open_source("Z.zarr").read(0, 400), expected)
    assert "it exists" in refused("featurize", "X.npy", "Z.npy", *FIT)
    succeeded("featurize", "X.npy", "Z.npy", *FIT, "--resume")


def test_features_of_a_predictor(table):
    X = rows_of(table)
    np.save("X.npy", X)
    model = ntk.NTKRegressor(n_components=16, random_state=0).fit(X, X[:, 0])
    ntk.save(model, "m.safetensors")
    succeeded("featurize", "X.npy", "Z.npy", "--model", "m.safetensors")
    np.testing.assert_array_equal(np.load("Z.npy"), model.features_.transform(X))
    ntk.save(ntk.StreamingRidge().fit(X, X[:, 0]), "r.safetensors")
    assert "has no features" in refused("featurize", "X.npy", "W.npy", "--model", "r.safetensors")


def test_a_run_that_is_stopped_goes_on(table, monkeypatch):
    np.save("X.npy", rows_of(table))
    arguments = ("featurize", "X.npy", "Z.npy", *FIT, "--memory", "0.2")
    whole = ("featurize", "X.npy", "whole.npy", *FIT, "--memory", "0.2")
    succeeded(*whole)
    transform, calls = ntk.NTKFeatures.transform, []

    def stop(self, X):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return transform(self, X)

    monkeypatch.setattr(ntk.NTKFeatures, "transform", stop)
    done = invoke(*arguments)
    assert done.exit_code == 130
    assert done.stderr.endswith("with --resume goes on\n")
    assert not os.path.exists("Z.npy")
    succeeded(*arguments, "--resume")
    with open("Z.npy", "rb") as one, open("whole.npy", "rb") as other:
        assert one.read() == other.read()


def test_a_fit_that_is_stopped_leaves_nothing(table, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ntk.NTKRegressor, "fit", stop)
    done = invoke("fit", "rows.parquet", "m.safetensors", "--target", "y", *FIT)
    assert done.exit_code == 130
    assert "nothing was written to m.safetensors" in done.stderr
    assert not os.path.exists("m.safetensors")


def test_a_fit_that_is_stopped_goes_on(table, monkeypatch):
    monkeypatch.setattr(PassState.__init__, "__defaults__", (0.0,))
    fit = ("fit", "rows.parquet", "m.safetensors", "--target", "y", *FIT, "--memory", "0.1")
    succeeded(*fit)
    expected = ntk.load("m.safetensors")
    update, calls = GramBatch.update, []

    def stop(self, *data, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return update(self, *data, **options)

    monkeypatch.setattr(GramBatch, "update", stop)
    done = invoke(*fit, "--resume")
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr
    assert os.path.exists("m.safetensors.pass")
    succeeded(*fit, "--resume")
    assert not os.path.exists("m.safetensors.pass")
    np.testing.assert_array_equal(ntk.load("m.safetensors").ridge_.coef_, expected.ridge_.coef_)


def test_predictions_that_are_stopped_go_on(table, monkeypatch):
    succeeded("fit", "rows.parquet", "m.safetensors", "--target", "y", *FIT)
    np.save("X.npy", rows_of(table))
    np.save("y.npy", table["y"].to_numpy())
    predict = ("predict", "m.safetensors", "X.npy", "p.npy", "--memory", "0.1")
    whole = (*predict[:3], "whole.npy", *predict[4:])
    succeeded(*whole)
    method, calls = ntk.NTKRegressor.predict, []

    def stop(self, X):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return method(self, X)

    with monkeypatch.context() as patch:
        patch.setattr(ntk.NTKRegressor, "predict", functools.wraps(method)(stop))
        done = invoke(*predict)
    assert done.exit_code == 130
    assert done.stderr.endswith("with --resume goes on\n")
    assert not os.path.exists("p.npy")
    assert "a run stopped after 2 of" in refused(*predict)
    done = succeeded(*predict, "--target", "y.npy", "--resume")
    X, y = rows_of(table), table["y"].to_numpy()
    assert f"R2: {ntk.load('m.safetensors').score(X, y):.6}"[:10] in done.stdout
    with open("p.npy", "rb") as one, open("whole.npy", "rb") as other:
        assert one.read() == other.read()
    done = succeeded(*predict[:3], "p.zarr", "--target", "y.npy")
    assert "R2: 0" in done.stdout


@pytest.mark.slow
def test_interrupt_from_outside(table):
    """Ctrl-C of a process of its own, once it has blocks done."""
    np.save("big.npy", np.random.default_rng(0).standard_normal((200_000, 4), np.float32))
    # shells have what they start in the background ignore the signal, and so its children
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from ntksketch.cli import main; main()"
    command = [sys.executable, "-c", program, "featurize", "big.npy", "Z.npy"]
    command += ["--components", "256", "--memory", "4"]
    for _ in range(3):  # on a busy machine it may be done before the signal comes
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not os.path.exists("Z.npy.journal") and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
        if process.returncode != 0:
            break
        os.remove("Z.npy")
    assert (process.returncode, "goes on" in error) == (130, True)
    subprocess.run([*command, "--resume"], check=True)
    Z = np.load("Z.npy", mmap_mode="r")
    assert Z.shape == (200_000, 256)
    assert np.isfinite(Z).all()


def test_sketches_of_images_go_by_layer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32)
    np.save("X.npy", X)
    network = ("--network", "cnn(1, shape=(4, 4, 1))", "--components", "8")
    succeeded("featurize", "X.npy", "Z.npy", "--method", "polynomial-sketch", *network)
    assert np.load("Z.npy").shape == (12, 8)


@pytest.mark.parametrize("command", ["fit", "featurize"])
def test_models_that_could_not_be_saved_are_not_fitted(command, table, monkeypatch):
    monkeypatch.setattr(ntk.NTKFeatures, "_draw", None)  # what would fail if it were called
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    if command == "fit":
        error = refused("fit", "rows.parquet", "m.safetensors", "--target", "y", *FIT)
    else:
        error = refused("featurize", "rows.parquet", "Z.npy", *FIT, "--save", "m.safetensors")
    assert "models on disk need the package safetensors" in error


def test_what_cannot_be_used(table, tmp_path):
    np.save("X.npy", rows_of(table))
    assert "no such file" in refused("fit", "missing.parquet", "m.safetensors", "--target", "y")
    assert "there is no column 'z'" in refused("fit", "rows.parquet", "m", "--target", "z")
    assert "say which with --target" in refused("fit", "X.npy", "m.safetensors")
    assert "folder that is there" in refused("fit", "rows.parquet", "no/m", "--target", "y")
    assert "the methods are" in refused(
        "fit", "rows.parquet", "m", "--target", "y", "--method", "best"
    )
    assert "alphas must be finite" in refused(
        "fit", "rows.parquet", "m", "--target", "y", "--alpha", "-1"
    )
    assert "at least 2 classes" in refused(
        "fit", "X.npy", "m", "--target", _constant(), "--task", "classification"
    )
    bad = rows_of(table)
    bad[57, 2] = np.nan
    np.save("bad.npy", bad)
    assert "NaN in row 57, column 2" in refused("featurize", "bad.npy", "Z.npy")
    assert "rows.parquet" in refused("featurize", "rows.parquet", "Z.npy", "--key", "X")
    succeeded("fit", "rows.parquet", "m.safetensors", "--target", "y", *FIT)
    predict = ("predict", "m.safetensors")
    assert "written to .npy or .zarr" in refused(*predict, "X.npy", "p.csv")
    assert "has no scores" in refused(*predict, "X.npy", "p.npy", "--scores")
    np.save("wide.npy", np.ones((3, 9)))
    assert "expecting 4 features" in refused(*predict, "wide.npy", "p.npy")
    (tmp_path / "text.safetensors").write_text("no model")
    assert refused("predict", "text.safetensors", "X.npy", "p.npy")
    assert not (tmp_path / "p.npy").exists()


def _constant():
    np.save("constant.npy", np.zeros(400, int))
    return "constant.npy"


def test_a_first_line_that_may_be_a_row(table):
    lines = ["1.5,,2,3", *(",".join(map(str, row)) for row in rows_of(table)[:30])]
    with open("rows.csv", "w") as file:
        file.write("\n".join(lines))
    fit = ("fit", "rows.csv", "m.safetensors", "--components", "16", "--method", "random-features")
    assert "header=True or header=False" in refused(*fit, "--target", "3")
    succeeded(*fit, "--target", "3", "--header")
    done = succeeded("predict", "m.safetensors", "rows.csv", "p.npy", "--target", "3", "--header")
    assert "rows: 30" in done.stdout
    assert "line 1: column '1' must be a number" in refused(*fit, "--target", "3", "--no-header")
    assert "header" in refused("featurize", "rows.csv", "Z.npy")
    with open("rows.csv", "w") as file:
        file.write("\n".join(lines[1:]))
    succeeded("featurize", "rows.csv", "Z.npy", "--no-header", "--components", "16")
    assert np.load("Z.npy").shape == (30, 16)
    assert "say --header" in refused("compare", "rows.csv", "--target", "3")
    X = np.array([line.split(",") for line in lines[1:]], float)
    loaded = load(Path("rows.csv"), "3", header=False)
    np.testing.assert_array_equal(np.column_stack([loaded.X, loaded.y]), X)
    loaded = load(Path("rows.csv"), header=True)
    np.testing.assert_array_equal(np.column_stack([loaded.X, loaded.y]), X[1:])


def test_compare_reads_the_same_files(table):
    options = ("--components", "16", "--method", "nystroem", "--max-exact-rows", "0")
    done = succeeded("compare", "rows.parquet", "--target", "y", *options)
    assert "nystroem" in done.stdout
    done = succeeded(
        "compare", "rows.parquet", "--target", "y", *options, "--json", "--memory", "8"
    )
    result = json.loads(done.stdout)
    (row,) = result["rows"]
    assert (row["method"], row["n_components"], result["task"]) == ("nystroem", 16, "regression")
    assert 0 < row["error"]["value"] < 1
    assert "was left out" in result["notes"][0]
    assert "say which with --target" in refused("compare", "rows.parquet", *options)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in IN_MEMORY])
def test_compare_loads_every_format(way, tmp_path):
    X, y = rows_and_targets(11)
    source = WAYS[way](tmp_path, X, y)
    np.save(tmp_path / "y.npy", y)
    path, target, options = Path(source.name), str(tmp_path / "y.npy"), {}
    if way in ("npz", "compressed npz", "zarr group", "hdf5"):
        keys = {"npz": "X", "compressed npz": "rows"}
        options, target = {"key": keys.get(way, "train/X")}, "y" if "npz" in way else "train/y"
    elif "parquet" in way or way == "csv":
        target = "y"
    elif way == "csv without header":
        options, target = {"header": False}, "5"
    elif way == "libsvm":
        target = None
    if "lists" in way:  # they are beside a column of text
        with pytest.raises(InputError, match="columns"):
            load(path, target)
        return
    loaded = load(path, target, **options)
    np.testing.assert_array_equal(loaded.X, X)
    np.testing.assert_array_equal(loaded.y, y)
    assert loaded.test is None


def test_compare_takes_a_key(table):
    np.savez("two.npz", A=rows_of(table)[:60], B=np.ones((60, 2)), label=np.array(["a", "b"] * 30))
    options = ("--method", "nystroem", "--components", "8", "--max-exact-rows", "0", "--json")
    done = succeeded("compare", "two.npz", "--key", "A", "--target", "label", *options)
    assert json.loads(done.stdout)["task"] == "classification"
    assert "there is no X" in refused("compare", "two.npz", "--target", "label", *options)
