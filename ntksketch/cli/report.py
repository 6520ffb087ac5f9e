"""The table on the screen, the picture, and a report in one HTML file."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import io
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, PercentFormatter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ntksketch.cli.errors import InputError
from ntksketch.cli.evaluate import CHECKED_ROWS, DRAWS, EXACT, RIDGE, Comparison, Row
from ntksketch.data.files import replacing
from ntksketch.diagnostics import Estimate

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
"""


def output_folder(folder: Path) -> Path:
    """Make the folder of a report, so that a wrong one is refused before the work.

    Raises
    ------
    InputError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise InputError(f"--output {folder}: {error.strerror}") from None


def columns(comparison: Comparison) -> dict[str, Callable[[Row], str]]:
    """Return the table's columns: headings, and how a row's cell is written."""
    problem = comparison.problem
    return {
        "method": lambda row: row.method,
        "components": lambda row: f"{row.n_components or ''}",
        "kernel error": lambda row: _with_error(row.error),
        "spectral factor": lambda row: "" if row.factor is None else f"{row.factor.value:.3g}",
        problem.score_name: lambda row: problem.format_score(row.score),
        "featurise (s)": lambda row: f"{row.featurise_seconds:.3f}",
        "fit (s)": lambda row: f"{row.fit_seconds:.3f}",
    }


def _with_error(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3g} ± {estimate.standard_error or 0:.1g}"


def lines(comparison: Comparison) -> list[Row]:
    """Return the table's rows: the methods, then exact kernel ridge regression."""
    return [*comparison.rows, *([comparison.exact] if comparison.exact else [])]


def rich_table(comparison: Comparison) -> Table:
    """Return the table for the screen."""
    problem = comparison.problem
    table = Table(
        title=f"{problem.name}: {problem.task}",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,  # so that it fits 80 columns
    )
    cells = columns(comparison)
    for number, heading in enumerate(cells):
        table.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    for row in comparison.rows:
        table.add_row(*(cell(row) for cell in cells.values()))
    if comparison.exact:
        table.add_section()
        table.add_row(*(cell(comparison.exact) for cell in cells.values()), style="bold")
    return table


def summary(comparison: Comparison) -> str:
    """Return the result in one sentence."""
    problem = comparison.problem
    largest = max(row.n_components or 0 for row in comparison.rows)
    rows = [row for row in lines(comparison) if row.n_components in (largest, None)]
    scores = ", ".join(f"{row.method} {problem.format_score(row.score)}" for row in rows)
    return f"With {largest} components, {problem.score_name}: {scores}."


def explanation(comparison: Comparison) -> list[str]:
    """Return what the columns mean."""
    unit = "accuracy" if comparison.problem.task == "classification" else "R²"
    return [
        "Kernel error: Frobenius norm of ZZ' - K relative to that of K, for features Z and the "
        f"exact kernel K, on two samples of at most {CHECKED_ROWS} training rows: mean and "
        f"standard error of {DRAWS} draws of the features. Score and times are of one draw.",
        "Spectral factor: mean over the same draws of the spectral norm of "
        f"(K + aI)^-1/2 (ZZ' - K) (K + aI)^-1/2, a = {RIDGE:g} trace(K)/n; below 1 it bounds how "
        "much worse ridge regression on the features can be than exact kernel ridge regression.",
        f"Score: {unit} on test rows. Penalties are chosen by generalised cross-validation on "
        "training rows alone; targets and intercept are treated alike in all rows of the table.",
        "Times: on training rows, without compilation. Featurise is the time of the features, or "
        "of the kernel matrix; fit includes it.",
    ]


def draw(comparison: Comparison) -> bytes:
    """Draw error and score against the number of components; return a PNG."""
    problem = comparison.problem
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    errors, scores = figure.subplots(1, 2)
    series: dict[str, list[Row]] = {}
    for row in comparison.rows:
        series.setdefault(row.method, []).append(row)
    for number, (name, rows) in enumerate(series.items()):
        style = {
            "color": _COLOURS[number % len(_COLOURS)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "label": name,
        }
        known = [(row.n_components, row.error) for row in rows if row.error]
        spread = [estimate.standard_error or 0.0 for _, estimate in known]
        values = [estimate.value for _, estimate in known]
        errors.errorbar([m for m, _ in known], values, yerr=spread, capsize=3, **style)
        sizes = [row.n_components for row in rows]
        scores.plot(sizes, [row.score for row in rows], **style)
    if comparison.exact:
        scores.axhline(comparison.exact.score, color="#444444", linestyle="--", label=EXACT)
    errors.set_yscale("log")
    errors.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    errors.yaxis.set_major_formatter("{x:g}")
    errors.yaxis.set_minor_formatter(NullFormatter())
    errors.set(title="error of the kernel matrix", ylabel="relative Frobenius error")
    scores.set(title=f"{problem.score_name}: {problem.name}", ylabel=problem.score_name)
    if problem.task == "classification":
        scores.yaxis.set_major_formatter(PercentFormatter(1.0))
    ticks = sorted({row.n_components or 0 for row in comparison.rows})
    for axes in (errors, scores):
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("number of components")
        axes.grid(which="both", alpha=0.25)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def versions() -> dict[str, str]:
    """Return versions of what computed the numbers, and the machine in words."""
    packages = ("ntksketch", "jax", "numpy", "scipy", "scikit-learn")
    found = {name: importlib.metadata.version(name) for name in packages}
    device = f"{jax.default_backend()}, {os.cpu_count()} cores, {platform.machine()}"
    return {"Python": platform.python_version(), **found, "device": device}


def write_report(comparison: Comparison, settings: Mapping[str, object], folder: Path) -> Path:
    """Write ``report.png`` and ``report.html``, each at once or not at all.

    Parameters
    ----------
    comparison : Comparison
        What was measured.
    settings : mapping of str to object
        How.
    folder : Path
        Where; it exists.

    Returns
    -------
    Path
        The HTML file, which needs no other.
    """
    picture = draw(comparison)
    _replace(folder / "report.png", picture)
    page = _page(comparison, settings, picture)
    return _replace(folder / "report.html", page.encode())


def _page(comparison: Comparison, settings: Mapping[str, object], picture: bytes) -> str:
    title = html.escape(f"ntksketch: {comparison.problem.name}")
    cells = columns(comparison)
    measured = _html_table(
        list(cells), [[cell(row) for cell in cells.values()] for row in lines(comparison)]
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in comparison.notes)
    meaning = "".join(f"<li>{html.escape(line)}</li>" for line in explanation(comparison))
    encoded = base64.b64encode(picture).decode("ascii")
    alt = html.escape("kernel error and score against the number of components", quote=True)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>
<body>
<h1>{title}</h1>
<p>{html.escape(summary(comparison))}</p>
{notes}
{measured}
<img src="data:image/png;base64,{encoded}" alt="{alt}">
<ul>{meaning}</ul>
<h2>Settings</h2>
{_html_table(["setting", "value"], [[key, str(value)] for key, value in settings.items()])}
<h2>Versions</h2>
{_html_table(["package", "version"], [[key, value] for key, value in versions().items()])}
</body>
</html>
"""


def _html_table(headings: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n<thead>{line(headings, 'th')}</thead>\n<tbody>{body}</tbody>\n</table>"


def _replace(path: Path, content: bytes) -> Path:
    """Write a file under another name first, so that no half of it is ever seen."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
