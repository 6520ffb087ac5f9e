"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("ntksketch", "numpy", "scipy", "jax", "jaxlib", "scikit-learn")


def describe_machine() -> dict[str, object]:
    """Return processor, cores, memory and operating system."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "os": platform.platform(),
    }


def describe_versions() -> dict[str, str | None]:
    """Return versions of Python and the packages, and the repository's commit."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    versions.update({name: version(name) for name in PACKAGES})
    versions["commit"] = _commit()
    return versions


def load_average() -> float | None:
    """Return the load of the last minute, which tells whether the machine was quiet."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _commit() -> str | None:
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
