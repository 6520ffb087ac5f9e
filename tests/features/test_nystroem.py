"""What a Nystroem map computes, whichever landmarks it has (their choice: test_landmarks)."""

import pickle

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from feature_statistics import draw_map, relative_error

import ntksketch as ntk
from ntksketch.features import nystroem, transform_blocks
from ntksketch.features.nystroem import _DEFLATED
from ntksketch.kernels.gram import precision

ARCHITECTURE = ntk.mlp(2)


def rows(n, d=6, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def with_landmarks(landmarks, n_components=None, architecture=ARCHITECTURE, kind="ntk"):
    m = len(landmarks) if n_components is None else n_components
    method = ntk.Nystroem(landmarks)
    return draw_map(method, architecture, landmarks, m, jax.random.key(0), kind)


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize(
    "architecture",
    [ARCHITECTURE, ntk.mlp(1, bias_std=0.4), ntk.mlp(1, activation=ntk.Gelu())],
    ids=repr,
)
def test_is_the_kernel_of_projections_onto_the_landmarks(architecture, kind):
    X, landmarks = rows(40), rows(15, seed=1)
    feature_map = with_landmarks(landmarks, architecture=architecture, kind=kind)
    Z = transform_blocks(feature_map, X)
    cross = ntk.kernel(architecture, X, landmarks, kind=kind)
    among = ntk.kernel(architecture, landmarks, kind=kind)
    np.testing.assert_allclose(Z @ Z.T, cross @ np.linalg.solve(among, cross.T), rtol=1e-8)
    exact = ntk.kernel_diag(architecture, X, kind=kind)
    assert np.all(np.square(Z).sum(axis=1) <= exact * (1 + 1e-10))


def test_whitening_is_the_inverse_of_the_factor():
    landmarks = rows(30)
    feature_map = with_landmarks(landmarks)
    K = ntk.kernel(ARCHITECTURE, landmarks)
    L = np.linalg.cholesky(K + feature_map.jitter * np.eye(30))
    (whitening,) = feature_map.params.linear
    np.testing.assert_allclose(np.triu(whitening), whitening, rtol=0, atol=0)
    np.testing.assert_allclose(L @ whitening.T, np.eye(30), atol=1e-9)


def test_jitter_is_the_rounding_of_the_largest_eigenvalue():
    landmarks = rows(30)
    for dtype in (np.float32, np.float64):
        feature_map = with_landmarks(landmarks.astype(dtype))
        largest = np.linalg.eigvalsh(ntk.kernel(ARCHITECTURE, landmarks))[-1]
        epsilon = max(np.finfo(dtype).eps, 300 * np.finfo(float).eps)
        assert 0.7 * epsilon * largest <= feature_map.jitter <= 1.01 * epsilon * largest


def test_whitening_is_computed_once_and_travels_with_a_pickle():
    feature_map = with_landmarks(rows(20))
    assert feature_map.params.linear[0] is feature_map.params.linear[0]
    copy = pickle.loads(pickle.dumps(feature_map))
    np.testing.assert_array_equal(copy.params.linear[0], feature_map.params.linear[0])
    assert (copy.rank, copy.jitter) == (feature_map.rank, feature_map.jitter)


@pytest.mark.parametrize("n_landmarks", [1, 5, 2 * _DEFLATED + 22])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_comes_before_whitening_has_its_kernel_with_the_penalty(n_landmarks, dtype):
    X, landmarks = rows(50, dtype=dtype), rows(n_landmarks, dtype=dtype, seed=1)
    feature_map = with_landmarks(landmarks, n_landmarks + 3)
    plain, penalty = feature_map.before_whitening()
    assert plain.n_components == n_landmarks
    features = transform_blocks(plain, X)
    assert features.dtype == dtype
    white = scipy.linalg.solve_triangular(
        np.tril(penalty.packed), features.T.astype(np.float64), lower=True
    ).T
    Z = transform_blocks(feature_map, X).astype(np.float64)
    assert Z.shape == (50, n_landmarks + 3)
    assert not Z[:, n_landmarks:].any()
    assert relative_error(white @ white.T, Z @ Z.T) < (1e-3 if dtype == np.float32 else 1e-10)


def test_leading_directions_are_scaled_down_before_sums():
    landmarks = rows(2 * _DEFLATED + 50)
    feature_map = with_landmarks(landmarks)
    plain, penalty = feature_map.before_whitening()
    K = ntk.kernel(ARCHITECTURE, landmarks)
    down, across = plain.params.linear
    T = np.eye(len(K)) + down @ across
    expected = T @ (K + feature_map.jitter * np.eye(len(K))) @ T.T
    lower = np.tril(expected)
    np.testing.assert_allclose(np.tril(penalty.matrix), lower, atol=1e-10 * np.abs(lower).max())
    np.testing.assert_allclose(T, T.T, atol=1e-12)
    values, deflated = np.linalg.eigvalsh(K), np.linalg.eigvalsh(expected)
    assert deflated[-1] < 1.5 * values[-_DEFLATED - 1]  # and not values[-1]
    assert deflated[0] > 0.5 * values[0]


def test_penalties_are_positive_definite_for_duplicated_landmarks():
    distinct = rows(100, dtype=np.float32)
    landmarks = np.concatenate([distinct, distinct, 3 * distinct[:20]])
    feature_map = with_landmarks(landmarks)
    plain, penalty = feature_map.before_whitening()
    features = transform_blocks(plain, distinct).astype(np.float64)
    white = scipy.linalg.solve_triangular(np.tril(penalty.packed), features.T, lower=True)
    K = ntk.kernel(ARCHITECTURE, distinct.astype(np.float64))
    assert relative_error(white.T @ white, K) < 1e-3
    assert feature_map.rank <= 101


def test_small_landmark_kernels_are_left_as_they_are():
    feature_map = with_landmarks(rows(2 * _DEFLATED))
    plain, penalty = feature_map.before_whitening()
    down, across = plain.params.linear
    assert not (down @ across).any()
    expected = ntk.kernel(ARCHITECTURE, feature_map.landmarks)
    expected += feature_map.jitter * np.eye(len(expected))
    np.testing.assert_allclose(np.tril(penalty.matrix), np.tril(expected), rtol=1e-12)


@pytest.mark.parametrize("sparse_rows", [False, True])
@pytest.mark.parametrize("sparse_landmarks", [False, True])
def test_dense_and_sparse_rows_and_landmarks_agree(sparse_rows, sparse_landmarks):
    rng = np.random.default_rng(0)
    X, landmarks = (
        np.where(rng.random((n, 12)) < 0.4, rng.standard_normal((n, 12)), 0) for n in (30, 9)
    )
    expected = transform_blocks(with_landmarks(landmarks), X)
    method = ntk.Nystroem(sp.csr_array(landmarks) if sparse_landmarks else landmarks)
    feature_map = draw_map(method, ARCHITECTURE, landmarks, 9, jax.random.key(0))
    assert sp.issparse(feature_map.landmarks) == sparse_landmarks
    Z = transform_blocks(feature_map, sp.csr_array(X) if sparse_rows else X)
    np.testing.assert_allclose(Z, expected, rtol=1e-9, atol=1e-11)


def test_landmarks_are_chosen_among_the_candidates_only():
    X = rows(500)
    for name in ("uniform", "leverage", "rpcholesky"):
        method = ntk.Nystroem(name, n_candidates=40)
        few = draw_map(method, ARCHITECTURE, X, 20, jax.random.key(3)).landmarks
        same = draw_map(method, ARCHITECTURE, X, 40, jax.random.key(3)).landmarks
        assert len(few) == 20
        assert all((same == row).all(axis=1).any() for row in few), name
        assert all((row == X).all(axis=1).any() for row in same), name


def test_fewer_different_rows_than_components_are_all_landmarks():
    X = np.repeat(rows(7), 30, axis=0)
    for name in ("kmeans", "uniform", "leverage", "rpcholesky"):
        feature_map = draw_map(ntk.Nystroem(name), ARCHITECTURE, X, 50, jax.random.key(0))
        assert feature_map.landmarks.shape == (7, 6)
        Z = transform_blocks(feature_map, X)
        np.testing.assert_allclose(Z @ Z.T, ntk.kernel(ARCHITECTURE, X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["kmeans", "uniform", "leverage", "rpcholesky"])
def test_heavy_rows_are_landmarks_more_often(name):
    X = rows(200)
    weight = np.ones(200)
    weight[:10] = 50.0
    hits = light = 0
    for seed in range(20):
        feature_map = ntk.Nystroem(name).init(
            jax.random.key(seed),
            ARCHITECTURE,
            X,
            kind="ntk",
            n_components=12,
            sample_weight=weight,
        )
        near = np.square(feature_map.landmarks[:, None] - X[None]).sum(axis=-1) < 0.5
        hits += near[:, :10].any(axis=0).sum()
        light += near[:, 10:20].any(axis=0).sum()
    assert hits > 2 * light


def test_features_of_the_landmarks_do_not_depend_on_other_rows():
    X, feature_map = rows(40), with_landmarks(rows(10, seed=1))
    with precision(X.dtype):
        together = np.asarray(feature_map.apply(X))
        alone = np.concatenate(
            [np.asarray(feature_map.apply(X[i : i + 8])) for i in range(0, 40, 8)]
        )
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_images_meet_as_many_landmarks_at_a_time_as_fit(monkeypatch):
    X, architecture = rows(9, 6 * 6 * 2), ntk.cnn(2, shape=(6, 6, 2))
    feature_map = with_landmarks(X[:7], architecture=architecture)
    whole, expected = feature_map.row_entries, transform_blocks(feature_map, X)
    monkeypatch.setattr(nystroem, "_ENTRIES", whole // 3)
    assert feature_map.row_entries < whole / 2
    np.testing.assert_allclose(transform_blocks(feature_map, X), expected, rtol=1e-9, atol=1e-9)


def test_memory_of_a_row_is_bounded_by_its_entries():
    feature_map = with_landmarks(rows(10), 25)
    plain, _ = feature_map.before_whitening()
    assert feature_map.row_entries >= 25 + 2 * 10 + 2 * 6
    assert plain.row_entries >= 2 * 10 + 2 * 6
    assert feature_map.expected is plain.expected is None
