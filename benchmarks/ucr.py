"""Time series of the UCR archive: the recurrent NTK, its features, and other classifiers.

Every parameter is chosen by cross-validation on the training series, in the same divisions for all.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedStratifiedKFold

import ntksketch as ntk
from benchmarks import ucr_drawing
from benchmarks.datasets import Dataset, load_series
from benchmarks.methods import library_method
from benchmarks.peers import median_squared_distance
from benchmarks.timing import Stages
from benchmarks.uci import choose_machine, machine_accuracy, scaled
from benchmarks.warping import warped_distances

table, plot = ucr_drawing.table, ucr_drawing.plot

SIZES = {  # training and test series, steps
    "ItalyPowerDemand": (67, 1029, 24),
    "TwoLeadECG": (23, 1139, 82),
    "ECG200": (100, 100, 96),
    "CBF": (30, 900, 128),
    "GunPoint": (50, 150, 150),
    "Plane": (105, 105, 144),
    "Coffee": (28, 28, 286),
    "FaceFour": (24, 88, 350),
    "Wine": (57, 54, 234),
    "Beef": (30, 30, 470),
    "OliveOil": (30, 30, 570),
    "ArrowHead": (36, 175, 251),
    "Trace": (100, 100, 275),
    "Lightning2": (60, 61, 637),
    "SyntheticControl": (300, 300, 60),
}

Parameters = dict[str, Any]
Make = Callable[
    [Parameters, NDArray, NDArray], NDArray
]  # of series to fit and all series: (n, fit)
Divisions = list[tuple[NDArray, NDArray]]
_NETWORK = ("depth", "weight_std", "bias_std", "readout")


def settings(short: bool) -> dict[str, Any]:
    """Return the sets and the grids of parameters."""
    full = {
        "data": list(SIZES),
        "C": [10.0**k for k in range(-2, 5)],
        "parts": 5,
        "repeats": 3,
        "weight_stds": [0.97, 1.0],
        "bias_stds": [0.0, 0.1],
        "depths": [1, 2],
        "mean_steps": 640,
        "feature_method": "nystroem",
        "features": {
            "RNTK features, m = n": 1.0,
            "RNTK features, m = n/2": 1 / 2,
            "RNTK features, m = n/4": 1 / 4,
        },
        "mlp_depths": [1, 2, 3],
        "rbf": [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8],
        "windows": [0.05, 0.1, 1.0],
    }
    small = {
        "data": ["ItalyPowerDemand"],
        "C": [1.0, 100.0],
        "parts": 2,
        "repeats": 1,
        "weight_stds": [1.0],
        "bias_stds": [0.0],
        "depths": [1],
        "mlp_depths": [1],
        "rbf": [1],
        "windows": [0.1],
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sets, the quickest first."""
    return [{"key": data, "data": data} for data in settings["data"]]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores: compilation, pairs of series, pairs of steps."""
    s = settings
    n_train, n_test, steps = SIZES.get(configuration["data"], (50, 100, 100))
    compiled = len(networks(steps, s)) * (1 + 2 * len(s["features"]))
    means = len(s["weight_stds"]) if steps <= s["mean_steps"] else 0
    pairs = n_train * (n_train * means + n_test * min(means, 1))
    pairs *= 1 + sum(s["features"].values())
    warped = n_train * (n_train * len(s["windows"]) + n_test) * steps**2
    return 12 + 1.2 * compiled + 6e-8 * pairs * steps**2 + 1.5e-8 * warped + 0.03 * n_train


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Choose parameters and score every method on one set."""
    data, s = load_series(configuration["data"]), settings
    divided = divisions(data.y_train, s)
    stages, accuracy, chosen = Stages(), {}, {}
    for name, (candidates, make) in kernels(data, s).items():
        with stages(name), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            accuracy[name], chosen[name] = support_vectors(data, divided, candidates, make, s["C"])
    for name, (candidates, distances) in neighbours(data, s).items():
        with stages(name):
            accuracy[name], chosen[name] = nearest(data, divided, candidates, distances)
    n, steps = data.X_train.shape
    return {
        "n_train": n,
        "n_test": len(data.X_test),
        "n_steps": steps,
        "n_classes": len(np.unique(data.y_train)),
        "components": {name: n_components(share, n) for name, share in s["features"].items()},
        "accuracy": accuracy,
        "chosen": chosen,
        "seconds": dict(stages),
        "source": data.source,
    }


def divisions(y: NDArray, settings: dict[str, Any]) -> Divisions:
    """Return stratified divisions of the training series, as many parts as the least class has."""
    parts = max(2, min(settings["parts"], int(np.unique(y, return_counts=True)[1].min())))
    folds = RepeatedStratifiedKFold(n_splits=parts, n_repeats=settings["repeats"], random_state=0)
    return list(folds.split(np.zeros((len(y), 1)), y))


# ---------------------------------------------------------------------------------------------
# Support vector machines
# ---------------------------------------------------------------------------------------------


def kernels(data: Dataset, settings: dict[str, Any]) -> dict[str, tuple[list[Parameters], Make]]:
    """Return candidates for the parameters, and the kernel, of every support vector machine."""
    s = settings
    candidates = networks(data.X_train.shape[1], s)
    gammas = np.divide(s["rbf"], median_squared_distance(data.X_train) or 1.0)
    return {
        "RNTK": (candidates, exact(recurrent)),
        **{
            name: (candidates, by_features(s["feature_method"], share))
            for name, share in s["features"].items()
        },
        "NTK": (perceptrons(s), exact(perceptron)),
        "RBF": ([{"gamma": float(gamma)} for gamma in gammas], rbf),
    }


def networks(steps: int, settings: dict[str, Any]) -> list[Parameters]:
    """Return recurrent networks that read out the last state, and the mean state.

    The kernel of a mean takes all pairs of steps, so that very long series do without.
    """
    s = settings
    found = [
        {"depth": depth, "weight_std": weight_std, "bias_std": bias_std, "readout": "last"}
        for depth, weight_std, bias_std in itertools.product(
            s["depths"], s["weight_stds"], s["bias_stds"]
        )
    ]
    if steps <= s["mean_steps"]:
        mean = {"depth": s["depths"][0], "bias_std": s["bias_stds"][0], "readout": "mean"}
        found += [{**mean, "weight_std": weight_std} for weight_std in s["weight_stds"]]
    return found


def perceptrons(settings: dict[str, Any]) -> list[Parameters]:
    """Return networks that take series as rows, with the biases of the recurrent ones.

    Their weights need no grid: without biases a kernel's scale is all that they change.
    """
    s = settings
    return [
        {"depth": depth, "bias_std": bias_std}
        for depth, bias_std in itertools.product(s["mlp_depths"], s["bias_stds"])
    ]


def recurrent(parameters: Parameters, steps: int) -> ntk.Architecture:
    """Return a recurrent network for series of so many steps."""
    given = {name: parameters[name] for name in _NETWORK}
    return ntk.rnn(**given, shape=(steps, 1))


def perceptron(parameters: Parameters, steps: int) -> ntk.Architecture:
    """Return a network that takes series as rows."""
    return ntk.mlp(parameters["depth"], bias_std=parameters["bias_std"])


def exact(network: Callable[[Parameters, int], ntk.Architecture]) -> Make:
    """Return the exact kernel of a network that parameters name."""

    def make(parameters: Parameters, X_fit: NDArray, X: NDArray) -> NDArray:
        architecture = network(parameters, X.shape[1])
        return ntk.kernel(architecture, X.astype(np.float64), X_fit.astype(np.float64))

    return make


def by_features(method: str, share: float) -> Make:
    """Return the kernel of features of the recurrent NTK; the machine is then linear."""

    def make(parameters: Parameters, X_fit: NDArray, X: NDArray) -> NDArray:
        features = ntk.NTKFeatures(
            recurrent(parameters, X.shape[1]),
            library_method(method),
            n_components(share, len(X_fit)),
            random_state=0,
        ).fit(X_fit.astype(np.float64))
        Z = features.transform(X.astype(np.float64))
        return Z @ Z[: len(X_fit)].T

    return make


def n_components(share: float, n_train: int) -> int:
    """Return the number of features: a share of the number n of training series, rounded up."""
    return int(np.ceil(share * n_train))


def rbf(parameters: Parameters, X_fit: NDArray, X: NDArray) -> NDArray:
    """Return the Gaussian kernel."""
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(X.astype(np.float64), X_fit.astype(np.float64), gamma=parameters["gamma"])


def support_vectors(
    data: Dataset,
    divided: Divisions,
    candidates: list[Parameters],
    make: Make,
    penalties: list[float],
) -> tuple[float, Parameters]:
    """Return the accuracy on the test series, and the parameters chosen on the training series.

    Kernels are made with all training series: landmarks of features need no labels.
    """
    X, n = data.X_train, len(data.X_train)
    best, held_out = choose_machine(
        candidates,
        lambda parameters: scaled(make(parameters, X, X)),
        data.y_train,
        divided,
        penalties,
    )
    K = scaled(make(best, X, np.concatenate([X, data.X_test])))
    parts = np.arange(n), np.arange(n, len(K))
    y = np.concatenate([data.y_train, data.y_test])
    return machine_accuracy(K, y, parts, best["C"]), {**best, "held_out": held_out}


# ---------------------------------------------------------------------------------------------
# Nearest neighbours
# ---------------------------------------------------------------------------------------------


def neighbours(data: Dataset, settings: dict[str, Any]) -> dict[str, tuple[list[Parameters], Any]]:
    """Return candidates for the parameters, and the distance, of every nearest neighbour."""
    from sklearn.metrics.pairwise import euclidean_distances

    steps = data.X_train.shape[1]
    windows = [max(1, round(share * steps)) for share in settings["windows"]]

    def warped(parameters: Parameters, X: NDArray, Y: NDArray) -> NDArray:
        return warped_distances(X, Y, parameters["window"])

    return {
        "nearest, Euclidean": ([{}], lambda parameters, X, Y: euclidean_distances(X, Y)),
        "nearest, warped": ([{"window": window} for window in windows], warped),
    }


def nearest(
    data: Dataset, divided: Divisions, candidates: list[Parameters], distances: Any
) -> tuple[float, Parameters]:
    """Return the accuracy of the nearest neighbour, and the parameters chosen before."""
    X, y = data.X_train, data.y_train
    best: tuple[Parameters, float] = ({}, -1.0)
    for parameters in candidates:
        D = distances(parameters, X, X)
        found = np.mean(
            [
                np.mean(y[fit][D[np.ix_(score, fit)].argmin(axis=1)] == y[score])
                for fit, score in divided
            ]
        )
        if found > best[1]:
            best = parameters, float(found)
    D = distances(best[0], data.X_test, X)
    accuracy = float(np.mean(y[D.argmin(axis=1)] == data.y_test))
    return accuracy, {**best[0], "held_out": best[1]}
