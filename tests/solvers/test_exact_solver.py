import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import ntksketch as ntk
from ntksketch.diagnostics import exact_ridge

ARCHITECTURE = ntk.mlp(2)
ALPHAS = [0.05, 1.0, 30.0]
both = pytest.mark.parametrize("fit_intercept", [True, False])


def data(n=80, d=4, seed=0, dtype=np.float64):
    """Return training rows, two targets away from zero, and new rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 9, d))
    Y = np.stack([np.abs(X[:, 0]) + 2, X[:, 1] * X[:, 2] - 5], 1) + 0.1 * rng.standard_normal(
        (n + 9, 2)
    )
    X = X.astype(dtype)
    return X[:n], Y[:n], X[n:]


def solve(X, y, alphas=ALPHAS, architecture=ARCHITECTURE, **options):
    return ntk.solve_kernel_ridge(
        architecture, X, y, alphas, **{"tolerance": 1e-12, "random_state": 0, **options}
    )


def dense(X, y, alpha, new, fit_intercept=True, weight=None, architecture=ARCHITECTURE, **options):
    """Solve the bordered system directly: dual coefficients, intercept and predictions."""
    y = np.asarray(y, float)
    n = len(y)
    weight = np.ones(n) if weight is None else weight
    used = weight > 0
    K = ntk.kernel(architecture, X[used], **options).astype(np.float64)
    m = len(K)
    ones = np.ones((m, 1)) if fit_intercept else np.zeros((m, 0))
    matrix = np.block(
        [[K + alpha * np.diag(1 / weight[used]), ones], [ones.T, np.zeros((ones.shape[1],) * 2)]]
    )
    right = y[used].reshape(m, -1)
    both = np.linalg.solve(matrix, np.vstack([right, np.zeros((ones.shape[1], right.shape[1]))]))
    dual = np.zeros((n, right.shape[1]))
    dual[used] = both[:m]
    intercept = both[m] if fit_intercept else np.zeros(right.shape[1])
    across = ntk.kernel(architecture, new, X, **options).astype(np.float64)
    return dual, intercept, across @ dual + intercept


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# ---------------------------------------------------------------------------------------------
# The exact answer
# ---------------------------------------------------------------------------------------------


@both
def test_agrees_with_the_direct_solve(fit_intercept):
    X, Y, new = data()
    solution = solve(X, Y, fit_intercept=fit_intercept)
    assert solution.status.converged
    predicted = solution.predict(new)
    assert predicted.shape == (3, 9, 2)
    K, across = ntk.kernel(ARCHITECTURE, X), ntk.kernel(ARCHITECTURE, new, X)
    for i, alpha in enumerate(ALPHAS):
        exact = exact_ridge(K, Y, alpha, fit_intercept=fit_intercept)
        np.testing.assert_allclose(predicted[i], exact.predict(across), rtol=1e-8)
        assert relative(solution.dual_coef[i], exact.dual_coef) < 1e-8
        np.testing.assert_allclose(solution.intercept[i], exact.intercept, rtol=1e-8)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        (ntk.mlp(1), "ntk"),
        (ntk.mlp(3), "nngp"),
        (ntk.mlp(2, bias_std=0.5), "ntk"),
        (ntk.mlp(1, activation=ntk.Erf()), "ntk"),
        (ntk.zonal.ntk(2), "ntk"),
        (ntk.zonal.laplace(1.0), "ntk"),
    ],
    ids=str,
)
def test_every_kernel(architecture, kind):
    X, Y, new = data(40)
    solution = solve(X, Y, 0.3, architecture, kind=kind)
    assert (solution.architecture, solution.kind) == ntk.kernels.resolve_target(architecture, kind)
    *_, expected = dense(X, Y, 0.3, new, architecture=architecture, kind=kind)
    np.testing.assert_allclose(solution.predict(new), expected, rtol=1e-7)


@both
def test_weights_are_repetitions(fit_intercept):
    X, Y, new = data(40)
    weight = np.random.default_rng(3).integers(0, 4, 40)
    options = {"fit_intercept": fit_intercept}
    solution = solve(X, Y, sample_weight=weight, **options)
    repeated = solve(np.repeat(X, weight, axis=0), np.repeat(Y, weight, axis=0), **options)
    np.testing.assert_allclose(solution.predict(new), repeated.predict(new), rtol=1e-8)
    np.testing.assert_allclose(solution.intercept, repeated.intercept, rtol=1e-8)
    assert not solution.dual_coef[:, weight == 0].any()
    for i, alpha in enumerate(ALPHAS):
        dual, intercept, predicted = dense(X, Y, alpha, new, fit_intercept, weight)
        assert relative(solution.dual_coef[i], dual) < 1e-8
        np.testing.assert_allclose(solution.intercept[i], intercept, rtol=1e-8)
        np.testing.assert_allclose(solution.predict(new)[i], predicted, rtol=1e-8)


def test_stacked_rows_with_doubled_alpha_and_scaled_weights():
    X, Y, new = data(30)
    expected = solve(X, Y, 0.5).predict(new)
    doubled = solve(np.vstack([X, X]), np.vstack([Y, Y]), 1.0)
    np.testing.assert_allclose(doubled.predict(new), expected, rtol=1e-8)
    weighted = solve(X, Y, 5.0, sample_weight=np.full(30, 10.0))
    np.testing.assert_allclose(weighted.predict(new), expected, rtol=1e-8)


@pytest.mark.parametrize("rows", ["float32", "csr", "csr float32"])
def test_kinds_of_rows(rows):
    X, Y, new = data()
    X[np.abs(X) < 0.3] = new[np.abs(new) < 0.3] = 0
    if "float32" in rows:
        X, new = X.astype(np.float32), new.astype(np.float32)
    *_, expected = dense(X, Y, 0.5, new)
    container = sp.csr_matrix if "csr" in rows else np.asarray
    solution = solve(container(X), Y, 0.5)
    assert solution.status.converged  # in float32, too: entries are rounded once
    predicted = solution.predict(container(new))
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted, expected, rtol=1e-3 if "float32" in rows else 1e-8)


@both
def test_float32_matrices_are_solved_to_the_digits_of_float64(fit_intercept):
    X, Y, new = data(dtype=np.float32)
    solution = solve(X, Y, 0.5, fit_intercept=fit_intercept)  # one tile: the kernel's own entries
    dual, intercept, predicted = dense(X, Y, 0.5, new, fit_intercept)
    assert relative(solution.dual_coef, dual) < 1e-8
    np.testing.assert_allclose(solution.predict(new), predicted, rtol=1e-6)
    np.testing.assert_allclose(solution.intercept, intercept, rtol=1e-6, atol=1e-300)


@pytest.mark.parametrize("tile", [4, 16, 32])
def test_blocks_of_any_size_agree(tile):
    X, Y, new = data()
    working_memory = tile * tile * 48.5 / 2**20
    blocks = solve(X, Y, working_memory=working_memory)
    whole = solve(X, Y)
    assert relative(blocks.dual_coef, whole.dual_coef) < 1e-8
    np.testing.assert_allclose(
        blocks.predict(new, working_memory=working_memory), whole.predict(new), rtol=1e-8
    )


def test_the_answer_does_not_depend_on_the_preconditioner():
    X, Y, new = data()
    expected = solve(X, Y).predict(new)
    for options in ({"rank": 0}, {"rank": 1}, {"rank": 80}, {"random_state": 5}):
        np.testing.assert_allclose(solve(X, Y, **options).predict(new), expected, rtol=1e-8)


def test_repeated_rows_and_rows_of_zeros():
    X, Y, new = data(30)
    X = np.vstack([X, X[:20], np.zeros((5, 4)), 3 * X[:4], 1e-200 * X[:3]])
    Y = np.vstack([Y, Y[::-1][:20], np.ones((5, 2)), Y[:4], Y[:3]])
    new = np.vstack([new, np.zeros((1, 4)), X[:2]])
    solution = solve(X, Y, 0.5)
    assert solution.status.converged
    *_, expected = dense(X, Y, 0.5, new)
    np.testing.assert_allclose(solution.predict(new), expected, rtol=1e-8)


def test_only_rows_of_zeros_predict_the_mean():
    solution = solve(np.zeros((6, 3)), np.arange(6.0), 1.0)
    assert solution.status.converged
    np.testing.assert_allclose(solution.predict(np.ones((2, 3))), 2.5)


@both
def test_constant_and_zero_targets(fit_intercept):
    X, _, new = data(30)
    Y = np.stack([np.zeros(30), np.full(30, 4.0), np.arange(30.0)], 1)
    solution = solve(X, Y, 0.5, fit_intercept=fit_intercept)
    assert solution.status.converged
    assert not solution.predict(new)[:, 0].any()
    if fit_intercept:
        np.testing.assert_allclose(solution.predict(new)[:, 1], 4.0, rtol=1e-12)
    alone = solve(X, Y[:, 2], 0.5, fit_intercept=fit_intercept)
    np.testing.assert_allclose(solution.predict(new)[:, 2], alone.predict(new), rtol=1e-8)
    nothing = solve(X, np.zeros(30), 0.5, fit_intercept=fit_intercept)
    assert nothing.status.iterations.sum() == 0
    assert not nothing.predict(new).any()


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e200])
def test_targets_of_any_size(factor):
    X, Y, new = data(30)
    expected = solve(X, Y).predict(new)
    scaled = solve(X, factor * Y)
    assert scaled.status.converged
    np.testing.assert_allclose(scaled.predict(new) / factor, expected, rtol=1e-8)


def test_one_row():
    solution = solve([[1.0, 2.0]], [3.0], 1.0)
    np.testing.assert_allclose(solution.predict([[1.0, 2.0], [0.0, 1.0]]), 3.0)
    solution = solve([[1.0, 2.0]], [3.0], 1.0, fit_intercept=False)
    np.testing.assert_allclose(solution.predict([[1.0, 2.0]]), 3 * 15 / 16)


def test_axes_are_those_of_penalties_and_targets():
    X, Y, new = data(20)
    whole = solve(X, Y, [0.5, 2.0])
    for alphas, y, pick, shape in (
        (0.5, Y[:, 0], (0, Ellipsis, 0), ()),
        (0.5, Y, (0,), (2,)),
        ([0.5, 2.0], Y[:, 0], (Ellipsis, 0), (2,)),
        ([0.5], Y, ([0],), (1, 2)),
    ):
        solution = solve(X, y, alphas)
        assert np.shape(solution.intercept) == shape
        assert isinstance(solution.intercept, float) or shape
        np.testing.assert_allclose(solution.intercept, whole.intercept[pick], rtol=1e-8)
        np.testing.assert_allclose(solution.predict(new), whole.predict(new)[pick], rtol=1e-8)
        assert relative(solution.dual_coef, whole.dual_coef[pick]) < 1e-8
        assert np.ndim(solution.alphas) == np.ndim(alphas)


# ---------------------------------------------------------------------------------------------
# How it gets there
# ---------------------------------------------------------------------------------------------


def steep(n=300):
    """Return a problem whose kernel falls off quickly, with a small penalty."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1], 1e-4 * ntk.kernel_diag(ntk.mlp(1), X).mean()


def test_the_preconditioner_saves_iterations():
    X, y, alpha = steep()
    counts = {}
    for rank in (0, 30, 120, 300):
        solution = solve(X, y, alpha, ntk.mlp(1), rank=rank, tolerance=1e-6, max_iter=5000)
        assert solution.status.converged
        assert solution.status.rank <= rank
        counts[rank] = int(solution.status.iterations.max())
    assert counts[0] > 2 * counts[30] > 4 * counts[120]
    assert counts[300] <= 10


def test_the_factorisation_stops_where_more_rank_gains_nothing():
    X, Y, _ = data()
    trace = ntk.kernel_diag(ARCHITECTURE, X).sum()
    solution = solve(X, Y, [0.3 * trace, trace], rank=80, tolerance=1e-6)
    assert solution.status.rank < 40
    assert solution.status.iterations.max() <= 12  # condition number 2: a factor of 5.8 each


def test_many_penalties_take_no_more_products_than_the_hardest(monkeypatch):
    X, Y, _ = data()
    calls, product = [], ntk.kernels.products.KernelProduct.product

    def counted(self, V):
        calls.append(V.shape[1])
        return product(self, V)

    monkeypatch.setattr(ntk.kernels.products.KernelProduct, "product", counted)
    solution = solve(X, Y, [0.05, 0.5, 5.0, 50.0], tolerance=1e-8)
    assert len(calls) <= solution.status.iterations.max() + 2
    assert calls[0] == 8


def test_bounds_on_fitted_values_and_predictions_hold():
    X, Y, new = data()
    K = ntk.kernel(ARCHITECTURE, X)
    loose = solve(X, Y[:, 0], 0.05, fit_intercept=False, tolerance=0.02)
    tight = solve(X, Y[:, 0], 0.05, fit_intercept=False)
    norm = loose.status.residuals.item() * np.linalg.norm(Y[:, 0])
    assert loose.status.residuals.item() <= 0.02
    assert 0 < np.linalg.norm(loose.predict(X) - tight.predict(X)) <= norm
    bound = norm * np.sqrt(ntk.kernel_diag(ARCHITECTURE, new) / (4 * 0.05))
    assert np.all(np.abs(loose.predict(new) - tight.predict(new)) <= bound)
    residual = Y[:, 0] - (K + 0.05 * np.eye(80)) @ loose.dual_coef
    np.testing.assert_allclose(np.linalg.norm(residual), norm, rtol=1e-6)


def test_the_seed_decides_and_none_is_another_one():
    X, Y, _ = data()
    same = [solve(X, Y, random_state=3, tolerance=1e-3).dual_coef for _ in range(2)]
    np.testing.assert_array_equal(*same)
    others = [solve(X, Y, random_state=None, tolerance=1e-3).dual_coef for _ in range(2)]
    assert not np.array_equal(*others)


def test_any_number_of_tiles_compiles_once(compilations):
    X, Y, _ = data(150, d=6)
    memory = {"working_memory": 0.012}  # tiles of 16 rows
    options = {"rank": 0, "tolerance": 1e-3, **memory}
    y = Y[:, 0]  # one column: several compile a product for each power of two that is left
    solve(X, y, 1.0, **options).predict(X[:40], **memory)
    compilations.clear()
    solve(X[:133], y[:133], 1.0, **options).predict(X[:77], **memory)
    assert not compilations


# ---------------------------------------------------------------------------------------------
# Ends that are not convergence, and bad input
# ---------------------------------------------------------------------------------------------


def test_the_cap_on_iterations_warns_and_reports():
    X, Y, _ = data()
    with pytest.warns(
        ConvergenceWarning, match=r"iteration-limit: .* after 3 iterations; use a la"
    ):
        solution = solve(X, Y, [0.01, 1e6], max_iter=3, rank=5)
    status = solution.status
    assert status.kind == "iteration-limit"
    assert not status.converged
    assert status.residuals.shape == status.iterations.shape == (2, 2)
    assert np.all(status.residuals[0] > 1e-3)
    assert "larger max_iter" in status.remedy
    K = ntk.kernel(ARCHITECTURE, X)
    left = Y - (K + 0.01 * np.eye(80)) @ solution.dual_coef[0] - solution.intercept[0]
    expected = np.linalg.norm(left, axis=0) / np.linalg.norm(Y - Y.mean(axis=0), axis=0)
    np.testing.assert_allclose(status.residuals[0], expected, rtol=1e-6)


def test_the_warning_points_at_the_caller():
    X, Y, _ = data(30)
    with pytest.warns(ConvergenceWarning) as caught:
        ntk.solve_kernel_ridge(ARCHITECTURE, X, Y, 1e-3, max_iter=1, rank=0)
    assert caught[0].filename == __file__


def test_a_tolerance_below_rounding_stagnates():
    X, Y, _ = data()
    with pytest.warns(ConvergenceWarning, match="stagnated: rounding keeps .* use tolerance >="):
        solution = solve(X, Y, 1e-3, tolerance=1e-16, max_iter=3000)
    assert solution.status.kind == "stagnated"
    assert solution.status.residuals.max() < 1e-9


class Indefinite(ntk.zonal.ZonalKernel):
    def evaluate(self, t):
        return 1 - 3 * t**2 + 2.5 * np.abs(t)


def test_an_indefinite_kernel_is_reported():
    X, Y, new = data()
    with pytest.warns(ConvergenceWarning, match="indefinite: .*use a larger alpha"):
        solution = solve(X, Y, 1e-3, Indefinite(), rank=0)
    assert solution.status.kind == "indefinite"
    assert np.isfinite(solution.predict(new)).all()


def test_success_is_silent():
    X, Y, _ = data(30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status = solve(X, Y).status
    assert status.converged
    assert str(status).startswith("converged: relative residuals of at most")
    assert (status.cause, status.remedy) == ("", "")


BAD = [
    ({"alphas": 0.0}, ValueError, "alphas must be above zero.*exact_ridge"),
    ({"alphas": [1.0, -1.0]}, ValueError, "alphas must be finite and non-negative"),
    ({"alphas": []}, ValueError, "alphas must be a number or one-dimensional"),
    ({"y": np.ones(5)}, ValueError, r"y must have shape \(20,\) or \(20, k\)"),
    ({"y": np.ones((20, 0))}, ValueError, r"y must have shape"),
    ({"y": np.full(20, np.nan)}, ValueError, "y contains NaN"),
    ({"X": np.full((20, 4), np.inf)}, ValueError, "X: .*infinity"),
    ({"X": np.full((20, 4), 1e200)}, ValueError, "kernel overflows"),
    ({"kind": "gp"}, ValueError, "kind must be one of"),
    ({"architecture": 3}, TypeError, "architecture must be made of"),
    ({"sample_weight": np.zeros(20)}, ValueError, "zero for every row"),
    ({"sample_weight": -np.ones(20)}, ValueError, "negative"),
    ({"tolerance": 0.0}, ValueError, "tolerance must be above 0 and below 1"),
    ({"tolerance": "small"}, TypeError, "tolerance must be a number"),
    ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
    ({"max_iter": 2.5}, TypeError, "max_iter must be a whole number"),
    ({"rank": -1}, ValueError, "rank must be at least 0"),
    ({"random_state": "one"}, TypeError, "random_state must be a whole number"),
    ({"working_memory": -1}, ValueError, "working_memory must be a positive number"),
    ({"checkpoint": 7}, TypeError, "checkpoint must be a Checkpoint or a path"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input(change, error, message):
    X, Y, _ = data(20)
    arguments = {"architecture": ARCHITECTURE, "X": X, "y": Y, "alphas": 1.0, **change}
    with pytest.raises(error, match=message):
        ntk.solve_kernel_ridge(**arguments)


def test_a_preconditioner_that_cannot_fit(monkeypatch):
    from ntksketch.data import blocks

    monkeypatch.setattr(blocks, "available_memory", lambda: 1000.0)
    X, Y, _ = data(20)
    with pytest.raises(MemoryError, match="preconditioner of rank 16 for 20 rows needs"):
        solve(X, Y)


def test_rows_of_another_width():
    X, Y, _ = data(20)
    with pytest.raises(ValueError, match="as many columns as the training rows, 4, got 3"):
        solve(X, Y).predict(np.ones((2, 3)))
