"""Zarr arrays, of version 3 and 2, alone or in groups."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from ntksketch.data.formats.arrays import ArraySource
from ntksketch.data.formats.keys import choose_arrays
from ntksketch.data.optional import require
from ntksketch.data.source import Source, SourceError, opening


def open_file(path: Path, *, targets: Any = None, key: str | None = None) -> Source:
    """Open an array, or a group in which `key` and `targets` name arrays."""
    zarr = require("zarr", f"{path}: reading Zarr")
    folder = path
    with opening(path, "a Zarr array or group"):
        node = zarr.open(str(path), mode="r")
        found = node.members(max_depth=None) if isinstance(node, zarr.Group) else ()
        arrays = {name: array for name, array in found if isinstance(array, zarr.Array)}
    if isinstance(node, zarr.Group):
        key, targets = choose_arrays(arrays, key, targets, str(path))
        node, folder = arrays[key], path / key
    elif key is not None:
        raise SourceError(f"{path}: it is an array and not a group, key={key!r} is not for it")
    # chunks never written read as the fill value: their number is part of the identity
    details = partial(_count_files, folder)
    files = [folder / name for name in ("zarr.json", ".zarray") if (folder / name).is_file()]
    return ArraySource(node, str(path), "zarr", targets=targets, files=files, details=details)


def _count_files(folder: Path) -> dict[str, Any]:
    return {"stored_files": sum(len(names) for _, _, names in os.walk(folder))}
