import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.exceptions import NotFittedError

import ntksketch as ntk
from ntksketch.data import blocks
from ntksketch.estimators import features, ridge_on_features
from ntksketch.features import transform

ESTIMATORS = [ntk.NTKFeatures, ntk.NTKRegressor, ntk.NTKClassifier]
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def problem(n=20, d=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), np.arange(n) % 2


def fitted(estimator, **parameters):
    return estimator(**{"n_components": 8, "random_state": 0, **parameters}).fit(*problem())


def output(model):
    return model.transform if hasattr(model, "transform") else model.predict


X, y = problem()


def with_value(value):
    changed = X.copy()
    changed[3, 1] = value
    return changed


ROWS = {
    "NaN": (with_value(np.nan), ValueError, "Input X contains NaN"),
    "infinity": (with_value(np.inf), ValueError, "Input X contains infinity"),
    "sparse NaN": (sp.csr_array(with_value(np.nan)), ValueError, "Input X contains NaN"),
    "no rows": (X[:0], ValueError, "Found array with 0 sample"),
    "no columns": (X[:, :0], ValueError, r"0 feature\(s\)"),
    "one-dimensional": (X[:, 0], ValueError, "Expected 2D array, got 1D"),
    "three-dimensional": (X[None], ValueError, "dim 3"),
    "strings": (np.full(X.shape, "a", dtype=object), ValueError, "could not convert string"),
    "complex": (X + 1j, ValueError, "Complex data not supported"),
    "a number": (3.0, ValueError, "Expected 2D array, got scalar"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "inhomogeneous|sequence"),
    "missing": (pd.DataFrame(X).astype("Float64").mask(X > 2), ValueError, "NaN"),
}


@every_estimator
@pytest.mark.parametrize(("rows", "error", "message"), ROWS.values(), ids=ROWS)
def test_rows(estimator, rows, error, message):
    with pytest.raises(error, match=message):
        estimator(n_components=8).fit(rows, y)
    with pytest.raises(error, match=message + "|features, but"):
        output(fitted(estimator))(rows)


@every_estimator
def test_other_number_of_columns(estimator):
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
        output(fitted(estimator))(X[:, :3])


@every_estimator
def test_not_fitted(estimator):
    with pytest.raises(NotFittedError, match=f"This {estimator.__name__} instance is not fitted"):
        output(estimator())(X)


@pytest.mark.parametrize("name", ["decision_function", "alpha_"])
def test_not_fitted_either(name):
    with pytest.raises(NotFittedError):
        getattr(ntk.NTKClassifier(), name)(X)


TARGETS = {
    "length": (y[:5], "inconsistent numbers of samples"),
    "NaN": (np.where(y, np.nan, 1.0), "Input y contains NaN"),
    "infinity": (np.where(y, np.inf, 1.0), "Input y contains infinity"),
    "missing": (None, "requires y to be passed, but the target y is None"),
}


@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
@pytest.mark.parametrize(("targets", "message"), TARGETS.values(), ids=TARGETS)
def test_targets(estimator, targets, message):
    with pytest.raises(ValueError, match=message):
        estimator(n_components=8).fit(X, targets)


def test_targets_of_one_kind_only():
    with pytest.raises(ValueError, match=r"targets .* must be real numbers, got dtype <U1"):
        ntk.NTKRegressor(n_components=8).fit(X, np.array(["a", "b"])[y])
    with pytest.raises(ValueError, match="y must have at least 2 classes, got one class: 7"):
        ntk.NTKClassifier(n_components=8).fit(X, np.full(20, 7))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        ntk.NTKClassifier(n_components=8).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="should be a 1d array"):
        ntk.NTKClassifier(n_components=8).fit(X, np.column_stack([y, y]))


WEIGHTS = {
    "length": (np.ones(5), r"sample_weight has shape \(5,\), expected .* \(20,\)"),
    "two columns": (np.ones((20, 2)), r"sample_weight has shape \(20, 2\)"),
    "negative": (np.where(y, -1.0, 1.0), "sample_weight contains .* negative number"),
    "NaN": (np.where(y, np.nan, 1.0), "sample_weight contains NaN"),
    "zero": (np.zeros(20), "sample_weight is zero for every row"),
}


@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
@pytest.mark.parametrize(("weight", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights(estimator, weight, message):
    with pytest.raises(ValueError, match=message):
        estimator(n_components=8).fit(X, y, weight)


PARAMETERS = [
    ("architecture", 2, TypeError, "'architecture' .* must be .*Architecture.* Got 2 instead"),
    ("architecture", "mlp", TypeError, "'architecture' .* must be .* Got 'mlp' instead"),
    ("architecture", ntk.Relu, TypeError, "must be an instance of .* Got <class .*Relu'> instead"),
    ("architecture", [ntk.Dense()], TypeError, "must be an instance of .*Architecture"),
    ("architecture", ntk.Relu(), ValueError, "no trainable layer, so its NTK is zero: add Dense"),
    ("method", "random", ValueError, "method must be one of .*'random-features'.*got 'random'"),
    ("method", ntk.RandomFeatures, TypeError, "must be an instance .*Got <class .*RandomFeatures"),
    ("method", 3, TypeError, "'method' .* must be an instance of 'str'.* Got 3 instead"),
    ("method", None, TypeError, "'method' .* must be .* Got None instead"),
    ("n_components", 0, ValueError, "n_components must be at least 1, got 0"),
    ("n_components", -3, ValueError, "n_components must be at least 1, got -3"),
    ("n_components", 8.0, TypeError, "'n_components' .* must be an .*int.* Got 8.0 instead"),
    ("n_components", True, TypeError, "n_components must be a whole number, got True"),
    ("n_components", "8", TypeError, "'n_components' .* must be .* Got '8' instead"),
    ("n_components", None, TypeError, "'n_components' .* must be .* Got None instead"),
    ("kind", "NTK", ValueError, "kind must be one of .*'ntk', 'nngp'.*got 'NTK'"),
    ("kind", None, ValueError, "'kind' .* must be .*str.* Got None instead"),
    ("kind", ["ntk"], ValueError, r"'kind' .* must be .*str.* Got \['ntk'\] instead"),
    ("working_memory", 0, ValueError, "working_memory must be .*positive.*got 0"),
    ("working_memory", -1.0, ValueError, "working_memory must be .*positive.*got -1.0"),
    ("working_memory", np.nan, ValueError, "working_memory must be .*positive.*got nan"),
    ("random_state", "seed", ValueError, "'random_state' .* must be .* Got 'seed' instead"),
    ("random_state", -1, ValueError, "'random_state' .* must be .* Got -1 instead"),
]
OF_PREDICTORS = [
    ("alphas", "best", ValueError, "alphas must be .*got 'best'"),
    ("alphas", -1.0, ValueError, "alphas must be finite and non-negative"),
    ("alphas", [1.0, np.nan], ValueError, "alphas must be finite"),
    ("alphas", [], ValueError, "alphas must be .*shape"),
    ("alphas", [[1.0]], ValueError, "alphas must be .*one-dimensional"),
    ("alphas", None, ValueError, "'alphas' .* must be .* Got None instead"),
    ("fit_intercept", "yes", ValueError, "'fit_intercept' .* must be .*bool.* Got 'yes' instead"),
    ("fit_intercept", None, ValueError, "'fit_intercept' .* must be .*bool.* Got None instead"),
]
OF_CLASSIFIER = [
    ("class_weight", "even", ValueError, "'class_weight' .* must be .*Got 'even'"),
    ("class_weight", 3, ValueError, "'class_weight' .* must be .*Got 3 instead"),
]
CASES = [
    (estimator, *case)
    for estimator, cases in (
        (ntk.NTKFeatures, PARAMETERS),
        (ntk.NTKRegressor, PARAMETERS + OF_PREDICTORS),
        (ntk.NTKClassifier, PARAMETERS + OF_PREDICTORS + OF_CLASSIFIER),
    )
    for case in cases
]


@pytest.mark.parametrize(("estimator", "name", "value", "error", "message"), CASES)
def test_parameters_are_refused_before_anything_is_computed(
    estimator, name, value, error, message, monkeypatch
):
    def apply(*_):
        raise AssertionError("rows were transformed")

    monkeypatch.setattr(features, "transform_blocks", apply)
    monkeypatch.setattr(ridge_on_features, "gather", apply)
    model = estimator(**{"n_components": 8, name: value})
    with pytest.raises(error, match=message):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        output(model)(X)


def test_every_parameter_is_among_them():
    for estimator in ESTIMATORS:
        tested = {name for other, name, *_ in CASES if other is estimator}
        assert tested == set(estimator().get_params())


METHODS = [
    ({"sampling": "uniform"}, "sampling must be one of .*got 'uniform'"),
    ({"product": "sketch"}, "product must be one of .*got 'sketch'"),
    ({"variance_reduction": "no"}, "variance_reduction must be True or False, got 'no'"),
    ({"relu_fraction": 0}, r"relu_fraction must be in \(0, 1\) or None, got 0"),
    ({"relu_fraction": 1.0}, r"relu_fraction must be in \(0, 1\)"),
    ({"relu_fraction": np.nan}, r"relu_fraction must be in \(0, 1\)"),
    ({"relu_fraction": "half"}, "relu_fraction must be .*got 'half'"),
    ({"n_steps": 0}, "n_steps must be a whole number of at least 1, got 0"),
    ({"n_steps": 2.5}, "n_steps must be a whole number"),
    ({"n_steps": True}, "n_steps must be a whole number"),
    ({"hidden_components": -1}, "hidden_components must be a whole number of at least 1"),
    ({"hidden_components": "8"}, "hidden_components must be a whole number"),
]


@pytest.mark.parametrize(("arguments", "message"), METHODS)
def test_arguments_of_the_method(arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.RandomFeatures(**arguments)


@pytest.mark.parametrize("depth", [0, -1])
def test_depth(depth):
    with pytest.raises(ValueError, match=f"depth must be at least 1 hidden layer, got {depth}"):
        ntk.mlp(depth)


def test_random_features_of_a_linear_network():
    with pytest.raises(ValueError, match="has no Relu or other activation: its kernel is linear"):
        ntk.NTKFeatures(ntk.Dense(), "random-features", 8).fit(X)


def test_hidden_components_that_do_not_suffice():
    method = ntk.RandomFeatures(hidden_components=1)
    with pytest.raises(ValueError, match=r"hidden_components=1 is too small .*take more, or None"):
        ntk.NTKFeatures(ntk.mlp(2), method, 8).fit(X)


def test_a_result_too_large_is_refused_before_anything_is_computed(monkeypatch):
    model = fitted(ntk.NTKFeatures)
    monkeypatch.setattr(transform, "rows_per_block", None)
    monkeypatch.setattr(blocks, "available_memory", lambda: 1000.0)
    message = r"feature matrix of 20 x 8 float64 entries needs 1.2 KiB and 1000 B are available; "
    with pytest.raises(MemoryError, match=message + "transform and use the rows in blocks"):
        model.transform(X)


@every_estimator
def test_working_memory_below_one_row(estimator):
    model = fitted(estimator).set_params(working_memory=1e-6)
    with pytest.raises(MemoryError, match=r"one row needs .*, and working_memory leaves .*; raise"):
        output(model)(X)
    with pytest.raises(MemoryError, match=r"one (row|pair of rows) needs"):
        output(model.fit(X, y))(X)


IMAGES = np.random.default_rng(0).standard_normal((10, 8, 8, 1)).astype(np.float32)
TARGETS = np.arange(10.0)
WITH_A_BUDGET = {
    "features": lambda: ntk.NTKFeatures(ntk.cnn(2), "nystroem", 6, working_memory=64).fit(IMAGES),
    "regressor": lambda: ntk.NTKRegressor(
        ntk.cnn(2), ntk.Nystroem("rpcholesky"), 6, working_memory=64
    ).fit(IMAGES, TARGETS),
    "flow": lambda: ntk.GradientFlow(ntk.cnn(2), "nystroem", 6, working_memory=64).fit(
        IMAGES, TARGETS
    ),
    "exact": lambda: ntk.solve_kernel_ridge(ntk.cnn(2), IMAGES, TARGETS, 1.0, working_memory=64),
    "landmarks": lambda: ntk.solve_nystroem_ridge(
        ntk.cnn(2), IMAGES, TARGETS, 1.0, landmarks=6, working_memory=64
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "regressor" else n for n in WITH_A_BUDGET],
)
def test_a_budget_that_is_given_is_that_of_all_parts(name):
    with sklearn.config_context(working_memory=0.02):  # less than two images need
        WITH_A_BUDGET[name]()
        with pytest.raises(MemoryError):
            ntk.kernel(ntk.cnn(2), IMAGES)


def test_a_failed_fit_leaves_no_half_fitted_model():
    model = ntk.NTKClassifier(n_components=8)
    with pytest.raises(ValueError, match="one class"):
        model.fit(X, np.zeros(20))
    with pytest.raises(NotFittedError):
        model.predict(X)
