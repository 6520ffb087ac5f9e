"""Comma-separated numbers, with or without a header."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.formats.lines import LineIndex
from ntksketch.data.formats.parsed import ParsedSource
from ntksketch.data.source import Source, SourceError


def open_file(
    path: Path, *, targets: Any = None, header: bool | None = None, delimiter: str = ","
) -> Source:
    """Open a CSV file.

    `targets` names a column of the header, or its number; `header=None` takes the first line as
    one if none of it is a number, and refuses to guess if some is.
    """
    return CSVSource(path, targets=targets, header=header, delimiter=delimiter)


class CSVSource(ParsedSource):
    """Rows of a text file, all float64.

    Parameters
    ----------
    path : Path
        The file.
    targets : str, int or array-like, default=None
        A column by its name or number, or targets stored apart.
    header : bool or None
        Whether the first line names the columns; None looks at it.
    delimiter : str
        What is between cells.
    """

    def __init__(self, path: Path, *, targets: Any, header: bool | None, delimiter: str) -> None:
        self._delimiter = delimiter
        self._index = LineIndex(path, _is_row)
        first = self._index.read(0, min(1, self._index.n_rows))
        if not first:
            raise SourceError(f"{path}: it has no rows")
        cells = self._cells(path, *first[0])
        self._header = int(_is_header(path, cells) if header is None else header)
        names = cells if self._header else [str(j) for j in range(len(cells))]
        self._names, self._target = names, _target_column(path, names, targets)
        super().__init__(
            str(path),
            "csv",
            (self._index.n_rows - self._header, len(names) - (self._target is not None)),
            np.float64,
            targets=targets if self._target is None else None,
            own_targets=self._target is not None,
            files=[path],
        )

    def _parse(self, start: int, stop: int) -> tuple[NDArray, NDArray | None]:
        table = self._table(start, stop)
        if self._target is None:
            return table, None
        return np.delete(table, self._target, axis=1), table[:, self._target].copy()

    def _table(self, start: int, stop: int) -> NDArray:
        width = len(self._names)
        if start == stop:
            return np.empty((0, width))
        lines = self._index.read(start + self._header, stop + self._header)
        try:
            table = np.loadtxt(
                [line.decode("utf-8-sig") for _, line in lines],
                delimiter=self._delimiter,
                quotechar='"',
                comments=None,
                ndmin=2,
            )
            if table.shape == (stop - start, width):
                return table
            reason = f"expected {stop - start} rows of {width} numbers, got shape {table.shape}"
        except ValueError as error:
            reason = str(error)
        for number, line in lines:
            self._check_line(number, line)
        raise SourceError(f"{self.name}: {reason}")

    def _check_line(self, number: int, line: bytes) -> None:
        cells = self._cells(self.name, number, line)
        at = f"{self.name}, line {number}"
        if len(cells) != len(self._names):
            raise SourceError(f"{at}: expected {len(self._names)} cells, got {len(cells)}")
        for name, cell in zip(self._names, cells, strict=True):
            if not is_number(cell):
                raise SourceError(f"{at}: column {name!r} must be a number, got {cell!r}")

    def _cells(self, name: Any, number: int, line: bytes) -> list[str]:
        try:
            text = line.decode("utf-8-sig")
            return [c.strip() for c in next(csv.reader([text], delimiter=self._delimiter))]
        except (UnicodeDecodeError, csv.Error) as error:
            raise SourceError(f"{name}, line {number}: expected text in UTF-8: {error}") from None


def _is_row(line: bytes) -> bool:
    return bool(line.strip())


def is_number(cell: str) -> bool:
    """Say whether a cell can be read as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_header(path: Path, cells: list[str]) -> bool:
    numbers = [cell for cell in cells if is_number(cell)]
    if numbers and len(numbers) < len(cells):
        other = next(cell for cell in cells if not is_number(cell))
        raise SourceError(
            f"{path}: its first line has {numbers[0]!r}, a number, and {other!r}, which is none; "
            "mend it, or say whether it names the columns: header=True or header=False"
        )
    return not numbers


def _target_column(path: Path, names: list[str], targets: Any) -> int | None:
    if isinstance(targets, str):
        if targets not in names:
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise SourceError(f"{path}: there is no column {targets!r}; the columns are {shown}")
        if names.count(targets) > 1:
            raise SourceError(f"{path}: two columns are called {targets!r}; give their number")
        return names.index(targets)
    if isinstance(targets, int | np.integer):
        if not -len(names) <= targets < len(names):
            raise SourceError(f"{path}: there is no column {targets}; there are {len(names)}")
        return int(targets) % len(names)
    return None
