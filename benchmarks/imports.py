"""How long `import ntksketch` takes, next to what it is built on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.rendering import markdown_table, measurements, mebibytes, number
from benchmarks.timing import median_ratio, medians

TARGET = 1.5
_SOURCE = """
import resource, sys, time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def settings(short: bool) -> dict[str, Any]:
    """Return the statements and the number of rounds, after one that is thrown away."""
    return {
        "rounds": 2 if short else 15,
        "statement": "import ntksketch",
        "unit": "import jax, sklearn",
    }


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the only one."""
    return [{"key": "imports"}]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds."""
    return 4.0 * (settings["rounds"] + 1)


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Import in fresh processes, by turns."""
    statements = (settings["statement"], settings["unit"])
    seconds: dict[str, list[float]] = {s: [] for s in statements}
    peaks: dict[str, list[float]] = {s: [] for s in statements}
    for turn in range(settings["rounds"] + 1):
        for statement in statements:
            command = [sys.executable, "-c", _SOURCE.format(statement=statement)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took, peak = map(float, done.stdout.split())
            if turn > 0:  # the first turn warms the disk cache
                seconds[statement].append(took)
                peaks[statement].append(peak)
    return {
        "seconds": seconds,
        "median": medians(seconds),
        "ratio": median_ratio(seconds, *statements),
        "target": TARGET,
        "peak_memory": medians(peaks),
    }


def table(results: dict[str, Any]) -> str:
    """Return the table."""
    rows = [
        (f"`{s}`", number(t), ratio, target, mebibytes(m["peak_memory"][s]))
        for m in measurements(results)
        for s, t in m["median"].items()
        for ratio, target in [
            (number(m["ratio"]), f"≤ {m['target']}")
            if s != results["settings"]["unit"]
            else ("1", None)
        ]
    ]
    header = ("fresh process", "seconds (median)", "ratio", "target", "peak memory, MiB")
    return "# Import time\n\n" + markdown_table(header, rows)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure with every run as a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.5), layout="constrained")
    axes = figure.subplots()
    for m in measurements(results):
        for i, (statement, seconds) in enumerate(m["seconds"].items()):
            axes.plot(seconds, [i] * len(seconds), "o", alpha=0.5, label=statement)
        axes.set_yticks(range(len(m["seconds"])), list(m["seconds"]))
    axes.set(xlabel="seconds", xlim=(0, None), ylim=(-0.7, 1.7))
    return figure
