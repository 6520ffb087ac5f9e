"""Principal directions against NumPy's decompositions."""

import numpy as np
import pytest
import scipy.sparse as sp
from feature_statistics import N_ERRORS, SEEDS

from ntksketch.features.principal import (
    leading_eigenvectors,
    principal_directions,
    sample_rows,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def decaying(n, d, seed=0):
    """Rows whose second moments have well separated eigenvalues."""
    return rng(seed).standard_normal((n, d)) * 0.7 ** np.arange(d)


def projector(vectors):
    return vectors @ vectors.T


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize(("n", "d", "most"), [(50, 6, 3), (50, 6, 6), (5, 30, 4), (7, 2100, 5)])
def test_directions_are_the_leading_singular_vectors(n, d, most, container):
    X = decaying(n, min(d, 12)) @ rng(1).standard_normal((min(d, 12), d))
    vectors, left = principal_directions(rng(), container(X), most)
    _, _, V = np.linalg.svd(X, full_matrices=False)
    assert vectors.shape == (d, most)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(most), atol=1e-10)
    for k in range(1, most + 1):  # each of them, up to its sign
        np.testing.assert_allclose(np.abs(V[k - 1] @ vectors[:, k - 1]), 1, rtol=1e-8)
    assert left[0] == 1
    assert np.all(np.diff(left) <= 1e-12)
    assert np.all(left >= 0)


def test_weights_are_repetitions():
    X = decaying(30, 5)
    weight = rng(1).integers(0, 4, 30)
    vectors, _ = principal_directions(rng(), X, 5, weight.astype(float))
    repeated, _ = principal_directions(rng(), np.repeat(X, weight, axis=0), 5)
    moments = (X * weight[:, None]).T @ X
    expected = np.linalg.eigh(moments)[1][:, ::-1]
    for k in range(1, 5):
        for found in (vectors, repeated):
            np.testing.assert_allclose(
                projector(found[:, :k]), projector(expected[:, :k]), atol=1e-9
            )


def test_what_is_left_is_measured_on_other_rows():
    """Few rows of noise fit themselves, and promise nothing for others."""
    d, n = 60, 40
    X = rng().standard_normal((n, d))
    vectors, left = principal_directions(rng(), X, n)
    assert vectors.shape == (d, n)
    own = 1 - np.square(X @ vectors).sum() / np.square(X).sum()
    assert own == pytest.approx(0, abs=1e-10)
    # 20 directions of one half keep a third of the other half's squares
    assert left[-1] == pytest.approx(1 - 20 / 60, abs=0.1)


def test_left_is_the_share_outside_for_many_rows():
    X = decaying(4000, 4)
    _, left = principal_directions(rng(), X, 4)
    squares = 0.49 ** np.arange(4)
    expected = 1 - np.concatenate([[0.0], np.cumsum(squares)]) / squares.sum()
    np.testing.assert_allclose(left, expected, atol=0.03)
    assert left[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("X", "most", "rank"),
    [
        (np.zeros((5, 3)), 3, 0),
        (np.ones((6, 3)), 3, 1),
        (np.ones((1, 1)), 1, 1),
        (np.outer(np.arange(4.0), [1.0, 2.0]), 2, 1),
    ],
)
def test_degenerate_rows(X, most, rank):
    vectors, left = principal_directions(rng(), X, most)
    assert vectors.shape == (X.shape[1], rank)
    np.testing.assert_allclose(left, [1.0, *[0.0] * rank], atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_first_draw_is_in_proportion_to_the_weights(seed):
    X, weight, n = np.arange(4.0)[:, None], np.array([1.0, 2.0, 0.0, 5.0]), 4000
    generator = rng(seed)
    draws = [sample_rows(generator, X, 2, weight)[0] for _ in range(n)]
    counts = np.bincount([d[0] for d in draws], minlength=4) / n
    share = weight / weight.sum()
    assert np.all(np.abs(counts - share) <= N_ERRORS * np.sqrt(share * (1 - share) / n))
    # the second one, by the weights of those that are left
    second = np.mean([d[1] == 3 for d in draws])
    expected = 1 / 8 * 5 / 7 + 2 / 8 * 5 / 6
    assert abs(second - expected) <= N_ERRORS * np.sqrt(expected * (1 - expected) / n)


def test_equal_rows_are_drawn_once_with_all_their_weight():
    X = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    chosen, weight = sample_rows(rng(), X, 4, np.array([1.0, 4.0, 2.0, 0.5]))
    assert sorted(zip(X[chosen].tolist(), weight.tolist(), strict=True)) == [
        ([0.0, 1.0], 4.0),
        ([1.0, 2.0], 3.5),
    ]


@pytest.mark.parametrize("rank", [1, 5])
def test_leading_eigenvectors(rank):
    Q, _ = np.linalg.qr(rng().standard_normal((40, 40)))
    values = 0.5 ** np.arange(40.0)
    found, vectors = leading_eigenvectors((Q * values) @ Q.T, rank)
    np.testing.assert_allclose(found, values[:rank], rtol=1e-8)
    np.testing.assert_allclose(projector(vectors), projector(Q[:, :rank]), atol=1e-6)
