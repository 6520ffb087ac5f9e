"""Exact kernels of every kind of rows: containers, dtypes, degenerate and bad input."""

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import network_kernels

import ntksketch as ntk
from ntksketch import Dense, Relu, serial

PLAIN = ntk.mlp(2)
BIASED = ntk.mlp(2, bias_std=0.5)
both = pytest.mark.parametrize("network", [PLAIN, BIASED], ids=["plain", "biased"])


def rows(n=9, d=5, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d))
    X[np.abs(X) < 0.4] = 0
    return X


# ---------------------------------------------------------------------------------------------
# Containers and dtypes
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "container", [sp.csr_array, sp.csc_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array]
)
@both
def test_sparse_equals_dense(network, container, dtype):
    X, Y = rows().astype(dtype), rows(10, seed=1).astype(dtype)
    rtol, atol = (1e-12, 0) if dtype == np.float64 else (1e-5, 1e-5)
    K, across = ntk.kernel(network, X), ntk.kernel(network, X, Y)
    for working_memory in (None, 16 * 4 * X.itemsize / 2**20):
        options = {"working_memory": working_memory}
        sparse = ntk.kernel(network, container(X), **options)
        assert type(sparse) is np.ndarray
        assert sparse.dtype == dtype
        np.testing.assert_allclose(sparse, K, rtol, atol)
        for left, right in (
            (container(X), container(Y)),
            (container(X), Y),
            (X, container(Y)),
        ):
            np.testing.assert_allclose(
                ntk.kernel(network, left, right, **options), across, rtol, atol
            )
    np.testing.assert_allclose(
        ntk.kernel_diag(network, container(X)), ntk.kernel_diag(network, X), rtol=1e-6
    )


def test_sparse_entries_given_twice_are_added():
    X = sp.csr_array((np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]), np.array([0, 3])), (1, 2))
    np.testing.assert_allclose(ntk.kernel_diag(PLAIN, X), [3 * 34.0])
    np.testing.assert_allclose(ntk.kernel(PLAIN, X, np.array([[3.0, 5.0]])), [[3 * 34.0]], 1e-7)
    assert X.nnz == 3  # the caller's matrix is as it was


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float64),
        (np.int8, np.float64),
        (np.int64, np.float64),
        (np.uint8, np.float64),
        (bool, np.float64),
        (">f8", np.float64),
        (object, np.float64),
    ],
)
@both
def test_dtypes(network, given_dtype, dtype):
    X = (np.abs(rows()) > 0.5).astype(given_dtype)
    X[0], X[1, 1:] = 0, 0  # a row of zeros and a row with one entry
    expected = ntk.kernel(network, X.astype(np.float64))
    K = ntk.kernel(network, X)
    assert K.dtype == dtype
    assert ntk.kernel_diag(network, X).dtype == dtype
    if dtype == np.float64:
        np.testing.assert_array_equal(K, expected)
    else:
        np.testing.assert_allclose(K, expected, 1e-6, 1e-3)


def test_float32_with_float64_rows_is_float64():
    """Equal rows in two precisions: norms must come in the precision of the products."""
    X = rows().astype(np.float32)
    for left in (X, sp.csr_array(X)):
        K = ntk.kernel(PLAIN, left, X.astype(np.float64))
        assert K.dtype == np.float64
        np.testing.assert_allclose(K, ntk.kernel(PLAIN, X.astype(np.float64)), 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_and_containers(dtype, tmp_path):
    X = rows().astype(dtype)
    K = ntk.kernel(BIASED, X)
    np.save(tmp_path / "rows.npy", X)
    memmap = np.load(tmp_path / "rows.npy", mmap_mode="r")
    wide = np.zeros((18, 10), dtype)
    wide[::2, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    frame = pd.DataFrame(X, columns=list("abcde"))
    for same in (np.asfortranarray(X), memmap, wide[::2, ::2], frozen, frame):
        result = ntk.kernel(BIASED, same)
        assert type(result) is np.ndarray
        np.testing.assert_allclose(result, K, rtol=1e-6)
        np.testing.assert_allclose(ntk.kernel(BIASED, X, same), ntk.kernel(BIASED, X, X), 1e-6)
    np.testing.assert_allclose(ntk.kernel(BIASED, X.tolist()), K, rtol=1e-4)
    np.testing.assert_allclose(ntk.kernel(BIASED, jax.numpy.asarray(X, np.float32)), K, rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jax_configuration_and_rows_are_untouched(dtype):
    X = rows().astype(dtype)
    before, flag = X.copy(), jax.config.jax_enable_x64  # pyright: ignore
    ntk.kernel(PLAIN, X)
    ntk.kernel_diag(PLAIN, X)
    assert jax.config.jax_enable_x64 is flag is False  # pyright: ignore
    np.testing.assert_array_equal(X, before)


# ---------------------------------------------------------------------------------------------
# Degenerate rows
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_zeros(dtype):
    X = rows().astype(dtype)
    X[[2, 5]] = 0
    K = ntk.kernel(PLAIN, X)
    assert not K[2].any()
    assert not K[:, 5].any()
    assert np.isfinite(K).all()
    np.testing.assert_allclose(ntk.kernel(BIASED, X), network_kernels(BIASED, X)["ntk"], rtol=1e-4)
    # biases alone: S = 1/4, 1/2, 3/4 behind the three Dense layers, and T is their sum
    rtol = 1e-3 if dtype == np.float32 else 1e-7
    np.testing.assert_allclose(ntk.kernel(BIASED, 0 * X), 1.5, rtol)
    np.testing.assert_allclose(ntk.kernel_diag(BIASED, 0 * X), 1.5, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-3), (np.float64, 1e-7)])
@both
def test_equal_and_opposite_rows(network, dtype, tolerance):
    """Off the diagonal t is rounded, and the NTK has a square root's slope at t = 1 and t = -1."""
    X = rows(4).astype(dtype)
    K = ntk.kernel(network, np.vstack([X, X, -X, 3 * X]))
    expected = network_kernels(network, np.vstack([X, X, -X, 3 * X]))["ntk"]
    bound = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.all(np.abs(K - expected) <= tolerance * bound)
    assert np.all(bound * (1 + 1e-6) >= K)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kernel", "d"),
    [
        (ntk.mlp(1), 3),
        (ntk.mlp(3), 1),
        (ntk.mlp(3), 64),
        (ntk.mlp(3), 700),
        (ntk.mlp(20), 3),  # in float32 not a short polynomial
        (ntk.mlp(2, activation=ntk.LeakyRelu(0.2)), 3),
        (ntk.zonal.laplace(0.7), 3),
        (ntk.zonal.laplace(0.7), 64),
    ],
)
def test_parallel_rows_have_no_square_root_of_rounding(kernel, d, dtype):
    f = ntk.kernels.zonal.zonal_form(kernel, "ntk")[1]
    X = np.random.default_rng(d).standard_normal((64, d)).astype(dtype)
    squares = (X.astype(np.float64) ** 2).sum(axis=1)
    rounding = 20 * np.finfo(dtype).eps * f(1.0)  # without care 5e-4 and 3e-8
    for factor in (1, 3, -0.7):
        K = np.diag(ntk.kernel(kernel, X, dtype(factor) * X))
        errors = np.abs(K / (abs(factor) * squares) - f(np.sign(factor)))
        # the sum of very many columns errs by more than a few rounding errors now and then
        assert np.mean(errors > rounding) <= (0.05 if d == 700 else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_rows_are_equal_behind_biases_too(dtype):
    X = rows(6, 40).astype(dtype)
    K = ntk.kernel(BIASED, np.vstack([X, X]))
    np.testing.assert_allclose(np.diag(K[:6, 6:]), np.diag(K)[:6], rtol=20 * np.finfo(dtype).eps)
    # duplicates change nothing: as many eigenvalues vanish
    values = np.linalg.eigvalsh(K.astype(np.float64))
    assert np.all(np.abs(values[:6]) <= 50 * np.finfo(dtype).eps * values[-1])


@pytest.mark.parametrize("angle", [1e-7, 1e-6, 1e-4])
def test_rows_that_differ_by_little_keep_their_difference(angle):
    """Only angles within 4 sqrt(eps), 6e-8 in float64, count as none."""
    X = np.array([[1.0, 0.0]])
    Y = 2 * np.array([[np.cos(angle), np.sin(angle)], [np.cos(angle), -np.sin(angle)]])
    # K_1 = t kappa0 + kappa1 = 2 - angle/pi up to the square of the angle
    K = ntk.kernel(ntk.mlp(1), X, Y)
    np.testing.assert_allclose(4 - K, 2 * angle / np.pi, rtol=0.03 if angle < 1e-6 else 2e-3)
    assert np.all(K < 4)


@pytest.mark.parametrize(("dtype", "short"), [(np.float32, 1e-25), (np.float64, 1e-200)])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "kernel", [PLAIN, ntk.zonal.laplace(0.5), ntk.mlp(1, activation=ntk.LeakyRelu())], ids=repr
)
def test_rows_whose_squares_underflow(kernel, dtype, short, sparse):
    X, Y = rows().astype(dtype), rows(7, seed=1).astype(dtype)
    factors = np.ones((9, 1), dtype)
    factors[[0, 2, 5], 0] = short, 0, short
    scaled = sp.csr_matrix(factors * X) if sparse else factors * X
    before = scaled.copy()
    K = ntk.kernel(kernel, X, Y)
    rounding = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(ntk.kernel(kernel, scaled, Y), factors * K, rtol=rounding)
    np.testing.assert_allclose(ntk.kernel(kernel, Y, scaled), (factors * K).T, rtol=rounding)
    again = ntk.kernel(kernel, scaled)
    long = factors[:, 0] == 1
    np.testing.assert_allclose(
        again[:, long], factors * ntk.kernel(kernel, X)[:, long], rtol=rounding
    )
    np.testing.assert_array_equal(again, again.T)
    assert not np.abs(scaled - before).sum()  # the caller's rows are as they were


def test_short_rows_beside_biases_are_zeros():
    X = rows()
    X[0] *= 1e-200
    np.testing.assert_array_equal(
        ntk.kernel(BIASED, X)[0], ntk.kernel(BIASED, np.vstack([0 * X[:1], X[1:]]))[0]
    )


@pytest.mark.parametrize("shape", [(1, 4), (6, 1), (1, 1)])
@both
def test_one_row_and_one_column(network, shape):
    X = 1 + np.arange(np.prod(shape), dtype=float).reshape(shape)
    expected = network_kernels(network, X)["ntk"]
    np.testing.assert_allclose(ntk.kernel(network, X), expected, rtol=1e-7)
    np.testing.assert_allclose(ntk.kernel_diag(network, X), np.diag(expected), rtol=1e-14)


ENTRIES = st.sampled_from([0.0, 0.0, 1.0, -1.0, 2.0, -0.5, 3.0])
DTYPES = st.sampled_from([np.float32, np.float64, np.float16, np.int64, bool])


@st.composite
def pairs_of_rows(draw):
    """Small rows with many zeros, ties and opposites."""
    d = draw(st.sampled_from([1, 3]))  # every new shape is compiled

    def matrix():
        dtype, n = draw(DTYPES), draw(st.integers(3, 4))
        return draw(hnp.arrays(np.float64, (n, d), elements=ENTRIES)).astype(dtype)

    return matrix(), matrix()


@settings(deadline=None, max_examples=40)
@given(pairs_of_rows(), st.booleans(), st.booleans())
def test_small_rows_of_every_dtype(pair, biased, sparse):
    network = BIASED if biased else PLAIN
    X, Y = pair
    left = sp.csr_array(X.astype(np.float64) if X.dtype == np.float16 else X) if sparse else X
    for other in (None, Y):
        K = ntk.kernel(network, left, other)
        expected = network_kernels(network, X, other)["ntk"]
        used = [X] if other is None else [X, Y]
        single = all(Z.dtype == np.float32 for Z in used)
        assert K.dtype == (np.float32 if single else np.float64)
        norms = [ntk.kernel_diag(network, Z.astype(np.float64)) for Z in (X, used[-1])]
        bound = (1e-3 if single else 1e-7) * np.sqrt(np.outer(*norms))
        assert np.all(np.abs(K - expected) <= bound)
    np.testing.assert_allclose(
        ntk.kernel_diag(network, left),
        np.diag(network_kernels(network, X)["ntk"]),
        rtol=1e-6,
    )


# ---------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------

GOOD = np.ones((3, 2))


def with_entry(value):
    X = GOOD.copy()
    X[1, 1] = value
    return X


@pytest.mark.parametrize("name", ["X", "Y"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (with_entry(np.nan), "Input {} contains NaN"),
        (with_entry(np.inf), "Input {} contains infinity"),
        (sp.csr_array(with_entry(np.nan)), "Input {} contains NaN"),
        (np.empty((0, 2)), r"0 sample\(s\)"),
        (np.empty((2, 0)), r"0 feature\(s\)"),
        (np.ones(2), "Expected 2D array, got 1D array"),
        (np.ones((2, 2, 2)), "array with dim 3"),
        ([[1, 2], [3]], "inhomogeneous"),
        (np.array([["a", "b"]], dtype=object), "could not convert string to float: 'a'"),
        ([["a", "b"]], "could not convert string to float: 'a'"),
        (GOOD * 1j, "Complex data not supported"),
        (sp.csr_array(GOOD * 1j), "Complex data not supported"),
    ],
)
def test_bad_rows(name, bad, message):
    with pytest.raises(ValueError, match=f"^{name}: .*{message.format(name)}"):
        ntk.kernel(PLAIN, *([bad] if name == "X" else [GOOD, bad]))
    if name == "X":
        with pytest.raises(ValueError, match=f"^X: .*{message.format('X')}"):
            ntk.kernel_diag(PLAIN, bad)


def test_different_numbers_of_columns():
    message = "X and Y must have the same number of columns, got 2 and 3"
    with pytest.raises(ValueError, match=message):
        ntk.kernel(PLAIN, GOOD, np.ones((3, 3)))


@pytest.mark.parametrize("call", [ntk.kernel, ntk.kernel_diag])
class TestBadArguments:
    @pytest.mark.parametrize("kind", ["NTK", "", None, 1, ["ntk"]])
    def test_kind(self, call, kind):
        with pytest.raises(ValueError, match=r"kind must be one of \('ntk', 'nngp'\), got "):
            call(PLAIN, GOOD, kind=kind)

    @pytest.mark.parametrize("network", [Relu(), serial(Relu(), Relu())])
    def test_no_parameters_to_train(self, call, network):
        with pytest.raises(ValueError, match=r"Relu\(\).* has no trainable layer.*add Dense\(\)"):
            call(network, GOOD)
        expected = network_kernels([Relu()] * 2, GOOD)["nngp"]
        K = call(network, GOOD, kind="nngp")
        np.testing.assert_allclose(K, expected if K.ndim == 2 else np.diag(expected), rtol=1e-7)

    @pytest.mark.parametrize("network", ["mlp", None, 2, GOOD, [Dense()], ntk.mlp, Dense])
    def test_architecture(self, call, network):
        with pytest.raises(TypeError, match="architecture must be made of ntksketch layers"):
            call(network, GOOD)

    @pytest.mark.parametrize("kind", ["ntk", "nngp"])
    def test_unknown_layer(self, call, kind):
        class Gelu(ntk.Architecture):
            pass

        with pytest.raises(NotImplementedError, match="exact kernel has no rule for Gelu"):
            call(serial(Dense(), Gelu(), Dense()), GOOD, kind=kind)

    @pytest.mark.parametrize(("dtype", "large"), [(np.float32, 1e25), (np.float64, 1e200)])
    @pytest.mark.parametrize("sparse", [False, True])
    def test_rows_that_overflow(self, call, dtype, large, sparse):
        X = with_entry(large).astype(dtype)
        message = f"X has rows so long that their kernel overflows {np.dtype(dtype)}, such as row 1"
        with pytest.raises(ValueError, match=message):
            call(PLAIN, sp.csr_array(X) if sparse else X)

    def test_standard_deviations_that_overflow(self, call):
        with pytest.raises(ValueError, match="overflows float64"):
            call(ntk.mlp(2, weight_std=1e100), GOOD)


def test_other_rows_that_overflow():
    with pytest.raises(ValueError, match="Y has rows so long"):
        ntk.kernel(PLAIN, GOOD, with_entry(1e200))


@pytest.mark.parametrize("working_memory", [0, -1, np.nan, "64"])
def test_bad_working_memory(working_memory):
    with pytest.raises(ValueError, match="working_memory must be a positive number of MiB"):
        ntk.kernel(PLAIN, GOOD, working_memory=working_memory)
