"""Error, score, time and memory of every method on five data sets, next to scikit-learn's."""

from __future__ import annotations

import math
from typing import Any

from benchmarks import frontier_drawing, frontier_estimators, peers, ridge
from benchmarks.datasets import Dataset, load, normalised
from benchmarks.errors import Yardstick, apart
from benchmarks.methods import (
    LIBRARY,
    PEERS,
    SKLEARN_NTK,
    approximates_ntk,
    draw,
)
from benchmarks.timing import Stages

table, plot = frontier_drawing.table, frontier_drawing.plot

METHODS = (*LIBRARY, SKLEARN_NTK, *PEERS)
MAIN = ("random-features", "ntkrf", "polynomial-sketch", "gegenbauer", "nystroem")
WITHOUT_LANDMARKS = MAIN[:4]  # may have more columns than there are rows
_SIZES = {  # rows to train on, rows to test on, columns: for the estimates of time
    "digits": (1438, 359, 64),
    "mnist": (60000, 10000, 784),
    "protein": (41157, 4573, 9),
    "kin40k": (36000, 4000, 8),
    "california": (16512, 4128, 8),
}
_COSTS = {  # of a row's features, in matrix products of d + m/8 by m
    "ntksketch-2": 4.0,
    "ntksketch-8": 10.0,
    "polynomial-sketch": 4.0,
    "count-sketch": 4.0,
    "gradient": 4.0,
    "resampled": 4.0,
}


def _group(data: list[str], methods: Any, n_components: int, depth: int) -> dict[str, Any]:
    return {"data": data, "methods": list(methods), "n_components": n_components, "depth": depth}


# in the order of measuring; settings know nothing of them, so that what is measured stays when
# there is another method
GROUPS: dict[str, list[dict[str, Any]]] = {
    "full": [
        _group(["mnist", "protein"], METHODS, 2048, 2),
        {"estimator": ["protein", "california", "kin40k"], "n_components": 2048},
        {"estimator": ["mnist"], "n_components": 8192},
        {"reach": ["default", "ntkrf"]},
        _group(["california", "kin40k"], METHODS, 2048, 2),
        _group(["digits"], METHODS, 512, 2),
        _group(["mnist"], MAIN, 2048, 1),
        _group(["mnist", "protein"], MAIN, 2048, 4),
        _group(["mnist", "protein"], (*MAIN, "gradient", *PEERS), 256, 2),
        _group(["mnist"], METHODS, 1024, 2),
        _group(["protein"], MAIN, 1024, 2),
        _group(["mnist", "protein"], (*MAIN, "gradient"), 4096, 2),
        _group(["mnist"], ["gegenbauer", "nystroem"], 8192, 2),
        _group(["mnist"], ["ntksketch-2", "ntksketch-8"], 2048, 1),
        _group(["mnist"], ["ntksketch-2", "ntksketch-8"], 2048, 4),
        *(_group(["california", "kin40k"], MAIN, m, 2) for m in (256, 512, 1024)),
        _group(["digits"], MAIN, 256, 2),
        *(_group(["digits"], WITHOUT_LANDMARKS, m, 2) for m in (1024, 2048)),
    ],
    "short": [
        _group(["digits"], METHODS, 128, 2),
        {"estimator": ["digits"], "n_components": 128},
        {"reach": ["default", "ntkrf"]},
    ],
}


def settings(short: bool) -> dict[str, Any]:
    """Return how many rows there are, and how errors are measured."""
    full = {
        "groups": "full",
        "max_train": 10**6,
        "max_test": 10**6,
        "ridges": [0.1, 0.01],
        "error_rows": 2000,
        "error_seeds": 3,
        "error_seeds_above_2048": 1,
        "gammas": peers.GAMMAS,
        "estimator_kinds": ["ntk", "nngp"],
        "estimator_depths": [1, 2, 3],
        "estimator_input_biases": [0.0, 0.5, 1.0],
        "estimator_method": "default",
        "choice_components": 2048,
        "reach_data": "mnist",
        "reach_depth": 2,
        "reach_error": 0.05,
        "reach_components": [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384],
    }
    small = {
        "groups": "short",
        "max_train": 400,
        "max_test": 100,
        "error_rows": 150,
        "error_seeds": 2,
        "gammas": [0.5, 1, 2],
        "estimator_depths": [1, 2],
        "estimator_input_biases": [0.0, 1.0],
        "choice_components": 64,
        "reach_data": "digits",
        "reach_components": [64, 128],
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every method at one size first, then the estimators, then other sizes and depths."""
    found: dict[str, dict[str, Any]] = {}
    for group in GROUPS[settings["groups"]]:
        for configuration in _members(group):
            found.setdefault(configuration["key"], configuration)
    return list(found.values())


def _members(group: dict[str, Any]) -> list[dict[str, Any]]:
    if "reach" in group:
        return [{"key": f"reach {m}", "what": "reach", "method": m} for m in group["reach"]]
    m = group["n_components"]
    if "estimator" in group:
        return [
            {"key": f"default {d} {m}", "what": "estimator", "data": d, "n_components": m}
            for d in group["estimator"]
        ]
    found = []
    for data in group["data"]:
        for method in group["methods"]:
            depth = group["depth"] if approximates_ntk(method) else None
            key = " ".join(str(part) for part in (method, data, depth, m) if part is not None)
            about = {"key": key, "what": "features", "data": data, "method": method}
            found.append({**about, "depth": depth, "n_components": m})
    return found


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, from operation counts."""
    what, m = configuration["what"], configuration.get("n_components", 0)
    if what == "reach":
        n, _, d = _rows(settings["reach_data"], settings)
        largest = 16384 if configuration["method"] == "ntkrf" else 1024
        m = min(largest, settings["reach_components"][-1])
        return 15 + 1.5 * n * m * _product(d, m) + 2e-3 * m
    n, n_test, d = _rows(configuration["data"], settings)
    if what == "estimator":
        small = settings["choice_components"]
        choices = math.prod(
            len(settings[f"estimator_{what}"]) for what in ("kinds", "depths", "input_biases")
        )
        return 15 + choices * _ridge(n, d, small) + 2 * _ridge(n, d, m) + n * m**2 * 1e-11
    method, depth = configuration["method"], configuration["depth"] or 1
    seeds = _seeds(configuration, settings) * (2 if configuration["data"] == "mnist" else 1)
    featurise = (n + n_test + 2000 * seeds) * m * _product(d, m) * _COSTS.get(method, 1.0)
    if method in _COSTS or method.startswith(("random", "ntkrf")):
        featurise *= (1 + depth) / 3
    seconds = 3.5 + n * d * 3e-8 + featurise + _ridge(n, 0, m)
    if method in PEERS:  # five widths and more, in float64, two more products of the rows
        seconds += 7 * (n * m * (2 * d + 4 * m) / 4.5e10 + 4e-10 * m**3)
    if "nystroem" in method:
        times = 14 if method in PEERS else 1  # in float64
        seconds += times * (n + n_test) * m**2 * 2 / 9e10
        seconds += (1 + seeds) * m**3 * (8e-10 if method.startswith(("sk", "rbf")) else 5e-11)
    checked = min(n // 2, settings["error_rows"]) / 2000
    errors = checked**2 * (3.0 + seeds * (0.5 + m / 4096))
    return seconds + (0 if method in PEERS else errors)


def _product(d: int, m: int) -> float:
    return 2 * (d + m / 8) / 9e10


def _rows(data: str, settings: dict[str, Any]) -> tuple[int, int, int]:
    n, n_test, d = _SIZES[data]
    return min(n, settings["max_train"]), min(n_test, settings["max_test"]), d


def _ridge(n: int, d: int, m: int) -> float:
    """Return seconds of a pass over the data and the choice of a penalty."""
    return n * m * 2 * d / 9e10 + n * m**2 * 1e-11 + n * m * 3e-9 + 3e-11 * m**3 + 0.5


def _seeds(configuration: dict[str, Any], settings: dict[str, Any]) -> int:
    """Return the number of draws for the errors: one where another row has the same features."""
    if configuration["method"] in PEERS:
        return 0
    if configuration["method"] == SKLEARN_NTK:
        return 1
    large = configuration["n_components"] > 2048
    return settings["error_seeds_above_2048" if large else "error_seeds"]


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Measure one method at one size on one data set, or one of the other rows."""
    if configuration["what"] == "reach":
        return frontier_estimators.reach(configuration, settings)
    if configuration["what"] == "estimator":
        return frontier_estimators.estimator(configuration, settings)
    data = load(configuration["data"]).first(settings["max_train"], settings["max_test"])
    about = {"n_train": len(data.X_train), "n_test": len(data.X_test), "source": data.source}
    outcome = about | _measure_features(data, configuration, settings)
    if approximates_ntk(configuration["method"]):
        outcome["errors"] = _errors(data, configuration, settings)
        if configuration["data"] == "mnist":
            outcome["unit_errors"] = _errors(normalised(data), configuration, settings)
    return outcome


def _measure_features(
    data: Dataset, configuration: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    method, m = configuration["method"], configuration["n_components"]
    if method in PEERS:
        return _measure_peer(data, method, m, settings["gammas"])
    return ridge.measure_features(
        lambda: draw(method, configuration["depth"], m, 0, data.X_train), data
    )


def _measure_peer(
    data: Dataset, method: str, n_components: int, factors: list[float]
) -> dict[str, Any]:
    """Measure features of another kernel, its width chosen by RidgeCV on held-out training rows.

    Scores are RidgeCV's on float64 rows; times, memory and "same ridge" are those of float32 rows
    and the ridge that the library's features have.
    """
    make, stages = PEERS[method][1], Stages()
    with stages("choose gamma"):
        gamma, tried = peers.choose_gamma(
            data,
            factors,
            lambda part, gamma: peers.measure(part, lambda: make(gamma, n_components, 0))["score"],
        )
    same = ridge.measure_features(
        lambda: draw(method, 0, n_components, 0, data.X_train, gamma), data
    )
    with stages("RidgeCV"):
        own = peers.measure(data, lambda: make(gamma, n_components, 0))
    seconds = {**stages, **same.pop("seconds")}
    kept = {name: same.pop(name) for name in ("features", "peak_memory")}
    return kept | own | {"gamma": gamma, "held_out": tried, "seconds": seconds, "same_ridge": same}


def _errors(
    data: Dataset, configuration: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Return errors on a sample of the training rows, for features fitted to the others."""
    sample, others = apart(data, settings["error_rows"])
    depth, m = configuration["depth"], configuration["n_components"]
    yardstick = Yardstick(sample, depth, settings["ridges"])
    return yardstick.over_draws(
        lambda seed: draw(configuration["method"], depth, m, seed, others),
        _seeds(configuration, settings),
    )
