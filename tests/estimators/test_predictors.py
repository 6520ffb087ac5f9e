import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

import ntksketch as ntk

CLASSES = {
    "strings": ["ant", "bee", "cat"],
    "two strings": ["no", "yes"],
    "bools": [False, True],
    "integers": [-7, 0, 30],
    "two integers": [-1, 1],
    "whole floats": [0.0, 1.0],
    "objects": np.array(["b", "a"], dtype=object),
}


def rows(n=60, d=4, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((n, d)).astype(dtype)


def targets(X, n_classes=None):
    score = X[:, 0] + 0.5 * X[:, 1] ** 2
    if n_classes is None:
        return score
    return np.digitize(score, np.quantile(score, np.linspace(0, 1, n_classes + 1)[1:-1]))


def regressor(**parameters):
    return ntk.NTKRegressor(
        **{"method": "random-features", "n_components": 24, "random_state": 0, **parameters}
    )


def classifier(**parameters):
    return ntk.NTKClassifier(
        **{"method": "random-features", "n_components": 24, "random_state": 0, **parameters}
    )


def assert_same_fit(a, b, X, rtol=1e-6):
    output = "predict" if isinstance(a, ntk.NTKRegressor) else "decision_function"
    expected = getattr(b, output)(X)
    limit = rtol * np.abs(expected).max()
    np.testing.assert_allclose(getattr(a, output)(X), expected, rtol=0, atol=limit)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("k", [None, 3])
def test_regressor_is_ridge_on_the_features(fit_intercept, k):
    X = rows()
    y = targets(X) if k is None else targets(X)[:, None] ** np.arange(1, k + 1)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model = regressor(alphas=0.1, fit_intercept=fit_intercept).fit(X, y, weight)
    Z = ntk.NTKFeatures(None, "random-features", 24, random_state=0).fit_transform(X)
    np.testing.assert_array_equal(model.features_.transform(X), Z)
    ridge = Ridge(0.1, fit_intercept=fit_intercept, solver="svd").fit(Z, y, weight)
    assert model.predict(X).shape == y.shape
    np.testing.assert_allclose(model.predict(X), ridge.predict(Z), rtol=1e-8, atol=1e-8)
    assert model.score(X, y) == pytest.approx(ridge.score(Z, y))
    assert model.alpha_ == 0.1


@pytest.mark.parametrize("landmarks", ["kmeans", "uniform"])
@pytest.mark.parametrize("alphas", [0.01, [1e-3, 0.1, 10.0]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_landmarks_without_whitening_give_ridge_on_the_white_features(landmarks, alphas, dtype):
    X = np.random.default_rng(0).standard_normal((600, 5)).astype(dtype)
    y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    model = regressor(method=ntk.Nystroem(landmarks), n_components=200, alphas=alphas).fit(X, y)
    Z = model.features_.transform(X)
    ridge = ntk.StreamingRidge(alphas).fit(Z, y)
    assert model.alpha_ == ridge.alpha_
    tolerance = 2e-3 if dtype == np.float32 else 1e-7
    np.testing.assert_allclose(
        model.predict(X), ridge.predict(Z), rtol=0, atol=tolerance * np.abs(y).max()
    )
    if len(np.atleast_1d(alphas)) > 1:
        np.testing.assert_allclose(model.ridge_.gcv_scores_, ridge.gcv_scores_, rtol=10 * tolerance)


def test_classifier_is_ridge_on_signed_one_hot_targets():
    X = rows()
    y = targets(X, 3)
    model = classifier(alphas=0.1).fit(X, y)
    Z = model.features_.transform(X)
    ridge = Ridge(0.1, solver="svd").fit(Z, np.where(y[:, None] == np.arange(3), 1.0, -1.0))
    np.testing.assert_allclose(model.decision_function(X), ridge.predict(Z), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
def test_classes_of_any_type(classes):
    X = rows()
    classes = np.asarray(classes)
    labels = targets(X, len(classes))
    model = classifier().fit(X, classes[labels])
    np.testing.assert_array_equal(model.classes_, np.sort(classes))
    assert model.classes_.dtype == classes.dtype
    scores, predicted = model.decision_function(X), model.predict(X)
    assert predicted.dtype == classes.dtype
    assert np.mean(predicted == classes[labels]) > 0.8
    if len(classes) == 2:
        assert scores.shape == (60,)
        np.testing.assert_array_equal(predicted == model.classes_[1], scores > 0)
        assert np.mean((scores > 0) == (classes[labels] == model.classes_[1])) > 0.8
    else:
        assert scores.shape == (60, len(classes))
        np.testing.assert_array_equal(predicted, model.classes_[scores.argmax(axis=1)])
    as_list = classifier().fit(X, classes[labels].tolist())
    np.testing.assert_array_equal(as_list.predict(X), predicted)


@pytest.mark.parametrize("make", [regressor, classifier])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alphas", ["auto", 0.3])
def test_weights_count_repetitions(make, fit_intercept, alphas):
    X = rows()
    y = targets(X) if make is regressor else targets(X, 3)
    weight = np.random.default_rng(2).integers(0, 4, len(X))
    model = make(fit_intercept=fit_intercept, alphas=alphas)
    weighted = clone(model).fit(X, y, weight)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_same_fit(weighted, repeated, X)
    assert weighted.alpha_ == pytest.approx(repeated.alpha_)
    changed = np.where(weight[:, None] > 0, X, 1e3)
    assert_same_fit(clone(model).fit(changed, y, weight), weighted, X)
    assert_same_fit(clone(model).fit(X, y, np.ones(60)), clone(model).fit(X, y), X)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
def test_class_weights_are_weights_of_rows(class_weight):
    X = rows()
    y = np.minimum(targets(X, 5), 2)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    by_class = compute_sample_weight(class_weight, y)
    model = classifier(class_weight=class_weight, alphas=0.3)
    plain = classifier(alphas=0.3)
    assert_same_fit(clone(model).fit(X, y), clone(plain).fit(X, y, by_class), X, 1e-12)
    weighted = clone(plain).fit(X, y, by_class * weight)
    assert_same_fit(clone(model).fit(X, y, weight), weighted, X, 1e-12)


def test_balanced_weights_of_weighted_rows_count_the_rows():
    X, weight = rows(), np.arange(60) % 3
    y = targets(X, 2)
    model = classifier(class_weight="balanced", alphas=0.3)
    kept = weight > 0
    weighted = clone(model).fit(X[kept], y[kept], weight[kept])
    names = np.array(["a", "b"])
    by_name = clone(model).fit(X[kept], names[y[kept]], weight[kept])
    assert_same_fit(by_name, weighted, X, 1e-12)


@pytest.mark.parametrize("make", [regressor, classifier])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_containers_and_chunks_agree(make, dtype):
    X = rows(300, dtype=dtype)
    y = targets(X) if make is regressor else targets(X, 3)
    model = make(alphas=1.0)
    fitted = clone(model).fit(X, y)
    limit = 1e-3 if dtype == np.float32 else 1e-9
    output = fitted.predict(X) if make is regressor else fitted.decision_function(X)
    assert output.dtype == dtype
    frozen = X.copy()
    frozen.flags.writeable = False
    for other in (frozen, np.asfortranarray(X), pd.DataFrame(X), sp.csr_array(X), sp.csc_matrix(X)):
        assert_same_fit(clone(model).fit(other, y), fitted, X, limit)
        assert_same_fit(fitted, fitted, other, limit)
    row_bytes = X.itemsize * 4 * fitted.features_.feature_map_.row_entries
    with sklearn.config_context(working_memory=9 * row_bytes / 2**20):
        assert_same_fit(clone(model).fit(X, y), fitted, X, limit)
        assert_same_fit(clone(model).fit(sp.csr_array(X), y), fitted, X, limit)


def test_precisions_agree():
    X = rows(dtype=np.float32)
    y = targets(X)
    single = regressor(alphas=1.0).fit(X, y).predict(X)
    double = regressor(alphas=1.0).fit(X.astype(np.float64), y).predict(X.astype(np.float64))
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-4 * np.abs(double).max())


def test_grid_search_over_methods_architectures_and_sizes():
    X = rows()
    grid = {
        "method": ["random-features", ntk.RandomFeatures.published()],
        "architecture": [None, ntk.mlp(1, bias_std=0.5)],
        "n_components": [4, 24],
    }
    search = GridSearchCV(regressor(), grid, cv=2).fit(X, targets(X))
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["n_components"] == 24
    pipeline = make_pipeline(StandardScaler(), classifier())
    search = GridSearchCV(pipeline, {"ntkclassifier__kind": ["ntk", "nngp"]}, cv=2)
    assert search.fit(X, targets(X, 2)).score(X, targets(X, 2)) > 0.8


def test_degenerate_rows():
    X = rows()
    y = targets(X)
    for narrow in (X[:, :1], np.zeros((60, 2)), np.ones((60, 3))):
        assert np.isfinite(regressor(alphas=1.0).fit(narrow, y).predict(narrow)).all()
    constant = regressor(alphas=1.0).fit(np.zeros((60, 2)), y)
    np.testing.assert_allclose(constant.predict(np.zeros((1, 2))), y.mean())
    model = regressor(alphas=1.0).fit(X[:1], y[:1])
    np.testing.assert_allclose(model.predict(X[:1]), y[:1])


def test_input_is_left_alone():
    X = rows()
    y, weight = targets(X), np.arange(60.0)
    kept = X.copy(), y.copy(), weight.copy()
    regressor().fit(X, y, weight).predict(X)
    classifier().fit(X, y > 0, weight).predict(X)
    for after, before in zip((X, y, weight), kept, strict=True):
        np.testing.assert_array_equal(after, before)


def test_column_of_classes_warns_and_fits():
    X = rows()
    y = targets(X, 2)
    with pytest.warns(sklearn.exceptions.DataConversionWarning, match="column-vector"):
        model = classifier().fit(X, y[:, None])
    np.testing.assert_array_equal(model.predict(X), classifier().fit(X, y).predict(X))
