"""The table and the figure of `uci`, from its results alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.rendering import listed, markdown_table, measurements, number

METHODS = ("NTK", "NTK features", "Laplace", "gamma-exponential", "RBF", "random forest")


def accuracies(
    results: dict[str, Any], methods: Sequence[str] = METHODS
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the sets that every method has done, and accuracies: a row each, a column a method."""
    found = [m for m in measurements(results) if set(methods) <= set(m["accuracy"])]
    values = [[m["accuracy"][method] for method in methods] for m in found]
    return [m["data"] for m in found], np.array(values).reshape(len(found), len(methods))


def aggregate(accuracy: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return figures over data sets, one for each method.

    Mean accuracy; the Friedman rank: the mean over sets of the rank among the methods, the best of
    a set being 1 and equals sharing the mean of their places; P90 and P95: the part of the sets on
    which a method has at least 90 or 95 % of the best method's accuracy; PMA: the mean part of the
    best method's accuracy.
    """
    share = accuracy / accuracy.max(axis=1, keepdims=True)
    return {
        "Friedman rank": rankdata(-accuracy, axis=1).mean(axis=0),
        "mean": accuracy.mean(axis=0),
        "std": accuracy.std(axis=0),
        "P90": (share >= 0.9).mean(axis=0),
        "P95": (share >= 0.95).mean(axis=0),
        "PMA": share.mean(axis=0),
        "PMA std": share.std(axis=0),
    }


def table(results: dict[str, Any]) -> str:
    """Return the aggregates, how methods compare in pairs, and the accuracies on every set."""
    data, accuracy = accuracies(results)
    parts = ["# Small classification sets"]
    if data:
        parts += [_explanation(results, len(data)), aggregate_table(accuracy)]
        parts += ["## In pairs", pairs(accuracy, "NTK", METHODS)]
    parts += ["## Choices", _choices(results), "## Every set", every_set(results)]
    return "\n\n".join(parts)


def _explanation(results: dict[str, Any], n: int) -> str:
    return (
        f"{n} data sets of the UCI repository under the protocol of Arora et al. (2020), "
        "arXiv:1910.01663: parameters are chosen on one division into halves; accuracy is the mean "
        "over four folds. P90 and P95: the share of sets on which a method has at least 90 or 95 % "
        "of the best accuracy of a set; PMA: the mean share of that best accuracy; the Friedman "
        "rank is the mean rank, 1 being the best. All of them are relative to the methods of this "
        "table. Arora et al. report, on 90 sets of which these are a part, that the NTK's support "
        "vector machine is ahead of random forests, of the Gaussian kernel and of trained "
        "networks; their figures are relative to other methods."
    )


def aggregate_table(accuracy: NDArray[np.float64], methods: Sequence[str] = METHODS) -> str:
    """Return the aggregates of every method, the best Friedman rank first."""
    figures = aggregate(accuracy)
    rows = []
    for i in np.argsort(figures["Friedman rank"], kind="stable"):
        rows.append(
            (
                methods[i],
                f"{figures['Friedman rank'][i]:.2f}",
                f"{figures['mean'][i]:.2%} ± {figures['std'][i]:.2%}",
                f"{figures['P90'][i]:.2%}",
                f"{figures['P95'][i]:.2%}",
                f"{figures['PMA'][i]:.2%} ± {figures['PMA std'][i]:.2%}",
            )
        )
    return markdown_table(("method", "Friedman rank", "mean accuracy", "P90", "P95", "PMA"), rows)


def difference(
    accuracy: NDArray[np.float64], first: str, second: str, methods: Sequence[str] = METHODS
) -> dict[str, float]:
    """Compare two methods: mean difference with its standard error, wins, ties and losses."""
    d = accuracy[:, methods.index(first)] - accuracy[:, methods.index(second)]
    error = d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
    counts = {"wins": (d > 0).sum(), "ties": (d == 0).sum(), "losses": (d < 0).sum()}
    return {"mean": float(d.mean()), "error": float(error)} | {k: int(v) for k, v in counts.items()}


def pairs(accuracy: NDArray[np.float64], first: str, methods: Sequence[str]) -> str:
    """Return a table of how a method compares with each of the others."""
    rows = []
    for other in methods:
        if other != first:
            d = difference(accuracy, first, other, methods)
            change = f"{100 * d['mean']:+.2f} ± {100 * d['error']:.2f}"
            rows.append((f"{first} and {other}", change, d["wins"], d["ties"], d["losses"]))
    names = f"{first} better", "equal", f"{first} worse"
    return markdown_table(("methods", "difference of accuracy, points", *names), rows)


def _choices(results: dict[str, Any]) -> str:
    s = results["settings"]
    cut = [m["data"] for m in measurements(results) if m["n_rows"] < m["n_rows_before"]]
    lines = [
        "* Columns are standardised; rows are used as they are, not scaled to unit norm. The NTK "
        "is without biases; Laplace and gamma-exponential kernels are in the homogeneous form "
        "|x||y| f(cos) (arXiv:2007.01580). Every kernel is scaled to a diagonal of mean one.",
        f"* Depths {listed(s['depths'])} of the NTK; C {listed(s['C'])} for every machine; "
        f"c {listed(s['c'])}; gamma {listed(s['gammas'])}; widths of the RBF {listed(s['rbf'])} "
        "times the inverse median squared distance.",
        f"* NTK features: the method is {s['feature_method']!r}, depths "
        f"{listed(s['feature_depths'])}, {s['n_components']:,} components or as many as rows to "
        "fit, if these are fewer; the support vector machine is linear in them.",
        f"* Random forest: {s['n_trees']} trees; features at a split {listed(s['max_features'])}.",
        "* Of parameters that do equally well the first is taken: the least depth, the least C. "
        "Of sets with a test part there is only the training part, which the folds divide.",
    ]
    if cut:
        lines.append(f"* At most {s['max_rows']:,} rows, at random, of {', '.join(cut)}.")
    return "\n".join(lines)


def every_set(results: dict[str, Any], methods: Sequence[str] = METHODS) -> str:
    """Return a table of the accuracies on every set, the best of each in bold."""
    sizes = {"n_rows": "rows", "n_train": "training", "n_test": "test"}
    sizes |= {"n_features": "columns", "n_steps": "steps", "n_classes": "classes"}
    found, rows = measurements(results), []
    shown = [name for name in sizes if found and name in found[0]]
    for m in found:
        best = max(m["accuracy"].values())
        cells = []
        for method in methods:
            value = m["accuracy"].get(method)
            text = None if value is None else f"{value:.4f}"
            cells.append(f"**{text}**" if value == best else text)
        size = (m[name] for name in shown)
        rows.append((m["data"], *size, *cells, number(sum(m["seconds"].values()))))
    header = ("data", *(sizes[name] for name in shown), *methods, "seconds")
    return markdown_table(header, rows)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: accuracy of every other method against the NTK's, a dot for each set."""
    return scatter(accuracies(results)[1], METHODS)


def scatter(accuracy: NDArray[np.float64], methods: Sequence[str]) -> Any:
    """Return a figure: accuracy of the other methods against the first's, a dot for each set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.6), layout="constrained")
    axes = figure.subplots(1, len(methods) - 1, sharey=True)
    low = accuracy.min(initial=1.0)
    for i, axis in enumerate(axes, start=1):
        axis.plot([low, 1], [low, 1], color="#999999", linewidth=1)
        axis.plot(accuracy[:, i], accuracy[:, 0], "o", markersize=4, color="#0b6fb8")
        axis.set_xlabel(f"accuracy,\n{methods[i]}")
    axes[0].set_ylabel(f"accuracy, {methods[0]}")
    return figure
