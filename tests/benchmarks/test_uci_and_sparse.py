"""Small classification sets and sparse rows: logic, tables and plots."""

import numpy as np
import pytest
from recorded import saved

from benchmarks import sparse, sparse_quality, uci, uci_drawing, which_method
from benchmarks.datasets import VARIABLE, load_folds
from benchmarks.rendering import render


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a set of two classes far apart, and one with a test part."""
    rng = np.random.default_rng(0)
    y = np.arange(60, dtype=np.int32) % 2
    X = (rng.standard_normal((60, 4)) + 4 * y[:, None]).astype(np.float32)
    order = rng.permutation(60)
    parts = {"tune_train": order[:30], "tune_val": order[30:]}
    for k in range(4):
        test = order[15 * k : 15 * k + 15]
        parts |= {f"fold{k}_test": test, f"fold{k}_train": np.setdiff1d(order, test)}
    (tmp_path / "uci121").mkdir()
    np.savez(tmp_path / "uci121/iris.npz", X=X, y=y, **parts)
    np.savez(tmp_path / "uci121/monks-1.npz", X_train=X, y_train=y, X_test=X[:3], **parts)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_folds(folder):
    folds = load_folds("monks-1")
    assert folds.X.shape == (60, 4)
    few = folds.capped(20)
    assert len(few.X) == len(few.y) == 20
    for parts in (few.tuning, *few.folds):
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(20))
    row = few.folds[0][1][0]
    [where] = np.flatnonzero(np.all(few.X[row] == folds.X, axis=1))
    assert where in folds.folds[0][1]
    with pytest.raises(RuntimeError, match=r"uci121/zoo\.npz is not in"):
        load_folds("zoo")


def test_uci(folder):
    settings = uci.settings(True) | {"feature_method": "random-features"}
    configuration = {"key": "iris", "data": "iris"}
    data = saved(folder, uci, settings, [(configuration, uci.measure(configuration, settings))])
    accuracy = data["measurements"][0]["accuracy"]
    assert set(accuracy) == set(uci_drawing.METHODS)
    assert all(value > 0.9 for value in accuracy.values())
    assert "| iris | 60 | 4 | 2 |" in uci.table(data)
    assert render(folder / "uci.json")[2].stat().st_size > 0


def test_uci_aggregates():
    accuracy = np.array([[0.9, 0.9, 0.8], [1.0, 0.94, 0.92]])
    found = uci_drawing.aggregate(accuracy)
    np.testing.assert_allclose(found["Friedman rank"], [1.25, 1.75, 3])
    np.testing.assert_allclose(found["mean"], [0.95, 0.92, 0.86])
    np.testing.assert_allclose(found["P90"], [1, 1, 0.5])
    np.testing.assert_allclose(found["P95"], [1, 0.5, 0])
    np.testing.assert_allclose(found["PMA"], [1, 0.97, (0.8 / 0.9 + 0.92) / 2])
    d = uci_drawing.difference(
        np.array([[0.5, 0.4], [0.6, 0.6], [0.7, 0.8]]), *uci_drawing.METHODS[:2]
    )
    assert (d["wins"], d["ties"], d["losses"]) == (1, 1, 1)
    assert d["mean"] == pytest.approx(0)
    assert d["error"] == pytest.approx(0.1 / 3**0.5)


def test_one_class_in_a_part_is_predicted():
    y = np.array([1, 1, 0, 1])
    parts = np.array([0, 1]), np.array([2, 3])
    assert uci.machine_accuracy(np.eye(4), y, parts, C=1.0) == 0.5


def test_text_like_rows():
    X = sparse.text_like(50, 10_000, 40, seed=0)
    assert X.shape == (50, 10_000)
    assert 0.6 * 2000 < X.nnz <= 2000
    assert X.dtype == np.float32
    np.testing.assert_allclose(X.multiply(X).sum(axis=1), 1, rtol=1e-5)
    words = np.sort(np.bincount(X.indices, minlength=10_000))[::-1]
    assert words[0] > 10 * max(words[100], 1)  # a few words are in most rows
    again = sparse.text_like(50, 10_000, 40, seed=0)
    np.testing.assert_array_equal(X.indices, again.indices)


def test_sparse(tmp_path):
    tiny = {"n_rows": 30, "columns": [100, 300], "columns_of_slow": 100, "depth": 1}
    settings = sparse.settings(True) | tiny
    keys = ("random-features", "count-sketch")
    chosen = [c for c in sparse.configurations(settings) if c["method"] in keys]
    assert ("count-sketch", 300) not in {(c["method"], c["columns"]) for c in chosen}
    outcomes = [(c, sparse.measure(c, settings)) for c in chosen]
    data = saved(tmp_path, sparse, settings, outcomes)
    by_entries, by_columns = sparse.series(data, "random-features")
    assert [x for x, _ in by_columns] == [100, 300]
    assert len(by_entries) == 2
    assert "| random features | 300 |" in sparse.table(data)
    assert render(tmp_path / "sparse.json")[2].stat().st_size > 0


def test_the_page_needs_no_more_than_one_benchmark(tmp_path):
    accuracy = dict.fromkeys(uci_drawing.METHODS, 0.5) | {"NTK": 0.75}
    outcome = {"accuracy": accuracy, "n_rows": 9, "n_rows_before": 9, "seconds": {}}
    configurations = [({"key": name, "data": name}, outcome) for name in ("a", "b")]
    saved(tmp_path, uci, uci.settings(False), configurations)
    [path] = which_method.write(tmp_path)
    page = path.read_text()
    assert "NTK is +25.00 ± 0.00 points from random forest" in page
    assert "| not measured |" in page


# ---------------------------------------------------------------------------------------------
# Error and score of sparse rows
# ---------------------------------------------------------------------------------------------


def test_topics_are_in_the_rows():
    X, topics = sparse_quality.rows_with_topics(400, 500, 60, 3, seed=0)
    again, _ = sparse_quality.rows_with_topics(400, 500, 60, 3, seed=0)
    np.testing.assert_array_equal(X.toarray(), again.toarray())
    np.testing.assert_allclose(X.multiply(X).sum(axis=1), 1, rtol=1e-5)
    assert set(topics) == {0, 1, 2}
    X = X.toarray()
    centres = np.stack([X[:300][topics[:300] == t].mean(axis=0) for t in range(3)])
    nearest = (X[300:] @ centres.T - np.square(centres).sum(axis=1) / 2).argmax(axis=1)
    by_chance, error = 1 / 3, np.sqrt(2 / 9 / 100)
    assert np.mean(nearest == topics[300:]) > by_chance + 4 * error


def test_errors_whole_and_off_the_diagonal():
    K = np.array([[2.0, 1.0], [1.0, 2.0]])
    exact = np.linalg.cholesky(K)
    found = sparse_quality.errors(exact, K)
    assert max(found.values()) < 1e-12
    found = sparse_quality.errors(np.eye(2), K)  # everywhere 1 too small
    assert found["kernel_error"] == pytest.approx(2 / 10**0.5)
    assert found["kernel_error_off"] == pytest.approx(1)


def test_scores_by_their_definitions():
    known = np.column_stack([sparse_quality.one_hot(np.array([0, 1, 1])), [1.0, 2.0, 3.0]])
    found = sparse_quality.scores(lambda y: y, known, known)
    assert found == {"accuracy": 1.0, "r2": 1.0}
    mean = sparse_quality.scores(lambda y: np.tile(y.mean(axis=0), (3, 1)), known, known)
    assert mean == {"accuracy": pytest.approx(2 / 3), "r2": pytest.approx(0)}


def test_sparse_quality(tmp_path):
    settings = sparse_quality.settings(True) | {"columns": [500], "depth": 1}
    chosen = [
        c
        for c in sparse_quality.configurations(settings)
        if c["method"] in ("exact", "nystroem", "random-features")
    ]
    data = saved(
        tmp_path,
        sparse_quality,
        settings,
        [(c, sparse_quality.measure(c, settings)) for c in chosen],
    )
    exact, *others = data["measurements"]
    assert exact["accuracy"] > 0.5
    assert all(0 < m["kernel_error_off"] < 1.5 and m["r2"] < 1 for m in others)
    rows = sparse_quality.comparison(data).splitlines()[2:]
    labels = [row.split(" | ")[2] for row in rows]
    assert labels == ["exact NTK", "Nyström, uniform", "random features"]
    assert render(tmp_path / "sparse_quality.json")[2].stat().st_size > 0
    page = which_method.write(tmp_path)[0].read_text()
    assert "## Sparse rows: error and score" in page
