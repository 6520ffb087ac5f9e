"""What demo and compare share: evaluate with a progress bar, print the table, write the report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

import ntksketch as ntk
from ntksketch.cli.errors import InputError
from ntksketch.cli.evaluate import count_stages, evaluate
from ntksketch.cli.problem import Problem
from ntksketch.cli.progress import progress_bar
from ntksketch.cli.report import output_folder, rich_table, summary, write_report

_TABLE_WIDTH = 110  # where the output is no terminal


def parse_sizes(text: str) -> list[int]:
    """Return numbers of components from text such as ``"256,1024"``, sorted.

    Raises
    ------
    InputError
        If it is not a list of positive whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--components {text}: give whole numbers such as 256,1024")
    return sorted({int(part) for part in parts})


class _Stages:
    """A bar on a terminal: stages, the rate of rows in the one at work, and the time left."""

    def __init__(self, n_stages: int, screen: Console) -> None:
        # stages are few and differ: all of them tell the speed
        self.bar = progress_bar(screen, speed_estimate_period=math.inf)
        self.task = self.bar.add_task("", total=n_stages, rate="")
        self._begun, self._rows, self._start = 0, 0, 0.0

    def begin(self, name: str) -> None:
        """Tell that a stage begins, and so that the one before has ended."""
        self.bar.update(self.task, description=name, completed=self._begun, rate="")
        self._begun, self._rows, self._start = self._begun + 1, 0, time.perf_counter()

    def add_rows(self, n_rows: int, of: int) -> None:
        """Tell that some of so many rows of the stage are done."""
        self._rows += n_rows
        rate = self._rows / max(time.perf_counter() - self._start, 1e-9)
        done = self._begun - 1 + min(self._rows / of, 1.0)
        self.bar.update(self.task, completed=done, rate=f"{rate:,.0f} rows/s")


def run(
    problem: Problem,
    architecture: ntk.Architecture,
    methods: Mapping[str, Any],
    sizes: Sequence[int],
    output: Path,
    *,
    seed: int,
    max_exact_rows: int,
    settings: Mapping[str, object],
    as_json: bool = False,
) -> None:
    """Compare methods on a problem, print the result and write the report.

    Parameters
    ----------
    problem : Problem
        The rows.
    architecture : Architecture
        The network.
    methods : mapping of str to method
        Methods by name.
    sizes : sequence of int
        Numbers of components.
    output : Path
        Folder of the report.
    seed : int
        Seed of the features.
    max_exact_rows : int
        With more training rows than this exact kernel ridge regression is left out.
    settings : mapping of str to object
        Further settings for the report.
    as_json : bool, default=False
        Print one line of JSON in place of the table.
    """
    start = time.perf_counter()
    folder = output_folder(output)
    stages = _Stages(count_stages(len(methods), len(sizes)), Console(stderr=True))
    with stages.bar:
        comparison = evaluate(
            problem,
            architecture,
            methods,
            sizes,
            seed=seed,
            max_exact_rows=max_exact_rows,
            stage=stages.begin,
            rows_done=stages.add_rows,
        )
    described = {
        "network": architecture,
        **methods,
        "training rows": f"{len(problem.X_train):,}",
        "test rows": f"{len(problem.X_test):,}",
        "columns": problem.X_train.shape[1],
        "task": problem.task,
        "seed": seed,
        **settings,
    }
    report = write_report(comparison, described, folder)
    if as_json:
        shown = [comparison.exact, *comparison.rows] if comparison.exact else comparison.rows
        found = {"task": problem.task, "rows": [asdict(row) for row in shown]}
        print(json.dumps({**found, "notes": comparison.notes, "report": str(report.resolve())}))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_TABLE_WIDTH)
    console.print(rich_table(comparison))
    for line in [*comparison.notes, summary(comparison)]:
        console.print(line, markup=False)
    seconds = time.perf_counter() - start
    console.print(f"{seconds:.1f} s; report: {report.resolve()}", markup=False, soft_wrap=True)
