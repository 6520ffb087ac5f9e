import warnings

import numpy as np
import pytest
from scipy.linalg import LinAlgWarning
from sklearn.linear_model import Ridge

from ntksketch.linear import GramAccumulator, GramStatistics, ridge_path, solve_ridge
from ntksketch.linear.eigenvalue import estimate_largest_eigenvalue


def problem(n=60, m=8, k=2, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, m)) @ rng.standard_normal((m, m)) + 3.0
    Y = Z @ rng.standard_normal((m, k)) + rng.standard_normal((n, k)) + 5.0
    return Z, Y, rng.uniform(0.1, 3.0, n)


def statistics(Z, Y, weight=None, fit_intercept=True, n_blocks=4) -> GramStatistics:
    total = GramAccumulator(fit_intercept)
    for block in np.array_split(np.arange(len(Z)), n_blocks):
        total.update(Z[block], Y[block], None if weight is None else weight[block])
    return total.finalise()


def solvers(stats, alphas):
    path = ridge_path(stats, alphas)
    singles = [solve_ridge(stats, alpha) for alpha in alphas]
    coef = np.concatenate([single.coef for single in singles])
    intercept = np.concatenate([single.intercept for single in singles])
    return (path.coef, path.intercept), (coef, intercept)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [60, 5])
def test_equals_scikit_learn_on_the_stacked_rows(n, weighted, fit_intercept):
    Z, Y, weight = problem(n)
    weight = weight if weighted else None
    stats = statistics(Z, Y, weight, fit_intercept)
    largest = np.linalg.eigvalsh(stats.gram)[-1]
    alphas = largest * np.geomspace(1.01e-7, 10, 9)
    for coef, intercept in solvers(stats, alphas):
        for i, alpha in enumerate(alphas):
            ridge = Ridge(alpha, fit_intercept=fit_intercept, solver="svd").fit(Z, Y, weight)
            scale = np.abs(ridge.coef_).max()
            np.testing.assert_allclose(coef[i].T, ridge.coef_, 1e-8, 1e-8 * scale)
            np.testing.assert_allclose(intercept[i], ridge.intercept_, 1e-8, 1e-8 * scale)


def test_residuals_and_degrees_of_freedom_by_the_hat_matrix():
    Z, Y, weight = problem()
    stats = statistics(Z, Y, weight)
    path = ridge_path(stats, [0.0, 0.3, 7.0])
    Zc = Z - np.average(Z, axis=0, weights=weight)
    for i, alpha in enumerate(path.alphas):
        residual = Y - Z @ path.coef[i] - path.intercept[i]
        np.testing.assert_allclose(path.residual_squares[i], weight @ residual**2, rtol=1e-9)
        hat = Zc @ np.linalg.solve((weight * Zc.T) @ Zc + alpha * np.eye(8), weight * Zc.T)
        assert path.degrees_of_freedom is not None
        np.testing.assert_allclose(path.degrees_of_freedom[i], np.trace(hat) + 1)
        if alpha:
            single = solve_ridge(stats, alpha)
            np.testing.assert_allclose(single.residual_squares[0], path.residual_squares[i])


def test_invariances():
    Z, Y, _ = problem()
    stats = statistics(Z, Y)
    alphas = np.array([0.1, 2.0])
    path = ridge_path(stats, alphas)
    stacked = ridge_path(statistics(np.tile(Z, (2, 1)), np.tile(Y, (2, 1))), 2 * alphas)
    np.testing.assert_allclose(stacked.coef, path.coef, rtol=1e-9)
    scaled = ridge_path(statistics(3 * Z, Y), 9 * alphas)
    np.testing.assert_allclose(3 * scaled.coef, path.coef, rtol=1e-9)
    moved = ridge_path(statistics(Z + 100, Y - 7), alphas)
    np.testing.assert_allclose(moved.coef, path.coef, rtol=1e-9)
    weights_of_one = ridge_path(statistics(Z, Y, np.ones(len(Z))), alphas)
    np.testing.assert_allclose(weights_of_one.coef, path.coef, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_singular_gram_gives_the_least_norm_and_says_so(dtype):
    Z, Y, _ = problem(m=6)
    Z = np.hstack([Z, Z[:, :2]]).astype(dtype)
    stats = statistics(Z, Y)
    for solve in (lambda: ridge_path(stats, [0.0, 1.0]), lambda: solve_ridge(stats, 0.0)):
        with pytest.warns(LinAlgWarning, match="8 features has numerical rank 6"):
            solution = solve()
        assert (solution.rank, solution.status.kind) == (6, "singular")
        assert "least norm" in solution.status.cause
        assert "alpha >=" in str(solution.status)
        Zc = Z.astype(float) - Z.mean(0)
        expected = np.linalg.lstsq(Zc, Y - Y.mean(0), rcond=1e-5)[0]
        tolerance = 1e-8 if dtype == np.float64 else 1e-3
        np.testing.assert_allclose(solution.coef[0], expected, tolerance, tolerance)


def test_constant_features_without_a_penalty():
    with pytest.warns(LinAlgWarning, match="rank 0.*use alpha > 0"):
        assert not solve_ridge(statistics(np.ones((5, 2)), np.arange(5.0)), 0.0).coef.any()


def test_alpha_zero_with_full_rank_is_least_squares_without_a_warning():
    Z, Y, _ = problem()
    solution = solve_ridge(statistics(Z, Y, fit_intercept=False), 0.0)
    np.testing.assert_allclose(solution.coef[0], np.linalg.lstsq(Z, Y)[0], rtol=1e-8)
    assert (solution.rank, str(solution.status)) == (8, "ok")


def test_small_alpha_warns_with_the_numbers():
    stats = statistics(*problem()[:2])
    largest = np.linalg.eigvalsh(stats.gram)[-1]
    alpha = 1e-9 * largest
    for solution in (lambda: ridge_path(stats, [1.0, alpha]), lambda: solve_ridge(stats, alpha)):
        with pytest.warns(LinAlgWarning, match=f"alpha={alpha:.3g} is below 1e-07") as caught:
            status = solution().status
        assert f"{1e-7 * largest:.2g}"[:3] in str(caught[0].message)
        assert caught[0].filename == __file__
        assert status.kind == "ill-conditioned"
        assert "rescale" in status.remedy


def test_no_factor_falls_back_to_eigenvalues_with_a_warning():
    Z = np.repeat(np.random.default_rng(0).standard_normal((50, 1)), 3, axis=1)
    stats = statistics(Z, Z[:, 0])
    with pytest.warns(LinAlgWarning, match="below 1e-07"):
        solution = solve_ridge(stats, 1e-20)
    assert solution.rank == 1


def test_negative_eigenvalues_that_matter_warn():
    stats = statistics(*problem(m=3))
    gram = np.diag([1.0, 1.0, -1e-4])
    values = {**vars(stats), "gram": gram}
    with pytest.warns(LinAlgWarning, match="down to -0.0001, were set to zero"):
        path = ridge_path(GramStatistics(**values), [1e-4, 1.0])
    assert path.status.kind == "ill-conditioned"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge_path(GramStatistics(**values), [1.0])


def test_constant_features_give_the_mean():
    Z, y = np.ones((5, 2)), np.arange(5.0)
    for solution in (ridge_path(statistics(Z, y), [1.0]), solve_ridge(statistics(Z, y), 1.0)):
        assert not solution.coef.any()
        assert solution.status.kind == "ok"
        assert solution.intercept[0, 0] == pytest.approx(2.0)
        assert solution.largest_eigenvalue == 0.0


@pytest.mark.parametrize("alphas", [-1.0, [1.0, np.nan], [np.inf], [], [[1.0]]])
def test_penalties_that_cannot_be(alphas):
    with pytest.raises(ValueError, match="alphas must be"):
        ridge_path(statistics(*problem()[:2]), alphas)


def test_solve_ridge_takes_one_penalty():
    with pytest.raises(ValueError, match="one number"):
        solve_ridge(statistics(*problem()[:2]), [1.0, 2.0])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("m", [1, 2, 50, 300])
def test_estimate_of_the_largest_eigenvalue(m):
    A = np.random.default_rng(m).standard_normal((2 * m, m))
    exact = np.linalg.eigvalsh(A.T @ A)[-1]
    assert 0.75 * exact < estimate_largest_eigenvalue(A.T @ A) <= exact * (1 + 1e-12)
