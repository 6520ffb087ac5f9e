"""Small classification sets of the UCI repository: the NTK, its features, and other kernels.

The protocol is that of Arora et al. (2020), arXiv:1910.01663: parameters are chosen on one division
of a set into halves, and the score is the mean accuracy over four other folds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

import ntksketch as ntk
from benchmarks import uci_drawing
from benchmarks.datasets import Folds, load_folds
from benchmarks.methods import library_method
from benchmarks.peers import median_squared_distance
from benchmarks.timing import Stages

table, plot = uci_drawing.table, uci_drawing.plot

ROWS = {  # of the 59 sets
    "lenses": 24,
    "lung-cancer": 32,
    "spect": 79,
    "pittsburg-bridges-SPAN": 92,
    "zoo": 101,
    "pittsburg-bridges-TYPE": 105,
    "pittsburg-bridges-MATERIAL": 106,
    "breast-tissue": 106,
    "molec-biol-promoter": 106,
    "acute-inflammation": 120,
    "monks-3": 122,
    "heart-switzerland": 123,
    "monks-1": 124,
    "iris": 150,
    "hepatitis": 155,
    "wine": 178,
    "flags": 194,
    "seeds": 210,
    "image-segmentation": 210,
    "statlog-heart": 270,
    "horse-colic": 300,
    "heart-cleveland": 303,
    "haberman-survival": 306,
    "soybean": 307,
    "vertebral-column-3clases": 310,
    "primary-tumor": 330,
    "ecoli": 336,
    "libras": 360,
    "dermatology": 366,
    "congressional-voting": 435,
    "arrhythmia": 452,
    "musk-1": 476,
    "conn-bench-vowel-deterding": 528,
    "breast-cancer-wisc-diag": 569,
    "synthetic-control": 600,
    "balance-scale": 625,
    "statlog-australian-credit": 690,
    "credit-approval": 690,
    "breast-cancer-wisc": 699,
    "energy-y2": 768,
    "statlog-vehicle": 846,
    "oocytes_trisopterus_nucleus_2f": 912,
    "oocytes_merluccius_nucleus_4d": 1022,
    "wine-quality-red": 1599,
    "plant-texture": 1599,
    "plant-margin": 1600,
    "cardiotocography-10clases": 2126,
    "titanic": 2201,
    "thyroid": 3772,
    "optical": 3823,
    "statlog-landsat": 4435,
    "bank": 4521,
    "waveform-noise": 5000,
    "page-blocks": 5473,
    "twonorm": 7400,
    "pendigits": 7494,
    "magic": 19020,
    "chess-krvk": 28056,
    "adult": 32561,
}
_MOST_ITERATIONS = 200_000


def settings(short: bool) -> dict[str, Any]:
    """Return the sets, the cap on their rows, and the grids of parameters."""
    full = {
        "data": list(ROWS),
        "max_rows": 2500,
        "C": [10.0**k for k in range(-2, 5)],
        "depths": [1, 2, 3, 4, 5],
        "feature_depths": [1, 2, 3],
        "feature_method": "default",
        "n_components": 1024,
        "c": [0.25, 0.5, 1.0, 2.0],
        "gammas": [0.5, 1.5],
        "rbf": [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8],
        "n_trees": 300,
        "max_features": ["sqrt", 0.5],
    }
    small = {
        "data": ["iris", "wine", "zoo"],
        "C": [0.1, 1.0, 10.0],
        "depths": [1, 2],
        "feature_depths": [1],
        "n_components": 64,
        "c": [1.0],
        "gammas": [0.5],
        "rbf": [0.5, 2],
        "n_trees": 20,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sets, those of few rows first: many of them are done soon."""
    return [{"key": data, "data": data} for data in settings["data"]]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, roughly: classes and noise matter too."""
    return 8 + 4e-6 * min(ROWS.get(configuration["data"], 1000), settings["max_rows"]) ** 2


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Choose parameters and score every method on one set."""
    whole = load_folds(configuration["data"])
    folds = whole.capped(settings["max_rows"])
    stages, accuracy, chosen = Stages(), {}, {}
    for name, (candidates, make) in kernels(folds, settings).items():
        with stages(name), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            accuracy[name], chosen[name] = support_vectors(folds, candidates, make, settings["C"])
    with stages("random forest"):
        accuracy["random forest"], chosen["random forest"] = random_forest(folds, settings)
    return {
        "n_rows": len(folds.X),
        "n_rows_before": len(whole.X),
        "n_features": folds.X.shape[1],
        "n_classes": len(np.unique(folds.y)),
        "accuracy": accuracy,
        "chosen": chosen,
        "seconds": dict(stages),
    }


# ---------------------------------------------------------------------------------------------
# Kernels: a function from parameters, rows to fit and all rows to their kernel
# ---------------------------------------------------------------------------------------------

Make = Callable[[dict[str, Any], NDArray, NDArray], NDArray]


def kernels(folds: Folds, settings: dict[str, Any]) -> dict[str, tuple[list[dict[str, Any]], Make]]:
    """Return candidates for the parameters, and the kernel, of every support vector machine."""
    s = settings
    depths = [{"depth": depth} for depth in s["depths"]]
    features = [{"depth": depth} for depth in s["feature_depths"]]
    laplace = [{"c": c} for c in s["c"]]
    gamma_exponential = [{"c": c, "gamma": gamma} for gamma in s["gammas"] for c in s["c"]]
    scale = median_squared_distance(folds.X) or 1.0
    gaussian = [{"gamma": factor / scale} for factor in s["rbf"]]
    return {
        "NTK": (depths, exact(lambda p: ntk.mlp(p["depth"]))),
        "NTK features": (features, by_features(s["feature_method"], s["n_components"])),
        "Laplace": (laplace, exact(lambda p: ntk.zonal.laplace(p["c"]))),
        "gamma-exponential": (
            gamma_exponential,
            exact(lambda p: ntk.zonal.gamma_exponential(p["c"], p["gamma"])),
        ),
        "RBF": (gaussian, rbf),
    }


def exact(target: Callable[[dict[str, Any]], Any]) -> Make:
    """Return the exact kernel of a target that parameters name."""
    return lambda parameters, X_fit, X: ntk.kernel(target(parameters), X.astype(np.float64))


def by_features(method: str, n_components: int) -> Make:
    """Return the kernel of features, made from the rows to fit; the machine is then linear."""

    def make(parameters: dict[str, Any], X_fit: NDArray, X: NDArray) -> NDArray:
        m = min(n_components, len(X_fit))
        features = ntk.NTKFeatures(
            ntk.mlp(parameters["depth"]), library_method(method), m, random_state=0
        )
        Z = features.fit(X_fit).transform(X).astype(np.float64)
        return Z @ Z.T

    return make


def rbf(parameters: dict[str, Any], X_fit: NDArray, X: NDArray) -> NDArray:
    """Return the Gaussian kernel."""
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(X.astype(np.float64), gamma=parameters["gamma"])


# ---------------------------------------------------------------------------------------------
# Classifiers
# ---------------------------------------------------------------------------------------------


def support_vectors(
    folds: Folds, candidates: list[dict[str, Any]], make: Make, penalties: list[float]
) -> tuple[float, dict[str, Any]]:
    """Return the mean accuracy over folds, and the parameters chosen before."""
    fit = folds.tuning[0]
    best, _ = choose_machine(
        candidates,
        lambda parameters: scaled(make(parameters, folds.X[fit], folds.X)),
        folds.y,
        [folds.tuning],
        penalties,
    )
    scores = []
    for fold in folds.folds:
        K = scaled(make(best, folds.X[fold[0]], folds.X))
        scores.append(machine_accuracy(K, folds.y, fold, best["C"]))
    return float(np.mean(scores)), best


def choose_machine(
    candidates: list[dict[str, Any]],
    kernel: Callable[[dict[str, Any]], NDArray],
    y: NDArray,
    divisions: list[tuple[NDArray, NDArray]],
    penalties: list[float],
) -> tuple[dict[str, Any], float]:
    """Return the parameters and C of the best mean accuracy over divisions, and that accuracy."""
    best: tuple[dict[str, Any], float] = ({}, -1.0)
    for parameters in candidates:
        K = kernel(parameters)
        for C in penalties:
            found = float(np.mean([machine_accuracy(K, y, parts, C) for parts in divisions]))
            if found > best[1]:
                best = {**parameters, "C": C}, found
    return best


def scaled(K: NDArray) -> NDArray:
    """Return a kernel with a diagonal of mean one, so that penalties mean the same for all.

    Where it has more rows than columns, those of the columns come first.
    """
    mean = float(np.mean(np.diagonal(K)))
    return K / mean if mean > 0 else K


def machine_accuracy(K: NDArray, y: NDArray, parts: tuple[NDArray, NDArray], C: float) -> float:
    """Return the accuracy of a support vector machine with this kernel."""
    from sklearn.svm import SVC

    fit, score = parts
    if len(np.unique(y[fit])) < 2:
        return float(np.mean(y[score] == y[fit][0]))
    machine = SVC(C=C, kernel="precomputed", cache_size=500, max_iter=_MOST_ITERATIONS)
    machine.fit(K[np.ix_(fit, fit)], y[fit])
    return float(np.mean(machine.predict(K[np.ix_(score, fit)]) == y[score]))


def random_forest(folds: Folds, settings: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Return the mean accuracy over folds of a forest, and the parameters chosen before."""
    from sklearn.ensemble import RandomForestClassifier

    def accuracy(max_features: Any, parts: tuple[NDArray, NDArray]) -> float:
        fit, score = parts
        forest = RandomForestClassifier(
            settings["n_trees"], max_features=max_features, random_state=0
        )
        forest.fit(folds.X[fit], folds.y[fit])
        return float(np.mean(forest.predict(folds.X[score]) == folds.y[score]))

    chosen = max(settings["max_features"], key=lambda choice: accuracy(choice, folds.tuning))
    scores = [accuracy(chosen, fold) for fold in folds.folds]
    return float(np.mean(scores)), {"max_features": chosen}
