import jax
import numpy as np
import pytest
from feature_statistics import N_ERRORS, SEEDS

from ntksketch.features.directions import (
    SAMPLINGS,
    sample_directions,
    structured_blocks,
    uniform_directions,
)


@pytest.mark.parametrize(("n", "d"), [(3, 7), (7, 7), (20, 7), (1, 1), (4, 1)])
def test_orthogonal_directions_come_in_orthonormal_blocks(n, d):
    W = sample_directions(jax.random.key(0), "orthogonal", n, d) / np.sqrt(d)
    assert W.shape == (n, d)
    for start in range(0, n, d):
        block = W[start : start + d]
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), rtol=0, atol=1e-12)


def test_leverage_directions_have_the_length_that_weights_them():
    W = sample_directions(jax.random.key(0), "leverage", 50, 9)
    np.testing.assert_allclose(np.linalg.norm(W, axis=1), 3, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_covariance_is_the_identity_and_directions_are_uniform(sampling, seed):
    d, n = 4, 20_000
    W = sample_directions(jax.random.key(seed), sampling, n, d)
    products = W[:, :, None] * W[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - np.eye(d)) <= N_ERRORS * error + 1e-12)
    assert np.all(np.abs(W.mean(axis=0)) <= N_ERRORS * W.std(axis=0) / np.sqrt(n))


@pytest.mark.parametrize("seed", SEEDS)
def test_leverage_weights_agree_with_sampling_its_density(seed):
    # draw |w| from chi with d + 2 degrees of freedom, weight by the density ratio d / |w|^2
    d, n = 3, 40_000
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((n, d))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    w = u * np.sqrt(rng.chisquare(d + 2, n))[:, None]
    x = np.array([1.0, -0.5, 2.0])
    y = np.array([0.3, 1.0, 0.1])
    weighted = d / (w**2).sum(axis=1) * np.maximum(w @ x, 0) * np.maximum(w @ y, 0)
    W = sample_directions(jax.random.key(seed), "leverage", n, d)
    ours = np.maximum(W @ x, 0) * np.maximum(W @ y, 0)
    error = np.hypot(weighted.std(), ours.std()) / np.sqrt(n)
    assert abs(weighted.mean() - ours.mean()) <= N_ERRORS * error
    np.testing.assert_allclose(weighted.var(), ours.var(), rtol=0.1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("d", [2, 5])
def test_orthonormal_blocks_are_uniformly_distributed(d, seed):
    """Haar: the determinant has no preferred sign, and E q_ij^4 = 3/(d (d + 2))."""
    n = 3000
    rng = np.random.default_rng(seed)
    Q = uniform_directions(rng, n * d, d).reshape(n, d, d)
    signs = np.linalg.det(Q)
    assert abs(signs.mean()) <= N_ERRORS / np.sqrt(n)
    fourth = Q**4
    error = fourth.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(fourth.mean(axis=0) - 3 / (d * (d + 2))) <= N_ERRORS * error)
    assert np.all(np.abs(Q.mean(axis=0)) <= N_ERRORS * Q.std(axis=0) / np.sqrt(n))


@pytest.mark.parametrize("sampling", ["leverage", "orthogonal"])
def test_lengths_reduce_the_variance_of_the_rectifier(sampling):
    """Of E relu(wx)^2 for a unit row: with |w| fixed the fourth moment is 3d/(d + 2), not 3."""
    d, n = 3, 60_000
    x = np.array([0.6, 0.0, 0.8])

    def fourth(name):
        W = sample_directions(jax.random.key(0), name, n, d)
        return np.mean(np.maximum(W @ x, 0) ** 4)

    assert fourth("gaussian") == pytest.approx(3 / 2, rel=0.1)
    assert fourth(sampling) == pytest.approx(3 * d / (d + 2) / 2, rel=0.05)


@pytest.mark.parametrize(("n", "dim", "blocks"), [(1, 1, 1), (5, 4, 2), (8, 8, 1), (0, 8, 0)])
def test_structured_blocks_are_as_many_signs_as_needed(n, dim, blocks):
    signs = structured_blocks(np.random.default_rng(0), n, dim)
    assert signs.shape == (blocks, 3, dim)
    assert set(np.unique(signs)) <= {-1.0, 1.0}


def test_structured_signs_are_fair():
    signs = structured_blocks(np.random.default_rng(0), 1000, 8)
    assert np.all(np.abs(signs.mean(axis=0)) <= N_ERRORS / np.sqrt(len(signs)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_key_decides(sampling):
    first, again, other = (
        sample_directions(jax.random.key(seed), sampling, 5, 3) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)
