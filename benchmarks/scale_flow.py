"""Training in closed form on features of many rows, next to ridge regression on the same ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import r2_score

import ntksketch as ntk
from benchmarks.mesh import teacher
from benchmarks.rendering import markdown_table, measurements, mebibytes, number
from benchmarks.timing import Stages, peak_memory

MODELS = {"flow": "gradient flow", "ridge": "ridge"}
_TIMES = np.array([1.0, 10.0, 100.0, 1e3, 1e4, 1e5, np.inf])


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return both models on the same rows."""
    return [
        {"what": "flow", "n_rows": n, "n_components": m, "model": model}
        for n, m in settings["flow"]
        for model in MODELS
    ]


def estimate(configuration: dict[str, Any]) -> float:
    """Return seconds on two quiet cores."""
    n, m = configuration["n_rows"], configuration["n_components"]
    return 30 + 2e-11 * n * m**2 + 1e-9 * m**3


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit one model from a file of rows."""
    n, n_test, m = configuration["n_rows"], settings["test_rows"], configuration["n_components"]
    features = {"method": "gegenbauer", "n_components": m, "random_state": 0}
    features |= {"working_memory": settings["memory"]}
    network = ntk.mlp(settings["depth"])
    stages = Stages()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        X, y = teacher(n + n_test, settings["synthetic_columns"])
        np.save(path, X[:n])
        X_test, y_test, y = X[n:].copy(), y[n:].copy(), y[:n].copy()
        del X
        mean = float(y.mean())
        source = ntk.data.open_source(path, targets=y - mean)
        with peak_memory() as memory, stages("fit"):
            if configuration["model"] == "ridge":
                ridge = ntk.NTKRegressor(network, alphas="auto", **features).fit(source)
                scores = {"chosen alpha": ridge.score(X_test, y_test - mean)}
            else:
                flow = ntk.GradientFlow(network, **features).fit(source)
                predicted = flow.predict(X_test, _TIMES)  # solves
                scores = {
                    f"t = {t:g}": r2_score(y_test - mean, values)
                    for t, values in zip(_TIMES, predicted, strict=True)
                }
    return {"seconds": dict(stages), "scores": scores, "peak_memory": memory.peak}


def parts(results: dict[str, Any]) -> list[str]:
    """Return the paragraph and table of what was measured."""
    found = measurements(results, what="flow")
    if not found:
        return []
    texts = [
        "Training in closed form, `GradientFlow`, and ridge regression, `NTKRegressor`, on the "
        "same Gegenbauer features of synthetic rows from .npy; predictions of the test rows, at "
        f"{len(_TIMES)} times or with the chosen penalty, included:",
        markdown_table(
            ("model", "rows", "components", "seconds", "peak memory, MiB", "best test R²", "at"),
            [
                (
                    MODELS[m["model"]],
                    f"{m['n_rows']:,}",
                    f"{m['n_components']:,}",
                    number(m["seconds"]["fit"]),
                    mebibytes(m["peak_memory"]),
                    f"{max(m['scores'].values()):.4f}",
                    max(m["scores"], key=m["scores"].__getitem__),
                )
                for m in found
            ],
        ),
    ]
    for n in sorted({m["n_rows"] for m in found}):
        flow, ridge = (measurements(results, what="flow", n_rows=n, model=x) for x in MODELS)
        if flow and ridge:
            longer = flow[0]["seconds"]["fit"] / ridge[0]["seconds"]["fit"]
            text = f"With {n:,} rows gradient flow takes {longer:.2f} times as long as ridge"
            peaks = [m[0]["peak_memory"] for m in (flow, ridge)]
            if all(peaks):  # few rows may add nothing that can be measured
                text += f", and {peaks[0] / peaks[1]:.2f} times its memory"
            texts.append(f"{text}.")
    return texts
