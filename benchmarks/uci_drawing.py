"""The table and the figure of `uci`, from its results alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.rendering import markdown_table, measurements, number

METHODS = ("NTK", "NTK features", "Laplace", "gamma-exponential", "RBF", "random forest")


def accuracies(results: dict[str, Any]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the sets that every method has done, and accuracies: a row each, a column a method."""
    found = [m for m in measurements(results) if set(METHODS) <= set(m["accuracy"])]
    values = [[m["accuracy"][method] for method in METHODS] for m in found]
    return [m["data"] for m in found], np.array(values).reshape(len(found), len(METHODS))


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
        parts += ["## In pairs", _pairs(accuracy)]
    parts += ["## Choices", _choices(results), "## Every set", _every_set(results)]
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


def aggregate_table(accuracy: NDArray[np.float64]) -> str:
    """Return the aggregates of every method, the best Friedman rank first."""
    figures = aggregate(accuracy)
    rows = []
    for i in np.argsort(figures["Friedman rank"], kind="stable"):
        rows.append(
            (
                METHODS[i],
                f"{figures['Friedman rank'][i]:.2f}",
                f"{figures['mean'][i]:.2%} ± {figures['std'][i]:.2%}",
                f"{figures['P90'][i]:.2%}",
                f"{figures['P95'][i]:.2%}",
                f"{figures['PMA'][i]:.2%} ± {figures['PMA std'][i]:.2%}",
            )
        )
    return markdown_table(("method", "Friedman rank", "mean accuracy", "P90", "P95", "PMA"), rows)


def difference(accuracy: NDArray[np.float64], first: str, second: str) -> dict[str, float]:
    """Compare two methods: mean difference with its standard error, wins, ties and losses."""
    d = accuracy[:, METHODS.index(first)] - accuracy[:, METHODS.index(second)]
    error = d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
    counts = {"wins": (d > 0).sum(), "ties": (d == 0).sum(), "losses": (d < 0).sum()}
    return {"mean": float(d.mean()), "error": float(error)} | {k: int(v) for k, v in counts.items()}


def _pairs(accuracy: NDArray[np.float64]) -> str:
    rows = []
    for other in METHODS[1:]:
        d = difference(accuracy, "NTK", other)
        change = f"{100 * d['mean']:+.2f} ± {100 * d['error']:.2f}"
        rows.append((f"NTK and {other}", change, d["wins"], d["ties"], d["losses"]))
    return markdown_table(
        ("methods", "difference of accuracy, points", "NTK better", "equal", "NTK worse"), rows
    )


def _choices(results: dict[str, Any]) -> str:
    s = results["settings"]
    cut = [m["data"] for m in measurements(results) if m["n_rows"] < m["n_rows_before"]]
    lines = [
        "* Columns are standardised; rows are used as they are, not scaled to unit norm. The NTK "
        "is without biases; Laplace and gamma-exponential kernels are in the homogeneous form "
        "|x||y| f(cos) (arXiv:2007.01580). Every kernel is scaled to a diagonal of mean one.",
        f"* Depths {_listed(s['depths'])} of the NTK; C {_listed(s['C'])} for every machine; "
        f"c {_listed(s['c'])}; gamma {_listed(s['gammas'])}; widths of the RBF {_listed(s['rbf'])} "
        "times the inverse median squared distance.",
        f"* NTK features: the method is {s['feature_method']!r}, depths "
        f"{_listed(s['feature_depths'])}, {s['n_components']:,} components or as many as rows to "
        "fit, if these are fewer; the support vector machine is linear in them.",
        f"* Random forest: {s['n_trees']} trees; features at a split {_listed(s['max_features'])}.",
        "* Of parameters that do equally well the first is taken: the least depth, the least C. "
        "Of sets with a test part there is only the training part, which the folds divide.",
    ]
    if cut:
        lines.append(f"* At most {s['max_rows']:,} rows, at random, of {', '.join(cut)}.")
    return "\n".join(lines)


def _listed(values: list[Any]) -> str:
    return ", ".join(v if isinstance(v, str) else f"{v:g}" for v in values)


def _every_set(results: dict[str, Any]) -> str:
    rows = []
    for m in measurements(results):
        best = max(m["accuracy"].values())
        cells = []
        for method in METHODS:
            value = m["accuracy"].get(method)
            text = None if value is None else f"{value:.4f}"
            cells.append(f"**{text}**" if value == best else text)
        size = m["n_rows"], m["n_features"], m["n_classes"]
        rows.append((m["data"], *size, *cells, number(sum(m["seconds"].values()))))
    return markdown_table(("data", "rows", "columns", "classes", *METHODS, "seconds"), rows)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: accuracy of every other method against the NTK's, a dot for each set."""
    from matplotlib.figure import Figure

    _, accuracy = accuracies(results)
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    axes = figure.subplots(1, len(METHODS) - 1, sharey=True)
    low = accuracy.min(initial=1.0)
    for i, axis in enumerate(axes, start=1):
        axis.plot([low, 1], [low, 1], color="#999999", linewidth=1)
        axis.plot(accuracy[:, i], accuracy[:, 0], "o", markersize=4, color="#0b6fb8")
        axis.set_xlabel(f"accuracy, {METHODS[i]}")
    axes[0].set_ylabel("accuracy, NTK")
    return figure
