"""Targets of a source as least squares takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.checksum import checksum
from ntksketch.data.source import Block, Source, SourceError
from ntksketch.distributed.dask_collections import DaskSource


def require_kind(y: NDArray, single_target: bool) -> None:
    """Raise ValueError unless targets are a vector, or columns, as those of earlier blocks."""
    if (y.ndim == 1) != single_target:
        raise ValueError(
            f"y has shape {y.shape}, and the targets before had shape "
            f"{'(n,)' if single_target else '(n, k)'}: give those of all blocks alike, since "
            "predictions have their shape"
        )


class EncodedTargets(Source):
    """A source whose targets go through a function.

    Parameters
    ----------
    source : Source
        Rows with targets.
    encode : callable
        Takes the targets of some rows and returns an array for as many.

    Attributes
    ----------
    single_target : bool or None
        Whether a row has a number rather than an array; None before the first block was read.
    """

    def __init__(self, source: Source, encode: Callable[[NDArray], NDArray]) -> None:
        self._source, self._encode = source, encode
        self.name, self.format = source.name, source.format
        self.shape, self.dtype = source.shape, source.dtype
        self.single_target: bool | None = None

    @property
    def has_targets(self) -> bool:  # noqa: D102
        return self._source.has_targets

    @property
    def row_bytes(self) -> float:  # noqa: D102
        return self._source.row_bytes

    def fingerprint(self) -> dict[str, Any]:  # noqa: D102
        return self._source.fingerprint()

    def targets_fingerprint(self) -> dict[str, Any] | None:  # noqa: D102
        return self._source.targets_fingerprint()

    def blocks(self, n_rows: int | None = None, *, start: int = 0) -> Iterator[Block]:  # noqa: D102
        for block in self._source.blocks(n_rows, start=start):
            y = None if block.y is None else self._encode(block.y)
            self.single_target = y is None or y.ndim == 1
            yield block._replace(y=y)


class ShiftedTargets(EncodedTargets):
    """A source of targets less an array of the same shape, or less a number.

    Parameters
    ----------
    source : Source
        Rows with targets.
    shift : ndarray of shape (n,) or (n, n_targets), or ()
        What is taken from the targets, whose rows are those of the source.
    """

    def __init__(self, source: Source, shift: NDArray) -> None:
        super().__init__(source, np.asarray)
        self._shift = shift
        if shift.ndim and source.shape[0] is not None and len(shift) != source.shape[0]:
            raise ValueError(
                f"f0 has {len(shift)} rows, expected those of {source.name}: {source.shape[0]}"
            )

    def targets_fingerprint(self) -> dict[str, Any]:  # noqa: D102
        shift = {"shape": list(self._shift.shape), "checksum": checksum([self._shift])}
        return {"of": super().targets_fingerprint(), "less": shift}

    def blocks(self, n_rows: int | None = None, *, start: int = 0) -> Iterator[Block]:  # noqa: D102
        for block in super().blocks(n_rows, start=start):
            if block.y is None:
                yield block
                continue
            part = self._shift
            if part.ndim:
                part = part[block.start : block.start + len(block.y)]
            if part.ndim and part.shape != block.y.shape:
                raise ValueError(
                    f"f0 has shape {self._shift.shape}, expected that of the targets of "
                    f"{self.name}, of which rows {block.start} to {block.start + len(block.y) - 1} "
                    f"have shape {block.y.shape}"
                )
            yield block._replace(y=block.y - part)


def read_labels(source: Source, working_memory: float | None = None) -> NDArray:
    """Return the targets of all rows, which are labels; a budget in MiB is for the reading."""
    if isinstance(source, DaskSource) and source.y is not None:
        return np.asarray(source.y.compute())
    if source.format == "iterable":
        raise SourceError(
            "iterable: it can be read only once, and labels are read before the pass over the "
            "rows; store rows and labels in a file"
        )
    return np.concatenate([y for _, y in source.target_blocks(working_memory)])


def one_hot(codes: NDArray, n_classes: int, dtype: Any) -> NDArray:
    """Return +1 for a row's class and -1 for the others: (n, n_classes), or (n,) for two."""
    member = codes == 1 if n_classes == 2 else codes[:, None] == np.arange(n_classes)
    return np.where(member, 1, -1).astype(dtype)
