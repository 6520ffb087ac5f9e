"""Runs the configurations of a benchmark, each in a fresh process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results import Results

REPOSITORY = Path(__file__).parents[1]
LONG = "long"


def run(name: str, path: Path, *, short: bool, resume: bool = False, only: str = "") -> int:
    """Measure the configurations of a benchmark that are not done; return how many failed.

    Those whose key begins with "long" take hours: they are left out unless `only` does so, too.
    """
    benchmark = importlib.import_module(f"benchmarks.{name}")
    settings = benchmark.settings(short)
    results = Results(path, name, settings, resume)
    wanted = benchmark.configurations(settings)
    results.keep({c["key"] for c in wanted})
    done = results.done()
    asked = [c for c in wanted if only.startswith(LONG) or not c["key"].startswith(LONG)]
    pending = [c for c in asked if c["key"] not in done and only in c["key"]]
    estimates = [benchmark.estimate(c, settings) for c in pending]
    say(
        f"{name}: {len(pending)} of {len(wanted)} configurations, "
        f"about {sum(estimates) / 60:.1f} min on two quiet cores"
    )
    failed = 0
    for i, (configuration, estimate) in enumerate(zip(pending, estimates, strict=True)):
        left = sum(estimates[i:]) / 60
        say(f"  {configuration['key']} (about {estimate:.0f} s, {left:.1f} min left) ...", end="")
        start = time.perf_counter()
        outcome = measure_apart(name, configuration, settings)
        seconds = time.perf_counter() - start
        say(f" {outcome.get('error', f'{seconds:.1f} s')}")
        failed += "error" in outcome
        results.add(configuration, outcome, seconds)
    places = {c["key"]: i for i, c in enumerate(wanted)}
    results.data["measurements"].sort(key=lambda m: places.get(m["key"], len(wanted)))
    needed = {c["key"] for c in wanted if not c["key"].startswith(LONG)}
    results.data["complete"] = needed <= results.done()
    results.save()
    return failed


def say(text: str, end: str = "\n") -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, end=end, flush=True)


def measure_apart(
    name: str, configuration: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Measure one configuration in a new process; a failure is an outcome with an "error"."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        task = json.dumps([name, configuration, settings, str(answer)])
        command = [sys.executable, "-m", "benchmarks.runner"]
        done = subprocess.run(
            command, input=task, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, check=False
        )
        if done.returncode == 0:
            return json.loads(answer.read_text())
    say(f"\n{done.stderr}")
    reason = done.stderr.strip().splitlines()
    return {"error": f"exit status {done.returncode}: {reason[-1] if reason else 'no message'}"}


def measure_here(task: str) -> None:
    """Measure the configuration described by a task, and write the answer."""
    name, configuration, settings, answer = json.loads(task)
    outcome = importlib.import_module(f"benchmarks.{name}").measure(configuration, settings)
    if "jax" in sys.modules:
        outcome["backend"] = sys.modules["jax"].default_backend()
    Path(answer).write_text(json.dumps(outcome))


if __name__ == "__main__":
    measure_here(sys.stdin.read())
