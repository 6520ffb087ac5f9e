"""Items come in order, are taken ahead in one thread, and leave nothing running."""

import threading

import numpy as np
import pytest

from ntksketch.data import SourceError, open_source, prefetch


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("ntksketch-prefetch")]


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_items_come_in_order(n):
    assert list(prefetch(range(n))) == list(range(n))
    assert list(prefetch(iter(range(n)))) == list(range(n))
    assert readers() == []


def test_none_is_an_item():
    assert list(prefetch([None, None])) == [None, None]


def test_next_item_is_taken_while_one_is_in_use():
    taken = [threading.Event() for _ in range(4)]
    threads = set()

    def items():
        for number, event in enumerate(taken):
            threads.add(threading.current_thread().name)
            event.set()
            yield number

    for number in prefetch(items()):
        if number + 1 < len(taken):
            assert taken[number + 1].wait(timeout=60)  # it comes although none was asked for
        assert not any(event.is_set() for event in taken[number + 2 :])  # and no further one
    assert threads == {"ntksketch-prefetch_0"}


def test_an_error_comes_where_the_item_would_have():
    def items():
        yield 1
        yield 2
        raise KeyError("the third")

    ahead = prefetch(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(KeyError, match="the third"):
        next(ahead)
    assert readers() == []


def test_a_block_that_cannot_be_used_is_named():
    X = np.ones((10, 2))
    X[7] = np.nan
    blocks = prefetch(open_source(X).blocks(2))
    assert [next(blocks).start for _ in range(3)] == [0, 2, 4]
    with pytest.raises(SourceError, match="block 3 "):
        next(blocks)


def test_who_stops_early_closes_the_iterable():
    closed = threading.Event()

    def items():
        try:
            yield from range(100)
        finally:
            closed.set()

    ahead = prefetch(items())
    assert next(ahead) == 0
    ahead.close()
    assert closed.is_set()
    assert readers() == []


def test_an_error_of_who_uses_the_items_leaves_no_thread():
    def use():
        for item in prefetch(range(100)):
            1 // item

    with pytest.raises(ZeroDivisionError):
        use()
    assert readers() == []
