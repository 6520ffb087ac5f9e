"""Fitting and predicting from sources: the same model as from rows in memory."""

import numpy as np
import pytest
import scipy.sparse as sp
from source_files import SPARSE, TEXT, WAYS, rows_and_targets

import ntksketch as ntk
from ntksketch.data import SourceError, open_source
from ntksketch.estimators import features as features_module

METHODS = ["nystroem", "gegenbauer", "random-features", "polynomial-sketch", ntk.Resampled()]


def regressor(method="nystroem", **options):
    return ntk.NTKRegressor(ntk.mlp(1), method, 24, random_state=0, **options)


def classifier(**options):
    return ntk.NTKClassifier(ntk.mlp(1), "nystroem", 24, random_state=0, **options)


def problem(n=500, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5)).astype(dtype)
    return X, np.column_stack([np.sin(X[:, 0]), X[:, 1] ** 2]), rng.integers(0, 3, n).astype(float)


@pytest.mark.parametrize("way", WAYS)
def test_every_format_gives_the_model_of_the_array(way, tmp_path):
    dtype = np.float64 if way in TEXT else np.float32
    X, y = rows_and_targets(300, dtype=dtype)
    source = WAYS[way](tmp_path, X, y)
    model, other = regressor().fit(X, y.astype(float)), regressor().fit(source)
    expected, found = model.predict(X), other.predict(source)
    if way in SPARSE:
        scale = np.abs(expected).max()
        tolerance = 1e-8 if dtype == np.float64 else 2e-3
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
    else:
        np.testing.assert_array_equal(found, expected)
    assert found.dtype == dtype
    assert other.n_features_in_ == 5


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_draw_is_that_of_the_array(method, weighted):
    """There are more rows than the method looks at, and of some of them none may be drawn."""
    X, Y, weight = problem(5000)
    weight = weight if weighted else None
    model = regressor(method).fit(X, Y, weight)
    other = regressor(method).fit(open_source(X, targets=Y), sample_weight=weight)
    np.testing.assert_array_equal(model.predict(X[:9]), other.predict(X[:9]))


@pytest.mark.parametrize("working_memory", [0.25, 0.5, 100])
def test_any_size_of_the_blocks(working_memory):
    X, Y, _ = problem()
    source = open_source(X, targets=Y)
    expected = regressor().fit(X, Y).predict(X)
    model = regressor(working_memory=working_memory).fit(source)
    np.testing.assert_allclose(model.predict(source), expected, rtol=1e-7, atol=1e-9)


def test_targets_given_beside_a_source():
    X, Y, _ = problem()
    source = open_source(X, targets=Y[:, 0])
    model = regressor().fit(source, Y)
    assert model.predict(source).shape == (500, 2)
    np.testing.assert_array_equal(model.predict(X), regressor().fit(X, Y).predict(X))
    with pytest.raises(SourceError, match="expected one for each of 500 rows"):
        regressor().fit(source, Y[:99])


def labelled(way, classes):
    """Return rows, targets in a file of this way, and labels."""
    X, y = rows_and_targets(300, dtype=np.float64 if way in TEXT else np.float32)
    return X, y, np.array(classes)[np.digitize(X[:, 0], [-20, 20][: len(classes) - 1])]


def agree(way, found, expected):
    assert found.dtype == expected.dtype
    scale = np.abs(expected).max()
    tolerance = 1e-8 if expected.dtype == np.float64 else 2e-3
    tolerance = tolerance if way in SPARSE else 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("way", WAYS)
def test_targets_given_beside_every_format(way, tmp_path):
    X, y, labels = labelled(way, [3, 7, 9])
    source = WAYS[way](tmp_path, X, y)
    found = regressor().fit(source, labels.astype(float)).predict(X)
    agree(way, found, regressor().fit(X, labels.astype(float)).predict(X))


@pytest.mark.parametrize(
    ("way", "classes"), [*((way, (3, 7, 9)) for way in WAYS), ("parquet", (1, 2)), ("csv", (2, 5))]
)
def test_classes_are_read_from_every_format(way, classes, tmp_path):
    X, y, labels = labelled(way, classes)
    expected = classifier().fit(X, labels)
    model = classifier().fit(WAYS[way](tmp_path, X, labels))
    np.testing.assert_array_equal(model.classes_, classes)
    agree(way, model.decision_function(X), expected.decision_function(X))
    assert model.score(X, labels) > 0.8
    other = classifier().fit(WAYS[way](tmp_path, X, y), labels)
    agree(way, other.decision_function(X), expected.decision_function(X))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0}])
def test_classes_are_read_from_a_source(n_classes, class_weight):
    X, Y, weight = problem()
    y = np.digitize(Y[:, 0], [0.0, 0.7][: n_classes - 1])
    model = classifier(class_weight=class_weight).fit(X, y, weight)
    source = open_source(X, targets=y)
    other = classifier(class_weight=class_weight).fit(source, sample_weight=weight)
    np.testing.assert_array_equal(other.classes_, model.classes_)
    np.testing.assert_array_equal(other.decision_function(source), model.decision_function(X))
    np.testing.assert_array_equal(other.predict(source), model.predict(X))


def test_classes_of_any_type_given_beside_a_source():
    X, Y, _ = problem()
    y = np.where(Y[:, 0] > 0, "up", "down")
    model = classifier().fit(open_source(X), y)
    np.testing.assert_array_equal(model.predict(X), classifier().fit(X, y).predict(X))


def test_wide_sparse_rows_take_the_memory_of_their_entries():
    """In 18 MiB there is room for many of these rows, and for none that is dense."""
    X = sp.random_array((40, 200_000), density=1e-4, rng=np.random.default_rng(0), format="csr")
    y = np.arange(40.0)
    sketch = ntk.PolynomialSketch()
    model = ntk.NTKRegressor(ntk.mlp(1), sketch, 24, random_state=0, working_memory=18).fit(X, y)
    expected = ntk.NTKRegressor(ntk.mlp(1), sketch, 24, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-8)


def test_iterables_of_known_length_are_read_once():
    X, Y, weight = problem()
    for n in (5, 500):  # rows of which there are few are not looked at, either
        blocks = open_source(((X[i:n][:70], Y[i:n][:70]) for i in range(0, n, 70)), n_rows=n)
        model = regressor("random-features").fit(blocks, sample_weight=weight[:n] + 1)
        expected = regressor("random-features").fit(X[:n], Y[:n], weight[:n] + 1)
        np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-10)
        blocks = open_source(((X[i:n][:70], Y[i:n][:70]) for i in range(0, n, 70)), n_rows=n)
        with pytest.raises(SourceError, match="can be read only once, and the method looks"):
            regressor("nystroem").fit(blocks)


def test_iterables_are_read_once():
    X, Y, _ = problem()

    def source():
        return open_source((X[i : i + 70], Y[i : i + 70]) for i in range(0, 500, 70))

    model = regressor("random-features").fit(source())
    expected = regressor("random-features").fit(X, Y).predict(X)
    np.testing.assert_array_equal(model.predict(X), expected)
    np.testing.assert_array_equal(model.predict(source()), expected)
    with pytest.raises(SourceError, match="can be read only once, and the method looks at rows"):
        regressor("nystroem").fit(source())
    with pytest.raises(SourceError, match="weights need a known number of rows"):
        regressor("random-features").fit(source(), sample_weight=np.ones(500))
    with pytest.raises(SourceError, match="give each block its targets"):
        regressor("random-features").fit(source(), Y)
    for n_rows in (None, 500):
        labels = open_source(((X, Y[:, 0] > 0) for _ in range(1)), n_rows=n_rows)
        with pytest.raises(SourceError, match=r"labels are read before the pass .* in a file"):
            classifier().fit(labels)


@pytest.mark.parametrize("way", ["npy", "hdf5"])
def test_only_a_sample_and_blocks_are_in_memory(way, tmp_path, monkeypatch):
    """Of an array in memory or mapped, the rows of the sample alone are read beforehand."""
    X, y = rows_and_targets(4000, dtype=np.float64)
    source, held = WAYS[way](tmp_path, X, y), []
    read = source._rows
    monkeypatch.setattr(source, "_rows", lambda i, j: held.append(j - i) or read(i, j))
    drawn, look = [], features_module.look
    monkeypatch.setattr(features_module, "look", lambda *a: drawn.append(look(*a)) or drawn[-1])
    regressor(working_memory=0.5).fit(source)
    assert drawn[0][0].shape == (8 * 24, 5)
    assert sum(held) == {"npy": 4000, "hdf5": 8000}[way]
    assert max(held[-5:]) <= 0.5 * 2**20 / 24 / 8


def test_progress_counts_the_rows_of_the_pass():
    X, Y, _ = problem()
    counted = []
    for rows in (X, open_source(X)):
        counted.clear()
        regressor(working_memory=0.1).fit(rows, Y, progress=counted.append)
        assert len(counted) > 1
        assert sum(counted) == 500


def test_streaming_ridge_fits_features_in_a_file(tmp_path):
    X, Y, weight = problem()
    np.save(tmp_path / "Z.npy", X)
    source = open_source(tmp_path / "Z.npy", targets=Y)
    model = ntk.StreamingRidge(1.0).fit(source, sample_weight=weight)
    expected = ntk.StreamingRidge(1.0).fit(X, Y, weight)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.n_features_in_ == 5
    single = ntk.StreamingRidge(1.0).fit(source, Y[:, 0])
    assert single.coef_.shape == (5,)
    with pytest.raises(TypeError, match="sparse rows; dense ones are expected"):
        ntk.StreamingRidge(1.0).fit(open_source(sp.csr_array(X), targets=Y))


def test_what_cannot_be_fitted():
    X, Y, _ = problem()
    with pytest.raises(SourceError, match="no targets to learn from"):
        regressor().fit(open_source(X))
    with pytest.raises(SourceError, match="has no targets"):
        classifier().fit(open_source(X))
    with pytest.raises(SourceError, match="there are no rows"):
        regressor().fit(open_source(X[:0], targets=Y[:0]))
    bad = X.copy()
    bad[457, 3] = np.nan
    with pytest.raises(SourceError, match="NaN in row 457, column 3"):
        regressor("random-features", working_memory=0.1).fit(open_source(bad, targets=Y))
    with pytest.raises(TypeError, match=r"takes rows in memory here, got <array source"):
        ntk.NTKFeatures().fit(X).transform(open_source(X))
    model = regressor().fit(X, Y)
    with pytest.raises(ValueError, match="has 4 features, but NTKRegressor is expecting 5"):
        model.predict(open_source(X[:, :4]))


def test_no_rows_to_predict():
    X, Y, _ = problem()
    model = regressor("random-features").fit(X, Y)
    with pytest.raises(SourceError, match=r"array.*: there are no rows"):
        model.predict(open_source(X[:0]))


def test_names_of_columns_are_forgotten():
    import pandas as pd

    X, Y, _ = problem()
    model = regressor().fit(pd.DataFrame(X, columns=list("abcde")), Y)
    assert hasattr(model, "feature_names_in_")
    model.fit(open_source(X, targets=Y))
    assert not hasattr(model, "feature_names_in_")
