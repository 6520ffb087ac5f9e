import itertools
import pickle
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntksketch.linear import GramAccumulator
from ntksketch.linear.rows import PIECE_ROWS

FIELDS = ("total_weight", "n_rows", "z_mean", "y_mean", "gram", "moment", "y_squares")


def rows(n, m=5, k=2, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, m)).astype(dtype)
    return Z, rng.standard_normal((n, k)), rng.uniform(0.5, 2.0, n)


def by_definition(Z, Y, weight, fit_intercept):
    Z, Y = Z.astype(np.longdouble), Y.astype(np.longdouble)
    weight = weight.astype(np.longdouble)[:, None]
    total = weight.sum()
    z_mean = (weight * Z).sum(0) / total * fit_intercept
    y_mean = (weight * Y).sum(0) / total * fit_intercept
    Zc, Yc = Z - z_mean, Y - y_mean
    moment, squares = (weight * Zc).T @ Yc, (weight * Yc**2).sum(0)
    return total, len(Z), z_mean, y_mean, (weight * Zc).T @ Zc, moment, squares


def assert_same(stats, expected, rtol=1e-12, atol=0.0):
    if not isinstance(expected, tuple):
        expected = tuple(getattr(expected, field) for field in FIELDS)
    for field, value in zip(FIELDS, expected, strict=True):
        actual = getattr(stats, field)
        np.testing.assert_allclose(
            actual, np.asarray(value, float), rtol=rtol, atol=atol, err_msg=field
        )


@settings(deadline=None, max_examples=30)
@given(
    cuts=st.lists(st.integers(0, 40), max_size=5),
    order=st.randoms(use_true_random=False),
    fit_intercept=st.booleans(),
    merged=st.booleans(),
    weighted=st.booleans(),
)
def test_any_blocks_in_any_order(cuts, order, fit_intercept, merged, weighted):
    Z, Y, weight = rows(40)
    if not weighted:
        weight = np.ones(40)
    edges = [0, *sorted(cuts), 40]
    blocks = [slice(a, b) for a, b in itertools.pairwise(edges)]
    order.shuffle(blocks)
    total = GramAccumulator(fit_intercept)
    for block in blocks:
        part = GramAccumulator(fit_intercept) if merged else total
        part.update(Z[block], Y[block], weight[block] if weighted else None)
        if merged:
            total.merge(part)
    assert_same(total.finalise(), by_definition(Z, Y, weight, fit_intercept), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_huge_mean_does_not_cancel(dtype, weighted):
    Z, Y, weight = rows(3 * PIECE_ROWS + 17, m=3)
    Z, Y = (Z + 1e6).astype(dtype), Y + 1e6
    stats = GramAccumulator().update(Z, Y, weight if weighted else None).finalise()
    exact = by_definition(Z, Y, weight if weighted else np.ones(len(Z)), True)
    tolerance = {np.float32: 2e-6, np.float64: 1e-11}[dtype]
    scale = np.abs(exact[4]).max()
    np.testing.assert_allclose(stats.gram, exact[4].astype(float), 0, tolerance * scale)
    np.testing.assert_allclose(stats.moment, exact[5].astype(float), 0, tolerance * scale)
    np.testing.assert_allclose(stats.z_mean, exact[2].astype(float), rtol=1e-12)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_float32_error_does_not_grow_with_rows(fit_intercept):
    Z, Y, weight = rows(20 * PIECE_ROWS, m=4, k=1, dtype=np.float32)
    Z += 1
    stats = GramAccumulator(fit_intercept).update(Z, Y).finalise()
    exact = by_definition(Z, Y, np.ones_like(weight), fit_intercept)
    assert np.abs(stats.gram - exact[4]).max() < 1e-6 * np.abs(exact[4]).max()
    assert stats.epsilon == np.finfo(np.float32).eps


def test_integers_are_exact_without_intercept():
    rng = np.random.default_rng(0)
    Z, y = rng.integers(-1000, 1000, (500, 7)), rng.integers(-1000, 1000, 500)
    accumulator = GramAccumulator(fit_intercept=False)
    for block in np.split(np.arange(500), [3, 100, 350]):
        accumulator.update(Z[block].astype(float), y[block].astype(float))
    stats = accumulator.finalise()
    assert np.array_equal(stats.gram, Z.T @ Z)
    assert np.array_equal(stats.moment[:, 0], Z.T @ y)
    assert stats.y_squares[0] == y @ y
    assert_same(GramAccumulator(False).update(Z, y).finalise(), stats, rtol=0)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_weights_are_repetitions_and_null_rows_do_not_matter(fit_intercept):
    Z, Y, _ = rows(30)
    repetitions = np.random.default_rng(1).integers(0, 4, 30)
    repeated = GramAccumulator(fit_intercept)
    repeated.update(Z.repeat(repetitions, 0), Y.repeat(repetitions, 0))
    Z[repetitions == 0], Y[repetitions == 0] = np.nan, np.inf
    stats = GramAccumulator(fit_intercept).update(Z, Y, repetitions).finalise()
    assert stats.n_rows == (repetitions > 0).sum()
    for field in set(FIELDS) - {"n_rows"}:
        expected = getattr(repeated.finalise(), field)
        np.testing.assert_allclose(getattr(stats, field), expected, 1e-12, 1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("where", ["features", "targets"])
def test_a_refused_block_changes_nothing(where, bad):
    Z, Y, _ = rows(PIECE_ROWS + 10, dtype=np.float32)
    accumulator = GramAccumulator().update(Z, Y)
    before = pickle.dumps(accumulator)
    (Z if where == "features" else Y)[-1, 0] = (
        bad if where == "targets" else np.float64(min(bad, 1e30))
    )
    with pytest.raises(ValueError, match=where):
        accumulator.update(Z, Y)
    assert pickle.dumps(accumulator) == before
    fresh = GramAccumulator()
    with pytest.raises(ValueError, match=where):
        fresh.update(Z, Y)
    fresh.update(np.ones((2, 9)), np.ones(2))


@pytest.mark.parametrize("panel", [512, 600])
def test_gram_is_symmetric_beyond_one_panel(panel):
    Z, Y, _ = rows(20, m=2 * panel + 1, k=1)
    gram = GramAccumulator().update(Z, Y).finalise().gram
    assert np.array_equal(gram, gram.T)
    np.testing.assert_allclose(gram, (Z - Z.mean(0)).T @ (Z - Z.mean(0)), atol=1e-12)


def test_layouts_and_kinds_of_array_agree():
    Z, Y, weight = rows(50, k=1, dtype=np.float32)
    expected = GramAccumulator().update(Z, Y, weight).finalise()
    for variant in (np.asfortranarray(Z), np.repeat(Z, 2, axis=1)[:, ::2], jnp.asarray(Z)):
        assert_same(GramAccumulator().update(variant, Y[:, 0], weight).finalise(), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_is_one_product_and_one_piece(dtype):
    n, m = 2000, 1000
    Z, Y, weight = rows(n, m, k=1, dtype=dtype)
    accumulator = GramAccumulator().update(Z, Y, weight)
    tracemalloc.start()
    accumulator.update(Z, Y, weight).merge(accumulator)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    product = 4 * m * m if dtype == np.float32 else 0
    assert peak < 1.1 * (product + Z.nbytes)


def test_inputs_are_left_alone_and_results_are_copies():
    Z, Y, weight = rows(10)
    copies = Z.copy(), Y.copy(), weight.copy()
    accumulator = GramAccumulator().update(Z, Y, weight)
    for array, copy in zip((Z, Y, weight), copies, strict=True):
        assert np.array_equal(array, copy)
    stats = accumulator.finalise()
    kept = stats.gram.copy()
    accumulator.update(Z, Y).merge(accumulator)
    assert np.array_equal(stats.gram, kept)
    assert accumulator.total_weight == pytest.approx(2 * (weight.sum() + 10))


def test_pickle_and_empty_blocks():
    Z, Y, _ = rows(12)
    accumulator = pickle.loads(pickle.dumps(GramAccumulator()))
    accumulator.merge(GramAccumulator()).update(Z[:0], Y[:0]).update(Z[:5], Y[:5])
    accumulator = pickle.loads(pickle.dumps(accumulator))
    accumulator.update(Z[5:], Y[5:]).merge(GramAccumulator().update(Z[:0], Y[:0]))
    assert_same(accumulator.finalise(), by_definition(Z, Y, np.ones(12), True), atol=1e-13)


@pytest.mark.parametrize(
    ("Z", "Y", "weight", "message"),
    [
        (np.ones((3, 4)), np.ones((3, 2)), None, "4 feature columns and 2 targets"),
        (np.ones((3, 5)), np.ones(3), None, "had 5 and 2"),
        (np.ones(3), np.ones(3), None, r"Z has shape \(3,\)"),
        (np.ones((3, 0)), np.ones(3), None, "at least one column"),
        (np.ones((3, 5)), np.ones((4, 2)), None, r"Y has shape \(4, 2\)"),
        (np.ones((3, 5)), np.ones((3, 0)), None, r"Y has shape \(3, 0\)"),
        (np.ones((3, 5), complex), np.ones((3, 2)), None, "Z has dtype complex128"),
        (np.ones((3, 5)), np.full((3, 2), "a"), None, "Y has dtype <U1"),
        (np.ones((3, 5)), np.ones((3, 2)), np.ones(2), r"sample_weight has shape \(2,\)"),
        (np.ones((3, 5)), np.ones((3, 2)), -1.0, "negative"),
        (np.ones((3, 5)), np.ones((3, 2)), np.nan, "sample_weight contains NaN"),
    ],
)
def test_errors_name_what_came_and_what_was_expected(Z, Y, weight, message):
    accumulator = GramAccumulator().update(*rows(10))
    with pytest.raises(ValueError, match=message):
        accumulator.update(Z, Y, weight)


def test_merge_and_finalise_refuse():
    Z, Y, _ = rows(4)
    with pytest.raises(ValueError, match="fit_intercept=False"):
        GramAccumulator().merge(GramAccumulator(False))
    with pytest.raises(ValueError, match="4 feature columns"):
        GramAccumulator().update(Z, Y).merge(GramAccumulator().update(Z[:, :4], Y))
    with pytest.raises(ValueError, match="weights are all zero"):
        GramAccumulator().update(Z, Y, 0.0).finalise()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics_that_share_memory(dtype):
    Z, Y, weight = rows(60, dtype=dtype)
    accumulator = GramAccumulator().update(Z[:40], Y[:40], weight[:40])
    shared = accumulator.finalise(copy=False)
    assert np.shares_memory(shared.gram, accumulator.finalise(copy=False).gram)
    assert_same(shared, accumulator.finalise(), rtol=0)
    accumulator.update(Z[40:], Y[40:], weight[40:])  # the mirrored triangle does no harm
    whole = GramAccumulator().update(Z[:40], Y[:40], weight[:40])
    assert_same(accumulator.finalise(), whole.update(Z[40:], Y[40:], weight[40:]).finalise(), 0)
    np.testing.assert_array_equal(accumulator.finalise().gram, accumulator.finalise().gram.T)


def blocks_of(n_rows, heights):
    edges = np.cumsum([0, *heights, n_rows - sum(heights)])
    return [slice(a, b) for a, b in itertools.pairwise(edges.tolist())]


@pytest.mark.parametrize("heights", [[1, 1, 3, 700], [900, 4000, 4000, 4000], [20_000, 5]])
@pytest.mark.parametrize("drift", ["none", "steady", "first row"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_sums_float32_over_blocks_without_loss(heights, drift, weighted):
    Z, Y, weight = rows(22_000, m=4)
    blocks = blocks_of(len(Z), heights)
    if drift == "steady":
        for i, block in enumerate(blocks):
            Z[block] += 300.0 * i
    elif drift == "first row":
        Z[0] += 3000.0
    Z = Z.astype(np.float32)
    weight = weight if weighted else np.ones(len(Z))
    accumulator = GramAccumulator()
    with accumulator.batch() as batch:
        for block in blocks:
            batch.update(Z[block], Y[block], weight[block] if weighted else None)
    exact = by_definition(Z, Y, weight, True)
    stats = accumulator.finalise()
    assert (stats.n_rows, stats.epsilon) == (len(Z), np.finfo(np.float32).eps)
    assert stats.total_weight == pytest.approx(float(exact[0]), rel=1e-12)
    gram, y_squares = np.abs(exact[4]).max(), exact[6].max()
    sizes = np.abs(Z).max(), np.abs(Y).max(), gram, np.sqrt(gram * y_squares), y_squares
    for field, value, size in zip(FIELDS[2:], exact[2:], sizes, strict=True):
        assert np.abs(getattr(stats, field) - value).max() < 1e-5 * size, field


def test_a_batch_adds_up_seldom_and_in_the_end():
    Z, Y, _ = rows(4 * PIECE_ROWS, m=3, dtype=np.float32)
    accumulator, settled = GramAccumulator(), []
    with accumulator.batch() as batch:
        for block in np.split(np.arange(len(Z)), 32):  # of 1,024 rows
            batch.update(Z[block], Y[block])
            settled.append((batch.settled, accumulator.n_rows))
    done = [n for n, previous in itertools.pairwise([s for _, s in reversed(settled)]) if n]
    assert [s for s, _ in settled[:4]] == [True, True, False, True]
    assert max(-np.diff(done)) == PIECE_ROWS
    assert accumulator.n_rows == len(Z)


def test_a_batch_that_is_left_by_an_error_keeps_what_it_took():
    Z, Y, _ = rows(900, dtype=np.float32)
    accumulator = GramAccumulator()

    def add_three_blocks_and_a_bad_one():
        with accumulator.batch() as batch:
            for block in (slice(0, 300), slice(300, 450), slice(450, 600)):
                batch.update(Z[block], Y[block])
            batch.update(np.full((2, 5), np.nan, np.float32), Y[:2])

    with pytest.raises(ValueError, match="contain NaN"):
        add_three_blocks_and_a_bad_one()
    assert accumulator.n_rows == 600
    expected = by_definition(Z[:600], Y[:600], np.ones(600), True)
    assert_same(accumulator.finalise(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_memory_may_be_given_away(fit_intercept, weighted):
    Z, Y, weight = rows(700, dtype=np.float32)
    weight = weight if weighted else None
    expected = GramAccumulator(fit_intercept).update(Z, Y, weight).finalise()
    for block in (Z.copy(), Z.astype(float), np.asfortranarray(Z)):
        kept, accumulator = block.copy(), GramAccumulator(fit_intercept)
        with accumulator.batch() as batch:
            batch.update(block, Y, weight, overwrite=True)
        rtol = 0 if block.dtype == np.float32 else 1e-5
        assert_same(accumulator.finalise(), expected, rtol=rtol, atol=rtol * 1e3)
        changed = block.dtype == np.float32 and block.flags.c_contiguous
        assert np.array_equal(block, kept) != (changed and (fit_intercept or weighted))
