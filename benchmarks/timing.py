"""Times taken side by side, and peak memory."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def seconds_of(function: Callable[[], Any]) -> float:
    """Return the seconds of one call, the computation of its result included."""
    start = time.perf_counter()
    finish(function())
    return time.perf_counter() - start


def finish(result: Any) -> Any:
    """Wait until a result is computed, where it is JAX's."""
    if "jax" in sys.modules:
        sys.modules["jax"].block_until_ready(result)
    return result


def side_by_side(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time functions in turn, A, B, A, B ..., so that they share the machine's moods."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(seconds_of(function))
    return seconds


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each list."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def median_ratio(seconds: dict[str, list[float]], name: str, unit: str) -> float:
    """Return the median of the ratios within each round."""
    pairs = zip(seconds[name], seconds[unit], strict=True)
    return statistics.median(a / b for a, b in pairs)


class Stages(dict):
    """Seconds of named stages, added up over repeated entries."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        yield
        self[name] = self.get(name, 0.0) + time.perf_counter() - start


class Memory:
    """Bytes above what the process held at the start of a `peak_memory` block."""

    peak: int | None = None


@contextmanager
def peak_memory() -> Iterator[Memory]:
    """Measure the peak of resident memory above the present.

    Linux can forget earlier peaks; elsewhere a higher earlier peak hides a lower one, which gives
    zero, so measure in a fresh process.
    """
    memory = Memory()
    gc.collect()
    if _CLEAR.exists():
        _CLEAR.write_text("5")
    before = _status("VmRSS") or _maximum()
    yield memory
    memory.peak = max((_status("VmHWM") or _maximum()) - before, 0)


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def _maximum() -> int:
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib if sys.platform == "darwin" else kib * 1024
