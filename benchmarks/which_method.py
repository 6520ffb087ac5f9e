"""The page "Which method?", made from the results of several benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frontier_drawing as frontier
from benchmarks import sparse, sparse_quality, uci_drawing
from benchmarks.errors import exponent
from benchmarks.methods import LABELS, approximates_ntk
from benchmarks.rendering import footnote, markdown_table, measurements, number
from benchmarks.results import read, write_atomically

SOURCES = ("frontier", "uci", "sparse", "sparse_quality", "speed")
PAGE = "which_method.md"


def write(folder: Path) -> list[Path]:
    """Write the page next to the results of a folder; return its path, if there are any."""
    found = {
        name: read(folder / f"{name}.json")
        for name in SOURCES
        if (folder / f"{name}.json").exists()
    }
    if not found:
        return []
    write_atomically(folder / PAGE, page(found))
    return [folder / PAGE]


def page(found: dict[str, dict[str, Any]]) -> str:
    """Return the page for the benchmarks there are."""
    makers: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "frontier": _frontier,
        "speed": _speed,
        "sparse": _sparse,
        "sparse_quality": _sparse_quality,
        "uci": _uci,
    }
    parts = []
    for name, make in makers.items():
        if name in found:
            parts += make(found[name])
    published = [(source, claim, ours(found)) for source, claim, ours in PUBLISHED]
    parts += [
        "## What was published, and what we measure",
        markdown_table(
            ("source", "published", "measured here"),
            [(source, claim, text or "not measured") for source, claim, text in published],
        ),
        "## Measured on",
        *(f"{name}: {footnote(found[name])}" for name in makers if name in found),
    ]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------------------------------------
# Error, score and time
# ---------------------------------------------------------------------------------------------

_CRITERIA = {
    "kernel error": frontier.kernel_error,
    "score": frontier.score,
    "time": frontier.seconds,
}


def standings(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return for each method where it is first and last, and how far from the best on average.

    A method's "kernel error" and "time" are geometric means over data sets of its ratio to the
    best method for the NTK; its "score" is the mean of its difference to the best score.
    """
    found = measurements(results, what="features")
    outcome: dict[str, dict[str, Any]] = {}
    for criterion, value in _CRITERIA.items():
        distances: dict[str, list[float]] = {}
        for data, title in frontier.TITLES.items():
            compared = frontier.at_common_size(found, data)
            values = {
                name: v
                for name, m in compared.items()
                if approximates_ntk(name) and (v := value(m)) is not None
            }
            if len(values) < 2:
                continue
            best, worst = min(values.values()), max(values.values())
            for name, v in values.items():
                place = outcome.setdefault(name, {c: ([], []) for c in _CRITERIA})[criterion]
                place[0].extend([title] if v == best else [])
                place[1].extend([title] if v == worst else [])
                distance = v - best if criterion == "score" else np.log(v / best)
                distances.setdefault(name, []).append(float(distance))
        for name, d in distances.items():
            mean = float(np.mean(d))
            outcome[name][f"{criterion} distance"] = mean if criterion == "score" else np.exp(mean)
    return outcome


def _frontier(results: dict[str, Any]) -> list[str]:
    found = measurements(results, what="features")
    parts = ["## Where each method wins and loses", _STANDINGS, _standings_table(results)]
    for what, value in (
        ("Kernel error", frontier.kernel_error),
        ("Score", frontier.score),
        ("Seconds", frontier.seconds),
    ):
        parts += [f"## {what}", frontier.explanation(what), frontier.by_data(found, value)]
    parts += ["## What was measured", frontier.COVERAGE, frontier.coverage(found)]
    parts += ["## How errors fall with m", _SLOPES, _slopes(found)]
    reached = measurements(results, what="reach")
    if reached:
        parts += ["## Time to an error", frontier.reach_text(results)]
        parts += [frontier.reach_table(reached)]
    estimators = measurements(results, what="estimator")
    if estimators:
        parts += ["## The default", frontier.ESTIMATORS]
        parts += [frontier.estimator_table(estimators, found)]
    return parts


_STANDINGS = (
    "Features of the NTK of depth 2 at one size (see the tables below). In brackets: the mean "
    "factor above the smallest kernel error and the shortest time of each data set, and the mean "
    "distance below the best score, in points."
)
_SLOPES = (
    "Exponent a of the fitted power law error ~ m^a, depth 2: -1/2 is the rate of plain random "
    "sampling; features that adapt to the data fall faster where the kernel's eigenvalues do."
)


def _standings_table(results: dict[str, Any]) -> str:
    outcome = standings(results)
    rows = []
    for name in (name for name in LABELS if name in outcome):
        cells = []
        for criterion in _CRITERIA:
            first, last = outcome[name][criterion]
            distance = outcome[name].get(f"{criterion} distance")
            if distance is None:
                cells.append(None)
                continue
            mean = f"{100 * distance:.2f}" if criterion == "score" else f"{number(distance)} x"
            said = [f"best: {', '.join(first)}"] if first else []
            said += [f"worst: {', '.join(last)}"] if last else []
            cells.append("; ".join([*said, f"({mean})"]))
        rows.append((LABELS[name], *cells))
    return markdown_table(("method", *_CRITERIA), rows)


def _slopes(found: list[dict[str, Any]]) -> str:
    rows = []
    names = [data for data in frontier.TITLES if any(m["data"] == data for m in found)]
    for method in LABELS:
        cells = []
        for data in names:
            points = [
                (m["n_components"], m["errors"]["frobenius"]["mean"])
                for m in found
                if (m["data"], m["method"], m["depth"]) == (data, method, 2) and "errors" in m
            ]
            cells.append(number(exponent(points), 2))
        if any(cells):
            rows.append((LABELS[method], *cells))
    return markdown_table(("method", *(frontier.TITLES[data] for data in names)), rows)


# ---------------------------------------------------------------------------------------------
# Speed, sparse rows, small sets
# ---------------------------------------------------------------------------------------------


def _speed(results: dict[str, Any]) -> list[str]:
    s, found = results["settings"], measurements(results)
    wanted = [m for m in found if m["what"] in ("transform", "landmarks")]
    depths = sorted({m["depth"] for m in wanted})
    rows = []
    for name in dict.fromkeys(m["name"] for m in wanted):
        ratios = {m["depth"]: m["ratio"]["measured"] for m in wanted if m["name"] == name}
        label = "Nyström, before whitening" if name == "landmarks" else name
        cells = [number(ratios[depth]["numpy"]) if depth in ratios else None for depth in depths]
        rows.append((label, *cells))
    header = ("method", *(f"depth {depth}" for depth in depths))
    text = (
        f"Time of `transform` of {s['transform_rows']:,} rows of {s['n_features']} columns to "
        f"{s['n_components']:,} features, in units of one NumPy product of the rows with a matrix "
        "of that size, float32."
    )
    parts = ["## Time in matrix products", text, markdown_table(header, rows)]
    widths = sorted((m for m in found if m["what"] == "directions"), key=lambda m: m["width"])
    if widths:
        kinds = list(widths[0]["ratio"])
        table = [
            (f"{kind} directions", *(number(m["ratio"][kind]["numpy"]) for m in widths))
            for kind in kinds
        ]
        table += [
            (f"{kind} directions, set-up in seconds", *(number(m["set_up"][kind]) for m in widths))
            for kind in kinds
        ]
        columns = ("Gegenbauer features", *(f"{m['width']:,} columns" for m in widths))
        parts += [_DIRECTIONS, markdown_table(columns, table)]
    return parts


_DIRECTIONS = (
    "Structured directions and the structured projection of the linear part are Hadamard "
    "transforms with random signs in place of a matrix, and need no orthogonalisation, which is "
    "most of the set-up of others. With more features than columns a feature takes time in "
    "proportion to the logarithm of the columns; principal directions cost what they cost "
    "otherwise. In the same units:"
)


def _sparse(results: dict[str, Any]) -> list[str]:
    rows = []
    for method in LABELS:
        by_entries, by_columns = sparse.series(results, method)
        if by_entries or by_columns:
            exponents = number(exponent(by_entries), 2), number(exponent(by_columns), 2)
            rows.append((LABELS[method], *exponents, f"{by_columns[-1][0]:,}"))
    text = (
        "Exponents of the time of `transform` in the number of entries and in the number of "
        "columns of hashed text-like rows: 0 is no growth, 1 growth in proportion."
    )
    header = ("method", "entries", "columns", "most columns")
    return ["## Sparse rows", text, markdown_table(header, rows)]


def _sparse_quality(results: dict[str, Any]) -> list[str]:
    about, rows = sparse_quality.text(results), sparse_quality.comparison(results)
    return ["## Sparse rows: error and score", about, rows]


def _uci(results: dict[str, Any]) -> list[str]:
    data, accuracy = uci_drawing.accuracies(results)
    if not data:
        return []
    text = (
        f"Support vector machines on {len(data)} small data sets, and a random forest. The NTK and "
        f"Laplace kernels: {_difference(accuracy, 'NTK', 'Laplace')}. The NTK's features and the "
        f"exact NTK: {_difference(accuracy, 'NTK features', 'NTK')}."
    )
    return ["## Small data sets", text, uci_drawing.aggregate_table(accuracy)]


def _difference(accuracy: Any, first: str, second: str) -> str:
    d = uci_drawing.difference(accuracy, first, second)
    return (
        f"{first} is {100 * d['mean']:+.2f} ± {100 * d['error']:.2f} points from {second} on "
        f"average (mean and standard error), better on {d['wins']} sets, equal on {d['ties']}, "
        f"worse on {d['losses']}"
    )


# ---------------------------------------------------------------------------------------------
# What was published
# ---------------------------------------------------------------------------------------------


def _uci_pair(first: str, second: str) -> Callable[[dict[str, Any]], str | None]:
    def ours(found: dict[str, Any]) -> str | None:
        if "uci" not in found:
            return None
        data, accuracy = uci_drawing.accuracies(found["uci"])
        if not data:
            return None
        means = accuracy.mean(axis=0)
        said = [f"{name} {means[uci_drawing.METHODS.index(name)]:.2%}" for name in (first, second)]
        return f"{len(data)} sets: {', '.join(said)}; {_difference(accuracy, first, second)}"

    return ours


def _error_ratio(first: str, second: str) -> Callable[[dict[str, Any]], str | None]:
    def ours(found: dict[str, Any]) -> str | None:
        features = measurements(found["frontier"], what="features") if "frontier" in found else []
        texts = []
        for data, title in frontier.TITLES.items():
            compared = frontier.at_common_size(features, data)
            if first in compared and second in compared:
                pair = [frontier.kernel_error(compared[name]) for name in (first, second)]
                texts.append(f"{title} {number(pair[0])} and {number(pair[1])}")
        said = f"kernel error of {LABELS[first]} and {LABELS[second]}: {'; '.join(texts)}"
        return said if texts else None

    return ours


PUBLISHED = (
    (
        "Zandieh et al. (2021), arXiv:2106.07880",
        "NTKRF (random features and sketches) and NTKSketch (series and sketches) approximate the "
        "NTK at much less than its cost; both are pinned rows of the tables. Features of a "
        "convolutional network reach the exact kernel's accuracy on CIFAR-10 150 times sooner "
        "(abstract)",
        _error_ratio("ntkrf", "ntksketch-8"),
    ),
    (
        "Han et al. (2022), arXiv:2209.04121",
        "sketches for general activations: features of the convolutional NTK of a Myrtle network "
        "of 5 layers on CIFAR-10, 106 times sooner than the exact kernel (abstract)",
        lambda found: None,
    ),
    (
        "Han et al. (2022), arXiv:2202.03474",
        "Gegenbauer features do better than earlier approximations of zonal kernels",
        _error_ratio("gegenbauer", "ntkrf"),
    ),
    (
        "Arora et al. (2020), arXiv:1910.01663",
        "the NTK's support vector machine does better than random forests on 90 UCI sets, of which "
        "ours are a part: mean accuracy 81.95 % and 81.56 %",
        _uci_pair("NTK", "random forest"),
    ),
    (
        "Geifman et al. (2020), arXiv:2007.01580",
        "NTK, Laplace and gamma-exponential kernels perform almost identically",
        _uci_pair("NTK", "Laplace"),
    ),
)
