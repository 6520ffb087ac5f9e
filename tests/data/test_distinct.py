import numpy as np
import pytest
import scipy.sparse as sp

from ntksketch.data import distinct
from ntksketch.data.distinct import distinct_rows, hash_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_weights_count_repetitions_in_any_order(dtype, container):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((40, 6)) < 0.5, rng.standard_normal((40, 6)), 0).astype(dtype)
    weight = rng.integers(0, 4, 40)
    repeated = rng.permutation(np.repeat(np.arange(40), weight))
    first, counts = distinct_rows(container(X), weight)
    again, once = distinct_rows(container(X[repeated]))
    np.testing.assert_array_equal(X[first], X[repeated][again])
    np.testing.assert_array_equal(counts, once)
    assert len(first) == (weight > 0).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_different_rows_have_different_hashes(dtype):
    grid = np.stack(np.meshgrid(*[np.arange(-8, 8)] * 4), axis=-1).reshape(-1, 4).astype(dtype)
    hashes = hash_rows(grid)
    assert len(np.unique(hashes)) == 16**4
    np.testing.assert_array_equal(hash_rows(sp.csr_array(grid)), hashes)
    np.testing.assert_array_equal(hash_rows(np.asfortranarray(grid)), hashes)
    assert hash_rows(-np.zeros((1, 4), dtype))[0] == hash_rows(np.zeros((1, 4), dtype))[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_change_of_one_entry_changes_the_hash(dtype):
    X = np.random.default_rng(0).standard_normal((50, 30)).astype(dtype)
    before = hash_rows(X)
    for column in range(30):
        changed = X.copy()
        changed[:, column] = np.nextafter(changed[:, column], dtype(9))
        assert np.all(hash_rows(changed) != before)
    assert np.all(hash_rows(X[:, ::-1]) != before)  # the place counts


def test_the_order_is_that_of_the_values_in_both_precisions():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 4)).astype(np.float32)
    single, _ = distinct_rows(X)
    double, _ = distinct_rows(X.astype(np.float64))
    np.testing.assert_array_equal(single, double)
    shuffled = rng.permutation(40)
    np.testing.assert_array_equal(X[shuffled][distinct_rows(X[shuffled])[0]], X[single])


def test_hashes_do_not_depend_on_blocks(monkeypatch):
    X = np.random.default_rng(0).standard_normal((100, 7))
    whole = hash_rows(X)
    monkeypatch.setattr(distinct, "_BLOCK_ENTRIES", 20)
    np.testing.assert_array_equal(hash_rows(X), whole)


def test_first_of_equal_rows_and_their_weights():
    X = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [0.0, 0.0], [-0.0, 0.0]])
    first, weight = distinct_rows(X, np.array([0.0, 2.0, 0.5, 1.0, 0.25]))
    assert dict(zip(first.tolist(), weight.tolist(), strict=True)) == {1: 2.0, 2: 0.5, 3: 1.25}
