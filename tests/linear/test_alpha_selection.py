import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from ntksketch.linear import (
    GramAccumulator,
    default_alphas,
    gcv_scores,
    holdout_scores,
    ridge_path,
    search_by_gcv,
    solve_ridge,
)
from ntksketch.linear.ridge import factored_ridge

ALPHAS = np.geomspace(1e-2, 1e3, 6)


def problem(n=40, m=6, k=2, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, m)) + 2.0
    Y = Z @ rng.standard_normal((m, k)) + rng.standard_normal((n, k)) - 3.0
    return Z, Y


def statistics(Z, Y, weight=None, fit_intercept=True):
    return GramAccumulator(fit_intercept).update(Z, Y, weight).finalise()


def scores_by_hat_matrix(Z, Y, alphas, fit_intercept):
    n, m = Z.shape
    design = np.hstack([Z, np.ones((n, 1))]) if fit_intercept else Z
    penalty = np.diag([1.0] * m + [0.0] * fit_intercept)
    scores = []
    for alpha in alphas:
        hat = design @ np.linalg.solve(design.T @ design + alpha * penalty, design.T)
        residual = ((Y - hat @ Y) ** 2).sum(0)
        scores.append(np.mean(n * residual / (n - np.trace(hat)) ** 2))
    return scores


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(40, 6), (6, 9)])
def test_gcv_by_the_hat_matrix(shape, fit_intercept):
    Z, Y = problem(*shape)
    stats = statistics(Z, Y, fit_intercept=fit_intercept)
    expected = scores_by_hat_matrix(Z, Y, ALPHAS, fit_intercept)
    np.testing.assert_allclose(gcv_scores(stats, ridge_path(stats, ALPHAS)), expected, rtol=1e-8)


def test_gcv_counts_weights_as_repetitions():
    Z, Y = problem()
    repetitions = np.random.default_rng(1).integers(0, 3, len(Z))
    stats = statistics(Z, Y, repetitions)
    expected = scores_by_hat_matrix(
        Z.repeat(repetitions, 0), Y.repeat(repetitions, 0), ALPHAS, True
    )
    np.testing.assert_allclose(gcv_scores(stats, ridge_path(stats, ALPHAS)), expected, rtol=1e-8)


def test_gcv_agrees_with_leave_one_out_on_the_order_of_penalties():
    Z, Y = problem(n=300, k=1)
    stats = statistics(Z, Y)
    scores = gcv_scores(stats, ridge_path(stats, ALPHAS))
    assert ALPHAS[scores.argmin()] == RidgeCV(ALPHAS).fit(Z, Y[:, 0]).alpha_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_interpolation_does_not_win_by_rounding(dtype):
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((20, 60)).astype(dtype), rng.standard_normal(20)
    stats = statistics(Z, y)
    scores = gcv_scores(stats, ridge_path(stats, default_alphas(stats)))
    assert (scores > 0.3 * y.var()).all()
    with pytest.warns(match="rank 19"):
        path = ridge_path(stats, [0.0])
    assert gcv_scores(stats, path)[0] > 1e3


def test_gcv_needs_degrees_of_freedom():
    stats = statistics(*problem())
    with pytest.raises(ValueError, match="ridge_path"):
        gcv_scores(stats, solve_ridge(stats, 1.0))


@pytest.mark.parametrize("weighted", [False, True])
def test_holdout_by_definition(weighted):
    Z, Y = problem(n=100)
    path = ridge_path(statistics(Z[:60], Y[:60]), ALPHAS)
    weight = np.random.default_rng(0).integers(0, 3, 40) if weighted else None
    scores = holdout_scores(path, Z[60:], Y[60:], weight)
    for score, coef, intercept in zip(scores, path.coef, path.intercept, strict=True):
        squares = (Y[60:] - Z[60:] @ coef - intercept) ** 2
        assert score == pytest.approx(np.average(squares.mean(1), weights=weight))


def test_holdout_refuses():
    Z, Y = problem()
    path = ridge_path(statistics(Z, Y), ALPHAS)
    with pytest.raises(ValueError, match="6 feature columns and 1 targets; the solution has 6"):
        holdout_scores(path, Z, Y[:, 0])
    with pytest.raises(ValueError, match="positive weight"):
        holdout_scores(path, Z, Y, np.zeros(len(Z)))
    with pytest.raises(ValueError, match="NaN"):
        holdout_scores(path, np.full_like(Z, np.nan), Y)


def test_default_grid_scales_with_the_features_and_never_warns():
    Z, Y = problem()
    stats, scaled = statistics(Z, Y), statistics(1e3 * Z, Y)
    grid = default_alphas(stats)
    assert grid.shape == (17,)
    np.testing.assert_allclose(default_alphas(scaled), 1e6 * grid, rtol=1e-6)
    path = ridge_path(stats, grid)
    np.testing.assert_allclose(grid[-1], 10 * path.largest_eigenvalue, rtol=0.25)
    assert default_alphas(statistics(np.ones_like(Z), Y))[-1] == pytest.approx(10.0)


def noisy_problem(n, m, seed=0):
    """Return rows whose best penalty lies inside the default grid."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, m)) / np.arange(1, m + 1)
    return statistics(Z, Z[:, :5].sum(1, keepdims=True) + rng.standard_normal((n, 2)))


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n", [200, 20])
def test_factors_agree_with_the_eigendecomposition(n, fit_intercept):
    stats = statistics(*problem(n, 30), fit_intercept=fit_intercept)
    found, expected = factored_ridge(stats, ALPHAS), ridge_path(stats, ALPHAS)
    for name in ("coef", "intercept", "residual_squares", "degrees_of_freedom"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), 1e-7)
    assert found.rank is None


@pytest.mark.parametrize("seed", range(3))
def test_probes_estimate_the_degrees_of_freedom(seed):
    stats = statistics(*problem(200, 30))
    probes = np.random.default_rng(seed).choice([-1.0, 1.0], size=(30, 400))
    found = factored_ridge(stats, ALPHAS, probes).degrees_of_freedom
    expected = ridge_path(stats, ALPHAS).degrees_of_freedom
    assert found is not None
    assert expected is not None
    eigenvalues = np.linalg.eigvalsh(stats.gram)
    shrunk = (ALPHAS / (eigenvalues[:, None] + ALPHAS)) ** 2
    assert (np.abs(found - expected) < 4 * np.sqrt(2 * shrunk.sum(0) / 400)).all()
    # random signs meet a multiple of the identity exactly
    white = statistics(np.eye(30), np.eye(30), fit_intercept=False)
    assert factored_ridge(white, 1.0, probes).degrees_of_freedom == pytest.approx(15)


@pytest.mark.parametrize("shape", [(2000, 40), (60, 40), (30, 40)])
def test_search_finds_the_least_score_of_the_grid(shape):
    stats = noisy_problem(*shape)
    grid = default_alphas(stats)
    path, scores = search_by_gcv(stats, grid[::-1])
    everything = gcv_scores(stats, ridge_path(stats, grid))
    assert 5 <= len(scores) <= 10
    assert (np.diff(path.alphas) > 0).all()
    assert path.alphas[scores.argmin()] == grid[everything.argmin()]
    expected = [everything[grid == alpha][0] for alpha in path.alphas]
    np.testing.assert_allclose(scores, expected, rtol=1e-2 if shape[0] == 2000 else 1e-6)


def test_search_from_a_quarter_of_the_features(monkeypatch):
    stats = noisy_problem(2000, 64)
    grid = default_alphas(stats)
    everything = gcv_scores(stats, ridge_path(stats, grid))
    monkeypatch.setattr("ntksketch.linear.selection._QUICK_FEATURES", 16)
    path, scores = search_by_gcv(stats, grid)
    assert len(scores) < 7
    assert path.alphas[scores.argmin()] == grid[everything.argmin()]
    assert stats.columns(slice(None, None, 4)).gram.shape == (16, 16)


@pytest.mark.parametrize("quick", [16, 1000])
def test_search_goes_on_to_penalties_that_leave_degrees_of_freedom(quick, monkeypatch):
    """A total weight of 50 for 64 columns: no score is finite where the penalties are small."""
    monkeypatch.setattr("ntksketch.linear.selection._QUICK_FEATURES", quick)
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((500, 64)), rng.standard_normal(500)
    stats = GramAccumulator().update(Z, y, np.full(500, 0.1)).finalise()
    grid = default_alphas(stats)
    everything = gcv_scores(stats, ridge_path(stats, grid))
    assert not np.isfinite(everything[: len(grid) // 4 + 1]).any()
    path, scores = search_by_gcv(stats, grid)
    best = grid[everything.argmin()]
    assert best / 4 <= path.alphas[scores.argmin()] <= 4 * best


@pytest.mark.parametrize("quick", [4, 1000])
def test_search_where_all_columns_are_zero(quick, monkeypatch):
    monkeypatch.setattr("ntksketch.linear.selection._QUICK_FEATURES", quick)
    stats = GramAccumulator().update(np.zeros((10, 8)), np.arange(10.0)).finalise()
    path, scores = search_by_gcv(stats, default_alphas(stats))
    assert np.isfinite(scores).all()
    assert not path.coef.any()


def test_search_without_any_factor_takes_the_eigenvalues():
    Z, Y = problem()
    stats = statistics(np.hstack([Z, Z]), Y)
    tiny = 1e-300 * default_alphas(stats)
    with pytest.warns(match="normal equations lose accuracy"):
        path, scores = search_by_gcv(stats, tiny)
    assert path.rank == 6
    assert len(scores) == len(tiny)
