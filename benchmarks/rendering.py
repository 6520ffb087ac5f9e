"""Tables and plots, made from the JSON alone."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import read, write_atomically

COLOURS = {"default": "#0b6fb8", "published": "#d1622b", "rbf": "#5f8f2f", "exact": "#333333"}


def render(path: Path) -> list[Path]:
    """Write the table and the plot that belong to a JSON file; return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    results = read(path)
    benchmark = importlib.import_module(f"benchmarks.{results['benchmark']}")
    table, picture = path.with_suffix(".md"), path.with_suffix(".png")
    write_atomically(table, benchmark.table(results).strip() + "\n\n" + footnote(results) + "\n")
    image = io.BytesIO()
    with matplotlib.rc_context({"font.size": 11, "axes.grid": True, "grid.alpha": 0.3}):
        benchmark.plot(results).savefig(image, dpi=110, format="png")
    write_atomically(picture, image.getvalue())
    return [path, table, picture]


def measurements(results: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Return the measurements that worked and have these values."""
    return [
        m
        for m in results["measurements"]
        if "error" not in m and all(m.get(name) == value for name, value in fields.items())
    ]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; None becomes an empty cell."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in rows:
        lines.append("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |")
    return "\n".join(lines)


def number(value: float | None, digits: int = 3) -> str | None:
    """Return a number with so many significant digits, without exponents where it can be."""
    if value is None:
        return None
    text = f"{value:.{digits}g}"
    return text if "e" not in text or abs(value) < 1e-4 else f"{value:,.0f}"


def listed(values: Iterable[Any]) -> str:
    """Return numbers and texts in a row."""
    return ", ".join(v if isinstance(v, str) else f"{v:g}" for v in values)


def mebibytes(n_bytes: float | None) -> str | None:
    """Return bytes in MiB."""
    return None if n_bytes is None else f"{n_bytes / 2**20:,.0f}"


def footnote(results: dict[str, Any]) -> str:
    """Say what the numbers were measured on."""
    machine, versions = results["machine"], results["versions"]
    measured = sorted(m["measured"] for m in results["measurements"])
    failed = [m["key"] for m in results["measurements"] if "error" in m]
    packages = ", ".join(f"{k} {v}" for k, v in versions.items() if v and k != "commit")
    commits = sorted({m["commit"] for m in results["measurements"] if m["commit"]})
    lines = [
        f"Measured on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['os']}; {packages}; commit {', '.join(commits) or 'unknown'}; "
        f"{measured[0][:10] if measured else 'never'}.",
    ]
    if failed:
        lines.append(f"Failed: {', '.join(failed)}.")
    if not results["complete"]:
        lines.append("Incomplete: more configurations are to be measured.")
    return "\n".join(lines)
