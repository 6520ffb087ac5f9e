import numpy as np
import pytest
import scipy.sparse as sp

import ntksketch as ntk
from ntksketch.kernels import gram, products
from ntksketch.kernels.products import KernelProduct, LandmarkProduct

RNG = np.random.default_rng(0)
TARGETS = {
    "plain": ntk.mlp(2),
    "biased": ntk.mlp(1, bias_std=0.5),
    "erf": ntk.mlp(1, activation=ntk.Erf()),
    "zonal": ntk.zonal.ntk(2),
    "laplace": ntk.zonal.laplace(1.0),
}
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def rows(n=37, d=5, seed=0):
    """Return rows with repetitions, a row of zeros and parallel ones."""
    X = np.random.default_rng(seed).standard_normal((n, d))
    X[np.abs(X) < 0.3] = 0
    X[3], X[-1], X[5] = X[n - 2], 0, -2 * X[n - 3]
    return X


def budget(tile, dtype=np.float64, kept=0):
    """Return MiB for tiles of a side, and some that are kept."""
    itemsize = np.dtype(dtype).itemsize
    entry = gram._TEMPORARIES * itemsize + products._COPIES * 8
    return tile * tile * (entry + kept * itemsize) / 2**20


@pytest.mark.parametrize("tile", [4, 16, 64])
@every_target
def test_product_is_that_of_the_matrix(target, tile):
    X, V = rows(), RNG.standard_normal((37, 3))
    operator = KernelProduct(target, X, working_memory=budget(tile))
    assert operator.tile == tile
    K = ntk.kernel(target, X)
    # matrix products of other shapes round otherwise, and near-parallel rows enlarge that
    np.testing.assert_allclose(operator.product(V), K @ V, atol=1e-7 * np.abs(K).max())
    Y = rows(11, seed=1)
    expected = ntk.kernel(target, Y, X) @ V
    np.testing.assert_allclose(operator.product_with(Y, V), expected, atol=1e-7 * np.abs(K).max())


@every_target
def test_float32_entries_are_added_up_in_float64(target):
    X, V = rows().astype(np.float32), RNG.standard_normal((37, 3))
    operator = KernelProduct(target, X, working_memory=budget(64, np.float32))
    found = operator.product(V)
    assert found.dtype == np.float64
    # one tile: the entries are those of the kernel, so that only the sums could differ
    expected = ntk.kernel(target, X).astype(np.float64) @ V
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    across = operator.product_with(rows(11, seed=1), V)  # float64 rows are taken in float32
    expected = ntk.kernel(target, rows(11, seed=1).astype(np.float32), X).astype(np.float64) @ V
    np.testing.assert_allclose(across, expected, rtol=1e-9, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_target
def test_sparse_rows(target, dtype):
    X, V = rows().astype(dtype), RNG.standard_normal((37, 2))
    dense = KernelProduct(target, X, working_memory=budget(16, dtype))
    sparse = KernelProduct(target, sp.csr_array(X), working_memory=budget(16, dtype))
    atol = 1e-2 if dtype == np.float32 else 1e-6
    np.testing.assert_allclose(sparse.product(V), dense.product(V), atol=atol)
    Y = rows(11, seed=1)
    expected = dense.product_with(Y, V)
    for other in (Y, sp.csr_matrix(Y)):
        np.testing.assert_allclose(sparse.product_with(other, V), expected, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_matrix_is_symmetric_with_an_exact_diagonal(dtype):
    X = rows().astype(dtype)
    operator = KernelProduct(ntk.mlp(2), X, working_memory=budget(8, dtype))
    K = operator.product(np.eye(37))
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.diagonal(K), ntk.kernel_diag(ntk.mlp(2), X))


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_kinds(kind):
    X, V = rows(), RNG.standard_normal((37, 1))
    operator = KernelProduct(ntk.mlp(2), X, kind=kind)
    np.testing.assert_allclose(operator.product(V), ntk.kernel(ntk.mlp(2), X, kind=kind) @ V)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_whose_squares_underflow(dtype):
    X = rows().astype(dtype)
    tiny = dtype(1e-30 if dtype == np.float32 else 1e-200)
    short = X.copy()
    short[::2] *= tiny
    V = RNG.standard_normal((37, 2))
    K = ntk.kernel(ntk.mlp(1), short).astype(np.float64)
    operator = KernelProduct(ntk.mlp(1), short, working_memory=budget(64, dtype))
    found, expected = operator.product(V), K @ V
    np.testing.assert_allclose(found[1::2], expected[1::2], rtol=1e-6)
    np.testing.assert_allclose(found[::2] / tiny, expected[::2] / tiny, rtol=1e-5)


def count_blocks(monkeypatch):
    calls, block = [], products.kernel_block

    def counted(*arguments):
        calls.append(1)
        return block(*arguments)

    monkeypatch.setattr(products, "kernel_block", counted)
    return calls


def test_a_tile_is_computed_once_a_product(monkeypatch):
    operator = KernelProduct(ntk.mlp(1), rows(), working_memory=budget(8))
    calls = count_blocks(monkeypatch)
    for _ in range(2):
        operator.product(np.ones((37, 1)))
    assert len(calls) == 2 * 15  # five tiles a side: the triangle with its diagonal


def test_tiles_within_the_budget_are_kept(monkeypatch):
    without = KernelProduct(ntk.mlp(1), rows(), working_memory=budget(8))
    operator = KernelProduct(ntk.mlp(1), rows(), working_memory=budget(8, kept=6))
    V = RNG.standard_normal((37, 2))
    calls = count_blocks(monkeypatch)
    first = operator.product(V)
    assert len(calls) == 15
    calls.clear()
    np.testing.assert_array_equal(operator.product(V), first)
    assert len(calls) == 15 - 6
    np.testing.assert_array_equal(without.product(V), first)


def test_any_number_of_tiles_compiles_once(compilations):
    options = {"working_memory": budget(16)}
    V = RNG.standard_normal((205, 3))
    KernelProduct(ntk.mlp(1), rows(205, 13), **options).product(V)
    compilations.clear()
    for n in (40, 112, 190):
        operator = KernelProduct(ntk.mlp(1), rows(n, 13), **options)
        operator.product(V[:n])
        operator.product(V[:n])
    assert not compilations
    operator.product_with(rows(100, 13), V[:n])
    compilations.clear()
    operator.product_with(rows(61, 13), V[:n])
    assert not compilations


def test_widths_are_padded_to_powers_of_two(compilations):
    operator = KernelProduct(ntk.mlp(1), rows(30, 12))
    operator.product(np.ones((30, 8)))
    compilations.clear()
    for width in (5, 6, 7, 8):
        assert operator.product(np.ones((30, width))).shape == (30, width)
    assert not compilations


# ---------------------------------------------------------------------------------------------
# Landmarks
# ---------------------------------------------------------------------------------------------


def landmark_product(target, X, Z, block, kept=0):
    """Return the product with panels of so many rows, of which some are kept."""
    entry = gram._TEMPORARIES * X.itemsize + products._COPIES * 8
    memory = block * Z.shape[0] * (entry + kept * X.itemsize) / 2**20
    return LandmarkProduct(target, "ntk", X, Z, memory)


@pytest.mark.parametrize("block", [1, 8, 64])
@every_target
def test_products_with_landmarks_are_those_of_the_matrix(target, block):
    X, Z, weight = rows(), rows(11, seed=1), RNG.uniform(0, 2, 37)
    operator = landmark_product(target, X, Z, block)
    assert operator.block == block
    K = ntk.kernel(target, X, Z)
    U, V = RNG.standard_normal((37, 3)), RNG.standard_normal((11, 3))
    np.testing.assert_allclose(operator.adjoint(U), K.T @ U, atol=1e-6)
    expected = K.T @ (weight[:, None] * (K @ V))
    atol = 1e-7 * np.abs(expected).max()
    np.testing.assert_allclose(operator.normal(V, weight), expected, atol=atol)


def test_products_with_landmarks_of_rows_whose_squares_underflow():
    X, Z = rows(), rows(11, seed=1)
    X[::2] *= 1e-200
    Z[::3] *= 1e-200
    K = ntk.kernel(ntk.mlp(1), X, Z)
    U, V = RNG.standard_normal((37, 2)), RNG.standard_normal((11, 2))
    operator = landmark_product(ntk.mlp(1), X, Z, 8)
    np.testing.assert_allclose(operator.adjoint(U), K.T @ U, rtol=1e-6)
    expected = K.T @ (K @ V)
    np.testing.assert_allclose(operator.normal(V, np.ones(37)), expected, rtol=1e-6)


def test_panels_within_the_budget_are_kept(monkeypatch):
    X, Z, V = rows(), rows(11, seed=1), RNG.standard_normal((11, 2))
    operator = landmark_product(ntk.mlp(1), X, Z, 8, kept=3)
    calls = count_blocks(monkeypatch)
    first = operator.normal(V, np.ones(37))
    assert len(calls) == 5
    np.testing.assert_array_equal(operator.normal(V, np.ones(37)), first)
    assert len(calls) == 5 + 2


def test_bad_rows():
    operator = KernelProduct(ntk.mlp(1), rows())
    with pytest.raises(ValueError, match="as many columns as the training rows, 5, got 4"):
        operator.product_with(np.ones((2, 4)), np.ones((37, 1)))
    with pytest.raises(ValueError, match="NaN"):
        operator.product_with(np.full((2, 5), np.nan), np.ones((37, 1)))
    with pytest.raises(ValueError, match="kernel overflows"):
        KernelProduct(ntk.mlp(1), np.full((2, 5), 1e200))
    with pytest.raises(ValueError, match="kind must be"):
        KernelProduct(ntk.mlp(1), rows(), kind="cntk")
