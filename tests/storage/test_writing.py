"""A file is written whole or not at all, and only from what can be loaded again."""

import os
import stat
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import saved
from saved import CLASSES, ROWS, assert_same, features, regressor

import ntksketch as ntk
from ntksketch.storage import container

as_user = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user"
)


@pytest.fixture(scope="module")
def model():
    return features("gegenbauer", n_components=8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def only_file(path):
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_name_may_be_a_string_and_without_end(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ntk.save(model, "plain") is None
    assert_same(model, ntk.load("plain"))
    ntk.save(model, "./" + "n" * 200)
    assert_same(model, ntk.load("n" * 200))


def test_a_file_is_replaced(model, path):
    ntk.save(regressor("gegenbauer"), path)
    ntk.save(model, path)
    assert_same(model, ntk.load(path))
    assert only_file(path)


@pytest.mark.parametrize("step", ["save_file", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(step, error, model, path, monkeypatch):
    def fail(*args, **options):
        if step == "save_file":  # half of it is there
            args[1].write_bytes(b"half")
        raise error

    ntk.save(model, path)
    before = path.read_bytes()
    numbers = container.require_safetensors()
    with monkeypatch.context() as patch:
        patch.setattr(numbers if step == "save_file" else os, step, fail)
        with pytest.raises(type(error)):
            ntk.save(regressor("gegenbauer"), path)
    assert path.read_bytes() == before
    assert only_file(path)


def test_a_failure_leaves_nothing_where_nothing_was(model, path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(container.require_safetensors(), "save_file", fail)
    with pytest.raises(OSError, match=r"model\.safetensors could not be written: the disk is full"):
        ntk.save(model, path)
    assert list(path.parent.iterdir()) == []


KILLED = """
import os, sys, saved
import ntksketch as ntk
from ntksketch.storage import container
model = saved.features("gegenbauer", n_components=9)
os.replace = lambda *args: os._exit(9)
ntk.save(model, sys.argv[1])
"""


@pytest.mark.slow
def test_a_killed_process_leaves_the_old_file(model, path):
    ntk.save(model, path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path], env=saved.environment(), capture_output=True
    )
    assert done.returncode == 9, done.stderr
    assert_same(model, ntk.load(path))


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_modes_are_those_of_other_new_files_or_the_old_one(model, path):
    other = path.with_name("other")
    other.touch()
    ntk.save(model, path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    path.chmod(0o640)
    ntk.save(model, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="links need a right elsewhere")
def test_a_link_stays_and_its_target_is_replaced(model, path):
    target = path.with_name("target")
    target.write_bytes(b"old")
    path.symlink_to(target)
    ntk.save(model, path)
    assert path.is_symlink()
    assert_same(model, ntk.load(target))


def test_no_such_folder(model, path):
    with pytest.raises(FileNotFoundError):
        ntk.save(model, path / "in" / "none")
    with pytest.raises(FileNotFoundError):
        ntk.load(path)


def test_a_folder_is_no_file(model, tmp_path):
    with pytest.raises(IsADirectoryError, match="name of a file in it"):
        ntk.save(model, tmp_path)
    with pytest.raises(ntk.ModelFileError, match="not a regular file"):
        ntk.load(tmp_path)
    assert list(tmp_path.iterdir()) == []


@as_user
def test_permissions(model, path):
    ntk.save(model, path)
    path.chmod(0)
    with pytest.raises(PermissionError):
        ntk.load(path)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            ntk.save(model, path)
    finally:
        path.parent.chmod(0o700)
    assert only_file(path)


def test_permission_errors_pass(model, path, monkeypatch):
    def refusing(method):
        def refuse(self, *args, **options):
            if self.parent == path.parent:
                raise PermissionError(13, "Permission denied")
            return method(self, *args, **options)

        return refuse

    ntk.save(model, path)
    for name in ("touch", "open"):
        monkeypatch.setattr(type(path), name, refusing(getattr(type(path), name)))
    with pytest.raises(PermissionError):
        ntk.save(model, path)
    with pytest.raises(PermissionError):
        ntk.load(path)


def test_safetensors_is_missing(model, path, monkeypatch):
    ntk.save(model, path)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: ntk.save(model, path), lambda: ntk.load(path)):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'ntksketch\[io\]'") as info:
            call()
        assert info.value.name == "safetensors"


# ---------------------------------------------------------------------------------------------
# What is refused, before anything is written
# ---------------------------------------------------------------------------------------------


def refused(model, path, error, message):
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        ntk.save(model, path)
    assert path.read_bytes() == b"old"
    assert only_file(path)


EXPONENTIAL = ntk.zonal.from_function(lambda t: np.exp(t - 1))


@pytest.mark.parametrize("method", ["nystroem", "random-features", ntk.Resampled()])
def test_activations_of_users(method, path):
    model = features(method, ntk.mlp(1, activation=ntk.Elementwise(jnp.sin)))
    refused(model, path, TypeError, r"layers\[1\] is a user's function.*Relu, .* pickle the model")


@pytest.mark.parametrize("method", ["nystroem", ntk.Resampled("nystroem")])
def test_functions_of_users_that_predictions_need(method, path):
    for model in (features(method, EXPONENTIAL), regressor(method, EXPONENTIAL)):
        refused(
            model, path, TypeError, r"target is a user's function.*'gegenbauer'.*zonal\.polynomial"
        )


class OtherRegressor(ntk.NTKRegressor):
    """A user's own estimator."""


class OtherKernel(ntk.zonal.ZonalKernel):
    """A user's own kernel."""

    def evaluate(self, t):
        return 1 + t


@pytest.mark.slow
def test_types_of_users(model, path):
    refused(OtherRegressor("auto"), path, TypeError, "one of NTKFeatures, .* got OtherRegressor")
    refused(ntk.NTKKernel(), path, TypeError, "got NTKKernel")
    refused(None, path, TypeError, "got NoneType")
    own = features("gegenbauer", OtherKernel())
    refused(own, path, TypeError, r"NTKFeatures\.architecture is of .*OtherKernel")


def test_attributes_of_users(path):
    model = features("gegenbauer", n_components=8)
    model.note_ = "mine"
    refused(model, path, TypeError, "the attribute note_.* delete it first")
    del model.note_
    ntk.save(model, path)


def test_parameters_that_were_spoilt(path):
    model = regressor("gegenbauer").set_params(alphas=pd.Series([0.1, 1.0]))
    refused(model, path, TypeError, "alphas is a Series: set the parameter to a NumPy array")
    model = regressor("gegenbauer").set_params(n_components="many")
    refused(model, path, ValueError, "cannot be saved.*n_components is not int")
    model = regressor("gegenbauer").set_params(working_memory=-1)
    refused(model, path, ValueError, "cannot be saved.*working_memory must be")


def test_arrays_that_were_spoilt(path):
    model = regressor("gegenbauer")
    model.ridge_._choice.solution.coef[0, 0, 0] = np.nan
    refused(model, path, ValueError, r"cannot be saved: .*coef is not an array .* without NaN")
    model = features("gegenbauer")
    params = model.feature_map_.params._replace(columns=np.ones((3, 24)))
    model.feature_map_ = model.feature_map_._replace(params=params)
    refused(model, path, ValueError, "cannot be saved: .*do not fit rows of 5 columns")


def test_too_much_text(path, monkeypatch):
    monkeypatch.setattr(container, "_LARGEST_TEXT", 1000)
    names = [f"a column with a long name, number {i}" for i in range(saved.WIDTH * 4)]
    frame = pd.DataFrame(np.tile(ROWS, 4), columns=names)
    refused(features("gegenbauer", X=frame), path, ValueError, "names of columns take most")


def test_a_classifier_of_two_classes_is_checked(path):
    model = saved.classifier("gegenbauer")
    model.classes_ = np.array(["a", "b", "c"])
    refused(model, path, ValueError, "3 classes have 1 targets")
    model.classes_ = CLASSES
    refused(model, path, ValueError, "classes_ is not an array of two or more classes")
