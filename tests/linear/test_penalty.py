import numpy as np
import pytest
from sklearn.linear_model import Ridge

from ntksketch.linear import GramAccumulator, gcv_scores, ridge_path, search_by_gcv, solve_ridge
from ntksketch.linear.penalty import Penalty
from ntksketch.linear.ridge import factored_ridge


@pytest.fixture
def problem():
    """Statistics with a penalty, and plain ridge on whitened features for comparison."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 6))
    penalty = Penalty(A @ A.T + 0.1 * np.eye(6))
    Z, Y = rng.standard_normal((80, 6)), rng.standard_normal((80, 2))
    white = np.linalg.solve(np.tril(penalty.packed), Z.T).T
    stats = GramAccumulator().update(Z, Y).finalise()
    return stats.__class__(**{**vars(stats), "penalty": penalty}), Z, Y, white


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
def test_equals_ridge_on_whitened_features(problem, alpha):
    stats, Z, Y, white = problem
    ridge = Ridge(alpha, solver="svd").fit(white, Y)
    freedom = []
    for solution in (
        solve_ridge(stats, alpha),
        ridge_path(stats, [alpha]),
        factored_ridge(stats, alpha),
        factored_ridge(stats, alpha, np.eye(6) * np.sqrt(6)),  # probes that are exact together
    ):
        prediction = Z @ solution.coef[0] + solution.intercept[0]
        np.testing.assert_allclose(prediction, ridge.predict(white), rtol=1e-9, atol=1e-11)
        residual = np.square(Y - prediction).sum(axis=0)
        np.testing.assert_allclose(solution.residual_squares[0], residual, rtol=1e-9)
        if solution.degrees_of_freedom is not None:
            freedom.append(solution.degrees_of_freedom[0])
    np.testing.assert_allclose(freedom, freedom[0], rtol=1e-10)
    G = (white - white.mean(axis=0)).T @ (white - white.mean(axis=0))
    assert freedom[0] == pytest.approx(np.trace(G @ np.linalg.inv(G + alpha * np.eye(6))) + 1)


def test_eigenvalues_are_relative_to_the_penalty(problem):
    stats, _, _, white = problem
    exact = np.linalg.eigvalsh((white - white.mean(axis=0)).T @ (white - white.mean(axis=0)))[-1]
    assert 0.75 * exact < stats.largest_eigenvalue <= exact * (1 + 1e-12)
    assert ridge_path(stats, [1.0]).largest_eigenvalue == pytest.approx(exact)


def test_search_scores_as_the_path_does(problem):
    stats, *_ = problem
    alphas = np.geomspace(1e-3, 1e3, 9)
    path, scores = search_by_gcv(stats, alphas)
    whole = ridge_path(stats, path.alphas)
    # 80 rows of 6 features: the degrees of freedom come from 32 probes
    np.testing.assert_allclose(scores, gcv_scores(stats, whole), rtol=5e-3)


def test_columns_of_a_penalty(problem):
    stats, *_ = problem
    few = stats.columns(slice(None, None, 2))
    np.testing.assert_array_equal(few.penalty.matrix, stats.penalty.matrix[::2, ::2])


@pytest.mark.parametrize("m", [6, 9, 700])
def test_a_matrix_and_its_factor_share_memory(m):
    A = np.random.default_rng(1).standard_normal((m, m))
    matrix = np.asfortranarray(A @ A.T + m * np.eye(m))
    kept, factor = matrix.copy(), np.linalg.cholesky(matrix)
    penalty = Penalty(matrix)
    assert np.shares_memory(penalty.packed, matrix)
    np.testing.assert_array_equal(penalty.matrix, np.tril(kept) + np.tril(kept, -1).T)
    B = A[:, :3]
    np.testing.assert_allclose(penalty.root(B), factor @ B, atol=1e-9)
    np.testing.assert_allclose(penalty.root(B, transpose=True), factor.T @ B, atol=1e-9)
    np.testing.assert_allclose(penalty.whiten(penalty.root(B)), B, atol=1e-9)
    penalised = np.tril(penalty.penalised(kept, 0.5))
    np.testing.assert_allclose(penalised, np.tril(1.5 * kept), rtol=1e-12, atol=1e-12)
    other = np.linalg.cholesky(kept + A.T @ A)
    squares = np.square(np.linalg.solve(other, factor)).sum()
    assert penalty.squares_behind(np.asfortranarray(other)) == pytest.approx(squares)
