"""The statistics of a pass that was stopped, on disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ntksketch.data.archive import read_archive, write_archive
from ntksketch.linear import GramAccumulator

_FORMAT = "ntksketch pass 1"
_SECONDS = 30.0  # between two saves, at least
_SHARE = 20  # and this times what the last one took
_REMEDY = "give another path, or delete the file to start over"


class PassState:
    """A file that keeps the statistics of the blocks that are done.

    It is replaced as a whole, so that a process that is killed leaves the one before.

    Parameters
    ----------
    path : str or path-like
        The file. Its folder must exist.
    seconds : float, default=30.0
        Time between two saves, which is longer where saving takes long.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float = _SECONDS) -> None:
        self.path, self.seconds = Path(path), seconds
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"{self.path}: there is no folder {self.path.parent}")
        self._identity = ""
        self._due = 0.0

    def begin(self, identity: Mapping[str, Any], accumulator: GramAccumulator) -> int:
        """Take up what is there, if it is of the same pass; return the number of rows done.

        Raises
        ------
        ValueError
            If the file is damaged, or of another pass; the message names what differs.
        """
        self._identity = json.dumps(identity, sort_keys=True)
        self._due = time.monotonic() + self.seconds
        if not self.path.exists():
            return 0
        arrays = read_archive(self.path)
        if str(arrays.pop("format", "")) != _FORMAT:
            raise ValueError(f"{self.path} holds no pass over rows; {_REMEDY}")
        before, now = json.loads(str(arrays.pop("identity"))), json.loads(self._identity)
        for name in [*before, *now]:
            if before.get(name) != now.get(name):
                raise ValueError(
                    f"{self.path} is of another pass: its {name} is {before.get(name)!r}, and here "
                    f"it is {now.get(name)!r}; {_REMEDY}"
                )
        rows = int(arrays.pop("rows"))
        accumulator.load_arrays(arrays)
        return rows

    def see(self, rows: int, accumulator: GramAccumulator) -> None:
        """Save if it is time to."""
        if time.monotonic() >= self._due:
            self.save(rows, accumulator)

    def save(self, rows: int, accumulator: GramAccumulator) -> None:
        """Save the statistics of so many rows."""
        start = time.monotonic()
        about = {"format": _FORMAT, "identity": self._identity, "rows": np.array(rows)}
        write_archive(self.path, {**accumulator.to_arrays(), **about})
        now = time.monotonic()
        self._due = now + max(self.seconds, _SHARE * (now - start))

    def remove(self) -> None:
        """Delete the file: what it was for is done."""
        self.path.unlink(missing_ok=True)
