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
_SHOWN = 500  # test rows whose predictions are compared
_PILOT = 2048  # features whose cross-validation gives the penalty for all rows


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the solvers on some rows, then features and the exact kernel on all of them."""
    found: list[dict[str, Any]] = [
        {"what": "exact", "n_rows": n, "n_components": 0, "solver": solver}
        for n in settings["exact_rows"]
        for solver in ("direct", "conjugate gradients")
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
        return 20 + 4e-7 * n**2
    if configuration["what"] == "exact large":
        return 20 + 8e-7 * n**2
    return 20 + 7e-12 * n * m**2 + 5e-11 * m**3


def exact(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Solve exact kernel ridge regression on MNIST's first rows, in float64."""
    data = load("mnist")
    n = configuration["n_rows"]
    X, Y = data.X_train[:n].astype(np.float64), data.targets[:n]
    X_test = data.X_test.astype(np.float64)
    architecture = ntk.mlp(settings["depth"])
    alpha = _ALPHA * float(np.mean(ntk.kernel_diag(architecture, X)))
    stages = Stages()
    status = None
    with peak_memory() as memory, stages("solve"):
        if configuration["solver"] == "direct":
            predicted = finish(_direct(architecture, X, Y, X_test, alpha))
        else:
            memory_budget = settings["solver_memory"]
            solution = ntk.solve_kernel_ridge(
                architecture, X, Y, alpha, working_memory=memory_budget, random_state=0
            )
            predicted = solution.predict(X_test, working_memory=memory_budget)
            status = str(solution.status)
    return _outcome(data, stages, memory.peak, predicted) | {
        "status": status,
        "predictions": predicted[:_SHOWN].ravel().tolist(),
    }


def _direct(
    architecture: ntk.Architecture, X: NDArray, Y: NDArray, X_test: NDArray, alpha: float
) -> NDArray:
    solution = solve_kernel_ridge(ntk.kernel(architecture, X), Y, alpha)
    return solution.predict(ntk.kernel(architecture, X_test, X))


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
            m["solver"],
            f"{m['n_rows']:,}",
            number(m["seconds"]["solve"]),
            f"{m['score']:.4f}",
            mebibytes(m["peak_memory"]),
            m["status"] or "",
        )
        for m in found
    ]
    texts = [
        "Exact kernel ridge regression on MNIST, ten targets, float64, predictions of the test "
        f"rows included; `working_memory` of {results['settings']['solver_memory']} MiB for "
        "conjugate gradients; the penalty is a thousandth of the mean of the kernel's diagonal:",
        markdown_table(header, rows),
    ]
    for n in sorted({m["n_rows"] for m in found}):
        pair = measurements(results, what="exact", n_rows=n)
        if len(pair) < 2:
            continue
        one, other = (np.array(m["predictions"]) for m in pair)
        gap = np.linalg.norm(one - other) / np.linalg.norm(one)
        ratio = pair[0]["peak_memory"] / pair[1]["peak_memory"]
        texts.append(
            f"With {n:,} rows the two differ by {gap:.1e}, relative, in their predictions for "
            f"{_SHOWN} test rows; conjugate gradients take {ratio:.1f} times less memory."
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
