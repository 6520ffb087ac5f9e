"""Table and figure of the experiments on theory."""

from __future__ import annotations

from typing import Any


def table(results: dict[str, Any]) -> str:
    return "# Theory"


def plot(results: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    return Figure()
