"""Rows of `frontier` beside features: the estimators, and the time to reach an error."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs

import ntksketch as ntk
from benchmarks import ridge
from benchmarks.datasets import Dataset, held_out, load, normalised
from benchmarks.errors import Yardstick, apart, summary
from benchmarks.methods import draw, library_method
from benchmarks.timing import Stages, peak_memory, seconds_of

STAGES_ATTRIBUTE = "fit_seconds_"  # a dictionary, of an estimator that tells its stages

# ---------------------------------------------------------------------------------------------
# The estimators
# ---------------------------------------------------------------------------------------------


def estimator(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit the classifier or the regressor, its network chosen on training rows; time its stages."""
    data = load(configuration["data"]).first(settings["max_train"], settings["max_test"])
    if data.task == "classification":
        data = normalised(data)
    m, method = configuration["n_components"], library_method(settings["estimator_method"])
    best, tried = choose_network(data, min(m, settings["choice_components"]), method, settings)
    features = ntk.NTKFeatures(architecture_of(best), method, m, kind=best["kind"], random_state=0)
    outcome = ridge.measure_features(lambda: features.fit(data.X_train), data)
    outcome["by_parts"] = outcome.pop("seconds")
    model = _model(data, best, method, m)
    with peak_memory() as memory:
        seconds = seconds_of(lambda: model.fit(data.X_train, data.y_train))
    told = getattr(model, STAGES_ATTRIBUTE, None)
    rows = len(data.X_train)
    block = np.random.default_rng(0).random((min(rows, ridge.BLOCK_ROWS), m), np.float32)
    return {
        **outcome,
        **_score(model, data),
        **best,
        "held_out": tried,
        "n_train": rows,
        "n_test": len(data.X_test),
        "source": data.source,
        "fit": seconds,
        "stages": None if told is None else {name: float(told[name]) for name in told},
        "bare_gram": seconds_of(lambda: bare_gram(block, rows)),
        "peak_memory": memory.peak,
    }


def _model(data: Dataset, network: dict[str, Any], method: Any, n_components: int) -> Any:
    model = ntk.NTKClassifier if data.task == "classification" else ntk.NTKRegressor
    architecture, kind = architecture_of(network), network["kind"]
    return model(architecture, method, n_components, kind=kind, random_state=0)


def architecture_of(network: dict[str, Any]) -> Any:
    """Return the network that was chosen."""
    return ntk.mlp(network["depth"], input_bias_std=network["input_bias_std"])


def _score(model: Any, data: Dataset) -> dict[str, float]:
    predicted = model.predict(data.X_test)
    if data.task == "classification":
        return {"score": float(np.mean(predicted == data.y_test))}
    return data.scores(np.asarray(predicted, dtype=np.float64)[:, None])


def choose_network(
    data: Dataset, n_components: int, method: Any, settings: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return kernel, depth and input bias of the best score on held-out training rows, and all.

    Biases are given in root mean square norms of the training rows.
    """
    part, tried = held_out(data), []
    X = data.X_train
    norm = float(np.sqrt(np.einsum("ij,ij->", X, X, dtype=np.float64) / len(X)))
    for kind, depth, bias in itertools.product(
        settings["estimator_kinds"],
        settings["estimator_depths"],
        settings["estimator_input_biases"],
    ):
        network = {"kind": kind, "depth": depth, "input_bias_std": round(bias * norm, 3)}
        model = _model(part, network, method, n_components).fit(part.X_train, part.y_train)
        tried.append({**network, "score": float(model.score(part.X_test, part.y_test))})
    best = max(tried, key=lambda candidate: candidate["score"])
    return {name: best[name] for name in ("kind", "depth", "input_bias_std")}, tried


def bare_gram(block: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
    """Compute a float32 Gram matrix by blocks, one triangle, of so many rows: a block repeated."""
    (ssyrk,) = get_blas_funcs(["syrk"], dtype=np.float32)
    m = block.shape[1]
    gram = np.zeros((m, m), np.float32, order="F")
    for rows in ridge.row_blocks(n_rows):
        part = block[: min(rows.stop, n_rows) - rows.start]
        gram = ssyrk(1.0, part.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
    return gram


# ---------------------------------------------------------------------------------------------
# The time to reach an error
# ---------------------------------------------------------------------------------------------


def reach(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Double m until the kernel error is small enough; time set-up and features of all rows."""
    method, depth = configuration["method"], settings["reach_depth"]
    data = normalised(load(settings["reach_data"]).first(settings["max_train"], 1))
    sample, others = apart(data, settings["error_rows"])
    yardstick = Yardstick(sample, depth, settings["ridges"])
    tried = []
    for m in settings["reach_components"]:
        if m > len(others):
            break
        drawn = [draw(method, depth, m, seed, others) for seed in range(settings["error_seeds"])]
        errors = [yardstick.errors(features)["frobenius"] for features in drawn]
        tried.append({"n_components": m, "error": summary(errors)})
        if tried[-1]["error"]["mean"] <= settings["reach_error"]:
            break
    m = tried[-1]["n_components"]
    stages = _time_all(method, depth, m, data.X_train)
    needed = fitted_size(tried, settings["reach_error"])
    reached = tried[-1]["error"]["mean"] <= settings["reach_error"]
    seconds = sum(stages.values())
    return {
        "tried": tried,
        "reached": reached,
        "n_components": m if reached else needed,
        "seconds": dict(stages) if reached else {"extrapolated": seconds * needed / m},
        "total": seconds if reached else seconds * needed / m,
        "fitted_size": needed,
        "n_train": len(data.X_train),
    }


def _time_all(method: str, depth: int, m: int, X: NDArray) -> Stages:
    """Time set-up and features of all rows, compiled before; no features are kept."""
    stages = Stages()
    draw(method, depth, m, 0, X).transform(X[: ridge.BLOCK_ROWS])
    with stages("set-up"):
        features = draw(method, depth, m, 1, X)
    for rows in ridge.row_blocks(len(X)):
        with stages("transform"):
            features.transform(X[rows])
    return stages


def fitted_size(tried: list[dict[str, Any]], wanted: float) -> int:
    """Return m at which the power law fitted to the last sizes gives the error wanted.

    One size, or errors that do not fall, are taken to fall as m^(-1/2) from the last.
    """
    last = tried[-5:]
    sizes = np.log([t["n_components"] for t in last])
    errors = np.log([t["error"]["mean"] for t in last])
    slope, offset = np.polyfit(sizes, errors, 1) if len(last) > 1 else (0.0, 0.0)
    if slope >= 0:
        slope, offset = -0.5, errors[-1] + sizes[-1] / 2
    return round(float(np.exp((np.log(wanted) - offset) / slope)))
