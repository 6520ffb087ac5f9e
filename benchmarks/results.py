"""Results on disk: one JSON file, written whole after every configuration."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, describe_versions, load_average


def results_path(output: Path, name: str, short: bool) -> Path:
    """Return the JSON file of a benchmark; short results never share a folder with full ones."""
    return (output / "short" if short else output) / f"{name}.json"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is either the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read results."""
    return json.loads(path.read_text())


class Results:
    """The results of one run, kept on disk.

    Parameters
    ----------
    path : Path
        The JSON file.
    benchmark : str
        Its name.
    settings : dict
        What decides the measurements.
    resume : bool
        Keep the measurements of the file, which must be of these settings, machine and versions.

    Raises
    ------
    ValueError
        If the file to resume is of other settings, another machine or other versions.
    """

    def __init__(self, path: Path, benchmark: str, settings: dict[str, Any], resume: bool) -> None:
        self.path = path
        self.data: dict[str, Any] = {
            "benchmark": benchmark,
            "complete": False,
            "machine": describe_machine(),
            "versions": describe_versions(),
            "settings": json.loads(json.dumps(settings)),
            "measurements": [],
        }
        if resume and path.exists():
            self._take_over(read(path))

    def _take_over(self, earlier: dict[str, Any]) -> None:
        for field in ("benchmark", "machine", "versions", "settings"):
            old, new = _comparable(earlier[field]), _comparable(self.data[field])
            if old != new:
                raise ValueError(
                    f"cannot resume {self.path}: its {field} are {old}, and now they are {new}; "
                    "run without --resume to begin anew"
                )
        self.data["measurements"] = [m for m in earlier["measurements"] if "error" not in m]

    def done(self) -> set[str]:
        """Return the keys that are measured."""
        return {m["key"] for m in self.data["measurements"] if "error" not in m}

    def keep(self, keys: set[str]) -> None:
        """Forget measurements of other keys: what is measured in another way has another key."""
        self.data["measurements"] = [m for m in self.data["measurements"] if m["key"] in keys]

    def add(self, configuration: dict[str, Any], outcome: dict[str, Any], seconds: float) -> None:
        """Add the outcome of a configuration, and save."""
        about = {
            "wall_seconds": round(seconds, 2),
            "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": self.data["versions"]["commit"],
            "load_average": load_average(),
        }
        self.data["measurements"].append({**configuration, **outcome, **about})
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_atomically(self.path, json.dumps(self.data, indent=1) + "\n")


def _comparable(value: Any) -> Any:
    """Leave out the commit: results may come from several, and each measurement has its own."""
    if isinstance(value, dict):
        return {name: inner for name, inner in value.items() if name != "commit"}
    return value
