"""The closed form against integrated flows, explicit steps and least squares."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import LinAlgWarning
from training import descent_on_features, descent_on_kernel, flow_by_ode

from ntksketch.dynamics import flow_on_kernel, flow_on_statistics
from ntksketch.dynamics.flow import as_kernel
from ntksketch.linear import GramAccumulator
from ntksketch.linear.penalty import Penalty

TIMES = np.array([0.0, 0.3, 2.0, 40.0])
SEEDS = [0, 1, 2]


def problem(seed=0, n=12, m=5, k=2, n_new=4):
    """Features of which the kernel of n rows has rank m, if that is less, and targets."""
    rng = np.random.default_rng(seed)
    Z, new = rng.standard_normal((n, m)), rng.standard_normal((n_new, m))
    return Z, new, rng.standard_normal((n, k)), rng.integers(1, 4, n).astype(float)


def statistics(Z, y, weight=None):
    return GramAccumulator(fit_intercept=False).update(Z, y, weight).finalise()


def values(flow, across, times, rate=None):
    return across @ flow.coefficients(np.asarray(times, float), rate).swapaxes(1, 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [5, 30])
@pytest.mark.parametrize("weighted", [False, True])
def test_flow_is_the_solution_of_the_differential_equation(seed, m, weighted):
    Z, new, y, weight = problem(seed, m=m)
    weight = weight if weighted else None
    K, across = Z @ Z.T, new @ Z.T
    expected = flow_by_ode(K, across, y, TIMES, weight=weight)
    dual = flow_on_kernel(K.copy(), y, weight=weight)
    primal = flow_on_statistics(statistics(Z, y, weight))
    np.testing.assert_allclose(values(dual, across, TIMES), expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(values(primal, new, TIMES), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("m", [5, 30])
@pytest.mark.parametrize("share", [0.02, 0.7, 0.99])
def test_steps_are_those_of_gradient_descent(seed, m, share):
    Z, new, y, weight = problem(seed, m=m)
    K, across = Z @ Z.T, new @ Z.T
    dual = flow_on_kernel(K.copy(), y, weight=weight)
    primal = flow_on_statistics(statistics(Z, y, weight))
    rate = share * dual.max_learning_rate
    largest = np.linalg.eigvalsh(np.sqrt(np.outer(weight, weight)) * K)[-1] / weight.sum()
    np.testing.assert_allclose(dual.max_learning_rate, 2 / largest, rtol=1e-12)
    np.testing.assert_allclose(primal.max_learning_rate, 2 / largest, rtol=1e-12)
    for n_steps in (0, 1, 2, 7, 100):
        expected = descent_on_kernel(K, across, y, rate, n_steps, weight=weight)
        theta, losses = descent_on_features(Z, y, rate, n_steps, weight=weight)
        np.testing.assert_allclose(new @ theta, expected, rtol=0, atol=1e-11)
        for flow, basis in ((dual, across), (primal, new)):
            found = values(flow, basis, [n_steps], rate)[0]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
            found = flow.loss(np.array([float(n_steps)]), rate)[0]
            np.testing.assert_allclose(found, losses[-1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("duplicated", [False, True])
@pytest.mark.parametrize(("n", "m"), [(12, 5), (5, 12), (8, 8)])
def test_the_end_is_least_squares_of_least_norm(seed, n, m, duplicated):
    Z, new, y, _ = problem(seed, n=n, m=m)
    if duplicated:  # of rows, whose targets differ, and of columns: the rank is lower
        Z[1], Z[:, 2] = Z[0], Z[:, 3]
    theta, _, rank, _ = np.linalg.lstsq(Z, y, rcond=1e-12)
    dual, primal = flow_on_kernel(Z @ Z.T, y), flow_on_statistics(statistics(Z, y))
    assert dual.rank == primal.rank == rank
    np.testing.assert_allclose(
        values(primal, np.eye(m), [np.inf])[0], theta, rtol=0, atol=1e-9 * np.abs(theta).max()
    )
    expected = new @ theta
    for flow, basis in ((dual, new @ Z.T), (primal, new)):
        for t in (1e25, np.inf):  # far beyond what rounding would blow up
            np.testing.assert_allclose(
                values(flow, basis, [t])[0], expected, rtol=0, atol=1e-9 * np.abs(theta).max()
            )
        loss = ((Z @ theta - y) ** 2).sum() / (2 * n)
        np.testing.assert_allclose(flow.loss(np.array([np.inf]))[0], loss, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_is_that_of_the_fitted_values_and_never_grows(seed):
    Z, _, y, weight = problem(seed)
    dual = flow_on_kernel(Z @ Z.T, y, weight=weight)
    primal = flow_on_statistics(statistics(Z, y, weight))
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 200), [np.inf]])
    fitted = values(primal, Z, times)
    expected = ((fitted - y) ** 2).sum(2) @ weight / (2 * weight.sum())
    for flow in (dual, primal):
        np.testing.assert_allclose(flow.loss(times), expected, rtol=1e-12)
        assert (np.diff(flow.loss(times)) <= 0).all()
    rate = 0.99 * dual.max_learning_rate
    assert (np.diff(dual.loss(np.arange(50.0), rate)) <= 0).all()


def test_a_penalty_stands_for_white_features():
    Z, new, y, weight = problem(m=6)
    square = np.random.default_rng(3).standard_normal((6, 6))
    P = square @ square.T + np.eye(6)
    factor = np.linalg.cholesky(P)
    white, white_new = (np.linalg.solve(factor, rows.T).T for rows in (Z, new))
    expected = flow_on_statistics(statistics(white, y, weight))
    accumulated = GramAccumulator(fit_intercept=False).update(Z, y, weight).finalise()
    stats = type(accumulated)(**{**vars(accumulated), "penalty": Penalty(P.copy())})
    gram = stats.gram.copy()
    found = flow_on_statistics(stats)
    np.testing.assert_array_equal(stats.gram, gram)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-11)
    times = np.array([0.5, 20.0, np.inf])
    np.testing.assert_allclose(
        values(found, new, times), values(expected, white_new, times), rtol=0, atol=1e-11
    )
    np.testing.assert_allclose(found.loss(times), expected.loss(times), rtol=1e-11)
    overwritten = flow_on_statistics(stats, overwrite=True)
    np.testing.assert_array_equal(overwritten.basis, found.basis)


@pytest.mark.parametrize("penalty", [False, True])
def test_the_gram_matrix_is_whole_whatever_counts(penalty):
    Z, _, y, _ = problem(m=6)
    Z[:, 5] *= 1e-3
    square = np.random.default_rng(3).standard_normal((6, 6))
    P = Penalty(square @ square.T + np.eye(6)) if penalty else None
    stats = replace(statistics(Z, y), penalty=P)
    stats.gram[2, 2] -= 2 * stats.gram[2, 2]  # no Gram matrix: one eigenvalue is negative
    with pytest.warns(LinAlgWarning, match="the Gram matrix has negative eigenvalues"):
        flow = flow_on_statistics(stats, cutoff=0.1)
    assert 0 < flow.rank < 5
    found = np.tril(flow.gram(stats.total_weight, P))
    scale = np.abs(stats.gram).max()
    np.testing.assert_allclose(found, np.tril(stats.gram), rtol=0, atol=1e-13 * scale)


def test_invariances():
    Z, new, y, _ = problem()
    across = new @ Z.T
    once = flow_on_kernel(Z @ Z.T, y)
    twice = np.concatenate([Z, Z])
    stacked = flow_on_kernel(twice @ twice.T, np.concatenate([y, y]))
    scaled = flow_on_kernel(4 * Z @ Z.T, y)
    expected = values(once, across, TIMES)
    np.testing.assert_allclose(values(stacked, np.hstack([across] * 2), TIMES), expected, 1e-9)
    np.testing.assert_allclose(values(scaled, 4 * across, TIMES / 4), expected, 1e-9)
    weighted = flow_on_kernel(Z @ Z.T, y, weight=np.full(len(y), 3.0))
    np.testing.assert_allclose(values(weighted, across, TIMES), expected, 1e-9)


def test_kernels_of_zeros_learn_nothing():
    flow = flow_on_kernel(np.zeros((3, 3)), np.ones((3, 1)))
    assert flow.rank == 0
    assert flow.max_learning_rate == np.inf
    assert not flow.coefficients(np.array([1.0, np.inf])).any()
    assert flow.loss(np.array([0.0, np.inf])).tolist() == [0.5, 0.5]
    flow.require_rate(100.0)


def test_cutoff_and_warnings():
    K, y = np.diag([1.0, 1e-3, 1e-5, -1e-4]), np.ones((4, 1))
    message = r"K has negative eigenvalues, down to -0.0001, so that all up to 0.0001 count as zero"
    with pytest.warns(LinAlgWarning, match=message):
        flow = flow_on_kernel(K.copy(), y)
    assert flow.eigenvalues.tolist() == [0.0, 0.0, 1e-3 / 4, 1 / 4]
    assert flow.loss(np.array([np.inf]))[0] == pytest.approx(2 / 8)
    assert flow_on_kernel(K.copy(), y, cutoff=2e-4).rank == 2
    assert flow_on_kernel(K.copy(), y, cutoff=1e-2).rank == 1
    assert flow_on_kernel(np.abs(K), y, cutoff=0.0).rank == 4
    assert flow_on_kernel(np.diag([1.0, 1e-8, 1e-16]), y[:3], cutoff=0.0).rank == 2
    assert flow_on_kernel(np.diag([1.0, 1e-8]), y[:2], epsilon=2**-23).rank == 1


def test_kernels_and_statistics_that_cannot_be_used():
    Z, _, y, _ = problem()
    with pytest.raises(ValueError, match="about the means: gather them with fit_intercept=False"):
        flow_on_statistics(GramAccumulator().update(Z, y).finalise())
    with pytest.raises(ValueError, match=r"K must be square.* got \(12, 5\)"):
        as_kernel(Z, "K")
    with pytest.raises(ValueError, match=r"K must be symmetric.* up to 2"):
        as_kernel([[1.0, 1.0], [-1.0, 1.0]], "K")
    with pytest.raises(ValueError, match="K contains NaN or infinity"):
        as_kernel([[np.nan]], "K")
    with pytest.raises(TypeError, match="K must hold real numbers"):
        as_kernel([["a"]], "K")
    flow = flow_on_kernel(Z @ Z.T, y)
    with pytest.raises(ValueError, match="must be below max_learning_rate_ = 2 / "):
        flow.require_rate(flow.max_learning_rate)
    flow.require_rate(np.nextafter(flow.max_learning_rate, 0))
    flow.require_rate(None)
