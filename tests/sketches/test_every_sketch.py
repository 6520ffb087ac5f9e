"""What holds for every sketch alike: one protocol over a table of all of them."""

import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sketch_statistics import N_ERRORS, SEEDS, sketched_products, unit_pair

from ntksketch.sketches import (
    OSNAP,
    SRHT,
    ComplexTensorSRHT,
    CountSketch,
    TensorSketch,
    TensorSRHT,
    TreeSketch,
)

SINGLE = (CountSketch, SRHT, OSNAP)


class Case(NamedTuple):
    cls: type
    widths: tuple[int, ...]
    matrix: object

    def init(self, key, m, dtype=jnp.float32):
        widths = self.widths[0] if self.cls in SINGLE else self.widths
        return self.cls.init(key, widths, m, dtype)

    def rows(self, n=6, dtype=np.float32):
        """Rows with many zeros, an empty column and an empty row."""
        rng = np.random.default_rng(0)
        blocks = [rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.5) for d in self.widths]
        for block in blocks:
            block[:, 0] = block[1] = 0
        return [block.astype(dtype) for block in blocks]


CASES = [
    Case(CountSketch, (20,), oracles.count_sketch_matrix),
    Case(SRHT, (20,), oracles.srht_matrix),
    Case(TensorSketch, (5,), oracles.tensor_sketch_matrix),
    Case(TensorSketch, (5, 12), oracles.tensor_sketch_matrix),
    Case(TensorSketch, (5, 2, 3), oracles.tensor_sketch_matrix),
    Case(TensorSRHT, (5, 12), oracles.tensor_srht_matrix),
    Case(TensorSRHT, (5, 2, 3), oracles.tensor_srht_matrix),
    Case(OSNAP, (20,), oracles.osnap_matrix),
    Case(ComplexTensorSRHT, (20,), oracles.complex_tensor_srht_matrix),
    Case(ComplexTensorSRHT, (5, 12), oracles.complex_tensor_srht_matrix),
    Case(ComplexTensorSRHT, (5, 2, 3), oracles.complex_tensor_srht_matrix),
    Case(TreeSketch, (20,), oracles.tree_matrix),
    Case(TreeSketch, (5, 12), oracles.tree_matrix),
    Case(TreeSketch, (5, 2, 3, 4, 2), oracles.tree_matrix),
]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-13}

every_sketch = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.cls.__name__}{case.widths}"
)


@every_sketch
@pytest.mark.parametrize("m", [9, *(pytest.param(m, marks=pytest.mark.slow) for m in (1, 50))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_its_matrix_on_dense_and_sparse_rows(case, m, dtype):
    with jax.enable_x64(dtype is np.float64):
        sketch = case.init(jax.random.key(3), m, dtype)
        rows = case.rows(dtype=dtype)
        dense = sketch.apply(*rows)
        on_host = sketch.apply(*map(sparse.csr_array, rows))
    expected = oracles.tensor_rows(*rows) @ case.matrix(sketch)
    assert isinstance(dense, jax.Array)
    assert type(on_host) is np.ndarray
    assert dense.dtype == on_host.dtype == dtype
    tolerance = TOLERANCE[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(dense, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(on_host, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cls", [TensorSketch, TensorSRHT, ComplexTensorSRHT, *SINGLE])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_equals_its_matrix_at_any_sizes(cls, data):
    n_factors = 1 if cls in SINGLE else data.draw(st.integers(1, 3))
    widths = tuple(data.draw(st.integers(1, 7)) for _ in range(n_factors))
    m, n, seed = (data.draw(st.integers(*bounds)) for bounds in ((1, 20), (0, 4), (0, 99)))
    matrix = next(case.matrix for case in CASES if case.cls is cls)
    sketch = Case(cls, widths, matrix).init(jax.random.key(seed), m, np.float64)
    widths_of_sketch = sketch.n_features if isinstance(sketch.n_features, tuple) else (widths[0],)
    assert (widths_of_sketch, sketch.n_components) == (widths, m)
    rng = np.random.default_rng(seed)
    rows = [rng.integers(-3, 4, (n, d)) * (rng.random((n, d)) < 0.6) * 1.0 for d in widths]
    rows = [X * 10.0 ** data.draw(st.sampled_from([-90, 0, 90])) for X in rows]
    products = oracles.tensor_rows(*rows) if n else np.zeros((0, np.prod(widths)))
    expected = products @ matrix(sketch)
    tolerance = 1e-13 * np.abs(expected).max(initial=0)
    actual = sketch.apply(*map(sparse.csr_array, rows))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@every_sketch
def test_gradients_are_the_adjoint(case):
    sketch = case.init(jax.random.key(0), 9)
    *others, X = [X[2:5] for X in case.rows()]
    Z, pull_back = jax.vjp(lambda X: sketch.apply(*others, X), X)
    cotangent = np.random.default_rng(1).standard_normal((3, 9)).astype(np.float32)
    (gradient,) = pull_back(jnp.asarray(cotangent))
    inner = (np.asarray(Z) * cotangent).sum(axis=1)
    np.testing.assert_allclose((np.asarray(gradient) * X).sum(axis=1), inner, rtol=1e-4, atol=1e-5)


@every_sketch
def test_a_second_draw_compiles_nothing(case, compilations):
    rows = case.rows()
    case.init(jax.random.key(0), 9).apply(*rows)
    second = case.init(jax.random.key(1), 9)
    compilations.clear()
    second.apply(*[-X for X in rows])
    assert not compilations


@every_sketch
def test_options_of_another_sketch_are_refused(case):
    widths = case.widths[0] if case.cls in SINGLE else case.widths
    with pytest.raises(TypeError, match="n_buckets"):
        case.cls.init(jax.random.key(0), widths, 4, n_buckets=2)


@every_sketch
@pytest.mark.parametrize("convert", [sparse.coo_array, sparse.csc_matrix, sparse.csr_matrix])
def test_sparse_formats_agree(case, convert):
    sketch = case.init(jax.random.key(0), 9)
    expected = sketch.apply(*map(sparse.csr_array, case.rows()))
    np.testing.assert_array_equal(sketch.apply(*map(convert, case.rows())), expected)


@every_sketch
def test_draw_depends_on_the_key_and_not_on_the_dtype(case):
    single = case.init(jax.random.key(0), 9)
    with jax.enable_x64(True):
        double = case.init(jax.random.key(0), 9, jnp.float64)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        np.testing.assert_array_equal(a, b)
    other = case.init(jax.random.key(1), 9)
    assert np.any(case.matrix(single) != case.matrix(other))


@every_sketch
def test_compiles_once_for_equal_shapes(case):
    traces = 0

    @jax.jit
    def apply(sketch, rows):
        nonlocal traces
        traces += 1
        return sketch.apply(*rows)

    for seed in range(3):
        sketch = case.init(jax.random.key(seed), 9)
        rows = [(seed + 1) * X for X in case.rows()]
        np.testing.assert_allclose(apply(sketch, rows), sketch.apply(*rows), rtol=1e-5, atol=1e-5)
    assert traces == 1


@every_sketch
def test_survives_pickling_as_numpy_arrays(case):
    sketch = case.init(jax.random.key(0), 9)
    restored = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, sketch)))
    rows = case.rows()
    assert restored.n_components == 9
    assert restored.n_features == sketch.n_features
    np.testing.assert_array_equal(restored.apply(*rows), sketch.apply(*rows))
    np.testing.assert_array_equal(
        restored.apply(*map(sparse.csr_array, rows)), sketch.apply(*map(sparse.csr_array, rows))
    )


@every_sketch
def test_no_rows(case):
    sketch = case.init(jax.random.key(0), 9)
    rows = [X[:0] for X in case.rows()]
    assert sketch.apply(*rows).shape == (0, 9)
    assert sketch.apply(*map(sparse.csr_array, rows)).shape == (0, 9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "case", [CASES[i] for i in (0, 1, 3, 5, 7, 9, 12)], ids=lambda case: case.cls.__name__
)
def test_error_falls_as_the_square_root_of_the_size(case, seed):
    wide = case._replace(widths=tuple(64 * d for d in case.widths))
    pairs = [[unit_pair(d, 0.6, seed + d + i) for i in range(10)] for d in wide.widths]
    xs, ys = zip(*(np.stack(pair, axis=1) for pair in pairs), strict=True)
    log_errors, slope_errors = [], []
    for m in (16, 64):
        products = sketched_products(lambda key, m=m: wide.init(key, m), xs, ys, seed, n_keys=200)
        squares = ((products - 0.6 ** len(wide.widths)) ** 2).mean(axis=0)
        log_errors.append(np.log(squares.mean()) / 2)
        slope_errors.append(squares.std() / squares.mean() / np.sqrt(len(squares)) / 2)
    slope = (log_errors[1] - log_errors[0]) / np.log(4)
    # 0.02: balanced draws win a little more as m approaches the width.
    assert abs(slope + 0.5) <= 0.02 + N_ERRORS * np.hypot(*slope_errors) / np.log(4)


@every_sketch
def test_wrong_width_is_refused(case):
    sketch = case.init(jax.random.key(0), 4)
    good = case.rows()
    for rows in ([X[:, 1:] for X in good], [X[0] for X in good]):
        with pytest.raises(ValueError, match=r"apply: .* expected \(n, "):
            sketch.apply(*rows)
    with pytest.raises(ValueError, match="expected"):
        sketch.apply(*[sparse.csr_array(X[:, 1:]) for X in good])


@every_sketch
@pytest.mark.parametrize("m", [0, -1])
def test_sizes_below_one_are_refused(case, m):
    with pytest.raises(ValueError, match=f"n_components = {m}, expected at least 1"):
        case.init(jax.random.key(0), m)
    with pytest.raises(ValueError, match="n_features = 0, expected at least 1"):
        case._replace(widths=(0,) * len(case.widths)).init(jax.random.key(0), 4)


@pytest.mark.parametrize("cls", [TensorSketch, TensorSRHT, ComplexTensorSRHT, TreeSketch])
def test_factors_must_match(cls):
    sketch = cls.init(jax.random.key(0), (5, 3), 4)
    for rows in ([np.ones((2, 5))], [np.ones((2, 5)), np.ones((1, 3))], []):
        with pytest.raises(ValueError, match=r"expected \(n, 5\), \(n, 3\)"):
            sketch.apply(*rows)
    with pytest.raises(ValueError, match="at least one factor"):
        cls.init(jax.random.key(0), (), 4)


@pytest.mark.parametrize("cls", SINGLE)
def test_wide_sparse_rows_are_never_densified(cls):
    n, d, m = 20_000, 1_000_000, 16  # 80 GB if dense
    rng = np.random.default_rng(0)
    columns = rng.integers(d, size=n)
    X = sparse.csr_array((np.ones(n, np.float32), (np.arange(n), columns)), shape=(n, d))
    Z = cls.init(jax.random.key(0), d, m).apply(X)
    # One entry a row: each map keeps its length exactly.
    np.testing.assert_allclose((Z**2).sum(axis=1), np.ones(n), rtol=1e-5)


@pytest.mark.parametrize("cls", [CountSketch, OSNAP])
def test_dense_rows_are_read_in_place(cls):
    X = np.ones((64, 4000), np.float32)
    sketch = cls.init(jax.random.key(0), 4000, 50)
    compiled = jax.jit(lambda sketch, X: sketch.apply(X)).lower(sketch, X).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < X.nbytes / 2
