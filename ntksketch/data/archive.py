"""Named arrays in a file that is whole at every moment."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ntksketch.data.files import replacing


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write arrays to an npz file: after a crash it is the file from before, or this one.

    Parameters
    ----------
    path : str or path-like
        The file; what it held is replaced. Its folder must exist.
    arrays : dict of str to array-like
        Numbers or text, nothing that would have to be pickled.

    Raises
    ------
    OSError
        If the file cannot be written; the one from before is left.
    """
    values: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    with replacing(Path(path), ".partial") as partial, partial.open("wb") as file:
        np.savez(file, **values)


def read_archive(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file; nothing is unpickled.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict of str to ndarray
        The arrays.

    Raises
    ------
    ValueError
        If it is no such file, or damaged.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{os.fspath(path)} is not a whole npz file of arrays ({error}); delete it or give "
            "another path"
        ) from error
