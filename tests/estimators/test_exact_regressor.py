import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV

import ntksketch as ntk

X = np.random.default_rng(0).standard_normal((60, 4))
Y = np.stack([np.abs(X[:, 0]), X[:, 1] * X[:, 2]], 1)


def regressor(**parameters):
    return ntk.ExactNTKRegressor(**{"tolerance": 1e-11, "random_state": 0, **parameters})


@pytest.mark.parametrize("columns", [0, slice(None)])
def test_is_kernel_ridge(columns):
    y = Y[:, columns]
    model = regressor(architecture=ntk.mlp(2), alpha=0.3, fit_intercept=False).fit(X, y)
    peer = KernelRidge(alpha=0.3, kernel=ntk.NTKKernel(ntk.mlp(2))).fit(X, y)
    new = X[::-1] + 0.1
    across = ntk.kernel(ntk.mlp(2), new, X)
    np.testing.assert_allclose(model.predict(new), across @ peer.dual_coef_, rtol=1e-7, atol=1e-9)
    assert model.predict(new).shape == y.shape
    assert not np.any(model.intercept_)


def test_solves_as_the_function_does():
    model = regressor(alpha=0.3).fit(X, Y, np.arange(60.0))
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    solution = ntk.solve_kernel_ridge(
        ntk.mlp(1), X, Y, 0.3, sample_weight=np.arange(60), tolerance=1e-11, random_state=seed
    )
    np.testing.assert_array_equal(model.dual_coef_, solution.dual_coef)
    np.testing.assert_array_equal(model.intercept_, solution.intercept)
    assert model.n_iter_ == solution.status.iterations.max()
    assert model.status_.converged


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_have_the_rows_dtype(dtype):
    model = regressor().fit(X.astype(dtype), Y)
    assert model.predict(X.astype(dtype)).dtype == dtype
    sparse = regressor().fit(sp.csr_array(X.astype(dtype)), Y)
    np.testing.assert_allclose(sparse.predict(X), model.predict(X), rtol=1e-3, atol=1e-3)


def test_pickled_and_cloned():
    model = regressor().fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X), model.predict(X))


def test_grid_search_and_frames():
    frame = pd.DataFrame(X, columns=list("abcd"))
    search = GridSearchCV(regressor(), {"alpha": [1e-2, 1e4]}, cv=2).fit(frame, Y[:, 0])
    assert search.best_params_ == {"alpha": 1e-2}
    assert list(search.best_estimator_.feature_names_in_) == list("abcd")


def test_checkpoint(tmp_path):
    path = tmp_path / "state.npz"
    with pytest.warns(ConvergenceWarning, match="iteration-limit"):
        regressor(alpha=0.01, rank=5, max_iter=3, checkpoint=path).fit(X, Y)
    resumed = regressor(alpha=0.01, rank=5, checkpoint=path).fit(X, Y)
    whole = regressor(alpha=0.01, rank=5).fit(X, Y)
    np.testing.assert_array_equal(resumed.dual_coef_, whole.dual_coef_)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"alpha": 0.0}, ValueError, "alphas must be above zero"),
        ({"alpha": "auto"}, ValueError, "'alpha' parameter of ExactNTKRegressor"),
        ({"tolerance": 2.0}, ValueError, "tolerance must be above 0 and below 1"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"kind": "gp"}, ValueError, "kind must be one of"),
        ({"checkpoint": 3}, ValueError, "'checkpoint' parameter"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        regressor(**parameters).fit(X, Y)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        regressor().predict(X)
