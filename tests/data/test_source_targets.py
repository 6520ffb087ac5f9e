"""Targets beside rows: other ones, what tells them apart, and files of them that change."""

import itertools
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from source_files import WAYS, rows_and_targets, table

import ntksketch as ntk
from ntksketch.data import Source, SourceError, open_source
from ntksketch.estimators.targets import EncodedTargets, ShiftedTargets, read_labels

N = 11
WITH_ROWS = ("parquet", "parquet folder", "parquet lists", "parquet fixed lists", "libsvm")
WITH_ROWS += ("csv", "csv without header")

ways = pytest.mark.parametrize("way", WAYS)


# ---------------------------------------------------------------------------------------------
# Other targets
# ---------------------------------------------------------------------------------------------


@ways
def test_other_targets_take_the_place_of_those_there(way, tmp_path):
    X, y = rows_and_targets(N)
    source = WAYS[way](tmp_path, X, y)
    source.read(0, 4)  # whose own targets wait
    other = source.with_targets(y + 100)
    np.testing.assert_array_equal(other.read_targets(0, 4), y[:4] + 100)
    found = np.concatenate([block.y for block in other.blocks(4)])
    np.testing.assert_array_equal(found, y + 100)
    np.testing.assert_array_equal(source.read_targets(0, N), y)
    Y = np.column_stack([y, y])
    np.testing.assert_array_equal(other.with_targets(Y).read_targets(3, N), Y[3:])
    with pytest.raises(SourceError, match=f"expected one for each of {N} rows"):
        source.with_targets(y[:4])


# ---------------------------------------------------------------------------------------------
# Fingerprints of targets
# ---------------------------------------------------------------------------------------------


@ways
def test_every_target_counts_in_the_fingerprint(way, tmp_path):
    X, y = rows_and_targets(N)
    source = WAYS[way](tmp_path, X, y)
    found = source.targets_fingerprint()
    assert json.loads(json.dumps(found)) == found
    if way in WITH_ROWS:  # their file is in fingerprint()
        column = {"csv": 5, "csv without header": 5}.get(way, "y")
        assert found == (None if way == "libsvm" else {"column": column})
    else:
        assert found == open_source(X, targets=y).targets_fingerprint()
    for i in range(N):
        other = y.copy()
        other[i] += 1
        changed = source.with_targets(other).targets_fingerprint()
        assert changed != found
        assert changed == open_source(X, targets=other).targets_fingerprint()


def test_fingerprints_of_targets_tell_shape_and_type():
    y = np.arange(12.0)
    targets = [y, y.reshape(12, 1), y.astype(int), y.astype(">f8"), y[::-1]]
    found = [open_source(np.ones((12, 2)), targets=t).targets_fingerprint() for t in targets]
    assert all(a != b for a, b in itertools.combinations(found, 2))
    assert open_source(np.ones((12, 2))).targets_fingerprint() is None
    by_columns = open_source(np.ones((6, 2)), targets=np.asfortranarray(y.reshape(6, 2)))
    by_rows = open_source(np.ones((6, 2)), targets=y.reshape(6, 2))
    assert by_columns.targets_fingerprint() == by_rows.targets_fingerprint()


def test_many_targets_are_hashed_in_pieces(monkeypatch):
    y = np.arange(200_001)
    source = open_source(np.ones((len(y), 1)), targets=y)
    read, heights = source._target_rows, []
    monkeypatch.setattr(
        source, "_target_rows", lambda i, j: heights.append(j - i) or read(i, j), raising=True
    )
    found = source.targets_fingerprint()
    assert heights == [65_536] * 3 + [200_001 - 3 * 65_536]
    y[100_000] += 1
    assert source.targets_fingerprint() != found


def test_another_column_is_another_fingerprint(tmp_path):
    X, y = rows_and_targets(N)
    pq.write_table(table(X, y, z=y), tmp_path / "a.parquet")
    found = [
        open_source(tmp_path / "a.parquet", targets=t, columns=["x0"]).targets_fingerprint()
        for t in ("y", "z")
    ]
    assert found[0] != found[1]


def test_fingerprints_of_changed_targets():
    y = np.arange(5.0)
    source = open_source(np.ones((5, 2)), targets=y)
    found = source.targets_fingerprint()
    assert EncodedTargets(source, np.sqrt).targets_fingerprint() == found
    shifts = [np.array(0.0), np.array(1.0), np.zeros(5), np.eye(5)[4]]
    shifted = [ShiftedTargets(source, shift).targets_fingerprint() for shift in shifts]
    assert all(a != b for a, b in itertools.combinations(shifted, 2))
    assert json.loads(json.dumps(shifted)) == shifted
    assert all(each["of"] == found for each in shifted)
    other = ShiftedTargets(source.with_targets(y + 1), shifts[1]).targets_fingerprint()
    assert other["less"] == shifted[1]["less"]
    assert other["of"] != found


def test_an_iterable_has_no_fingerprint_of_targets():
    source = open_source((np.ones((2, 2)), np.ones(2)) for _ in range(3))
    with pytest.raises(SourceError, match="not known before"):
        source.targets_fingerprint()


# ---------------------------------------------------------------------------------------------
# Targets alone
# ---------------------------------------------------------------------------------------------


@ways
def test_blocks_of_targets_keep_to_the_memory(way, tmp_path, monkeypatch):
    X, y = rows_and_targets(60, d=7)
    source = WAYS[way](tmp_path, X, y)
    read, heights = source.read_targets, []
    monkeypatch.setattr(source, "read_targets", lambda i, j: heights.append(j - i) or read(i, j))
    assert [start for start, _ in source.target_blocks()] == [0]
    heights.clear()
    memory = 20 * source.row_bytes * 4 / 2**20
    labels = read_labels(source, memory)
    np.testing.assert_array_equal(labels, y)
    assert max(heights) == 20
    heights.clear()
    np.testing.assert_array_equal(read_labels(source, memory / 1000), y)
    assert max(heights) == 1


def test_a_classifier_reads_labels_within_its_memory(monkeypatch):
    X, y = rows_and_targets(2000, d=50)
    blocks, budgets = Source.target_blocks, []
    monkeypatch.setattr(
        Source, "target_blocks", lambda self, memory: budgets.append(memory) or blocks(self, memory)
    )
    options = {"method": "random-features", "n_components": 8, "random_state": 0}
    ntk.NTKClassifier(**options, working_memory=2).fit(open_source(X, targets=y))
    assert budgets == [2]


# ---------------------------------------------------------------------------------------------
# Targets that change
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["opened", "with_targets"])
def test_a_file_of_targets_that_changes_is_refused(given, tmp_path):
    X, y = rows_and_targets(N)
    path = tmp_path / "y.npy"
    np.save(path, y)
    if given == "opened":
        source = open_source(X, targets=path)
    else:
        source = open_source(X, targets=y).with_targets(str(path))
    before, blocks = source.targets_fingerprint(), source.blocks(4)
    next(blocks)
    np.save(path, y + 1)
    os.utime(path, ns=(1, 1))
    for read in (lambda: next(blocks), source.targets_fingerprint):
        with pytest.raises(SourceError, match=r"y.npy changed after it was opened"):
            read()
    other = source.with_targets(path)
    assert other.targets_fingerprint() != before
    np.testing.assert_array_equal(other.read_targets(0, N), y + 1)
    path.unlink()
    source.with_targets(y).read_targets(0, N)  # which need no file


def test_stored_targets_that_change_during_a_pass(tmp_path):
    source = WAYS["zarr group"](tmp_path, *rows_and_targets(N))
    blocks = source.blocks(4)
    next(blocks)
    zarr.open_array(str(tmp_path / "group.zarr/train/y"), mode="r+")[0] = 9
    next(blocks)
    with pytest.raises(SourceError, match=r"group.zarr changed while it was read"):
        next(blocks)
    list(source.with_targets(np.ones(N)).blocks(4))
