"""Files of predictions: those of the model, of any shape and type, also after a stop."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

import ntksketch as ntk
from ntksketch.data import write_predictions

N, D = 150, 3
BUDGET = 0.01  # MiB, for blocks of 32 rows


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def model(y, X):
    kind = ntk.NTKRegressor if y.dtype.kind == "f" else ntk.NTKClassifier
    return kind(n_components=8, random_state=0).fit(X, y)


TARGETS = {
    "number": lambda X: X[:, 0],
    "vector": lambda X: X[:, :2],
    "one column": lambda X: X[:, :1],
    "integer": lambda X: np.digitize(X[:, 0], [-0.5, 0.5]),
    "string": lambda X: np.array(["low", "middling", "high"])[np.digitize(X[:, 0], [-0.5, 0.5])],
}


@pytest.mark.parametrize("name", TARGETS)
def test_npy(name, X, tmp_path):
    fitted = model(TARGETS[name](X), X)
    done = []
    write_predictions(
        fitted,
        X,
        tmp_path / "p.npy",
        working_memory=BUDGET,
        progress=lambda rows, total: done.append((rows, total)),
    )
    predicted, expected = np.load(tmp_path / "p.npy"), fitted.predict(X)
    assert len(done) > 2
    assert done[-1] == (N, N)
    assert (predicted.shape, predicted.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize("method", ["decision_function", "predict_proba"])
def test_other_methods_to_zarr(method, X, tmp_path):
    import zarr

    y = TARGETS["integer"](X)
    fitted = model(y, X) if method == "decision_function" else LogisticRegression().fit(X, y)
    path = tmp_path / "p.zarr"
    write_predictions(fitted, X, path, response_method=method, working_memory=BUDGET)
    found = np.asarray(zarr.open_array(str(path), mode="r")[:])
    np.testing.assert_allclose(found, getattr(fitted, method)(X), rtol=1e-4, atol=1e-5)


def test_a_stopped_run_is_not_gone_on_with_by_another(X, tmp_path):
    y = X[:, 0]
    fitted, path = model(y, X), tmp_path / "p.npy"

    def stop(rows, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(fitted, X, path, working_memory=BUDGET, progress=stop)
    with pytest.raises(OSError, match="a run stopped after 1 of"):
        write_predictions(fitted, X, path, working_memory=BUDGET)
    with pytest.raises(ValueError, match="first_block was"):
        write_predictions(model(-y, X), X, path, working_memory=BUDGET, resume=True)
    write_predictions(fitted, X, path, working_memory=BUDGET, resume=True)
    write_predictions(fitted, X, tmp_path / "whole.npy", working_memory=BUDGET)
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()


class Odd(BaseEstimator):
    """Predicts what cannot be written."""

    def __init__(self, value):
        self.value = value

    def predict(self, X):
        return np.full(len(X), self.value)


def test_what_cannot_be_written(X, tmp_path):
    with pytest.raises(TypeError, match="Odd has no decision_function"):
        write_predictions(Odd(1.0), X, tmp_path / "p.npy", response_method="decision_function")
    with pytest.raises(TypeError, match="dtype object; numbers and strings"):
        write_predictions(Odd(None), X, tmp_path / "p.npy")
    with pytest.raises(FloatingPointError, match="results of rows 0 to 149 are not finite"):
        write_predictions(Odd(np.nan), X, tmp_path / "p.npy")
    assert list(tmp_path.iterdir()) == []
