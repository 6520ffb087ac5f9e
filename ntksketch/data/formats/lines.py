"""Lines of a text file by their number, after one pass that notes where some of them begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ntksketch.data.source import SourceError

_EVERY = 256  # lines between two places that are noted


class LineIndex:
    """Where the lines with rows begin.

    Parameters
    ----------
    path : Path
        A text file in UTF-8.
    is_row : callable
        Tells from a line's bytes whether it has a row.
    note : callable, default=None
        Called in that pass with each row's line.
    """

    def __init__(
        self,
        path: Path,
        is_row: Callable[[bytes], bool],
        note: Callable[[bytes], None] | None = None,
    ) -> None:
        self._path, self._is_row = path, is_row
        self._places: list[tuple[int, int]] = []  # offset and number of every 256th row's line
        self.n_rows = offset = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if is_row(line):
                    if note is not None:
                        note(line)
                    if self.n_rows % _EVERY == 0:
                        self._places.append((offset, number))
                    self.n_rows += 1
                offset += len(line)

    def read(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Return the lines of rows, each with its number in the file."""
        if start == stop:
            return []
        row = start - start % _EVERY
        rows = []
        for number, line in self._lines(*self._places[start // _EVERY]):
            if self._is_row(line):
                if row >= start:
                    rows.append((number, line))
                row += 1
                if row == stop:
                    return rows
        raise SourceError(f"{self._path}: it ends after {row} of {self.n_rows} rows")

    def _lines(self, offset: int, number: int) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as lines:
            lines.seek(offset)
            yield from enumerate(lines, start=number)
