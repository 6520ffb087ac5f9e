"""The benchmarks of all methods, at tiny sizes and on made-up results."""

import json

import numpy as np
import pytest

import ntksketch as ntk
from benchmarks import frontier, frontier_drawing, frontier_estimators, which_method
from benchmarks.datasets import Dataset, load, normalised
from benchmarks.errors import Yardstick, apart, exponent, summary
from benchmarks.methods import LABELS, library_method
from benchmarks.peers import NTKNystroem
from benchmarks.rendering import render
from benchmarks.results import Results

SMALL = frontier.settings(True) | {"estimator_method": "random-features", "max_train": 200}

# ---------------------------------------------------------------------------------------------
# Made-up results
# ---------------------------------------------------------------------------------------------

SLOWNESS = {"ntkrf": 40.0, "gegenbauer": 1.0}
ACCURACY = {"nystroem": 0.1, "gegenbauer": 0.3, "ntkrf": 2.0}


def made_up(configuration):
    """Return an outcome: errors fall as 1/m, times grow as m."""
    if configuration["what"] == "reach":
        total = {"default": 2.0, "ntkrf": 90.0}[configuration["method"]]
        reached = configuration["method"] == "default"
        return {
            "tried": [{"n_components": 256, "error": summary([0.04 if reached else 0.3])}],
            "reached": reached,
            "n_components": 256,
            "seconds": {"set-up": 1.0, "transform": 1.0} if reached else {"extrapolated": total},
            "total": total,
            "fitted_size": 200,
        }
    if configuration["what"] == "estimator":
        parts = {"draw": 1.0, "featurise": 2.0, "accumulate": 1.0, "factorise": 0.5}
        return {
            "kind": "nngp",
            "depth": 2,
            "input_bias_std": 1.0,
            "score": 0.98,
            "fit": 4.5,
            "stages": None,
            "by_parts": parts,
        } | {
            "bare_gram": 2.0,
            "peak_memory": 2**20,
        }
    m, method = configuration["n_components"], configuration["method"]
    seconds = {"draw": 0.0, "featurise": m * SLOWNESS.get(method, 5.0)}
    outcome = {"seconds": seconds, "score": 0.9 - ACCURACY.get(method, 1) / 100, "peak_memory": 0}
    if configuration["depth"]:
        error = ACCURACY.get(method, 1.0) * 10 / m
        outcome["errors"] = {"frobenius": summary([error, error]), "0.1": summary([1.0])}
    return outcome


@pytest.fixture
def folder(tmp_path):
    settings = frontier.settings(False)
    results = Results(tmp_path / "frontier.json", "frontier", settings, resume=False)
    for configuration in frontier.configurations(settings):
        results.data["measurements"].append(
            {**configuration, **made_up(configuration), "measured": "2026", "commit": "abc"}
        )
    results.save()
    return tmp_path


@pytest.mark.slow
def test_tables_mark_the_best(folder):
    found = json.loads((folder / "frontier.json").read_text())
    table = frontier.table(found)
    row = next(line for line in table.splitlines() if line.startswith("| Nyström, uniform"))
    assert row.count("**") == 2 * len(frontier_drawing.TITLES)
    assert "45 times less time" in table
    estimators = [line for line in table.splitlines() if line.startswith("| MNIST | 8,192 |")]
    assert "1.5*" in estimators[0]  # of the bare Gram matrix
    assert render(folder / "frontier.json")[2].stat().st_size > 0


def test_coverage_says_what_was_measured():
    found = [
        {"data": "digits", "depth": depth, "n_components": m, "method": method}
        for depth, m, method in [
            (2, 512, "nystroem"),
            (2, 512, "gegenbauer"),
            (None, 512, "rbf-sampler"),
            (2, 256, "gegenbauer"),
        ]
    ]
    rows = frontier_drawing.coverage(found).splitlines()[2:]
    assert rows == ["| digits | 2 | 256 | 1 | Gegenbauer |", "| digits | 2 | 512 | 3 |  |"]


def test_the_page_says_where_a_method_wins(folder):
    assert which_method.write(folder / "nothing") == []
    assert which_method.write(folder) == [folder / which_method.PAGE]
    page = (folder / which_method.PAGE).read_text()
    for label in (LABELS["nystroem"], LABELS["ntkrf"], "arXiv:2106.07880"):
        assert label in page
    standings = which_method.standings(json.loads((folder / "frontier.json").read_text()))
    everywhere = list(frontier_drawing.TITLES.values())
    assert standings["nystroem"]["kernel error"] == (everywhere, [])
    assert standings["ntkrf"]["kernel error"] == ([], everywhere)
    assert standings["gegenbauer"]["time"] == (everywhere, [])
    assert standings["ntkrf"]["time distance"] == pytest.approx(40)
    assert standings["ntkrf"]["score distance"] == pytest.approx(0.019)
    assert "rbf-sampler" not in standings  # it has another kernel


def test_most_informative_configurations_come_first():
    settings = frontier.settings(False)
    first = frontier.configurations(settings)[: len(frontier.METHODS)]
    assert {c["method"] for c in first} == set(frontier.METHODS)
    assert {(c["data"], c["n_components"]) for c in first} == {("mnist", 2048)}
    total = sum(frontier.estimate(c, settings) for c in frontier.configurations(settings))
    assert total < 7200


def test_landmarks_are_fewer_than_the_rows_that_errors_leave():
    found = frontier.configurations(frontier.settings(False))
    few = [c for c in found if c.get("data") == "digits" and "nystroem" in c["method"]]
    assert max(c["n_components"] for c in few) <= 1438 // 2


# ---------------------------------------------------------------------------------------------
# Tiny measurements
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random-features", "sklearn-nystroem", "rbf-nystroem"])
def test_features(method):
    chosen = [c for c in frontier.configurations(SMALL) if c.get("method") == method]
    outcome = frontier.measure(chosen[0] | {"n_components": 64}, SMALL)
    assert outcome["score"] > 0.5
    assert set(outcome["seconds"]) >= set(frontier_drawing.FIT_STAGES)
    if method == "rbf-nystroem":
        tried = outcome["held_out"]
        best = max(tried, key=lambda one: one["score"])
        assert outcome["gamma"] == best["gamma"]
        assert outcome["same_ridge"]["score"] > 0.5
    else:
        assert 0 < outcome["errors"]["frobenius"]["mean"] < 0.5
        assert set(outcome["errors"]) == {"frobenius", "0.1", "0.01"}


@pytest.mark.slow
def test_estimator():
    configuration = {"what": "estimator", "data": "digits", "n_components": 64}
    outcome = frontier.measure(configuration, SMALL)
    assert outcome["score"] > 0.5
    assert [tried["depth"] for tried in outcome["held_out"]] == [1, 1, 2, 2] * 2
    assert [tried["kind"] for tried in outcome["held_out"]] == ["ntk"] * 4 + ["nngp"] * 4
    bias = {tried["input_bias_std"] for tried in outcome["held_out"]}
    assert len(bias) == 2
    assert min(bias) == 0
    best = max(outcome["held_out"], key=lambda tried: tried["score"])
    chosen = ("kind", "depth", "input_bias_std")
    assert [outcome[name] for name in chosen] == [best[name] for name in chosen]
    assert set(outcome["stages"]) == {"set-up", "pass", "solve"}
    assert outcome["bare_gram"] > 0


def test_reach_stops_where_the_error_is_small():
    settings = SMALL | {"reach_error": 0.5}
    outcome = frontier.measure({"what": "reach", "method": "random-features"}, settings)
    assert outcome["reached"]
    assert [t["n_components"] for t in outcome["tried"]] == [64]
    assert set(outcome["seconds"]) == {"set-up", "transform"}
    far = frontier_estimators.reach({"method": "random-features"}, SMALL | {"reach_error": 0.01})
    assert not far["reached"]
    assert far["n_components"] == far["fitted_size"] > 128
    assert far["total"] > 0


def test_power_laws_are_recovered():
    tried = [{"n_components": m, "error": {"mean": 3 * m**-0.5}} for m in (100, 200, 400)]
    assert frontier_estimators.fitted_size(tried, 0.03) == 10_000
    assert frontier_estimators.fitted_size(tried[:1], 0.03) == 10_000
    assert frontier_estimators.fitted_size(tried[::-1], 0.03) == 10_000
    assert exponent([(m, 3 * m**-0.5) for m in (1.0, 2.0, 9.0)]) == pytest.approx(-0.5)
    assert exponent([(1.0, 2.0)]) is None


def test_bare_gram():
    block = np.random.default_rng(0).random((100, 5), np.float32)
    gram = frontier_estimators.bare_gram(block, 100)
    np.testing.assert_allclose(np.tril(gram), np.tril(block.T @ block), rtol=1e-5)


# ---------------------------------------------------------------------------------------------
# Errors, samples, peers
# ---------------------------------------------------------------------------------------------


class Given:
    """Features given as a matrix."""

    def __init__(self, Z):
        self.Z = Z

    def transform(self, X):
        return self.Z


@pytest.mark.parametrize("n", [20, 70])  # by all eigenvalues, and by iteration
def test_errors_against_their_definitions(n):
    rng = np.random.default_rng(0)
    yardstick = Yardstick(rng.standard_normal((n, 6)), 1, [0.1])
    K = ntk.kernel(ntk.mlp(1), yardstick.X)
    exact = yardstick.errors(Given(np.linalg.cholesky(K)))
    assert all(error < 1e-10 for error in exact.values())
    Z = rng.standard_normal((n, 9))
    errors, E = yardstick.errors(Given(Z)), Z @ Z.T - K
    assert errors["frobenius"] == pytest.approx(np.linalg.norm(E) / np.linalg.norm(K))
    root = np.linalg.inv(np.linalg.cholesky(K + 0.1 * np.trace(K) / n * np.eye(n)))
    assert errors["0.1"] == pytest.approx(np.linalg.norm(root @ E @ root.T, 2), rel=1e-3)


def test_the_sample_and_the_others_are_all_rows():
    X = np.arange(20, dtype=np.float32)[:, None]
    data = Dataset("digits", "regression", X, X[:, 0], X, X[:, 0], "")
    sample, others = apart(data, 15)
    assert len(sample) == 10
    np.testing.assert_array_equal(np.sort(np.concatenate([sample, others]), axis=0), X)
    first, _ = apart(Dataset("mnist", "regression", X, X[:, 0], X, X[:, 0], ""), 4)
    np.testing.assert_array_equal(first, X[:4])


def test_rows_of_unit_norm():
    data = normalised(load("digits").first(30, 5))
    np.testing.assert_allclose(np.linalg.norm(data.X_train, axis=1), 1, rtol=1e-6)
    assert data.X_test.dtype == np.float32


def test_the_peer_has_the_nystroem_kernel():
    X = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    peer = NTKNystroem(ntk.mlp(2), 12, seed=0).fit(X)
    Z = peer.transform(X)
    across = ntk.kernel(ntk.mlp(2), X, peer.landmarks).astype(float)
    own = ntk.kernel(ntk.mlp(2), peer.landmarks.astype(float))
    np.testing.assert_allclose(Z @ Z.T, across @ np.linalg.solve(own, across.T), atol=1e-4)
    assert Z.dtype == np.float32


def test_methods_that_are_not_there_are_named(monkeypatch):
    monkeypatch.delattr(ntk, "RandomFeatures")
    with pytest.raises(RuntimeError, match=r"no RandomFeatures\.published"):
        library_method("ntkrf")
    assert library_method("default") == "auto"
