import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scipy.linalg import LinAlgWarning
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    parametrize_with_checks,
)
from sklearn.utils.validation import check_is_fitted

from ntksketch.estimators import StreamingRidge
from ntksketch.estimators import streaming_ridge as module


def problem(n=80, m=5, k=None, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, m)) + 1.0
    W = rng.standard_normal(m if k is None else (m, k))
    return Z, Z @ W + rng.standard_normal((n, *W.shape[1:])), rng.uniform(0.5, 2.0, n)


@parametrize_with_checks([StreamingRidge(), StreamingRidge(alphas=1.0, fit_intercept=False)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_column_names():
    check_dataframe_column_names_consistency("StreamingRidge", StreamingRidge())
    Z, y, _ = problem()
    frame = pd.DataFrame(Z, columns=list("abcde"))
    assert list(StreamingRidge().fit(frame, y).feature_names_in_) == list("abcde")


@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_equals_ridge_in_values_and_shapes(k, fit_intercept):
    Z, y, weight = problem(k=k)
    for alpha in (0.5, [0.5]):
        ours = StreamingRidge(alpha, fit_intercept=fit_intercept).fit(Z, y, weight)
        ridge = Ridge(0.5, fit_intercept=fit_intercept, solver="svd").fit(Z, y, weight)
        linear = LinearRegression(fit_intercept=fit_intercept).fit(Z, y)
        assert ours.coef_.shape == linear.coef_.shape
        assert ours.predict(Z).shape == y.shape
        for value, expected in [
            (ours.coef_, ridge.coef_),
            (ours.predict(Z), ridge.predict(Z)),
        ]:
            np.testing.assert_allclose(np.ravel(value), np.ravel(expected), 1e-8, 1e-12)
        assert ours.score(Z, y) == pytest.approx(ridge.score(Z, y))


def test_blocks_equal_one_fit_and_fit_begins_anew():
    Z, y, weight = problem()
    whole = StreamingRidge().fit(Z, y, weight)
    parts = StreamingRidge().fit(Z[::-1], y).fit(Z[:7], y[:7], weight[:7])
    for block in (slice(7, 8), slice(8, 60), slice(60, 80)):
        parts.partial_fit(Z[block], y[block], weight[block])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    np.testing.assert_allclose(parts.gcv_scores_, whole.gcv_scores_, rtol=1e-9)
    assert parts.n_samples_seen_ == whole.n_samples_seen_ == 80
    assert parts.alpha_ == pytest.approx(whole.alpha_)
    assert parts.rank_ == 5


def test_partial_fit_solves_once_and_only_when_asked(monkeypatch):
    calls = []
    original = module._solve
    monkeypatch.setattr(module, "_solve", lambda *a: calls.append(1) or original(*a))
    Z, y, _ = problem()
    model = StreamingRidge().partial_fit(Z[:40], y[:40]).partial_fit(Z[40:], y[40:])
    check_is_fitted(model)
    assert not calls
    revived = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict(Z), revived.predict(Z))
    assert len(calls) == 2
    model.predict(Z), model.coef_, model.alpha_, model.gcv_scores_
    solved = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(solved.coef_, model.coef_)
    assert len(calls) == 2
    solved.partial_fit(Z, y)
    assert solved.coef_ is not None
    assert len(calls) == 3


def test_gcv_chooses_the_least_score_and_of_equals_the_largest():
    Z, y, _ = problem()
    model = StreamingRidge([100.0, 0.1, 1e6]).fit(Z, y)
    assert model.alpha_ == model.alphas_[np.argmin(model.gcv_scores_)]
    assert StreamingRidge([1.0, 3.0, 2.0]).fit(Z, np.zeros(80)).alpha_ == 3.0


def test_many_features_are_searched_and_agree_with_the_whole_path(monkeypatch):
    Z, y, _ = problem()
    whole = StreamingRidge().fit(Z, y)
    monkeypatch.setattr("ntksketch.estimators.streaming_ridge._WHOLE_PATH", 2)
    searched = StreamingRidge().fit(Z, y)
    assert len(searched.alphas_) < len(whole.alphas_) == 17
    assert searched.alpha_ == searched.alphas_[np.argmin(searched.gcv_scores_)] == whole.alpha_
    np.testing.assert_allclose(searched.coef_, whole.coef_, rtol=1e-8)
    assert searched.rank_ is None
    assert len(searched.set_params(alphas=whole.alphas_).alphas_) == 17


def test_select_alpha_until_rows_or_penalties_change():
    Z, y, weight = problem(k=2)
    model = StreamingRidge([1e-3, 1e4]).partial_fit(Z[:50], y[:50])
    shrunk = Ridge(1e4, solver="svd").fit(Z[:50], y[:50])
    assert model.alpha_ == 1e-3
    assert not hasattr(model, "holdout_scores_")
    assert model.select_alpha(Z[50:], shrunk.predict(Z[50:]), weight[50:]) is model
    assert model.alpha_ == 1e4
    assert model.holdout_scores_.argmin() == 1
    np.testing.assert_allclose(model.coef_, shrunk.coef_, rtol=1e-8)
    assert pickle.loads(pickle.dumps(model)).alpha_ == 1e4
    model.set_params(alphas=[1e-3, 1e4, 1e5])
    assert model.alpha_ == 1e-3
    model.set_params(alphas=[1e-3, 1e4]).select_alpha(Z, shrunk.predict(Z))
    assert model.partial_fit(Z[50:], y[50:]).alpha_ == 1e-3


def test_a_change_of_penalties_counts_for_rows_already_seen():
    Z, y, _ = problem()
    model = StreamingRidge(1.0).fit(Z, y)
    assert not hasattr(model, "gcv_scores_")
    assert model.rank_ is None
    model.set_params(alphas=50.0)
    np.testing.assert_allclose(model.coef_, Ridge(50.0, solver="svd").fit(Z, y).coef_)
    model.set_params(fit_intercept=False)
    with pytest.raises(ValueError, match="fit_intercept=True"):
        model.partial_fit(Z, y)


def test_a_refused_block_changes_nothing():
    Z, y, _ = problem()
    model = StreamingRidge().fit(Z, y)
    before = model.coef_.copy()
    bad = np.where(np.arange(80)[:, None] == 79, np.nan, Z)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(bad, y)
    assert np.array_equal(model.coef_, before)
    fresh = StreamingRidge()
    with pytest.raises(ValueError, match="NaN"):
        fresh.partial_fit(bad, y)
    with pytest.raises(NotFittedError):
        fresh.predict(Z)
    assert not hasattr(fresh, "coef_")


@pytest.mark.parametrize("single", [False, True])
def test_the_first_block_decides_the_shape_of_predictions(single):
    Z, y, _ = problem()
    y = y.reshape(len(Z), -1)[:, :1]
    first, other = (y[:, 0], y) if single else (y, y[:, 0])
    model = StreamingRidge(1.0).partial_fit(Z, first)
    before = model.predict(Z)
    with pytest.raises(ValueError, match=r"y has shape \(80.*the targets before had shape \(n,"):
        model.partial_fit(Z, other)
    np.testing.assert_array_equal(model.predict(Z), before)
    assert model.partial_fit(Z, first).predict(Z).shape == first.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_keep_the_dtype(dtype):
    Z, y, _ = problem()
    model = StreamingRidge(1.0).fit(Z.astype(dtype), y)
    assert model.predict(Z.astype(dtype)).dtype == dtype
    exact = Ridge(1.0, solver="svd").fit(Z, y)
    tolerance = 1e-5 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(model.coef_, exact.coef_, tolerance, tolerance)


def test_memory_mapped_integers_are_read_in_pieces(tmp_path):
    rng = np.random.default_rng(0)
    Z = np.lib.format.open_memmap(tmp_path / "Z.npy", "w+", np.uint8, (200_000, 8))
    Z[:] = rng.integers(0, 255, Z.shape)
    y = rng.standard_normal(len(Z))
    tracemalloc.start()
    model = StreamingRidge(1e4).fit(Z, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * Z.size * 8
    expected = Ridge(1e4, solver="svd").fit(Z.astype(float), y).coef_
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-7)


def test_scores_that_are_undefined_say_what_to_do():
    Z, y, weight = problem()
    model = StreamingRidge().fit(Z, y, 1e-3 * weight)
    with pytest.raises(ValueError, match="select_alpha"):
        model.predict(Z)
    model.select_alpha(Z, y)
    assert model.alpha_ == model.alphas_[np.argmin(model.holdout_scores_)]


def test_small_alpha_warns_at_fit():
    Z, y, _ = problem()
    with pytest.warns(LinAlgWarning, match="lose accuracy"):
        StreamingRidge(1e-12).fit(Z, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StreamingRidge().fit(Z, y)


@pytest.mark.parametrize("alphas", ["best", -1.0, [], [np.nan]])
def test_penalties_that_cannot_be(alphas):
    with pytest.raises(ValueError, match="alphas must be"):
        StreamingRidge(alphas).fit(*problem()[:2])


def test_other_refusals():
    Z, y, _ = problem()
    with pytest.raises(ValueError, match=r"'fit_intercept' .* must be .*bool.* Got 'yes' instead"):
        StreamingRidge(fit_intercept="yes").fit(Z, y)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="dense data is required"):
        StreamingRidge().fit(scipy.sparse.csr_matrix(Z), y)


def test_grid_search_and_clone():
    Z, y, _ = problem()
    search = GridSearchCV(StreamingRidge(), {"alphas": ["auto", 1.0, 1e6]}, cv=3).fit(Z, y)
    assert search.best_params_["alphas"] != 1e6
    assert clone(StreamingRidge([1.0, 2.0], fit_intercept=False)).get_params() == {
        "alphas": [1.0, 2.0],
        "fit_intercept": False,
    }
