"""The tables and the figure of `ucr`, from its results alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rendering import listed, markdown_table
from benchmarks.uci_drawing import accuracies, aggregate, difference, every_set, pairs, scatter

REFERENCE = "RNTK"
OTHERS = ("NTK", "RBF", "nearest, Euclidean", "nearest, warped")
TARGET = 1.0  # points that features may be from the exact kernel, on average


def methods(results: dict[str, Any]) -> tuple[str, ...]:
    """Return the methods, the exact kernel and its features first."""
    return (REFERENCE, *results["settings"]["features"], *OTHERS)


def table(results: dict[str, Any]) -> str:
    """Return means over sets, how features and others compare, and the accuracies on every set."""
    names = methods(results)
    data, accuracy = accuracies(results, names)
    parts = ["# Time series"]
    if data:
        parts += [_explanation(results, len(data)), _aggregates(accuracy, names)]
        parts += [_features(accuracy, results), "## In pairs", pairs(accuracy, REFERENCE, names)]
    return "\n\n".join(
        [*parts, "## Choices", _choices(results), "## Every set", every_set(results, names)]
    )


def _explanation(results: dict[str, Any], n: int) -> str:
    s = results["settings"]
    return (
        f"{n} sets of the UCR archive with their given division. Support vector machines on the "
        "exact NTK of a recurrent network (RNTK), on its features, on the NTK of a multilayer "
        "perceptron and on the Gaussian kernel, and nearest neighbours; parameters are chosen on "
        f"the training series alone, by {s['repeats']} times cross-validation in {s['parts']} "
        "parts or as many as the least class has series, the same for all. The rank is the mean "
        "over sets, 1 being the best. Alemohammad et al. (2021), arXiv:2006.10246, report that the "
        "RNTK is ahead of the NTK, of the Gaussian and polynomial kernels and of trained recurrent "
        "networks on average over a larger part of the archive, with grids of their own."
    )


def _aggregates(accuracy: NDArray[np.float64], names: tuple[str, ...]) -> str:
    figures, rows = aggregate(accuracy), []
    for i in np.argsort(figures["Friedman rank"], kind="stable"):
        behind = difference(accuracy, names[i], REFERENCE, names)
        error = f" ± {100 * behind['error']:.2f}" if np.isfinite(behind["error"]) else ""
        change = None if names[i] == REFERENCE else f"{100 * behind['mean']:+.2f}{error}"
        mean = f"{figures['mean'][i]:.2%}"
        rows.append((names[i], mean, f"{figures['Friedman rank'][i]:.2f}", change))
    header = ("method", "mean accuracy", "average rank", "less RNTK, points")
    return markdown_table(header, rows)


def _features(accuracy: NDArray[np.float64], results: dict[str, Any]) -> str:
    names, lines = methods(results), []
    for name in results["settings"]["features"]:
        points = 100 * difference(accuracy, name, REFERENCE, names)["mean"]
        within = "within" if abs(points) <= TARGET else "not within"
        lines.append(
            f"{name}: {points:+.2f} points from the exact kernel on average, {within} the "
            f"{TARGET:g} aimed at."
        )
    return " ".join(lines)


def _choices(results: dict[str, Any]) -> str:
    s = results["settings"]
    return "\n".join(
        [
            "* Every series has mean 0 and variance 1. Kernels are scaled to a diagonal of mean "
            f"one; C {listed(s['C'])}.",
            f"* RNTK: depth {listed(s['depths'])}, weight_std {listed(s['weight_stds'])}, bias_std "
            f"{listed(s['bias_stds'])}, input_std 1, no initial state; the last state is read out, "
            f"and for series of at most {s['mean_steps']} steps the mean state, too (depth "
            f"{s['depths'][0]}, bias_std {s['bias_stds'][0]:g}): its kernel takes all pairs of "
            "steps.",
            f"* RNTK features: method {s['feature_method']!r}, m of them from n training series, "
            "the same grid; the machine is linear in them. With all series as landmarks, which is "
            "what `NTKFeatures` takes of so few, they have the exact kernel.",
            f"* NTK: depth {listed(s['mlp_depths'])}, the same bias_std. RBF: {listed(s['rbf'])} "
            "times the inverse median squared distance. Nearest, warped: the least sum of squares "
            f"over alignments within windows of {listed(s['windows'])} times the length.",
            "* All training series are used. Of parameters that do equally well the first counts.",
        ]
    )


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: accuracy of every other method against the RNTK's, a dot for each set."""
    names = methods(results)
    return scatter(accuracies(results, names)[1], names)
