"""Files of features: the same as those in memory, whole or not there, whatever happens."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from linear_map import BLOCK_MIB, LinearMap, write
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntksketch as ntk
from ntksketch.data import SourceError, featurise, open_source
from ntksketch.data.sinks import sink as sink_module

pytestmark = pytest.mark.slow

SUFFIXES = [".npy", ".zarr"]
N = 30  # three blocks of eight rows and one of six

suffixes = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, X):
    """A folder for features beside the rows."""
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def contents(path):
    """Return the bytes of a file, or of all files of a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


class Stop(Exception):
    pass


class Counter:
    """Counts the blocks that are written."""

    calls = 0

    def __call__(self, done, total):
        self.calls += 1


def stop_after(rows):
    def progress(done, total):
        if done >= rows:
            raise Stop

    return progress


# ---------------------------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------------------------


@suffixes
def test_features_are_those_of_memory(suffix, folder, X):
    seen = []
    Z = write(folder, suffix, progress=lambda done, total: seen.append((done, total)))
    assert Z.shape == (N, 6)
    assert Z.dtype == np.float32
    np.testing.assert_array_equal(Z.read(0, N), LinearMap().transform(X))
    assert seen == [(8, N), (16, N), (24, N), (N, N)]
    assert names(folder) == [f"Z{suffix}", f"Z{suffix}.json"]
    if suffix == ".npy":
        np.testing.assert_array_equal(np.load(folder / "Z.npy"), Z.read(0, N))


@suffixes
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_of_an_estimator(suffix, make, dtype, tmp_path):
    X = make(np.random.default_rng(0).standard_normal((300, 6)).astype(dtype))
    features = ntk.NTKFeatures(method="random-features", n_components=40, random_state=0).fit(X)
    Z = featurise(features, X, tmp_path / f"Z{suffix}", working_memory=1)
    assert Z.dtype == dtype
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    want = features.transform(X)
    np.testing.assert_allclose(Z.read(0, 300), want, rtol=rtol, atol=rtol * np.abs(want).max())


def test_a_pipeline_is_a_transformer(tmp_path, X):
    features = make_pipeline(StandardScaler(), ntk.NTKFeatures(n_components=16, random_state=0))
    Z = featurise(features.fit(X), X, tmp_path / "Z.npy")
    np.testing.assert_array_equal(Z.read(0, N), features.transform(X))
    manifest = json.loads((tmp_path / "Z.npy.json").read_text())
    assert manifest["features"]["parameters"]["ntkfeatures__random_state"] == "0"


def test_an_iterable_is_written_in_one_pass(folder, X):
    source = open_source(iter([X[:5], X[5:]]), n_rows=N)
    Z = featurise(LinearMap(), source, folder / "Z.npy", working_memory=BLOCK_MIB)
    np.testing.assert_array_equal(Z.read(0, N), LinearMap().transform(X))
    with pytest.raises(SourceError, match="how many rows will come"):
        featurise(LinearMap(), iter([X]), folder / "Y.npy")
    with pytest.raises(SourceError, match="cannot be read again to resume"):
        featurise(LinearMap(), open_source(iter([X]), n_rows=N), folder / "Y.npy", resume=True)
    with pytest.raises(SourceError, match="expected 31 rows, got 30"):
        featurise(LinearMap(), open_source(iter([X]), n_rows=N + 1), folder / "Y.npy")
    assert "Y.npy" not in names(folder)


def test_manifest_says_what_was_done(folder, X):
    write(folder, ".npy")
    manifest = json.loads((folder / "Z.npy.json").read_text())
    assert manifest["features"] == {
        "class": "LinearMap",
        "method": "transform",
        "parameters": {"n_components": "6", "seed": "0"},
    }
    assert manifest["shape"] == [N, 6]
    assert (manifest["dtype"], manifest["block_rows"]) == ("float32", 8)
    assert manifest["source"] == open_source(folder.parent / "X.npy").fingerprint()
    assert manifest["versions"]["numpy"] == np.__version__
    assert len(manifest["blocks"]) == 4
    assert manifest["blocks"][0] == manifest["first_block"]


def test_temporaries_keep_to_the_budget(folder):
    import sklearn

    class Curious(LinearMap):
        def transform(self, X):
            budgets.append(sklearn.get_config()["working_memory"])
            return super().transform(X)

    budgets = []
    featurise(Curious(), folder.parent / "X.npy", folder / "Z.npy", working_memory=10)
    assert budgets == [5]
    assert sklearn.get_config()["working_memory"] == 1024


# ---------------------------------------------------------------------------------------------
# Runs that were stopped
# ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@suffixes
def test_a_killed_run_resumes_to_the_same_bytes(suffix, folder, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # slow, and nothing loses its power here
    whole = write(folder, suffix)
    want = contents(folder / f"Z{suffix}"), contents(folder / f"Z{suffix}.json")
    program = sys.modules["linear_map"].__file__
    done = subprocess.run(
        [sys.executable, program, folder.parent, suffix], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    moments, code = map(int, done.stdout.split())
    assert (moments > 15, code) == (True, 0)
    stages = set()
    for moment in range(moments):
        place = folder.parent / str(moment)
        left = names(place)
        if f"Z{suffix}" in left:  # what has the name is whole
            assert contents(place / f"Z{suffix}") == want[0]
        count = Counter()
        Z = write(place, suffix, resume=True, progress=count)
        stages.add(count.calls)
        assert Z.shape == whole.shape
        assert (contents(place / f"Z{suffix}"), contents(place / f"Z{suffix}.json")) == want
        assert names(place) == [f"Z{suffix}", f"Z{suffix}.json"]
    assert stages == {0, 1, 2, 3, 4}


@suffixes
def test_only_what_is_left_is_computed(suffix, folder):
    with pytest.raises(Stop):
        write(folder, suffix, progress=stop_after(16))
    assert names(folder) == [f"Z{suffix}.journal", f"Z{suffix}.partial"]
    seen = []
    write(folder, suffix, resume=True, progress=lambda done, total: seen.append(done))
    assert seen == [24, N]
    seen.clear()
    write(folder, suffix, resume=True, progress=lambda done, total: seen.append(done))
    assert seen == []


@suffixes
def test_blocks_that_are_not_what_was_written_are_computed_again(suffix, folder):
    want = contents(folder / f"Z{suffix}") if write(folder, suffix) else None
    for path in (folder / f"Z{suffix}", folder / f"Z{suffix}.json"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(Stop):
        write(folder, suffix, progress=stop_after(24))
    partial = folder / f"Z{suffix}.partial"
    if suffix == ".npy":
        content = bytearray(partial.read_bytes())
        content[-(N - 10) * 6 * 4] ^= 1  # in row 10, of the second block
        partial.write_bytes(content)
    else:
        chunk = partial / "c/1/0"
        chunk.write_bytes(chunk.read_bytes()[:5])
    journal = folder / f"Z{suffix}.journal"
    journal.write_text(journal.read_text() + '"cut o')
    seen = []
    write(folder, suffix, resume=True, progress=lambda done, total: seen.append(done))
    assert seen == [16, 24, N]
    assert contents(folder / f"Z{suffix}") == want


def test_without_its_partial_file_a_journal_starts_over(folder, X):
    with pytest.raises(Stop):
        write(folder, ".npy", progress=stop_after(16))
    (folder / "Z.npy.partial").unlink()
    np.testing.assert_array_equal(
        write(folder, ".npy", resume=True).read(0, N), LinearMap().transform(X)
    )


def test_what_is_there_is_not_overwritten(folder):
    with pytest.raises(Stop):
        write(folder, ".npy", progress=stop_after(16))
    with pytest.raises(FileExistsError, match=r"Z.npy .*stopped after 2 of 4 blocks; resume=True"):
        write(folder, ".npy")
    write(folder, ".npy", resume=True)
    with pytest.raises(FileExistsError, match=r"Z.npy .*it exists; delete it"):
        write(folder, ".npy")
    (folder / "Z.npy.json").unlink()
    with pytest.raises(FileExistsError, match=r"it exists, and no Z.npy.json tells what it is"):
        write(folder, ".npy", resume=True)


@pytest.mark.parametrize("finished", [False, True])
def test_another_run_is_refused_with_what_differs(finished, folder, X):
    source = open_source(folder.parent / "X.npy")
    options = {"working_memory": BLOCK_MIB, "resume": True}
    if finished:
        write(folder, ".npy")
    else:
        with pytest.raises(Stop):
            write(folder, ".npy", progress=stop_after(16))

    def refused(features, source, message, **changed):
        with pytest.raises(ValueError, match=message):
            featurise(features, source, folder / "Z.npy", **(options | changed))

    refused(
        LinearMap(seed=1),
        source,
        r"features.parameters.seed was '0' and is '1'; first_block was '\w+' and is '\w+'",
    )
    refused(LinearMap(7), source, r"shape was \[30, 6\] and is \[30, 7\]")
    refused(LinearMap(), source, "block_rows was 8 and is 16", working_memory=2 * BLOCK_MIB)
    refused(LinearMap(), X.astype(float), "source.dtype was 'float32' and is 'float64'")
    refused(type("Other", (LinearMap,), {})(), source, "features.class was 'LinearMap' and is 'O")
    os.utime(folder.parent / "X.npy", ns=(1, 1))
    source = open_source(folder.parent / "X.npy")
    refused(LinearMap(), source, r"source.files.X.npy was \[\d+, \d+\] and is \[\d+, 1\]; delete")
    X[20] += 1
    np.save(folder.parent / "X.npy", X)
    refused(LinearMap(), open_source(folder.parent / "X.npy"), r"source.checksum was '\w+' and is")


def test_an_unseeded_draw_is_told_by_its_features(tmp_path, X):
    def draw():
        return ntk.NTKFeatures(method="random-features", n_components=8).fit(X)

    features = draw()
    featurise(features, X, tmp_path / "Z.npy")
    featurise(features, X, tmp_path / "Z.npy", resume=True)
    with pytest.raises(ValueError, match=r"resume: first_block was '\w+' and is '\w+'; delete"):
        featurise(draw(), X, tmp_path / "Z.npy", resume=True)


def test_generators_are_described_without_their_address(tmp_path, X):
    for _ in range(2):
        state = np.random.RandomState(0)
        features = ntk.NTKFeatures(method="random-features", n_components=8, random_state=state)
        featurise(features.fit(X), X, tmp_path / "Z.npy", resume=True)


# ---------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------


def test_a_bad_block_is_named_and_the_ones_before_are_kept(folder, X):
    X[20, 1] = np.nan
    np.save(folder.parent / "X.npy", X)
    with pytest.raises(SourceError, match=r"X.npy, block 2 \(rows 16 to 23\): NaN in row 20"):
        write(folder, ".npy")
    assert names(folder) == ["Z.npy.journal", "Z.npy.partial"]


def test_a_source_that_shrinks_is_told(folder, X):
    def shrink(done, total):
        os.truncate(folder.parent / "X.npy", 300)

    with pytest.raises(SourceError, match=r"X.npy shrank after it was opened"):
        write(folder, ".npy", progress=shrink)
    assert "Z.npy" not in names(folder)


@suffixes
def test_a_full_disk_is_told_before_the_start(suffix, folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(sink_module.shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(OSError, match=rf"Z{suffix} cannot be written: it needs 720 B and 100 B"):
        write(folder, suffix)
    assert names(folder) == []


@pytest.fixture
def limit_file_size():
    """Set the largest size of a file, at which writing fails as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_file_that_cannot_be_made_leaves_nothing(folder, limit_file_size):
    limit_file_size(200)
    with pytest.raises(OSError, match=r"Z.npy cannot be written: File too large"):
        write(folder, ".npy")
    assert names(folder) == []


@suffixes
def test_a_write_that_fails_keeps_the_blocks_before(suffix, folder, limit_file_size, X):
    def limit(done, total):
        if done == 16:
            limit_file_size(100)

    with pytest.raises(
        OSError, match=rf"Z{suffix} cannot be written: File too large; 2 blocks are kept, resume"
    ):
        write(folder, suffix, progress=limit)
    limit_file_size(2**40)
    assert names(folder) == [f"Z{suffix}.journal", f"Z{suffix}.partial"]
    Z = write(folder, suffix, resume=True)
    np.testing.assert_array_equal(Z.read(0, N), LinearMap().transform(X))


def test_places_where_nothing_can_be_written(folder):
    with pytest.raises(FileNotFoundError, match=r"Z.npy cannot be written: there is no folder"):
        featurise(LinearMap(), folder.parent / "X.npy", folder / "missing/Z.npy")
    with pytest.raises(ValueError, match=r"Z.csv: results are written to .npy or .zarr"):
        featurise(LinearMap(), folder.parent / "X.npy", folder / "Z.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@suffixes
def test_a_folder_without_permission(suffix, folder):
    folder.chmod(0o500)
    with pytest.raises(PermissionError, match=re.escape(f"Z{suffix} cannot be written")):
        write(folder, suffix)


def test_transformers_that_cannot_be_used(tmp_path, X):
    class Sparse(LinearMap):
        def transform(self, X):
            return sp.csr_array(X)

    class Overflowing(LinearMap):
        def transform(self, X):
            return np.full((len(X), 2), np.inf)

    with pytest.raises(TypeError, match=r"Sparse.transform gives sparse features"):
        featurise(Sparse(), X, tmp_path / "Z.npy")
    with pytest.raises(FloatingPointError, match="results of rows 0 to 29 are not finite"):
        featurise(Overflowing(), X, tmp_path / "Z.npy")
    with pytest.raises(SourceError, match="there are no rows"):
        featurise(LinearMap(), X[:0], tmp_path / "Z.npy")
    assert names(tmp_path) == []
