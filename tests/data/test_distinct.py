import numpy as np
import pytest
import scipy.sparse as sp

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
