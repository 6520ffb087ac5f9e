"""Arrays in files, of which no more is in memory than is being read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ntksketch.data.blocks import block_slices

_PLACES = 128  # in a file, that are touched before their pages are let go


class MappedArray:
    """An array in a file that is mapped into memory anew for each read.

    The pages of a map that stays count as memory of the process until the system needs them, so
    that a pass over a file would seem to take all of it. Rows by number, which may lie anywhere,
    are read a few at a time.

    Parameters
    ----------
    open_map : callable
        Returns the map.

    Attributes
    ----------
    shape, dtype, ndim
        Those of the array.
    """

    def __init__(self, open_map: Callable[[], np.ndarray]) -> None:
        array = open_map()
        self._open_map = open_map
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        places = 1 if array.flags.c_contiguous else max(1, array[:1].size)  # of a row
        self._height = max(1, _PLACES // places)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, np.ndarray):
            return self._open_map()[key]
        rows = np.empty((len(key), *self.shape[1:]), self.dtype)
        for part in block_slices(len(key), self._height):
            rows[part] = self._open_map()[key[part]]
        return rows
