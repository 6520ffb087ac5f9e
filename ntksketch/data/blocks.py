"""Row blocks sized from a memory budget, and the check that a result can fit at all."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn

_MIB = 2**20
BLOCK_ROWS = 256  # larger blocks gain little in a matrix product, and may leave the cache


def format_bytes(n_bytes: float) -> str:
    """Return a size in bytes as text with a binary unit, such as ``'14.9 GiB'``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Return a time as text, such as ``'40 s'``, ``'12 min'``, ``'3.1 h'`` or ``'5 days'``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:,.0f} days"


def available_memory() -> float:
    """Return the bytes this process may still take: free memory, or less under a cgroup limit.

    Infinity where the system does not say.
    """
    limits = [float("inf")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [float(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")]
    except OSError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            limits.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = float((group / "memory.current").read_text())
            limits.append(max(float(limit) - used + _reclaimable(group), 0.0))
    except OSError:
        pass
    return min(limits)


def _reclaimable(group: Path) -> float:
    """Return the bytes of a cgroup's page cache, which count as used until they are needed."""
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(float(value) for key, value in lines if key in ("active_file", "inactive_file"))


def require_memory(n_bytes: float, what: str, remedy: str) -> None:
    """Raise a MemoryError before something is started that cannot fit.

    Parameters
    ----------
    n_bytes : float
        Size of the result.
    what, remedy : str
        What needs the memory, and what to do instead.
    """
    available = available_memory()
    if n_bytes > available:
        raise MemoryError(
            f"{what} needs {format_bytes(n_bytes)} and {format_bytes(available)} are available; "
            f"{remedy}"
        )


def budget_bytes(working_memory: float | None) -> float:
    """Return a memory budget in bytes; None reads scikit-learn's ``working_memory`` setting."""
    mib = sklearn.get_config()["working_memory"] if working_memory is None else working_memory
    if isinstance(mib, bool) or not isinstance(mib, Real) or not float(mib) > 0:
        raise ValueError(f"working_memory must be a positive number of MiB or None, got {mib!r}")
    return float(mib) * _MIB


@contextlib.contextmanager
def memory_budget(working_memory: float | None, *, share: float = 1.0) -> Iterator[None]:
    """Have what is not told a budget, as what a method's draw computes, keep to a share of one."""
    with sklearn.config_context(working_memory=share * budget_bytes(working_memory) / _MIB):
        yield


def _budget_for(least_bytes: float, what: str, working_memory: float | None) -> float:
    """Return a memory budget in bytes, or say what it would take for one of its parts to fit."""
    budget = budget_bytes(working_memory)
    if budget < least_bytes:
        # a share of the setting, if a pass keeps the rest for blocks of rows: hence in proportion
        fold = math.ceil(10 * least_bytes / budget) / 10
        raise MemoryError(
            f"{what} needs {format_bytes(least_bytes)} of temporaries, and working_memory leaves "
            f"{format_bytes(budget)} for them; raise it at least {fold:g}-fold, by the argument "
            "working_memory or by sklearn.set_config(working_memory=...)"
        )
    return budget


def rows_per_block(
    row_bytes: float, working_memory: float | None, *, most: int = BLOCK_ROWS
) -> int:
    """Return how many rows a block may have: a power of two.

    Parameters
    ----------
    row_bytes : float
        Bytes of temporaries that one row needs.
    working_memory : float or None
        Budget in MiB; None reads scikit-learn's ``working_memory`` setting.
    most : int, default=256
        Largest number of rows.

    Raises
    ------
    MemoryError
        If not even one row fits.
    """
    budget = _budget_for(row_bytes, "one row", working_memory)
    return 1 << (int(min(budget / row_bytes, most)).bit_length() - 1)


def tile_side(entry_bytes: float, working_memory: float | None, *, most: int = 1024) -> int:
    """Return the side of square tiles of pairs of rows: a power of two whose tile fits the budget.

    Parameters
    ----------
    entry_bytes : float
        Bytes of temporaries that one pair of rows needs.
    working_memory : float or None
        Budget in MiB; None reads scikit-learn's ``working_memory`` setting.
    most : int, default=1024
        Largest side.

    Raises
    ------
    MemoryError
        If not even one pair fits.
    """
    budget = _budget_for(entry_bytes, "one pair of rows", working_memory)
    side = np.sqrt(budget / entry_bytes)
    return 1 << (int(max(min(side, most), 1)).bit_length() - 1)


def block_slices(n_rows: int, block_rows: int, first: int = 0) -> Iterator[slice]:
    """Yield the slices of consecutive blocks from a first row; only the last may be shorter."""
    for start in range(first, n_rows, block_rows):
        yield slice(start, min(start + block_rows, n_rows))


def tile_slices(n: int, p: int, tile: int, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of square tiles; the lower triangle's only if symmetric."""
    for i in block_slices(n, tile):
        for j in block_slices(p, tile):
            if symmetric and j.start > i.start:
                break
            yield i, j


def store_behind(items: Iterable[tuple[Any, ...]], store: Callable[..., None]) -> None:
    """Call `store` on each item while the next one is being computed on the device."""
    pending = None
    for item in items:
        if pending is not None:
            store(*pending)
        pending = item
    if pending is not None:
        store(*pending)


def padded_rows(n_rows: int, block_rows: int) -> int:
    """Return the number of rows to which blocks are padded, so that few shapes are compiled.

    Whole blocks keep `block_rows`; a data set smaller than one block is padded to a power of two.
    """
    return min(block_rows, 1 << max(n_rows - 1, 0).bit_length())


def pad_rows(block: Any, n_rows: int) -> Any:
    """Return the block, dense or CSR, with rows of zeros appended up to `n_rows`."""
    missing = n_rows - block.shape[0]
    if missing == 0:
        return block
    if sp.issparse(block):
        indptr = np.pad(block.indptr, (0, missing), mode="edge")
        return sp.csr_array((block.data, block.indices, indptr), shape=(n_rows, block.shape[1]))
    return np.concatenate([block, np.zeros((missing, *block.shape[1:]), block.dtype)])
