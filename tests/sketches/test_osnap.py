import jax
import numpy as np
import pytest
from oracles import osnap_matrix
from scipy import sparse
from sketch_statistics import (
    COSINES,
    N_ERRORS,
    SEEDS,
    assert_mean,
    assert_variance,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import OSNAP


def test_every_coordinate_has_its_nonzeros_one_in_each_block():
    S = osnap_matrix(OSNAP.init(jax.random.key(0), 30, 16, n_nonzeros=4))
    np.testing.assert_array_equal(np.abs(S[S != 0]), 0.5)
    for block in np.split(S, 4, axis=1):
        np.testing.assert_array_equal((block != 0).sum(axis=1), 1)
        # balanced: each run of four coordinates fills the four buckets
        np.testing.assert_array_equal((block[:28] != 0).sum(axis=0), 7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("d", "m"), [(1, 4), (5, 20), (5, 33)])
def test_isometry_where_no_two_coordinates_meet(d, m, seed):
    S = osnap_matrix(OSNAP.init(jax.random.key(seed), d, m))
    np.testing.assert_allclose(S @ S.T, np.eye(d), rtol=0, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("m", "s"), [(6, 1), (12, 3), (14, 4), (3, 8)])
def test_unbiased_with_the_exact_variance(m, s, seed):
    d = 13
    xs, ys = np.stack([unit_pair(d, cosine, seed) for cosine in COSINES], axis=1)
    products = sketched_products(lambda key: OSNAP.init(key, d, m, n_nonzeros=s), [xs], [ys], seed)
    s = min(s, m)
    widths = np.diff([k * m // s for k in range(s + 1)])
    for cosine, x, y, sample in zip(COSINES, xs, ys, products, strict=True):
        pairs = np.triu((np.outer(x, y) + np.outer(y, x)) ** 2, 1)
        runs = [np.arange(d) // width for width in widths]
        variance = sum(
            (pairs * (run[:, None] != run)).sum() / width
            for run, width in zip(runs, widths, strict=True)
        )
        assert_mean(sample, cosine)
        assert_variance(sample, variance / s**2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_more_nonzeros_have_lighter_tails(seed):
    # two heavy coordinates: one bucket each collides or not, eight average
    x = np.zeros(64)
    x[[3, 40]] = 0.5**0.5
    fourth = {}
    for s in (1, 8):
        sample = sketched_products(
            lambda key, s=s: OSNAP.init(key, 64, 32, n_nonzeros=s), [[x]], [[x]], seed
        )[0]
        powers = (sample - 1) ** 4
        fourth[s] = powers.mean(), powers.std() / np.sqrt(len(powers))
    assert fourth[8][0] < fourth[1][0] - N_ERRORS * np.hypot(fourth[1][1], fourth[8][1]) / 2


def test_nonzeros_are_at_least_one_and_no_more_than_columns():
    assert OSNAP.init(jax.random.key(0), 5, 3, n_nonzeros=8).buckets.shape == (3, 5)
    with pytest.raises(ValueError, match="n_nonzeros = 0, expected at least 1"):
        OSNAP.init(jax.random.key(0), 5, 3, n_nonzeros=0)


def test_parameters_are_a_few_integers_for_each_coordinate():
    sketch = OSNAP.init(jax.random.key(0), 100_000, 64, n_nonzeros=2)
    assert sum(a.nbytes for a in jax.tree.leaves(sketch)) < 9 * 100_000


def test_stored_duplicates_add_up():
    X = sparse.csr_array((np.ones(3), np.array([2, 2, 0]), np.array([0, 2, 3])), shape=(2, 5))
    sketch = OSNAP.init(jax.random.key(0), 5, 6)
    expected = X.toarray() @ osnap_matrix(sketch)
    np.testing.assert_allclose(sketch.apply(X), expected, rtol=0, atol=1e-15)


def spectra(U, m, s, seed, n_keys):
    """Singular values of the sketched orthonormal rows U for independent draws."""
    keys = jax.random.split(jax.random.key(seed), n_keys)
    sketches = [OSNAP.init(key, U.shape[1], m, n_nonzeros=s) for key in keys]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *sketches)
    sketched = jax.vmap(lambda sketch: sketch.apply(U.astype(np.float32)))(stacked)
    return np.linalg.svd(np.asarray(sketched, np.float64), compute_uv=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_nonzero_loses_a_coordinate_subspace_as_often_as_birthdays_meet(seed):
    # unit vectors of different runs: with one nonzero two of them may share a bucket, and then
    # a direction is lost; with eight that would have to happen in every block at once
    m, k, n_keys = 32, 5, 400
    U = np.eye(m * k)[::m]
    lost = (spectra(U, m, 1, seed, n_keys)[:, -1] < 1e-3).mean()
    meet = 1 - np.prod(1 - np.arange(k) / m)
    assert abs(lost - meet) <= N_ERRORS * np.sqrt(meet * (1 - meet) / n_keys)
    assert spectra(U, m, 8, seed, n_keys)[:, -1].min() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_embeds_a_subspace_with_a_distortion_that_falls_as_the_square_root(seed):
    k, d, n_keys, sizes = 4, 512, 50, (64, 256)
    rng = np.random.default_rng(seed)
    subspaces = {
        "spread": np.linalg.qr(rng.standard_normal((d, k)))[0].T,
        "sparse": np.eye(d)[::128],
    }
    gaussian = [
        np.linalg.svd(rng.standard_normal((k, m)) / np.sqrt(m), compute_uv=False) ** 2
        for m in sizes[:1] * n_keys
    ]
    for U in subspaces.values():
        logs, errors = [], []
        for m in sizes:
            distortion = np.abs(spectra(U, m, 8, seed, n_keys) ** 2 - 1).max(axis=1)
            logs.append(np.log(distortion.mean()))
            errors.append(distortion.std() / distortion.mean() / np.sqrt(n_keys))
            if m == sizes[0]:
                dense = np.abs(np.array(gaussian) - 1).max(axis=1)
                slack = N_ERRORS * (dense.std() + distortion.std()) / np.sqrt(n_keys)
                assert distortion.mean() <= dense.mean() + slack
        slope = (logs[1] - logs[0]) / np.log(sizes[1] / sizes[0])
        # balanced buckets win more as m approaches d: never worse than -1/2
        assert slope <= -0.5 + N_ERRORS * np.hypot(*errors) / np.log(4)
