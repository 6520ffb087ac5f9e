import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

import ntksketch as ntk
from ntksketch.kernels.products import LandmarkProduct

ARCHITECTURE = ntk.mlp(2)
ALPHAS = [0.05, 1.0, 30.0]
both = pytest.mark.parametrize("fit_intercept", [True, False])


def data(n=300, d=4, seed=0):
    """Return training rows, two targets away from zero, and new rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 9, d))
    Y = np.stack([np.abs(X[:, 0]) + 2, X[:, 1] * X[:, 2] - 5], 1)
    return X[:n], Y[:n], X[n:]


def solve(X, y, alphas=ALPHAS, architecture=ARCHITECTURE, **options):
    defaults = {"landmarks": X[:40], "tolerance": 1e-11, "random_state": 0}
    return ntk.solve_nystroem_ridge(architecture, X, y, alphas, **{**defaults, **options})


def by_features(X, Y, alpha, new, landmarks, weight=None, architecture=ARCHITECTURE, **options):
    """Solve by ridge regression on Nystroem features: predictions."""
    features = ntk.NTKFeatures(
        architecture, ntk.Nystroem(landmarks), n_components=landmarks.shape[0]
    ).fit(X)
    ridge = Ridge(alpha, solver="cholesky", **options).fit(features.transform(X), Y, weight)
    return ridge.predict(features.transform(new))


@both
def test_is_ridge_on_the_features(fit_intercept):
    X, Y, new = data()
    solution = solve(X, Y, fit_intercept=fit_intercept)
    assert solution.status.converged
    assert solution.dual_coef.shape == (3, 40, 2)
    np.testing.assert_array_equal(solution.X, X[:40])
    for alpha, predicted in zip(ALPHAS, solution.predict(new), strict=True):
        expected = by_features(X, Y, alpha, new, X[:40], fit_intercept=fit_intercept)
        np.testing.assert_allclose(predicted, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "architecture",
    [ntk.mlp(1, bias_std=0.5), ntk.mlp(1, activation=ntk.Erf()), ntk.zonal.laplace(1.0)],
    ids=str,
)
def test_every_kernel(architecture):
    X, Y, new = data(100)
    predicted = solve(X, Y, 0.5, architecture).predict(new)
    expected = by_features(X, Y, 0.5, new, X[:40], architecture=architecture)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)


@both
def test_weights_are_repetitions(fit_intercept):
    X, Y, new = data(100)
    weight = np.random.default_rng(3).integers(0, 4, 100)
    options = {"fit_intercept": fit_intercept, "landmarks": X[:40]}
    weighted = solve(X, Y, sample_weight=weight, **options)
    repeated = solve(np.repeat(X, weight, axis=0), np.repeat(Y, weight, axis=0), **options)
    np.testing.assert_allclose(weighted.predict(new), repeated.predict(new), rtol=1e-7)
    options = {"fit_intercept": fit_intercept}
    expected = by_features(X, Y, ALPHAS[1], new, X[:40], weight, **options)
    np.testing.assert_allclose(weighted.predict(new)[1], expected, rtol=1e-6)


@both
def test_all_rows_as_landmarks_are_the_exact_solution(fit_intercept):
    X, Y, new = data(60)
    options = {"fit_intercept": fit_intercept, "tolerance": 1e-11, "random_state": 0}
    expected = ntk.solve_kernel_ridge(ARCHITECTURE, X, Y, ALPHAS, **options)
    for landmarks in (X, 60):
        found = solve(X, Y, landmarks=landmarks, fit_intercept=fit_intercept)
        np.testing.assert_allclose(found.predict(new), expected.predict(new), rtol=1e-6)


def test_random_rows_by_number():
    X, Y, _ = data()
    solution = solve(X, Y, 0.5, landmarks=50)
    assert solution.X.shape == (50, 4)
    assert (solution.X[:, None] == X).all(axis=2).any(axis=1).all()
    np.testing.assert_array_equal(solve(X, Y, 0.5, landmarks=50).dual_coef, solution.dual_coef)
    assert not np.array_equal(solve(X, Y, 0.5, landmarks=50, random_state=1).X, solution.X)
    weight = np.arange(300) % 2
    chosen = solve(X, Y, 0.5, landmarks=50, sample_weight=weight).X
    assert not (chosen[:, None] == X[::2]).all(axis=2).any()


@pytest.mark.parametrize("rows", ["float32", "csr", "csr float32"])
def test_kinds_of_rows(rows):
    X, Y, new = data()
    X[np.abs(X) < 0.3] = new[np.abs(new) < 0.3] = 0
    expected = solve(X, Y, 0.5).predict(new)
    if "float32" in rows:
        X, new = X.astype(np.float32), new.astype(np.float32)
    container = sp.csr_array if "csr" in rows else np.asarray
    solution = solve(container(X), Y, 0.5, landmarks=container(X[:40]))
    assert solution.status.converged
    predicted = solution.predict(container(new))
    np.testing.assert_allclose(predicted, expected, rtol=1e-3 if "float32" in rows else 1e-7)


@pytest.mark.parametrize("block", [1, 8, 64])
def test_blocks_of_any_size_agree(block):
    X, Y, new = data(100)
    options = {"working_memory": block * 40 * 48.5 / 2**20}
    expected = solve(X, Y).predict(new)
    np.testing.assert_allclose(solve(X, Y, **options).predict(new), expected, rtol=1e-6)


def test_repeated_landmarks_and_rows_of_zeros():
    X, Y, new = data(100)
    X = np.vstack([X, X[:20], np.zeros((5, 4))])
    Y = np.vstack([Y, Y[:20], np.ones((5, 2))])
    landmarks = np.vstack([X[:30], X[:10], 2 * X[:5], np.zeros((2, 4))])
    solution = solve(X, Y, 0.5, landmarks=landmarks, tolerance=1e-8)
    assert solution.status.converged
    expected = by_features(X, Y, 0.5, new, X[:30])
    np.testing.assert_allclose(solution.predict(new), expected, rtol=1e-4)


def test_the_preconditioner_saves_iterations(monkeypatch):
    from ntksketch.solvers import nystroem

    X, Y, _ = data(600, d=3)
    alpha = 1e-4 * ntk.kernel_diag(ARCHITECTURE, X).mean()
    options = {"landmarks": 150, "tolerance": 1e-6, "max_iter": 3000}
    counts = solve(X, Y, alpha, **options).status.iterations
    assert counts.max() < 60
    monkeypatch.setattr(nystroem._Preconditioner, "solve", lambda self, R, columns: R)
    without = solve(X, Y, alpha, **options).status.iterations
    assert without.min() > 4 * counts.max()


def test_each_iteration_is_one_pass(monkeypatch):
    X, Y, _ = data()
    calls, normal = [], LandmarkProduct.normal

    def counted(self, V, weight):
        calls.append(V.shape[1])
        return normal(self, V, weight)

    monkeypatch.setattr(LandmarkProduct, "normal", counted)
    solution = solve(X, Y, tolerance=1e-6)
    assert len(calls) == solution.status.iterations.max() + 1  # and one for the residuals
    assert calls[0] == calls[-1] == 6


def test_goes_on_from_a_checkpoint(tmp_path):
    X, Y, _ = data()
    path = tmp_path / "state.npz"
    options = {"landmarks": 40, "checkpoint": path}
    with pytest.warns(ConvergenceWarning, match="goes on from the checkpoint"):
        solve(X, Y, max_iter=3, **options)
    with pytest.raises(ValueError, match="its landmarks is"):
        solve(X, Y, landmarks=X[:40], checkpoint=path)
    with pytest.raises(ValueError, match="its solver is nystroem, and here it is exact"):
        ntk.solve_kernel_ridge(ARCHITECTURE, X, Y, ALPHAS, checkpoint=path, random_state=0)
    resumed = solve(X, Y, random_state=None, **{**options, "checkpoint": path})
    whole = solve(X, Y, landmarks=40)
    np.testing.assert_array_equal(resumed.dual_coef, whole.dual_coef)


def test_any_number_of_panels_compiles_once(compilations):
    X, Y, _ = data(200, d=7)
    options = {"working_memory": 16.5 * 40 * 48 / 2**20, "landmarks": X[:40], "tolerance": 1e-3}
    solve(X, Y, **options)
    compilations.clear()
    solve(X[:133], Y[:133], **options)
    assert not compilations


def test_constant_and_zero_targets():
    X, _, new = data(100)
    solution = solve(X, np.stack([np.zeros(100), np.full(100, 4.0)], 1), 0.5)
    assert solution.status.converged
    np.testing.assert_allclose(solution.predict(new)[:, 0], 0, atol=1e-300)
    np.testing.assert_allclose(solution.predict(new)[:, 1], 4.0, rtol=1e-9)


def test_axes_are_those_of_penalties_and_targets():
    X, Y, new = data(60)
    assert solve(X, Y[:, 0], 0.5).predict(new).shape == (9,)
    assert isinstance(solve(X, Y[:, 0], 0.5).intercept, float)
    assert solve(X, Y, 0.5).predict(new).shape == (9, 2)
    assert solve(X, Y[:, 0], [0.5, 1.0]).predict(new).shape == (2, 9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"landmarks": 0}, ValueError, "landmarks must be at least 1"),
        ({"landmarks": True}, TypeError, "landmarks must be a whole number"),
        ({"landmarks": "kmeans"}, TypeError, "landmarks must be rows, or how many"),
        ({"landmarks": np.ones((3, 2))}, ValueError, "rows of 4 columns"),
        ({"landmarks": np.full((3, 4), np.nan)}, ValueError, "landmarks: .*NaN"),
        ({"alphas": 0.0}, ValueError, "alphas must be above zero"),
        ({"kind": "gp"}, ValueError, "kind must be one of"),
    ],
)
def test_bad_input(options, error, message):
    X, Y, _ = data(20)
    with pytest.raises(error, match=message):
        solve(X, Y, **options)


def test_factors_that_cannot_fit(monkeypatch):
    from ntksketch.data import blocks

    monkeypatch.setattr(blocks, "available_memory", lambda: 1000.0)
    X, Y, _ = data(100)
    with pytest.raises(MemoryError, match="5 matrices of 40 x 40 entries for the landmarks need"):
        solve(X, Y)
