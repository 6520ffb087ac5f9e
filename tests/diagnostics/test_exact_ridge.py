import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import LinAlgWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import KernelCenterer

import ntksketch as ntk
from ntksketch.diagnostics import exact_ridge

ALPHAS = [0.01, 0.3, 5.0]


def problem(n=40, m=60, k=2, seed=0):
    """Return features of training and new rows, away from the origin, and targets."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n + 10, m)) + 2.0
    Y = Z[:, :k] + 0.5 * rng.standard_normal((n + 10, k)) + 7.0
    return Z[:n], Z[n:], Y[:n]


def hat_matrix(K, alpha, fit_intercept=True):
    """Return the map from targets to fitted values, from predictions of unit vectors."""
    return exact_ridge(K, np.eye(len(K)), alpha, fit_intercept=fit_intercept).predict(K)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("m", [5, 60])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_equals_ridge_on_explicit_features(m, alpha, fit_intercept):
    Z, new, Y = problem(m=m)
    ridge = Ridge(alpha, fit_intercept=fit_intercept, solver="cholesky").fit(Z, Y)
    exact = exact_ridge(Z @ Z.T, Y, alpha, fit_intercept=fit_intercept)
    assert_allclose(exact.predict(new @ Z.T), ridge.predict(new), rtol=1e-8)
    atol = 1e-9 * np.abs(ridge.coef_).max()
    assert_allclose(Z.T @ exact.dual_coef, ridge.coef_.T, rtol=1e-7, atol=atol)
    assert_allclose(exact.intercept, ridge.intercept_, rtol=1e-7)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equals_kernel_ridge_on_the_centred_kernel(alpha):
    Z, new, Y = problem()
    K, K_new = Z @ Z.T, new @ Z.T
    centre = KernelCenterer().fit(K)
    peer = KernelRidge(alpha=alpha, kernel="precomputed").fit(
        centre.transform(K), Y - Y.mean(axis=0)
    )
    expected = peer.predict(centre.transform(K_new)) + Y.mean(axis=0)
    exact = exact_ridge(K, Y, alpha)
    assert_allclose(exact.predict(K_new), expected, rtol=1e-9)
    assert_allclose(exact.dual_coef.sum(axis=0), 0, atol=1e-12 * np.abs(exact.dual_coef).sum())


def test_constant_shift_of_the_kernel_or_the_targets_only_moves_the_intercept():
    Z, new, Y = problem()
    K, K_new = Z @ Z.T, new @ Z.T
    exact = exact_ridge(K, Y)
    shifted = exact_ridge(K + 100.0, Y + 3.0, exact.alphas)
    assert shifted.alpha == exact.alpha
    assert_allclose(shifted.predict(K_new + 100.0), exact.predict(K_new) + 3.0, rtol=1e-7)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_scores_are_generalised_cross_validation(fit_intercept):
    Z, _, Y = problem(m=10)
    K, n = Z @ Z.T, len(Z)
    exact = exact_ridge(K, Y, ALPHAS, fit_intercept=fit_intercept)
    for alpha, score in zip(ALPHAS, exact.gcv_scores, strict=True):
        H = hat_matrix(K, alpha, fit_intercept)
        expected = n * np.square(Y - H @ Y).sum(axis=0).mean() / (n - np.trace(H)) ** 2
        assert_allclose(score, expected, rtol=1e-9)
    assert exact.alpha == ALPHAS[int(np.argmin(exact.gcv_scores))]
    H = hat_matrix(K, exact.alpha, fit_intercept)
    assert_allclose(exact.degrees_of_freedom, np.trace(H), rtol=1e-9)


def test_chooses_as_streaming_ridge_on_the_same_features():
    Z, new, Y = problem(m=10)
    ridge = ntk.StreamingRidge().fit(Z, Y)
    exact = exact_ridge(Z @ Z.T, Y, ridge.alphas_)
    assert exact.alpha == ridge.alpha_
    assert_allclose(exact.gcv_scores, ridge.gcv_scores_, rtol=1e-6)
    assert_allclose(exact.predict(new @ Z.T), ridge.predict(new), rtol=1e-6)
    assert_allclose(exact_ridge(Z @ Z.T, Y).alphas, ridge.alphas_, rtol=0.5)  # the same grid


def test_new_rows_have_no_say_in_the_penalty():
    Z, new, Y = problem()
    exact = exact_ridge(Z @ Z.T, Y)
    before = exact.alpha
    exact.predict(1e3 * new @ Z.T)
    assert exact.alpha == before
    assert exact.alphas.min() < exact.alpha < exact.alphas.max()


def test_shapes_follow_the_targets():
    Z, new, Y = problem()
    one = exact_ridge(Z @ Z.T, Y[:, 0], 1.0)
    both = exact_ridge(Z @ Z.T, Y, 1.0)
    assert isinstance(one.intercept, float)
    assert one.dual_coef.shape == (len(Z),)
    assert one.predict(new @ Z.T).shape == (len(new),)
    assert_allclose(one.predict(new @ Z.T), both.predict(new @ Z.T)[:, 0], rtol=1e-10)


@pytest.mark.parametrize("m", [5, 60])
def test_zero_penalty_is_the_least_norm_solution(m):
    Z, new, Y = problem(m=m)
    least_squares = LinearRegression().fit(Z, Y)
    exact = exact_ridge(Z @ Z.T, Y, 0.0)
    assert_allclose(exact.predict(new @ Z.T), least_squares.predict(new), rtol=1e-6)


def test_interpolation_alone_cannot_be_scored():
    Z, _, Y = problem()
    with pytest.raises(ValueError, match="larger alphas"):
        exact_ridge(Z @ Z.T, Y, [0.0, 0.0])


def test_kernel_of_zeros_predicts_the_mean():
    exact = exact_ridge(np.zeros((4, 4)), [1.0, 2.0, 3.0, 6.0])
    assert exact.alpha == exact.alphas.max()
    assert_allclose(exact.predict(np.zeros((2, 4))), [3.0, 3.0])


def test_warns_of_a_kernel_that_is_not_positive():
    with pytest.warns(LinAlgWarning, match=r"negative eigenvalues of K, down to -0\.5"):
        exact_ridge(np.diag([1.0, 2.0, -0.5]), [1.0, 2.0, 3.0], 0.1, fit_intercept=False)


@pytest.mark.parametrize(
    ("K", "y", "alphas", "message"),
    [
        (np.ones((2, 3)), [1, 2], None, "K must be square"),
        (np.eye(2), [1, 2, 3], None, r"y must have shape \(2,\) or \(2, k\)"),
        (np.eye(2), [1, np.nan], None, "y contains NaN"),
        (np.diag([1, np.inf]), [1, 2], None, "K contains NaN or infinity"),
        (np.eye(2), [1, 2], [-1.0], "finite and non-negative"),
    ],
)
def test_refuses_what_it_cannot_use(K, y, alphas, message):
    with pytest.raises(ValueError, match=message):
        exact_ridge(K, y, alphas)


def test_refuses_a_kernel_with_other_rows():
    with pytest.raises(ValueError, match=r"shape \(p, 3\)"):
        exact_ridge(np.eye(3), [1, 2, 3], 1.0).predict(np.ones((3, 2)))
