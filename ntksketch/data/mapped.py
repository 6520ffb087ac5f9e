"""Arrays in files, of which no more is in memory than is being read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class MappedArray:
    """An array in a file that is mapped into memory anew for each read.

    The pages of a map that stays count as memory of the process until the system needs them, so
    that a pass over a file would seem to take all of it.

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

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self._open_map()[key]
