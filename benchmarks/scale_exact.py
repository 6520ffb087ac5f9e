"""The exact kernel against features: direct, and by conjugate gradients up to all of MNIST."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import VARIABLE, Dataset, load
from benchmarks.exact import solve_kernel_ridge
from benchmarks.rendering import markdown_table, measurements, mebibytes, number
from benchmarks.timing import Stages, finish, peak_memory

_ALPHA = 1e-3  # penalty of the comparison of solvers, in units of the mean of the diagonal
_PILOT = 2048  # features whose cross-validation gives the penalty for all rows


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the solvers on some rows, then features and the exact kernel on all of them."""
    found: list[dict[str, Any]] = [
        {"what": "exact", "n_rows": n, "n_components": 0} for n in settings["exact_rows"]
    ]
    n = settings["large_rows"]
    found += [
        {"what": "features", "n_rows": n, "n_components": m} for m in settings["large_components"]
    ]
    if n:
        found.append({"what": "exact large", "n_rows": n, "n_components": 0})
    return found


def estimate(configuration: dict[str, Any]) -> float:
    """Return seconds on two quiet cores."""
    n, m = configuration["n_rows"], configuration["n_components"]
    if configuration["what"] == "exact":
        return 20 + 5.7e-6 * n**2
    if configuration["what"] == "exact large":
        return 20 + 7e-7 * n**2
    return 20 + 7e-12 * n * m**2 + 5e-11 * m**3


def exact(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Solve exact kernel ridge regression on MNIST's first rows, in float64, by both solvers.

    Conjugate gradients go first: what the direct solver leaves to the process could hide what they
    take.
    """
    data = load("mnist")
    n = configuration["n_rows"]
    X, Y = data.X_train[:n].astype(np.float64), data.targets[:n]
    X_test = data.X_test.astype(np.float64)
    architecture = ntk.mlp(settings["depth"])
    alpha = _ALPHA * float(np.mean(ntk.kernel_diag(architecture, X)))

    def iterate() -> tuple[NDArray, str]:
        budget = settings["solver_memory"]
        solution = ntk.solve_kernel_ridge(
            architecture, X, Y, alpha, working_memory=budget, random_state=0
        )
        return solution.predict(X_test, working_memory=budget), str(solution.status)

    def direct() -> tuple[NDArray, str]:
        solution = solve_kernel_ridge(ntk.kernel(architecture, X), Y, alpha)
        return finish(solution.predict(ntk.kernel(architecture, X_test, X))), ""

    found, predictions = {}, {}
    for name, solve in (("conjugate gradients", iterate), ("direct", direct)):
        stages = Stages()
        with peak_memory() as memory, stages("solve"):
            predictions[name], status = solve()
        found[name] = _outcome(data, stages, memory.peak, predictions[name]) | {"status": status}
    expected = predictions["direct"]
    gaps = np.abs(predictions["conjugate gradients"] - expected)
    return {
        "solvers": found,
        "test_rows": len(expected),
        "difference": float(np.linalg.norm(gaps) / np.linalg.norm(expected)),
        "largest_difference": float(gaps.max() / np.abs(expected).max()),
    }


def exact_large(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Solve with all rows, by conjugate gradients in float32 products, from where it was left."""
    data = load("mnist")
    n = configuration["n_rows"]
    X, y = data.X_train[:n], data.y_train[:n]
    architecture = ntk.mlp(settings["depth"])
    pilot = ntk.NTKClassifier(architecture, n_components=min(_PILOT, n), random_state=0)
    alpha = pilot.fit(X, y).alpha_
    state = Path(os.environ[VARIABLE]) / f"exact_{n}.checkpoint"
    stages = Stages()
    with peak_memory() as memory:
        with stages("solve"):
            solution = ntk.solve_kernel_ridge(
                architecture, X, data.targets[:n], alpha, checkpoint=state, random_state=0
            )
        with stages("predict"):
            predicted = solution.predict(data.X_test)
    state.unlink(missing_ok=True)
    return _outcome(data, stages, memory.peak, predicted) | {
        "alpha": alpha,
        "status": str(solution.status),
    }


def features(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit features of all rows, with the penalty of least cross-validation score."""
    data = load("mnist")
    n = configuration["n_rows"]
    model = ntk.NTKClassifier(
        ntk.mlp(settings["depth"]), n_components=configuration["n_components"], random_state=0
    )
    with peak_memory() as memory:
        model.fit(data.X_train[:n], data.y_train[:n])
    stages = Stages(model.fit_seconds_)
    with stages("predict"):
        predicted = model.decision_function(data.X_test)
    return _outcome(data, stages, memory.peak, predicted) | {"alpha": model.alpha_}


def _outcome(data: Dataset, stages: Stages, peak: int | None, predicted: NDArray) -> dict[str, Any]:
    return {
        "seconds": dict(stages),
        "score": data.scores(predicted)["score"],
        "peak_memory": peak,
    }


MEASURES = {"exact": exact, "exact large": exact_large, "features": features}


def parts(results: dict[str, Any]) -> list[str]:
    """Return the paragraphs and tables of what was measured."""
    return [*_solvers(results), *_accuracy(results)]


def _solvers(results: dict[str, Any]) -> list[str]:
    found = measurements(results, what="exact")
    if not found:
        return []
    header = ("solver", "rows", "seconds", "test accuracy", "peak memory, MiB", "how it ended")
    rows = [
        (
            name,
            f"{m['n_rows']:,}",
            number(solver["seconds"]["solve"]),
            f"{solver['score']:.4f}",
            mebibytes(solver["peak_memory"]),
            solver["status"],
        )
        for m in found
        for name, solver in m["solvers"].items()
    ]
    texts = [
        "Exact kernel ridge regression on MNIST, ten targets, float64, predictions of the test "
        f"rows included; `working_memory` of {results['settings']['solver_memory']} MiB for "
        "conjugate gradients; the penalty is a thousandth of the mean of the kernel's diagonal:",
        markdown_table(header, rows),
    ]
    for m in found:
        ratio = m["solvers"]["direct"]["peak_memory"]
        ratio /= max(m["solvers"]["conjugate gradients"]["peak_memory"], 1)
        texts.append(
            f"With {m['n_rows']:,} rows the two differ by {m['difference']:.1e}, relative, in "
            f"their predictions for {m['test_rows']:,} test rows, by "
            f"{m['largest_difference']:.1e} of the largest at the most; conjugate gradients take "
            f"{ratio:.1f} times less memory."
        )
    return texts


def _accuracy(results: dict[str, Any]) -> list[str]:
    found = measurements(results, what="features") + measurements(results, what="exact large")
    if not found:
        return []
    header = ("model", "components", "seconds", "test accuracy", "alpha", "peak memory, MiB")
    rows = [
        (
            "features" if m["n_components"] else "exact kernel",
            f"{m['n_components']:,}" if m["n_components"] else "",
            number(sum(m["seconds"].values())),
            f"{m['score']:.4f}",
            number(m["alpha"]),
            mebibytes(m["peak_memory"]),
        )
        for m in found
    ]
    texts = [
        f"MNIST, {found[0]['n_rows']:,} training rows, float32: the default features, and the "
        f"exact kernel by conjugate gradients with the penalty that {_PILOT:,} features "
        "chose:",
        markdown_table(header, rows),
    ]
    texts += [
        f"How the exact solve ended: {m['status']}."
        for m in measurements(results, what="exact large")
    ]
    return texts
