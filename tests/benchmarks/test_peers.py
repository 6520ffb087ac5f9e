"""The choice of scikit-learn's kernels, and RidgeCV by shared products."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV

from benchmarks import peers
from benchmarks.datasets import Dataset, held_out, some_rows
from benchmarks.leave_one_out import LeaveOneOutRidge


def data(n=120, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)).astype(np.float32)
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.standard_normal(n)
    half = n // 2
    return Dataset("digits", "regression", X[:half], y[:half], X[half:], y[half:], "")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(60, 8), (12, 30)])  # more rows, and more columns
def test_leave_one_out_ridge_is_ridge_cv(seed, shape):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal(shape) * rng.exponential(size=shape[1]) + 3
    Z[0] *= 30  # a row of large leverage
    Y = Z[:, :2] + rng.standard_normal((shape[0], 2))
    alphas = np.geomspace(1e-3, 1e3, 7)
    expected = RidgeCV(alphas=alphas).fit(Z, Y)
    found = LeaveOneOutRidge(Z, Y, alphas)
    assert found.alpha == expected.alpha_
    new = rng.standard_normal((5, shape[1]))
    np.testing.assert_allclose(found.predict(new), expected.predict(new), rtol=1e-7, atol=1e-8)
    assert found.errors.min() == pytest.approx(-expected.best_score_, rel=1e-7)


def test_leave_one_out_errors_are_those_of_leaving_one_out():
    rng = np.random.default_rng(0)
    Z, Y = rng.standard_normal((9, 3)), rng.standard_normal((9, 1))
    left = []
    for i in range(9):
        others = np.arange(9) != i
        model = LeaveOneOutRidge(Z[others], Y[others], np.array([0.7]))
        left.append((model.predict(Z[i : i + 1]) - Y[i]) ** 2)
    found = LeaveOneOutRidge(Z, Y, np.array([0.7]))
    np.testing.assert_allclose(found.errors, [np.mean(left)], rtol=1e-10)


def test_default_penalties_are_the_librarys():
    Z = np.random.default_rng(0).standard_normal((20, 4))
    largest = np.linalg.norm(Z - Z.mean(axis=0), 2) ** 2
    alphas = LeaveOneOutRidge(Z, Z[:, :1]).alphas
    np.testing.assert_allclose(alphas[[0, -1]], [2e-7 * largest, 10 * largest], rtol=1e-9)


def test_a_sixth_of_the_training_rows_is_held_out():
    whole = data()
    part = held_out(whole)
    assert len(part.X_test) == 10
    rows = np.concatenate([part.X_train, part.X_test])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(whole.X_train, axis=0))
    other = held_out(replace(whole, X_test=whole.X_test + 1, y_test=whole.y_test + 1))
    np.testing.assert_array_equal(part.X_test, other.X_test)  # nothing of the test rows


@pytest.mark.parametrize("best", [1 / 16, 0.5, 2.0, 32.0])
def test_the_grid_goes_on_while_the_best_is_at_its_edge(best):
    whole, seen = data(), []
    scale = 1 / peers.median_squared_distance(whole.X_train[some_rows(60, 1000, seed=1)])

    def score(part, gamma):
        seen.append(gamma / scale)
        assert len(part.X_train) == 50
        return -abs(np.log(gamma / scale / best))

    gamma, tried = peers.choose_gamma(whole, (0.5, 1, 2), score)
    assert gamma / scale == pytest.approx(best)
    assert len(tried) == len(seen) == len(set(seen))
    assert min(seen) < best * 0.6
    assert max(seen) > best * 1.9


def test_the_grid_ends_where_wider_is_always_better():
    _, tried = peers.choose_gamma(data(), (1, 2), lambda part, gamma: gamma)
    assert len(tried) == peers._MOST_TRIED


def test_a_peer_is_scored_as_scikit_learn_does():
    whole = data(400)
    found = peers.measure(whole, lambda: peers.rbf_nystroem(0.5, 40, 0))
    X, new = whole.X_train.astype(np.float64), whole.X_test.astype(np.float64)
    features = Nystroem(gamma=0.5, n_components=40, random_state=0).fit(X)
    Z = features.transform(X)
    alphas = np.geomspace(2e-7, 10, 17) * np.linalg.norm(Z - Z.mean(axis=0), 2) ** 2
    expected = RidgeCV(alphas=alphas).fit(Z, whole.y_train)
    assert found["alpha"] == pytest.approx(expected.alpha_)
    assert found["score"] == pytest.approx(expected.score(features.transform(new), whole.y_test))
