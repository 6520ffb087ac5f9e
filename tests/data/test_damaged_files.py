"""What is damaged at random is refused or read; fuzz_files.py runs as many cases as one likes."""

import random

import numpy as np
import pytest
from fuzz_files import targets

import ntksketch as ntk

CASES = 150


@pytest.fixture(scope="module")
def damage(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("name", ["libsvm", "csv", "stopped", "finished"])
def test_damage_is_refused_or_does_no_harm(damage, name):
    results = {damage[name].run(random.Random(f"suite {case}")) for case in range(CASES)}
    assert results == {"refused", "read" if name in ("libsvm", "csv") else "went on"}


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
