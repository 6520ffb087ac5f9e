"""Exact regressors and gradient flows on disk."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import saved
from saved import ROWS, TARGETS, File, assert_same, exact, flow, reload
from sklearn.base import clone

import ntksketch as ntk

ARCHITECTURE = ntk.mlp(2, bias_std=0.1)
K = ntk.kernel(ARCHITECTURE, ROWS)
BOTH = np.stack([TARGETS, TARGETS**2], axis=1)
WEIGHT = np.arange(len(ROWS)) % 4.0

MODELS = {
    "kernel": lambda: flow(ARCHITECTURE),
    "kernel of float32": lambda: flow(ARCHITECTURE, X=ROWS.astype(np.float32)),
    "zonal kernel": lambda: flow(ntk.zonal.laplace(1.0), y=BOTH, t=2.5),
    "sparse rows": lambda: flow(ARCHITECTURE, X=saved.sparse(ROWS), learning_rate=0.01, t=7),
    "given kernel": lambda: ntk.GradientFlow("precomputed").fit(K, TARGETS, WEIGHT),
    "weighted rows": lambda: ntk.GradientFlow(ARCHITECTURE).fit(ROWS, TARGETS, WEIGHT),
    "rows as features": lambda: flow("linear", cutoff=1e-3),
    "features": lambda: flow(ntk.mlp(2), ntk.Gegenbauer()),
    "fitted features": lambda: flow(saved.features("random-features")),
    "many landmarks": lambda: flow(ARCHITECTURE, "nystroem", 40, X=MANY, y=MANY[:, 0]),
    "a block": lambda: ntk.GradientFlow("linear").partial_fit(ROWS, BOTH),
    "exact": lambda: exact(ARCHITECTURE),
    "exact, targets": lambda: exact(ntk.zonal.laplace(1.0), y=BOTH, fit_intercept=False),
    "exact, sequences": lambda: exact(SEQUENCE, X=ROWS.astype(np.float32), max_seconds=np.inf),
}
MANY = np.random.default_rng(1).standard_normal((300, saved.WIDTH))
SEQUENCE = ntk.rnn(1, shape=(saved.WIDTH, 1))
every_model = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if "sequences" in n else n for n in MODELS]
)


def other_rows(name):
    rows = np.random.default_rng(2).standard_normal((7, saved.WIDTH))
    return ntk.kernel(ARCHITECTURE, rows, ROWS) if name == "given kernel" else rows


@every_model
def test_a_loaded_model_is_the_model(name, tmp_path):
    model = MODELS[name]()
    copy = reload(model, tmp_path)
    assert_same(model, copy, other_rows(name))
    assert copy.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert repr(copy) == repr(model)
    if isinstance(model, ntk.GradientFlow):
        np.testing.assert_array_equal(copy.eigenvalues_, model.eigenvalues_)
        assert copy.t == model.t
        assert copy.rank_ == model.rank_
    else:
        np.testing.assert_array_equal(copy.dual_coef_, model.dual_coef_)
        assert str(copy.status_) == str(model.status_)
        assert copy.max_seconds == model.max_seconds
    clone(copy).set_params(random_state=1)


PROCESS = """
import sys
import numpy as np, saved
import ntksketch as ntk
expected = np.load(f"{sys.argv[1]}.npz")
found = saved.outputs(ntk.load(f"{sys.argv[1]}.safetensors"), expected["rows"])
for name, values in found.items():
    np.testing.assert_array_equal(values, expected[name], err_msg=name)
print(sorted(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kernel", "many landmarks", "exact"])
def test_in_another_process(name, tmp_path):
    model, rows, path = MODELS[name](), other_rows(name), tmp_path / "model"
    ntk.save(model, f"{path}.safetensors")
    expected = saved.outputs(model, rows)
    np.savez(f"{path}.npz", rows=rows, **expected)
    command = [sys.executable, "-W", "error", "-c", PROCESS, str(path)]
    done = subprocess.run(
        command, env=saved.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sorted(expected))


@pytest.mark.parametrize("solved", [False, True])
@pytest.mark.parametrize("kernel", ["linear", ntk.NTKFeatures(n_components=16, random_state=0)])
def test_a_loaded_flow_takes_more_blocks(kernel, solved, tmp_path):
    model = ntk.GradientFlow(kernel).partial_fit(ROWS[:30], BOTH[:30])
    if solved:
        model.predict(ROWS)
    copy = reload(model, tmp_path)
    for each in (model, copy):
        each.partial_fit(ROWS[30:], BOTH[30:])
    assert_same(model, copy)


def test_a_start_is_remembered(tmp_path):
    model = ntk.GradientFlow(ARCHITECTURE).fit(ROWS, TARGETS, f0=1.0)
    copy = reload(model, tmp_path)
    with pytest.raises(ValueError, match="fit had f0"):
        copy.predict(ROWS)
    np.testing.assert_array_equal(copy.predict(ROWS, 3.0, f0=1.0), model.predict(ROWS, 3.0, f0=1.0))
    assert copy.predict(ROWS, 0.0, f0=1.0) == pytest.approx(1.0)


def test_an_ensemble_is_loaded(tmp_path):
    model = flow(ARCHITECTURE)
    for mine, theirs in zip(
        model.predict(ROWS, 2.0, return_std=True),
        reload(model, tmp_path).predict(ROWS, 2.0, return_std=True),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_path_becomes_a_string(tmp_path):
    place = tmp_path / "solve.npz"
    assert reload(exact(checkpoint=place), tmp_path).checkpoint == str(place)
    given = ntk.solvers.Checkpoint(place, seconds=None, iterations=5)
    loaded = reload(exact(checkpoint=given), tmp_path).checkpoint
    assert loaded == dataclasses.replace(given, path=str(place))


def test_a_function_that_predictions_need_is_refused(tmp_path):
    kernel = ntk.zonal.from_function(lambda t: (1 + t) ** 2)
    for model in (flow(kernel), exact(kernel)):
        with pytest.raises(TypeError, match="user's function"):
            ntk.save(model, tmp_path / "model.safetensors")
    model = flow(kernel, "gegenbauer")
    assert_same(model, reload(model, tmp_path))


def test_infinity_is_for_times_only(tmp_path):
    path = tmp_path / "model.safetensors"
    ntk.save(flow("linear"), path)
    file = File(path)
    infinity = file.at("t")
    assert infinity == {"number": ["infinity"]}
    for field, value, message in (
        ("cutoff", infinity, "cutoff is not int or float or None"),
        ("t", {"number": ["-infinity"]}, "t is no number"),
        ("t", {"number": []}, "t is no number"),
        ("t", -1.0, "at least 0"),
    ):
        file = File(path)
        file.put(value, field)
        changed = file.path.with_name("changed.safetensors")
        file.path = changed
        with pytest.raises(ntk.ModelFileError, match=message):
            ntk.load(file.write())


def test_features_that_are_no_model_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    ntk.save(saved.features("nystroem"), path)
    file = File(path)
    fields = file.model["fields"]
    own = [name for name in fields if name.endswith("_") or name.startswith("_")]
    del fields[own[0]]
    with pytest.raises(ntk.ModelFileError, match="fitted in part"):
        ntk.load(file.write())
    for name in own[1:]:
        del fields[name]
    file.arrays = {}
    with pytest.raises(ntk.ModelFileError, match="NTKFeatures that is not fitted"):
        ntk.load(file.write())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("kernel", lambda f: f.put(3, "n_features_in_"), "rows have 5 columns, and rows 3"),
        ("kernel", lambda f: f.put(None, "_flow"), "there is no solution"),
        ("kernel", lambda f: f.put("linear", "kernel"), "the rows are of another kernel"),
        ("kernel", lambda f: f.put(None, "_rows", "X"), "there are rows or a kernel"),
        ("kernel", lambda f: f.put(-1.0, "_flow", "floor"), "a part of the loss is negative"),
        ("kernel", lambda f: f.negate("_flow", "energies"), "a part of the loss is negative"),
        ("kernel", lambda f: f.negate("_flow", "spectrum"), "the rank is not that"),
        ("kernel", lambda f: f.negate("_rows", "used"), "rows are not in order"),
        ("kernel", lambda f: f.cut("_flow", "loadings"), "energies has shape"),
        ("kernel", lambda f: f.cut("_flow", "vectors"), "vectors has shape"),
        ("kernel", lambda f: f.put(9.0, "learning_rate"), "learning_rate=9 must be below"),
        ("weighted rows", lambda f: f.negate("_rows", "weight"), "weights are not one"),
        ("rows as features", lambda f: f.put({"dict": []}, "_rest"), "moment"),
        ("rows as features", lambda f: f.put(4, "n_features_in_"), "sums and solution of 4"),
        ("features", lambda f: f.put(4, "n_features_in_"), "have dimension 5, expected 4"),
        ("a block", lambda f: f.put(True, "_single_target"), "one target has a solution of 2"),
        ("exact", lambda f: f.put(0.0, "solution_", "alphas"), "the penalty is 0"),
        ("exact", lambda f: f.cut("solution_", "dual_coef"), "coefficients of shape"),
        ("exact", lambda f: f.put(1.5, "intercept_"), "intercept_ is not the solution's"),
        ("exact", lambda f: f.put(0.0, "solution_", "status", "tolerance"), "the tolerance is 0"),
        ("exact", lambda f: f.put(7, "n_features_in_"), "rows have 5 columns, and rows 7"),
    ],
)
def test_parts_that_do_not_fit_are_refused(name, change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    ntk.save(MODELS[name](), path)
    file = Changed(path)
    change(file)
    with pytest.raises(ntk.ModelFileError, match=message):
        ntk.load(file.write())


class Changed(File):
    """A file whose arrays are changed in place of their kind."""

    def negate(self, *path):
        name = self.array(*path)
        self.arrays[name] = -np.abs(self.arrays[name]) - 1

    def cut(self, *path):
        name = self.array(*path)
        self.arrays[name] = self.arrays[name][:-1]
