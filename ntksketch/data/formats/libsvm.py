"""The text format of LIBSVM and SVMlight: a target, then ``column:value`` of each entry."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

from ntksketch.data.formats.lines import LineIndex
from ntksketch.data.formats.parsed import ParsedSource
from ntksketch.data.source import Source, SourceError


def open_file(
    path: Path,
    *,
    targets: Any = None,
    n_features: int | None = None,
    zero_based: bool = False,
) -> Source:
    """Open a libsvm file; its targets come with the rows unless others are given.

    `n_features=None` takes the largest column found; columns count from 1, or from 0 if
    `zero_based`.
    """
    return LibsvmSource(path, targets=targets, n_features=n_features, zero_based=zero_based)


class LibsvmSource(ParsedSource):
    """CSR rows of a text file, all float64.

    Parameters
    ----------
    path : Path
        The file.
    targets : array-like or None
        Targets in place of the file's own.
    n_features : int or None
        Number of columns; None takes the largest that is found.
    zero_based : bool
        Whether the first column is 0.
    """

    def __init__(
        self, path: Path, *, targets: Any, n_features: int | None, zero_based: bool
    ) -> None:
        self._zero_based = zero_based
        width = 0

        def note(line: bytes) -> None:
            nonlocal width
            last = _last_column(line)  # the largest, since columns ascend within a line
            width = width if last is None else max(width, last + int(zero_based))

        self._index = LineIndex(path, _is_row, note if n_features is None else None)
        n_features = width if n_features is None else n_features
        if n_features < 1:
            raise SourceError(f"{path}: no row has an entry; say n_features=...")
        n = self._index.n_rows
        self._line_bytes = path.stat().st_size / max(n, 1)
        super().__init__(
            str(path),
            "libsvm",
            (n, n_features),
            np.float64,
            targets=targets,
            own_targets=targets is None,
            files=[path],
        )

    @property
    def row_bytes(self) -> float:  # noqa: D102
        return 4 * self._line_bytes  # an entry has 12 bytes in memory and three or more in text

    def _parse(self, start: int, stop: int) -> Any:
        lines = self._index.read(start, stop)
        try:
            return self._load(lines)
        except ValueError as error:
            raise self._fault(lines, error) from None

    def _load(self, lines: list[tuple[int, bytes]]) -> Any:
        width = self.shape[1]
        if not lines:
            return sp.csr_array((0, width)), np.empty(0)
        X, y, *_ = load_svmlight_file(
            io.BytesIO(b"".join(line for _, line in lines)),
            n_features=width,
            zero_based=cast(Any, self._zero_based),  # annotated as text
        )
        return sp.csr_array(X), y

    def _fault(self, lines: list[tuple[int, bytes]], error: ValueError) -> SourceError:
        """Return the error of the first line that cannot be read alone."""
        for number, line in lines:
            at = f"{self.name}, line {number}"
            try:
                self._load([(number, line)])
            except ValueError as found:
                column = _first_column(line)
                if column == 0 and not self._zero_based:
                    return SourceError(f"{at}: its columns count from 0; say zero_based=True")
                last = _last_column(line)
                if last is not None and last + self._zero_based > self.shape[1]:
                    return SourceError(f"{at}: column {last} is beyond n_features={self.shape[1]}")
                return SourceError(f"{at}: expected 'target column:value ...': {found}")
        return SourceError(f"{self.name}: {error}")


def _is_row(line: bytes) -> bool:
    return bool(line.partition(b"#")[0].strip())


def _last_column(line: bytes) -> int | None:
    return _column(line.partition(b"#")[0].split()[-1:])


def _first_column(line: bytes) -> int | None:
    cells = line.partition(b"#")[0].split()[1:]
    return _column([cell for cell in cells if not cell.startswith(b"qid:")][:1])


def _column(cells: list[bytes]) -> int | None:
    """Return the column of an entry; None if it is none, which parsing will say."""
    name = cells[0].partition(b":")[0] if cells and b":" in cells[0] else b""
    return int(name) if name.isdigit() else None
