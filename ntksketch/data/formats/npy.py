"""NumPy's .npy, as a memory map."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ntksketch.data.checks import opening
from ntksketch.data.formats.arrays import ArraySource
from ntksketch.data.mapped import MappedArray
from ntksketch.data.source import Source, SourceError


def open_file(path: Path, *, targets: Any = None) -> Source:
    """Open a .npy file; `targets` is an array or the path of another .npy file."""
    with opening(path, "a whole .npy file of plain numbers"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):  # an .npz under another name
        array.close()
        raise SourceError(f"{path}: it is an .npz archive; name it so, or pass format='npz'")
    mapped = MappedArray(functools.partial(np.load, path, mmap_mode="r", allow_pickle=False))
    return ArraySource(mapped, str(path), "npy", targets=targets, files=[path])
