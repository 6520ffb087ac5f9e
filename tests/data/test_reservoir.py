"""Samples are those of their distribution, whatever the blocks are."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from ntksketch.data import open_source, reservoir
from ntksketch.data import source as source_module
from ntksketch.data.reservoir import sample_indices

DRAWS = 2000


@pytest.fixture(params=[8192, 7], ids=["one block", "many blocks"])
def block_rows(request, monkeypatch):
    monkeypatch.setattr(source_module, "_MOST_ROWS", request.param)


def counts(n, size, **options):
    """Count how often each row is drawn, over many draws from one stream."""
    source, rng = open_source(np.arange(n, dtype=float)[:, None]), np.random.default_rng(0)
    total = np.zeros(n)
    for _ in range(DRAWS):
        X, index = reservoir(source, size, rng, **options)
        np.testing.assert_array_equal(X[:, 0], index)
        assert (np.diff(index) > 0).all()
        total[index] += 1
    return total


@pytest.mark.parametrize("size", [1, 4, 19])
def test_every_row_is_drawn_as_often(size, block_rows):
    p = size / 20
    deviation = np.sqrt(DRAWS * p * (1 - p))
    assert (np.abs(counts(20, size) - DRAWS * p) < 5 * deviation).all()


def test_pairs_are_drawn_as_often():
    source, rng = open_source(np.arange(6.0)[:, None]), np.random.default_rng(1)
    total = np.zeros((6, 6))
    for _ in range(DRAWS):
        i, j = reservoir(source, 2, rng)[1]
        total[i, j] += 1
    pairs = total[np.triu_indices(6, 1)]
    p = 1 / 15
    assert (np.abs(pairs - DRAWS * p) < 5 * np.sqrt(DRAWS * p * (1 - p))).all()


def test_a_single_row_is_drawn_by_its_weight(block_rows):
    weight = np.arange(20.0)
    p = weight / weight.sum()
    total = counts(20, 1, sample_weight=weight)
    assert total[0] == 0
    assert (np.abs(total - DRAWS * p) <= 5 * np.sqrt(DRAWS * p * (1 - p))).all()


def test_two_rows_are_drawn_one_after_the_other():
    weight = np.array([1.0, 2.0, 5.0])
    first = weight / 8
    without = [
        sum(first[j] * weight[i] / (8 - weight[j]) for j in range(3) if j != i) for i in range(3)
    ]
    p = first + without
    total = counts(3, 2, sample_weight=weight)
    assert (np.abs(total - DRAWS * p) < 5 * np.sqrt(DRAWS * p * (1 - p))).all()


def test_the_draw_does_not_depend_on_blocks_or_format(monkeypatch):
    X = np.random.default_rng(0).standard_normal((500, 3))
    weight = np.random.default_rng(1).random(500)
    want, index = reservoir(open_source(X), 20, 5, sample_weight=weight)
    np.testing.assert_array_equal(want, X[index])
    monkeypatch.setattr(source_module, "_MOST_ROWS", 8)
    sources = [open_source(X), open_source(sp.csr_array(X)), open_source(iter([X[:70], X[70:]]))]
    for source in sources:
        got, where = reservoir(source, 20, np.random.default_rng(5), sample_weight=weight)
        np.testing.assert_array_equal(where, index)
        np.testing.assert_array_equal(got.toarray() if sp.issparse(got) else got, want)


def test_all_rows_where_there_are_no_more(block_rows):
    X = np.random.default_rng(0).standard_normal((10, 3))
    for size in (10, 50):
        got, index = reservoir(open_source(X), size, 0)
        np.testing.assert_array_equal(index, np.arange(10))
        np.testing.assert_array_equal(got, X)
    _, index = reservoir(open_source(X), 10, 0, sample_weight=[1, 0] * 5)
    np.testing.assert_array_equal(index, [0, 2, 4, 6, 8])


def test_memory_is_that_of_samples_and_blocks():
    d, size = 100, 300

    def rows():
        for _ in range(200):
            yield np.ones((500, d))

    source = open_source(rows())
    block = 8192 * d * 8  # of which the iterable's rows are joined to one
    tracemalloc.start()
    reservoir(source, size, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * block + 4 * size * d * 8  # all rows have twelve blocks


@pytest.mark.parametrize(
    ("size", "weight", "message"),
    [
        (0, None, "size must be at least 1, got 0"),
        (2, [1, 2], "more rows than the 2 of sample_weight"),
        (2, [1] * 4, "there are 3 rows and 4 of sample_weight"),
        (2, [1, -1, 1], "finite and not negative"),
        (2, [1, np.nan, 1], "finite and not negative"),
        (2, [[1], [1], [1]], r"one number a row, got shape \(3, 1\)"),
        (2, [0, 0, 0], "no row of positive weight"),
    ],
)
def test_arguments_that_cannot_be_used(size, weight, message):
    with pytest.raises(ValueError, match=message):
        reservoir(open_source(np.ones((3, 2))), size, 0, sample_weight=weight)


@pytest.mark.parametrize("size", [1, 5, 40, 60])
@pytest.mark.parametrize("weighted", [False, True])
def test_indices_are_found_without_the_rows(size, weighted, block_rows):
    weight = np.random.default_rng(1).integers(0, 3, 50).astype(float) if weighted else None
    source = open_source(np.arange(50.0)[:, None])
    for seed in range(20):
        _, index = reservoir(source, size, seed, sample_weight=weight)
        np.testing.assert_array_equal(sample_indices(50, size, seed, weight), index)
