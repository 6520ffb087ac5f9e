import numpy as np
import pytest

from ntksketch.linear import GramAccumulator
from ntksketch.linear.eigenvalue import estimate_largest_eigenvalue, power_iteration
from ntksketch.linear.penalty import Penalty


def with_eigenvalues(values, seed=0):
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))
    return (Q * values) @ Q.T


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decay", [0.5, 1.0, 3.0])
def test_estimate_is_below_and_near_the_eigenvalue(decay, seed):
    values = np.arange(1.0, 61.0) ** -decay
    estimate = estimate_largest_eigenvalue(with_eigenvalues(values, seed))
    assert 0.75 <= estimate <= 1 + 1e-12


def test_one_clear_direction_is_found_to_the_tolerance():
    values = np.array([100.0, 1.0, 0.5, 0.1])
    assert estimate_largest_eigenvalue(with_eigenvalues(values)) == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scale_does_not_matter(scale):
    A = with_eigenvalues(np.linspace(1, 3, 10))
    estimate = estimate_largest_eigenvalue(scale * A)
    assert estimate == pytest.approx(scale * estimate_largest_eigenvalue(A), rel=1e-10)


def test_degenerate_matrices():
    assert estimate_largest_eigenvalue(np.zeros((4, 4))) == 0.0
    assert estimate_largest_eigenvalue(np.array([[7.0]])) == 7.0
    assert estimate_largest_eigenvalue(2 * np.eye(5)) == 2.0
    assert estimate_largest_eigenvalue(np.diag([0.0, 0.0, 5.0])) == 5.0


def test_stops_as_soon_as_the_quotient_settles():
    A, calls = with_eigenvalues(np.array([50.0, 0.1, 0.1, 0.1])), []

    def product(vector):
        calls.append(1)
        return A @ vector

    power_iteration(product, A[:, 0], n_iter=100)
    assert len(calls) <= 4
    calls.clear()
    power_iteration(lambda v: product(v), np.zeros(4))
    assert not calls


def test_statistics_keep_their_estimate():
    Z = np.random.default_rng(0).standard_normal((50, 8))
    stats = GramAccumulator().update(Z, Z[:, 0]).finalise()
    exact = np.linalg.eigvalsh(stats.gram)[-1]
    assert 0.75 * exact <= stats.largest_eigenvalue <= exact * (1 + 1e-12)
    stats.gram[:] = 0  # not asked again
    assert stats.largest_eigenvalue >= 0.75 * exact


def test_eigenvalue_relative_to_a_penalty_of_scale():
    Z = np.random.default_rng(0).standard_normal((50, 8))
    stats = GramAccumulator().update(Z, Z[:, 0]).finalise()
    scaled = stats.__class__(**{**vars(stats), "penalty": Penalty(4.0 * np.eye(8))})
    assert scaled.largest_eigenvalue == pytest.approx(stats.largest_eigenvalue / 4)
