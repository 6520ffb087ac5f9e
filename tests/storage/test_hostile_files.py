"""Of a file that is damaged or made up comes one error that names it, or the model."""

import json
import pickle
import random
import struct
import sys
from pathlib import Path

import fuzz
import numpy as np
import pytest
import safetensors.numpy
import saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved import ROWS, File, assert_same

import ntksketch as ntk
from ntksketch.features.methods import METHODS
from ntksketch.storage import container

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    return {name: fuzz.Target(name, folder) for name in fuzz.FILES}


@pytest.fixture
def opened(targets, tmp_path):
    """Return a function that takes a copy of a valid file apart."""

    def open_copy(name):
        path = tmp_path / "model.safetensors"
        path.write_bytes(targets[name].content)
        return File(path)

    return open_copy


def refused(path, message):
    with pytest.raises(ntk.ModelFileError, match=message) as info:
        ntk.load(path)
    assert str(path) in str(info.value)


# ---------------------------------------------------------------------------------------------
# Files that are none
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"\x02\0\0\0\0\0\0\0{", "9 bytes"),
        (b"\x02\0\0\0\0\0\0\0{}", "holds no model of this library"),
        (b"\xff" * 64, "ask for a header of 18,446,744,073,709,551,615"),
        (struct.pack("<Q", 10**8 + 1) + b"{}", "cut off"),
        (struct.pack("<Q", 4) + b"null", "holds no model"),
        (struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc", "not as JSON should be"),
        (struct.pack("<Q", 200000) + b"[" * 200000, "not as JSON should be"),
        (struct.pack("<Q", 13) + b'{"a":1,"a":2}', "a key occurs twice"),
        (struct.pack("<Q", 9) + b'{"a":NaN}', "NaN is no number of JSON"),
        (struct.pack("<Q", 10009) + b'{"a":' + b"9" * 10003 + b"}", "not as JSON should be"),
        (pickle.dumps(print), "cut off, or something else"),
        (b"PK\x03\x04" + bytes(60), "cut off, or something else"),
    ],
)
def test_what_is_no_model_file(content, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    refused(path, message)


def test_other_safetensors_files(tmp_path):
    path = tmp_path / "file"
    for metadata in (None, {"format": "pt"}, {"format": "1"}, {"model": "{}"}):
        path.write_bytes(safetensors.numpy.save({"a": np.zeros(2)}, metadata))
        refused(path, "no model of this library")


def test_every_shorter_file(targets, tmp_path):
    content, path = targets["ridge"].content, tmp_path / "file"
    for length in (*range(0, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        refused(path, "cut off|fewer than|JSON")
    path.write_bytes(content + b"\0")
    refused(path, "something was added")


def test_a_large_header_is_not_read(targets, tmp_path, monkeypatch):
    path = tmp_path / "file"
    with path.open("wb") as file:  # sparse
        file.write(struct.pack("<Q", 10**9))
        file.truncate(2 * 10**9)
    refused(path, "ask for a header of 1,000,000,000")


def test_a_model_larger_than_memory(opened, monkeypatch):
    monkeypatch.setattr("ntksketch.data.blocks.available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"a model of .* bytes needs"):
        ntk.load(opened("ridge").path)


# ---------------------------------------------------------------------------------------------
# Versions
# ---------------------------------------------------------------------------------------------


def test_a_later_format_names_its_writer(opened):
    path = opened("ridge").write(format="2", version="7.1.0")
    refused(path, r"format '2', written by ntksketch 7\.1\.0; this is ntksketch .*: update")


def test_another_version_of_the_same_format_loads(opened, targets):
    path = opened("ridge").write(version="0.0.1")
    assert_same(targets["ridge"].model, ntk.load(path))


@pytest.mark.parametrize("metadata", [{"version": "0.1.1"}, {"model": "{}"}, {"sha256": "0" * 64}])
def test_metadata_are_under_the_checksum(metadata, opened):
    file = opened("ridge")
    sealed = container.seal(file.text, file.arrays) | metadata
    file.path.write_bytes(safetensors.numpy.save(file.arrays, sealed))
    refused(file.path, "does not match its checksum")


def test_unknown_metadata(opened):
    refused(opened("ridge").write(note="hello"), "metadata are not those of a model")


# written once by version 0.1.0: classifier("nystroem", n_components=6, X=ROWS[:, :3])
FIRST = HERE / "format_1.safetensors"


def test_the_first_format_still_loads():
    assert FIRST.stat().st_size < 10_000
    model = ntk.load(FIRST)
    assert isinstance(model, ntk.NTKClassifier)
    expected = json.loads(FIRST.with_suffix(".json").read_text())
    assert model.predict(expected["rows"]).tolist() == expected["classes"]
    np.testing.assert_allclose(
        model.decision_function(expected["rows"]), expected["scores"], rtol=1e-6
    )
    assert model.ridge_.partial_fit(np.eye(6), np.ones(6)).n_samples_seen_ == 46


# ---------------------------------------------------------------------------------------------
# Structures that are wrong under a right checksum
# ---------------------------------------------------------------------------------------------

MAP = "feature_map_"
DEEP = "[" * 90_000 + "]" * 90_000


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["kind"], 3, "NTKFeatures|model.kind is not str"),
        (["n_components"], 8.0, "n_components is not int"),
        (["n_components"], True, "n_components is not int"),
        (["n_components"], 10**30, "a number that is too large"),
        (["working_memory"], 1e999, "a number that is too large"),
        (["working_memory"], -1.0, "working_memory must be a positive number"),
        (["random_state"], "now", "random_state is not int or NoneType|random_state is not"),
        (["method"], {"type": "os.system", "fields": {}}, "unknown type 'os.system'"),
        (["method"], {"type": ["Relu"], "fields": {}}, "unknown type"),
        (["method"], {"type": "Relu", "fields": {}}, "method is not str or Method"),
        (["method"], {"type": "Relu", "fields": []}, "has no fields"),
        (["method"], {"type": "Relu", "fields": {"slope": 1.0}}, "lacks a field or has another"),
        (["method"], {"__class__": "x"}, "nothing that a model is made of"),
        (["method"], {"array": ["../../etc/passwd", []]}, "array that the file does not hold"),
        (["method"], {"array": [7, []]}, "array that the file does not hold"),
        (["method"], {"array": "array0"}, "nothing that a model is made of"),
        (["method"], {"csr": ["array", [1, 1], 1, 2, 3]}, "no matrix of rows"),
        (["method"], {"csr": ["list", [1, 1], 1, 2, 3]}, "no matrix of rows"),
        (["method"], {"dict": [[1, 2], [1, 3]]}, "a key that occurs twice"),
        (["method"], {"dict": [[{"list": []}, 2]]}, "no number, string or tuple"),
        (["method"], {"dict": [[[{"list": []}], 2]]}, "no tuple of numbers"),
        (["method"], {"dict": [1]}, "no pair of a key and a value"),
        (["method"], {"strings": [10**12, ["a"]]}, "array of strings of 1000000000000 characters"),
        (["method"], {"strings": [0, ["a"]]}, "array of strings of 0 characters"),
        (["method"], {"strings": [1, [1]]}, "no array of strings"),
        (["method"], nested(101), "nested too deeply"),
        (["feature_map_", "plan", "dim"], 10**18, "dimension 1000000000000000000, expected 5"),
        (["feature_map_", "plan", "dim"], 0, "dim is not a whole number of at least 1"),
        (["feature_map_", "plan", "coefficients"], [0.1, -1.0], "a coefficient is negative"),
        (["feature_map_", "plan", "coefficients"], [0.1] * 66, "coefficients is not 2 or more"),
        (["feature_map_", "plan", "layout", "random"], 10**6, "more columns than all"),
        (["feature_map_", "plan", "n_components"], 9, "8 features come from a map of 9"),
        (["feature_map_", "plan", "first", "weight_std"], -1.0, "weight_std must be finite"),
        (["feature_map_", "plan", "method", "linear"], "x", "linear must be one of"),
        (["feature_map_", "plan"], None, "plan is not GegenbauerPlan"),
        (["n_features_in_"], 4, "dimension 5, expected 4"),
        (["_n_features_out"], 4, "4 features come from a map of 8"),
        (
            ["feature_names_in_"],
            {"strings": [None, ["a"]]},
            "5 columns have other numbers of names",
        ),
        (["_sklearn_output_config"], {"dict": [["transform", "x"]]}, "output_config is not"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_values(path, value, message, opened):
    file = opened("features")
    file.put(value, *path)
    refused(file.write(json.dumps(file.document).replace("Infinity", "1e999")), message)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["params", "projection"], 3, "projection is not SRHT or None"),
        (["params", "projection"], None, "do not fit|features, expected"),
        (["plan", "layout", "projected"], 1, "the projection has shape"),
        (["plan", "method", "directions"], "orthogonal", "dimension 8, expected 5"),
        (["plan", "coefficients", 1], 0.0, "no part in the kernel"),
    ],
)
def test_wrong_projections(path, value, message, opened):
    file = opened("structured")
    file.put(value, MAP, *path)
    refused(file.write(), message)


def test_a_projection_beside_other_columns_than_the_plan_has(opened):
    file = opened("structured")
    layout = file.at(MAP, "plan", "layout")["fields"]
    layout["principal"], layout["random"] = 1, layout["random"] - 1
    refused(file.write(), "there are 0 principal columns")


def test_wrong_text(opened):
    for text, message in (
        ("", "not as JSON should be"),
        (DEEP, "not as JSON should be"),
        ("[]", "it has no model"),
        ('{"model": 3, "versions": {}}', "arrays that belong to nothing"),
        ('{"model": 3, "model": 3, "versions": {}}', "a key occurs twice"),
        ('{"model": ' + "9" * 5000 + ', "versions": {}}', "not as JSON should be"),
    ):
        refused(opened("ridge").write(text), message)
    file = opened("ridge")
    file.document["model"] = 3
    file.arrays.clear()
    refused(file.write(), "holds a int, which is no fitted model")
    file.document["model"] = {"type": "Relu", "fields": {}}
    refused(file.write(), "holds a Relu, which is no fitted model")


def test_fields_in_another_order_are_the_same_model(opened, targets):
    file = opened("regressor")
    fields = file.model["fields"]
    file.model["fields"] = dict(sorted(fields.items(), reverse=True))
    assert_same(targets["regressor"].model, ntk.load(file.write()))


def edit_missing(file, name):
    del file.arrays[name]


def edit_surplus(file, name):
    file.arrays["surplus"] = np.zeros(3)


def edit_nan(file, name):
    file.arrays[name].flat[0] = np.nan


def edit_infinite(file, name):
    file.arrays[name].flat[0] = np.inf


def edit_dtype(file, name):
    file.arrays[name] = file.arrays[name].astype(np.float16)


def edit_integers(file, name):
    file.arrays[name] = file.arrays[name].astype(np.int64)


def edit_rows(file, name):
    file.arrays[name] = file.arrays[name][:-1]


def edit_columns(file, name):
    file.arrays[name] = file.arrays[name][..., :-1]


def edit_axes(file, name):
    file.arrays[name] = file.arrays[name][None]


def edit_empty(file, name):
    file.arrays[name] = file.arrays[name][:0]


EDITS = [
    (edit_missing, "does not hold"),
    (edit_surplus, "belong to nothing: surplus"),
    (edit_nan, "without NaN|finite rows"),
    (edit_infinite, "without NaN or infinity|finite rows"),
    (edit_dtype, "is not"),
    (edit_integers, "is not|would be|differ in dtype"),
    (edit_rows, None),
    (edit_columns, None),
    (edit_axes, "in no order that there is"),
    (edit_empty, None),
]
ARRAYS = [
    ("features", [MAP, "params", "columns"]),
    ("structured", [MAP, "params", "signs"]),
    ("structured", [MAP, "params", "projection", "signs"]),
    ("regressor", ["_map", "params", 0, "relu"]),
    ("regressor", ["_map", "params", 0, "steps"]),
    ("folded", ["_map", "params", 1, "signs"]),
    ("nystroem", ["_map", "params", "landmarks"]),
    ("nystroem", ["_map", "params", "squares"]),
    ("nystroem", ["_map", "params", "linear", 0]),
    ("nystroem", ["ridge_", "_penalty", "packed"]),
    ("layered", [MAP, "params", 2]),
    ("resampled", ["_map", "params", 2]),
    ("ridge", ["_accumulator", "_gram"]),
    ("ridge", ["_accumulator", "_moment"]),
    ("ridge", ["_accumulator", "_z_mean"]),
    ("ridge", ["_choice", "solution", "coef"]),
    ("ridge", ["_choice", "solution", "intercept"]),
    ("ridge", ["_choice", "solution", "degrees_of_freedom"]),
]


@pytest.mark.parametrize(("edit", "message"), EDITS, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize(("name", "path"), ARRAYS, ids=str)
def test_wrong_arrays(name, path, edit, message, opened):
    file = opened(name)
    edit(file, file.array(*path))
    refused(file.write(), message)


def test_scores_may_be_infinite_but_not_nan(opened):
    file = opened("ridge")
    name = file.array("_choice", "gcv")
    file.arrays[name][0] = np.inf
    ntk.load(file.write())
    file.arrays[name][0] = np.nan
    refused(file.write(), "gcv is not")


INDICES = [
    ("regressor", ["_map", "params", 0, "product", "sketch", "factors", 0, "indices"], 8),
    ("folded", ["_map", "params", 1, "columns"], 10**6),
    ("resampled", ["_map", "params", 1], 10**6),
    ("layered", [MAP, "params", 1, 0, "value", "mix", "indices"], 10**6),
]


@pytest.mark.parametrize("value", [-1, None])
@pytest.mark.parametrize(("name", "path", "largest"), INDICES, ids=str)
def test_indices_out_of_range(name, path, largest, value, opened):
    file = opened(name)
    file.arrays[file.array(*path)].flat[-1] = largest if value is None else value
    refused(file.write(), "numbers outside of 0 to")


@pytest.mark.parametrize("part", [2, 3, 4])
@pytest.mark.parametrize("value", [-1, 10**6])
def test_sparse_landmarks_out_of_range(part, value, tmp_path):
    model = saved.features(ntk.Nystroem(saved.sparse(ROWS[:8])), n_components=8)
    ntk.save(model, tmp_path / "model.safetensors")
    file = File(tmp_path / "model.safetensors")
    content = file.at(MAP, "landmarks")["csr"]
    array = file.arrays[content[part]["array"][0]]
    if part == 2:
        file.arrays[content[part]["array"][0]] = array[:-1]
    else:
        array[-1] = value
    refused(file.write(), "outside of its shape")


@pytest.mark.parametrize(
    ("kernel", "fields", "message"),
    [
        ("zonal.GammaExponential", {"c": -1e9, "gamma": 1.0}, "values that are infinite"),
        ("zonal.Polynomial", {"coefficients": [-1.0]}, "at a cosine of 1 is not the largest"),
        ("zonal.Polynomial", {"coefficients": []}, "is not 1 or more items"),
        ("zonal.Legendre", {"dim": 0, "coefficients": [1.0]}, "at least 1"),
        ("zonal.Network", {"architecture": {"type": "Erf", "fields": {}}, "kind": "ntk"}, "zonal"),
        ("zonal.Network", {"architecture": None, "kind": "ntk"}, "architecture is not"),
        ("zonal.UnsavedFunction", {}, "target is not"),
    ],
    ids=str,
)
def test_kernels_that_are_none(kernel, fields, message, opened):
    file = opened("nystroem")
    file.put({"type": kernel, "fields": fields}, "_map", "plan", "target")
    refused(file.write(), message)


@pytest.mark.parametrize("part", ["_map", "ridge_", "features_"])
def test_parts_of_different_models(part, targets, tmp_path):
    file = File(targets["nystroem"].path)
    other = saved.regressor("gegenbauer", n_components=7, X=ROWS[:, :4])
    ntk.save(other, tmp_path / "other")
    donor = File(tmp_path / "other")
    text = json.dumps(donor.model["fields"][part]).replace('["array', '["own')
    file.put(json.loads(text), part)
    file.arrays |= {name.replace("array", "own"): a for name, a in donor.arrays.items()}
    used = {name for name in file.arrays if f'"{name}"' in json.dumps(file.document)}
    file.arrays = {name: file.arrays[name] for name in used}
    file.path = tmp_path / "mixed"
    refused(file.write(), "have features of|has a map of|do not fit rows|expected 5")


@pytest.mark.parametrize("name", ["this", "this.s", "ntksketch.features.auto.Auto"])
def test_no_name_in_a_file_is_imported(name, opened):
    file = opened("features")
    file.put({"type": name, "fields": {}}, "method")
    refused(file.write(), f"unknown type '{name}'")
    assert "this" not in sys.modules  # a module of the standard library that nobody needs


# ---------------------------------------------------------------------------------------------
# At random; fuzz.py runs as many as one likes
# ---------------------------------------------------------------------------------------------

many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@many
@given(rng=st.randoms(use_true_random=False), name=st.sampled_from(list(fuzz.FILES)))
def test_damaged_bytes(targets, rng, name):
    assert targets[name].change_bytes(rng) in ("refused", "identical")


@many
@given(rng=st.randoms(use_true_random=False), name=st.sampled_from(list(fuzz.FILES)))
def test_changed_structures(targets, rng, name):
    targets[name].change_structure(rng, use=False)


@settings(many, max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_changed_models_that_load_can_be_used(targets, seed):
    rng = random.Random(seed)
    for _ in range(10):  # most are refused
        if targets["ridge"].change_structure(rng) != "refused":
            return


def test_every_method_is_attacked(targets):
    attacked = {type(getattr(t.model, "method", None)) for t in targets.values()}
    names = {t.model.method for t in targets.values() if hasattr(t.model, "method")} & set(METHODS)
    assert {type(METHODS[name]()) for name in names} | attacked >= set(METHODS.values())


@pytest.mark.parametrize("name", list(fuzz.FILES))
def test_unchanged_files_are_the_models(name, targets):
    assert_same(targets[name].model, ntk.load(targets[name].path))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 2.5, "landmarks has a row, number 1, of 2.5 steps"),
        (0, 4.0, "landmarks has a row, number 1, of 4 steps"),
        (1, 1.0, "landmarks has a row, number 1, of 2 steps with numbers before these"),
    ],
)
def test_landmarks_that_are_no_sequences(column, value, message, tmp_path):
    sequences = [np.ones((3, 2)), np.ones((2, 2)), -np.ones((1, 2)), np.full((1, 2), 0.5)]
    model = saved.features("nystroem", ntk.rnn(), 4, X=sequences)
    ntk.save(model, tmp_path / "model.safetensors")
    file = saved.File(tmp_path / "model.safetensors")
    landmarks = file.arrays[file.array("feature_map_", "landmarks")]
    row = int(np.flatnonzero(landmarks[:, 0] == 2)[0])
    landmarks[[1, row]] = landmarks[[row, 1]]
    landmarks[1, column] = value
    with pytest.raises(ntk.ModelFileError, match=message):
        ntk.load(file.write())


def test_a_filter_far_larger_than_its_image_is_refused(opened):
    """Tracing it would take as many steps as it has pixels."""
    file = opened("random features of images")
    text = json.dumps(file.document).replace('"filter_size": 2,', '"filter_size": 2000000000,')
    assert "2000000000" in text
    with pytest.raises(ntk.ModelFileError, match="a filter of 2000000000 is far larger"):
        ntk.load(file.write(text=text))
