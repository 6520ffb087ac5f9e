import tracemalloc

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from feature_statistics import N_ERRORS, SEEDS, draw, relative_error

import ntksketch as ntk
from ntksketch.features import transform_blocks
from ntksketch.features.landmarks import SELECTIONS, ridge_leverage_scores
from ntksketch.kernels.pivoted_cholesky import reject

ARCHITECTURE = ntk.mlp(1)
ROWS = np.random.default_rng(0).standard_normal((60, 4))


def nystroem_map(method, X, m, seed=0):
    return method.init(jax.random.key(seed), ARCHITECTURE, X, kind="ntk", n_components=m)


def test_leverage_scores_of_all_rows_are_exact():
    K = ntk.kernel(ARCHITECTURE, ROWS)
    exact = np.diagonal(K @ np.linalg.inv(K + 0.7 * np.eye(60)))
    scores = ridge_leverage_scores(ARCHITECTURE, "ntk", ROWS, ROWS, np.ones(60), ridge=0.7)
    # a row with itself is exact on the diagonal only: elsewhere a square root of rounding is left
    np.testing.assert_allclose(scores, exact, rtol=1e-6)


def test_leverage_scores_from_a_sample_are_above_and_not_far():
    K = ntk.kernel(ARCHITECTURE, ROWS)
    exact = np.diagonal(K @ np.linalg.inv(K + 5.0 * np.eye(60)))
    scales = np.full(40, np.sqrt(60 / 40))
    scores = ridge_leverage_scores(ARCHITECTURE, "ntk", ROWS, ROWS[:40], scales, ridge=5.0)
    assert np.all(scores[40:] >= 0.7 * exact[40:])
    assert scores.sum() <= 3 * exact.sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("X", "target"),
    [
        (np.random.default_rng(0).uniform(0.5, 2, (600, 1)), ntk.mlp(1)),
        (np.outer(np.linspace(0.5, 2, 600), np.arange(20.0)), ntk.mlp(1)),
        (np.random.default_rng(0).standard_normal((600, 3)), ntk.Dense()),
    ],
    ids=["one column", "one direction", "linear"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leverage_of_rows_whose_kernel_has_a_low_rank(dtype, X, target, seed):
    X = X.astype(dtype)
    method = ntk.Nystroem("leverage")
    Z = ntk.NTKFeatures(target, method, 64, random_state=seed).fit_transform(X).astype(float)
    assert relative_error(Z @ Z.T, ntk.kernel(target, X.astype(float))) < 1e-5


def test_leverage_prefers_rows_that_no_others_stand_for():
    rng = np.random.default_rng(1)
    crowd = np.array([3.0, 0, 0, 0, 0]) + 0.01 * rng.standard_normal((400, 5))
    rare = np.diag([0, 3.0, 3, 3, 3])[1:]
    X = np.concatenate([crowd, rare])
    for name in ("leverage", "rpcholesky"):
        found = 0
        for seed in range(5):
            landmarks = nystroem_map(ntk.Nystroem(name, n_candidates=1000), X, 12, seed).landmarks
            found += sum((landmarks == row).all(axis=1).any() for row in rare)
        assert found >= 12  # of 20; random rows would find 12 / 404 of them


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_rejection_draws_the_second_pivot_by_what_the_first_leaves(seed):
    A = np.array([[2.0, 1.9, 0.0], [1.9, 2.0, 0.0], [0.0, 0.0, 1.0]])
    rng = np.random.default_rng(seed)
    counts, n = np.zeros((3, 3)), 20_000
    for _ in range(n):
        kept, done = [], []
        while len(kept) < 2:  # blocks of two proposals until two pivots are there
            left = A - (A[:, done] @ np.linalg.solve(A[np.ix_(done, done)], A[done])) if done else A
            diagonal = np.maximum(np.diagonal(left), 0)
            proposals = rng.choice(3, size=2, p=diagonal / diagonal.sum())
            block = left[np.ix_(proposals, proposals)].copy()
            new, triangle = reject(rng, proposals, block, diagonal[proposals], 2 - len(kept))
            chosen = proposals[new]
            np.testing.assert_allclose(
                triangle @ triangle.T, left[np.ix_(chosen, chosen)], atol=1e-9
            )
            done += chosen.tolist()
            kept += chosen.tolist()
        counts[kept[0], kept[1]] += 1
    first = np.diagonal(A) / np.trace(A)
    expected = np.zeros((3, 3))
    for i in range(3):
        rest = np.diagonal(A) - A[i] ** 2 / A[i, i]
        expected[i] = first[i] * rest / rest.sum()
    error = np.sqrt(expected * (1 - expected) / n)
    assert np.all(np.abs(counts / n - expected) <= N_ERRORS * error + 1e-12)


@pytest.mark.parametrize("name", SELECTIONS)
def test_kernel_is_exact_where_all_rows_are_landmarks(name):
    K = ntk.kernel(ARCHITECTURE, ROWS)
    Z = draw(ntk.Nystroem(name), ARCHITECTURE, ROWS, 60, jax.random.key(0))
    np.testing.assert_allclose(Z @ Z.T, K, rtol=0, atol=1e-6 * K.max())


def test_given_landmarks_are_kept_and_exact():
    method = ntk.Nystroem(ROWS[:7])
    feature_map = nystroem_map(method, ROWS, 9)
    np.testing.assert_array_equal(feature_map.landmarks, ROWS[:7])
    Z = draw(method, ARCHITECTURE, ROWS, 9, jax.random.key(0))
    K = ntk.kernel(ARCHITECTURE, ROWS)
    np.testing.assert_allclose(Z[:7] @ Z.T, K[:7], rtol=0, atol=1e-6 * K.max())
    assert not Z[:, 7:].any()
    assert repr(method) == "Nystroem(landmarks=<7 rows>)"
    assert method == ntk.Nystroem(ROWS[:7].copy())
    assert hash(method) == hash(ntk.Nystroem(ROWS[:7].copy()))
    assert method not in (ntk.Nystroem(ROWS[1:8]), ntk.Nystroem(ROWS[:6]), ntk.Nystroem("uniform"))
    assert ntk.Nystroem(sp.csr_array(ROWS[:7])) == ntk.Nystroem(sp.csr_array(ROWS[:7]))


def text_by_topics(n_rows, n_columns, seed):
    """Unit rows of words of their topic, one of 20."""
    rng = np.random.default_rng(seed)
    words = np.random.default_rng(99).permutation(n_columns)[:800].reshape(20, 40)
    topics = words[rng.integers(20, size=n_rows)]
    columns = np.concatenate([rng.choice(topic, 25, replace=False) for topic in topics])
    rows = np.repeat(np.arange(n_rows), 25)
    return sp.csr_array((np.full(columns.size, 0.2), (rows, columns)), shape=(n_rows, n_columns))


def test_kmeans_of_wide_sparse_rows_takes_rows_and_no_dense_matrix():
    n_columns, m = 200_000, 40
    X, other = text_by_topics(320, n_columns, 0), text_by_topics(200, n_columns, 1)
    K = ntk.kernel(ARCHITECTURE, other)

    def errors(name):
        maps = [nystroem_map(ntk.Nystroem(name), X, m, seed) for seed in range(3)]
        grams = [(Z := transform_blocks(feature_map, other)) @ Z.T for feature_map in maps]
        return [relative_error(G, K) for G in grams]

    tracemalloc.start()  # which sees what NumPy and SciPy allocate
    feature_map = nystroem_map(ntk.Nystroem("kmeans"), X, m)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < m * n_columns * 8 / 4
    landmarks = feature_map.landmarks
    assert sp.issparse(landmarks)
    assert landmarks.shape == (m, n_columns)
    assert ((landmarks @ X.T).max(axis=1).toarray() > 1 - 1e-12).all()  # rows of X
    assert np.mean(errors("kmeans")) < 1.05 * np.mean(errors("uniform"))


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_kmeans_of_narrow_sparse_rows_takes_dense_centroids(index):
    X = np.where(np.random.default_rng(0).random(ROWS.shape) < 0.5, ROWS, 0)
    sparse = sp.csr_array(X)
    sparse.indices, sparse.indptr = sparse.indices.astype(index), sparse.indptr.astype(index)
    found = nystroem_map(ntk.Nystroem("kmeans"), sparse, 12).landmarks
    expected = nystroem_map(ntk.Nystroem("kmeans"), X, 12).landmarks
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SELECTIONS)
def test_rows_whose_squares_underflow_have_landmarks_as_good(name):
    X = ROWS.astype(np.float32)
    K = ntk.kernel(ARCHITECTURE, ROWS)

    def error(scale):
        errors = []
        for seed in range(5):
            feature_map = nystroem_map(ntk.Nystroem(name), X * np.float32(scale), 12, seed)
            Z = transform_blocks(feature_map, X)
            errors.append(relative_error(Z @ Z.T, K))
        return np.mean(errors)

    assert error(2.0**-100) < 1.3 * error(1.0)


def test_given_landmarks_whose_squares_underflow():
    X = ROWS.astype(np.float32)
    Z = draw(ntk.Nystroem(X[:7]), ARCHITECTURE, X, 9, jax.random.key(0))
    short = draw(ntk.Nystroem(X[:7] * np.float32(1e-25)), ARCHITECTURE, X, 9, jax.random.key(0))
    np.testing.assert_allclose(short @ short.T, Z @ Z.T, rtol=1e-4, atol=1e-4)


def test_duplicated_and_collinear_landmarks_lower_the_rank_and_do_no_harm():
    X = np.concatenate([ROWS[:10], ROWS[:10], 2 * ROWS[:5]])
    feature_map = nystroem_map(ntk.Nystroem(X), ROWS, 25)
    assert feature_map.rank == 10
    assert 0 < feature_map.jitter < 1e-5
    Z = draw(ntk.Nystroem(X), ARCHITECTURE, ROWS, 25, jax.random.key(0))
    expected = draw(ntk.Nystroem(ROWS[:10]), ARCHITECTURE, ROWS, 10, jax.random.key(0))
    assert relative_error(Z @ Z.T, expected @ expected.T) < 1e-5
    assert nystroem_map(ntk.Nystroem("uniform"), ROWS, 20).rank == 20


BAD = [
    ({"landmarks": "best"}, ValueError, "landmarks must be one of .*'kmeans'.*got 'best'"),
    ({"landmarks": [1.0, 2.0]}, ValueError, "landmarks: .*2D array"),
    ({"landmarks": [[np.nan]]}, ValueError, "landmarks: .*NaN"),
    ({"n_candidates": 0}, ValueError, "n_candidates must be .* at least 1, got 0"),
    ({"n_candidates": 2.5}, ValueError, "n_candidates must be a whole number"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ntk.Nystroem(**arguments)


def test_given_landmarks_that_do_not_fit():
    message = r"landmarks has shape \(7, 4\), expected at most n_components=5"
    with pytest.raises(ValueError, match=message):
        nystroem_map(ntk.Nystroem(ROWS[:7]), ROWS, 5)
    with pytest.raises(ValueError, match="rows of 3 columns"):
        nystroem_map(ntk.Nystroem(ROWS[:7]), ROWS[:, :3], 9)


def test_an_indefinite_kernel_is_refused():
    class Indefinite(ntk.zonal.ZonalKernel):
        def evaluate(self, t):
            return 1 - 3 * t**2

    features = ntk.NTKFeatures(Indefinite(), ntk.Nystroem("uniform"), 20)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        features.fit(ROWS)
