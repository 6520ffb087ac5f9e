"""What is damaged at random is refused or read; fuzz_files.py runs as many cases as one likes."""

import random

import numpy as np
import pytest
from fuzz_files import BINARY, targets

import ntksketch as ntk
from ntksketch.data import SourceError, open_source

CASES = 150


@pytest.fixture(scope="module")
def damage(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("name", ["libsvm", "csv", "stopped", "finished"])
def test_damage_is_refused_or_does_no_harm(damage, name):
    results = {damage[name].run(random.Random(f"suite {case}")) for case in range(CASES)}
    assert results == {"refused", "read" if name in ("libsvm", "csv") else "went on"}


@pytest.mark.parametrize("way", BINARY)
def test_a_damaged_file_of_rows_is_refused_or_read(damage, way):
    results = {damage[way].run(random.Random(f"suite {case}")) for case in range(25)}
    assert "refused" in results
    assert results <= {"refused", "read", "too large"}


def _closed(content):  # the library's tokenizer fails
    return content.replace(b"}", b"{", 1)


def _other_compression(content):
    place = content.rindex(b"PK\x01\x02") + 10
    return content[:place] + b"\x63\x00" + content[place + 2 :]


@pytest.mark.parametrize(
    ("name", "damage"), [("a.npy", _closed), ("a.npz", _closed), ("a.npz", _other_compression)]
)
def test_errors_of_libraries_name_the_file(name, damage, tmp_path):
    path, beside = tmp_path / name, tmp_path / "X.npy"
    save = np.save if path.suffix == ".npy" else np.savez
    save(path, np.ones((4, 3)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match=rf"{name}: expected a whole"):
        open_source(path)
    if path.suffix == ".npy":
        np.save(beside, np.ones((4, 3)))
        with pytest.raises(SourceError, match=rf"{name}: expected a whole"):
            open_source(beside, targets=path)


@pytest.mark.parametrize("text", ["", "\n", "{", "[" * 10**5, "null", "\ud800", '{"blocks": 3}'])
@pytest.mark.parametrize("end", ["json", "journal"])
def test_manifests_that_are_damaged(end, text, tmp_path, monkeypatch):
    X = np.random.default_rng(0).standard_normal((50, 3))
    features = ntk.NTKFeatures(None, "random-features", 8, random_state=0).fit(X)
    path = tmp_path / "Z.npy"
    if end == "json":
        ntk.data.featurise(features, X, path)
    else:
        monkeypatch.setattr("ntksketch.data.sinks.npy.NpyStore.write", _full, raising=True)
        with pytest.raises(OSError, match="cannot be written"):
            ntk.data.featurise(features, X, path)
        monkeypatch.undo()
    beside = tmp_path / f"Z.npy.{end}"
    beside.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=rf"Z.npy.{end} is damaged; delete it|not the one"):
        ntk.data.featurise(features, X, path, resume=True)
    assert beside.exists()


def _full(*_):
    raise OSError(28, "No space left on device")
