"""Trained networks over random starts: the formula, draws of given kernels, drawn networks."""

import numpy as np
import pytest

import ntksketch as ntk

ARCH = ntk.mlp(1)
N_ERRORS = 5.0  # standard errors that a draw may be away
SEEDS = [0, 1]


def problem(seed=0, n=6, n_new=3, d=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((n_new, d)), rng.standard_normal(n)


def slow_moments(theta, K, y, t):
    """Write out the formula, with inverses and an exponential by its series."""
    n = len(y)
    A_exponent, term, decay = -theta[:n, :n] * t / n / 2**10, np.eye(n), np.eye(n)
    for i in range(1, 30):
        term = term @ A_exponent / i
        decay = decay + term
    for _ in range(10):
        decay = decay @ decay
    A = theta[:, :n] @ np.linalg.inv(theta[:n, :n]) @ (np.eye(n) - decay)
    half = A @ K[:n, :]
    return A @ y, K + A @ K[:n, :n] @ A.T - half - half.T


def within_errors(draws, mean, cov):
    """Compare draws, one a column, with a mean and a covariance in their standard errors."""
    n_draws = draws.shape[1]
    deviations = np.sqrt(np.diag(cov))
    assert (np.abs(draws.mean(1) - mean) <= N_ERRORS * deviations / np.sqrt(n_draws) + 1e-9).all()
    centred = draws - mean[:, None]
    found = centred @ centred.T / n_draws
    # the variance of a product of Gaussians
    errors = np.sqrt((cov**2 + np.outer(np.diag(cov), np.diag(cov))) / n_draws)
    assert (np.abs(found - cov) <= N_ERRORS * errors + 1e-9).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("t", [0.0, 0.7, 8.0, 200.0])
def test_moments_are_those_of_the_formula(seed, t):
    X, new, y = problem(seed)
    rows = np.concatenate([X, new])
    theta, K = ntk.kernel(ARCH, rows), ntk.kernel(ARCH, rows, kind="nngp")
    mean, cov = slow_moments(theta, K, y, t)
    moments = ntk.ensemble_moments(theta, K, y, t)
    np.testing.assert_allclose(moments.mean, mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(moments.cov, cov, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(moments.cov, moments.cov.T)
    model = ntk.GradientFlow(ARCH).fit(X, y)
    found, spread = model.predict(new, t, return_cov=True)
    np.testing.assert_allclose(found, mean[6:], rtol=0, atol=1e-10)
    np.testing.assert_allclose(spread, cov[6:, 6:], rtol=0, atol=1e-10)
    _, deviations = model.predict(new, t, return_std=True)
    np.testing.assert_allclose(deviations, np.sqrt(np.diag(cov)[6:]), rtol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_draws_of_the_process_that_are_trained_step_by_step(seed):
    """The starts are Gaussian with any covariance; each is trained by gradient descent."""
    rng = np.random.default_rng(seed)
    n, q, n_draws = 5, 8, 20_000
    theta, K = (M @ M.T / 8 for M in (rng.standard_normal((q, 9)), rng.standard_normal((q, 7))))
    y = rng.standard_normal(n)
    values = np.linalg.cholesky(K + 1e-12 * np.eye(q)) @ rng.standard_normal((q, n_draws))
    rate = 1.0 / np.linalg.eigvalsh(theta[:n, :n] / n)[-1]
    at = {0: None, 1: None, 6: None, 40: None}
    for step in range(41):
        if step in at:
            at[step] = values
        values = values - rate / n * theta[:, :n] @ (values[:n] - y[:, None])
    moments = ntk.ensemble_moments(theta, K, y, list(at), learning_rate=rate)
    for draws, mean, cov in zip(at.values(), *moments, strict=True):
        within_errors(draws, mean, cov)


@pytest.mark.parametrize("seed", SEEDS)
def test_drawn_networks_that_are_linearised_and_trained(seed):
    """Networks with one hidden layer of a finite width, each with its own random weights."""
    rng = np.random.default_rng(seed)
    X, new, y = problem(seed, n=4, n_new=2, d=2)
    rows, width, n_draws, t = np.concatenate([X, new]), 1000, 1500, 3.0
    draws = np.empty((6, n_draws))
    for i in range(n_draws):
        first, last = rng.standard_normal((width, 2)), rng.standard_normal(width)
        hidden = rows @ first.T
        by_last = np.sqrt(2 / width) * np.maximum(hidden, 0)
        slopes = np.sqrt(2 / width) * (hidden > 0) * last
        theta = by_last @ by_last.T + (slopes @ slopes.T) * (rows @ rows.T)
        start = by_last @ last
        values, vectors = np.linalg.eigh(theta[:4, :4] / 4)
        share = np.where(values > 1e-12, -np.expm1(-values * t) / np.maximum(values, 1e-12), t)
        learned = vectors @ (share * (vectors.T @ (y - start[:4])))
        draws[:, i] = start + theta[:, :4] @ learned / 4
    mean, cov = ntk.GradientFlow(ntk.mlp(1)).fit(X, y).predict(rows, t, return_cov=True)
    errors = np.sqrt(np.diag(cov) / n_draws)
    bias = 2 / np.sqrt(width)  # of a kernel at this width, relative to the limit's
    assert (np.abs(draws.mean(1) - mean) <= N_ERRORS * errors + bias * np.abs(y).max()).all()
    found = np.cov(draws)
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    largest = np.diag(ntk.kernel(ntk.mlp(1), rows, kind="nngp")).max()
    bound = N_ERRORS * scale * np.sqrt(2 / n_draws) + bias * largest / 4
    assert (np.abs(found - cov) <= bound).all()


def test_the_ends_of_training():
    X, new, y = problem()
    nngp = ntk.kernel(ARCH, new, kind="nngp")
    model = ntk.GradientFlow(ARCH).fit(X, y)
    _, at_start = model.predict(new, 0.0, return_cov=True)
    np.testing.assert_allclose(at_start, nngp, rtol=1e-12)
    mean, at_end = model.predict(X, np.inf, return_std=True)
    np.testing.assert_allclose(mean, y, rtol=1e-8)
    np.testing.assert_allclose(at_end, 0, atol=1e-6)


def test_the_last_layer_alone_ends_as_the_posterior_of_the_process():
    X, new, y = problem()
    K, across = ntk.kernel(ARCH, X, kind="nngp"), ntk.kernel(ARCH, new, X, kind="nngp")
    model = ntk.GradientFlow(ARCH, kind="nngp").fit(X, y)
    mean, cov = model.predict(new, return_cov=True)
    solved = np.linalg.solve(K, across.T).T
    np.testing.assert_allclose(mean, solved @ y, rtol=1e-8)
    expected = ntk.kernel(ARCH, new, kind="nngp") - solved @ across.T
    np.testing.assert_allclose(cov, expected, rtol=0, atol=1e-10)


def test_weights_targets_and_times():
    X, new, y = problem()
    Y, weight = np.stack([y, -y], 1), np.array([1.0, 2.0, 0.0, 1.0, 3.0, 1.0])
    times = [0.5, np.inf]
    repeated = np.repeat(np.arange(6), weight.astype(int))
    model = ntk.GradientFlow(ARCH).fit(X, Y, weight)
    mean, cov = model.predict(new, times, return_cov=True)
    assert (mean.shape, cov.shape) == ((2, 3, 2), (2, 3, 3))
    other = ntk.GradientFlow(ARCH).fit(X[repeated], Y[repeated])
    expected, expected_cov = other.predict(new, times, return_cov=True)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(cov, expected_cov, rtol=0, atol=1e-9)
    rows = np.concatenate([X, new])
    kernels = [ntk.kernel(ARCH, rows, kind=kind) for kind in ("ntk", "nngp")]
    moments = ntk.ensemble_moments(*kernels, Y, times)
    assert (moments.mean.shape, moments.cov.shape) == ((2, 9, 2), (2, 9, 9))
    one = ntk.ensemble_moments(*kernels, y, 0.5)
    np.testing.assert_allclose(one.mean, moments.mean[0, :, 0], rtol=1e-12)
    np.testing.assert_allclose(one.cov, moments.cov[0], rtol=1e-12)
    single = [K.astype(np.float32) for K in kernels]
    np.testing.assert_allclose(ntk.ensemble_moments(*single, y, 0.5).cov, one.cov, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ntk": np.eye(4)[:3]}, ValueError, r"ntk must be square.* got \(3, 4\)"),
        ({"nngp": np.triu(np.ones((4, 4)))}, ValueError, r"nngp must be symmetric"),
        ({"nngp": np.eye(3)}, ValueError, r"of the same rows, got \(4, 4\) and \(3, 3\)"),
        ({"ntk": np.full((4, 4), np.inf)}, ValueError, "ntk contains NaN or infinity"),
        ({"y": np.ones(5)}, ValueError, r"y must have shape .* first n of 4 rows, got \(5,\)"),
        ({"y": 1.0}, ValueError, r"got \(\)"),
        ({"y": [np.nan]}, ValueError, "y contains NaN"),
        ({"t": -1}, ValueError, "t must be at least 0"),
        ({"learning_rate": 1e3, "t": 1}, ValueError, "must be below max_learning_rate_"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be positive"),
    ],
)
def test_moments_of_what_cannot_be_used(change, error, message):
    arguments = {"ntk": np.eye(4), "nngp": np.eye(4), "y": np.ones(2), "t": 1.0, **change}
    with pytest.raises(error, match=message):
        ntk.ensemble_moments(**arguments)


def test_models_without_an_ensemble():
    X, new, y = problem()
    rbf = ntk.GradientFlow(ntk.zonal.laplace(1.0)).fit(X, y)
    on_features = ntk.GradientFlow("linear").fit(X, y)
    given = ntk.GradientFlow("precomputed").fit(X @ X.T, y)
    for model, rows in ((rbf, new), (on_features, new), (given, new @ X.T)):
        with pytest.raises(ValueError, match="need the exact kernels of a network"):
            model.predict(rows, return_std=True)
    with pytest.raises(ValueError, match="fit had f0, the start of one network"):
        ntk.GradientFlow(ARCH).fit(X, y, f0=1.0).predict(new, f0=1.0, return_cov=True)
    with pytest.raises(ValueError, match="ask for one of them"):
        ntk.GradientFlow(ARCH).fit(X, y).predict(new, return_cov=True, return_std=True)
