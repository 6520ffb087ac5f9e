"""Reading ahead while the block before is worked on."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")
_END = object()


def prefetch(iterable: Iterable[Item]) -> Generator[Item]:
    """Take the next item in a thread while the one before is in use.

    Parameters
    ----------
    iterable : iterable
        For example `Source.blocks`.

    Yields
    ------
    object
        Its items in order. An error of the iterable is raised where the item would have come.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.data import open_source, prefetch
    >>> source = open_source(np.ones((5, 2)))
    >>> float(sum(block.X.sum() for block in prefetch(source.blocks(2))))
    10.0
    """
    items = iter(iterable)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ntksketch-prefetch") as reader:
            coming = reader.submit(next, items, _END)
            while (item := coming.result()) is not _END:
                coming = reader.submit(next, items, _END)
                yield cast(Item, item)
                del item  # else it would be there until the next one is
    finally:  # the reader has stopped
        if isinstance(items, Generator):
            items.close()
