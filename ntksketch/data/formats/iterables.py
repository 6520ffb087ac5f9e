"""Blocks from an iterable, read once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import numpy as np
import scipy.sparse as sp

from ntksketch.data.checks import require_finite
from ntksketch.data.source import Block, Source, SourceError


class IterableSource(Source):
    """Blocks of rows as they come, cut to the size that is asked for.

    Parameters
    ----------
    iterable : iterable of ndarray or sparse, or of (X, y)
        Blocks of any number of rows, all with targets or all without.
    n_rows : int, default=None
        Number of rows in all, where it is known.
    """

    def __init__(self, iterable: Iterable[Any], *, n_rows: int | None = None) -> None:
        incoming = iter(iterable)
        first = next(incoming, None)
        if first is None:
            raise SourceError("iterable: it has no blocks")
        X, y = _rows_and_targets(first, 0)
        self._with_targets = y is not None
        self._incoming: Iterator[Any] | None = itertools.chain([first], incoming)
        super().__init__("iterable", "iterable", (n_rows, X.shape[1]), X.dtype)

    @property
    def has_targets(self) -> bool:  # noqa: D102
        return self._with_targets

    def with_targets(self, targets: Any) -> NoReturn:  # noqa: D102
        raise SourceError("iterable: give each block its targets, as pairs of rows and targets")

    def fingerprint(self) -> NoReturn:  # noqa: D102
        raise SourceError("iterable: what comes is not known before it is read, nor afterwards")

    def targets_fingerprint(self) -> NoReturn:  # noqa: D102
        self.fingerprint()

    def _place(self, start: int, stop: int) -> NoReturn:
        raise SourceError("iterable: it has no rows to seek; read it once, by blocks()")

    def blocks(self, n_rows: int | None = None, *, start: int = 0) -> Iterator[Block]:  # noqa: D102
        if start:
            raise SourceError(f"iterable: it is read from row 0, and start is {start}")
        if self._incoming is None:
            raise SourceError(
                "iterable: it was read already and can be read only once; make a new source from "
                "a new iterable, or store the rows in a file"
            )
        incoming, self._incoming = self._incoming, None
        return self._cut(incoming, self._block_rows(n_rows))

    def _cut(self, incoming: Iterator[Any], n_rows: int) -> Iterator[Block]:
        waiting: list[tuple[Any, Any]] = []
        held = given = 0
        for X, y in self._checked(incoming):
            waiting.append((X, y))
            held += X.shape[0]
            self._require_as_many(given + held, last=False)
            if held < n_rows:
                continue
            X, y = _joined(waiting)
            whole = held - held % n_rows
            for cut in range(0, whole, n_rows):
                stop = cut + n_rows
                yield Block(given + cut, X[cut:stop], None if y is None else y[cut:stop])
            waiting = [(X[whole:], None if y is None else y[whole:])]
            given, held = given + whole, held - whole
        self._require_as_many(given + held, last=True)
        if held:
            yield Block(given, *_joined(waiting))

    def _require_as_many(self, read: int, *, last: bool) -> None:
        """Raise an error before rows are given out that are too many, or the last of too few."""
        expected = self.shape[0]
        if expected is not None and (read > expected or (last and read < expected)):
            raise SourceError(f"iterable: expected {expected} rows, got {read}")

    def _checked(self, incoming: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """Check each block, which keeps its own number in messages."""
        start = 0
        for number, item in enumerate(incoming):
            X, y = _rows_and_targets(item, number)
            n = X.shape[0]
            at = self._block_place(number, start, start + n)
            if X.dtype.kind not in "biuf":
                raise SourceError(f"{at}: rows must be real numbers, got dtype {X.dtype}")
            if (y is not None) != self._with_targets:
                raise SourceError(f"{at}: either every block has targets or none")
            if y is not None and len(y) != n:
                raise SourceError(f"{at}: {n} rows came with {len(y)} targets")
            if y is not None:
                if y.dtype.kind not in "biuf":
                    raise SourceError(f"{at}: targets must be real numbers, got dtype {y.dtype}")
                require_finite(y, start, f"{at}, targets")
            X = self._check_rows(self._convert(X), start, (n, self.shape[1]), at)
            yield X, y
            start += n


def _rows_and_targets(item: Any, number: int) -> tuple[Any, Any]:
    """Return copies, since who makes blocks may use one buffer for all of them."""
    X, y = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    X = sp.csr_array(X, copy=True) if sp.issparse(X) else np.array(X)
    if X.ndim != 2:
        raise SourceError(
            f"iterable, block {number}: expected a 2-D block of rows, got shape {X.shape}; if the "
            "iterable is the rows themselves, pass np.asarray of it"
        )
    return X, None if y is None else np.array(y)


def _joined(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    if len(parts) == 1:
        return parts[0]
    rows = [X for X, _ in parts]
    X = sp.vstack(rows, format="csr") if sp.issparse(rows[0]) else np.concatenate(rows)
    return X, None if parts[0][1] is None else np.concatenate([y for _, y in parts])
