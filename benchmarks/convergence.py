"""How the kernel of features nears the exact one: images, crops of images, signals, sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks import images
from benchmarks.datasets import load, load_series, some_rows
from benchmarks.errors import exponent, relative_error, summary
from benchmarks.methods import made
from benchmarks.rendering import markdown_table, measurements, number

CROP = 8  # pixels along a side
_EXACT_PAIR = 1.5e-8  # seconds of a pair of pixels or steps on two quiet cores


class Problem(NamedTuple):
    """Rows, and the network whose kernel features are to have."""

    label: str
    rows: Callable[[], NDArray]
    network: Callable[[int], ntk.Architecture]  # of the number of entries of a row


class Method(NamedTuple):
    """What makes features: a class or classmethod, and its parameters for so many of them."""

    label: str
    path: str
    parameters: Callable[[int], dict[str, Any]]
    exact_kernel: bool = False  # of rows with landmarks, which takes long and needs as many rows
    recurrent: bool = False
    colour: str = "#333333"
    seconds: float = 0.01  # of a row


def _digits() -> NDArray:
    return load("digits").X_train


def _crops() -> NDArray:
    """Return the middle of CIFAR-10's first images, channels standardised."""
    data = load("cifar10").first(2000, 1)
    edge = (images.SIDE - CROP) // 2
    shape = (len(data.X_train), images.SIDE, images.SIDE, images.CHANNELS)
    crops = data.X_train.reshape(shape)[:, edge : edge + CROP, edge : edge + CROP]
    standardizer = ntk.ChannelStandardizer(shape=(CROP, CROP, images.CHANNELS))
    return standardizer.fit_transform(crops.reshape(len(crops), -1))


def _series(name: str) -> Callable[[], NDArray]:
    def rows() -> NDArray:
        data = load_series(name)
        return np.concatenate([data.X_train, data.X_test])

    return rows


def _images_network(channels: int) -> Callable[[int], ntk.Architecture]:
    return lambda d: ntk.cnn(3, pooling=2, shape=(round((d / channels) ** 0.5),) * 2 + (channels,))


PROBLEMS = {
    "digits": Problem("digits, 8 x 8, `cnn(3, pooling=2)`", _digits, _images_network(1)),
    "cifar10": Problem(
        "CIFAR-10, crops of 8 x 8, `cnn(3, pooling=2)`", _crops, _images_network(images.CHANNELS)
    ),
    "signals": Problem(
        "SyntheticControl, 60 steps, `cnn(3)`",
        _series("SyntheticControl"),
        lambda d: ntk.cnn(3, shape=(d, 1)),
    ),
    "sequences": Problem(
        "SyntheticControl, 60 steps, `rnn(1, weight_std=0.8)`",
        _series("SyntheticControl"),
        lambda d: ntk.rnn(1, weight_std=0.8, shape=(d, 1)),
    ),
}
METHODS = {
    "nystroem": Method(
        "Nyström, uniform",
        "Nystroem",
        lambda m: {"landmarks": "uniform"},
        exact_kernel=True,
        recurrent=True,
    ),
    "layerwise": Method(
        "Nyström by layers, widths m/4 and m/2",
        "LayerwiseNystroem",
        lambda m: {"hidden_components": (max(1, m // 4), max(1, m // 2))},
        colour="#0b6fb8",
    ),
    "layerwise-fixed": Method(
        "Nyström by layers, widths 32 and 64",
        "LayerwiseNystroem",
        lambda m: {"hidden_components": (32, 64)},
        colour="#6fb0dd",
    ),
    "random": Method("Random features", "RandomFeatures", lambda m: {}, colour="#2a9d8f"),
    "published-random": Method(
        "NTKRF, as published", "RandomFeatures.published", lambda m: {}, colour="#7fd1c7"
    ),
    "sketch": Method(
        "Polynomial sketch, layered",
        "PolynomialSketch",
        lambda m: {"variant": "layered"},
        colour="#8a5fb0",
        seconds=0.05,
    ),
    "published-sketch": Method(
        "CNTKSketch, as published, q = 2",
        "PolynomialSketch.published",
        lambda m: {"degree": 2},
        colour="#d1622b",
        seconds=0.05,
    ),
    "gradient": Method(
        "Gradients, width m/2",
        "GradientFeatures",
        lambda m: {"width": max(1, m // 2)},
        recurrent=True,
        colour="#6b4f2a",
        seconds=0.02,
    ),
}


def settings(short: bool) -> dict[str, Any]:
    """Return numbers of rows, of features and of draws."""
    full = {
        "rows": 100,
        "fit_rows": 1000,
        "components": [128, 256, 512, 1024, 2048],
        "landmarks": 512,
        "draws": 3,
    }
    small = {"rows": 12, "fit_rows": 40, "components": [16, 32], "landmarks": 32, "draws": 2}
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every method on every problem that it takes."""
    return [
        {"key": f"{problem} {method}", "problem": problem, "method": method}
        for problem in PROBLEMS
        for method, about in METHODS.items()
        if about.recurrent or problem != "sequences"
    ]


def _sizes(method: Method, settings: dict[str, Any]) -> list[int]:
    most = settings["landmarks"] if method.exact_kernel else np.inf
    return [m for m in settings["components"] if m <= most]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, roughly."""
    s, method = settings, METHODS[configuration["method"]]
    pixels = 60 if configuration["problem"] in ("signals", "sequences") else CROP**2
    seconds = 20 + s["rows"] ** 2 / 2 * pixels**2 * _EXACT_PAIR
    for m in _sizes(method, s):
        each = m * pixels**2 * _EXACT_PAIR if method.exact_kernel else method.seconds
        seconds += s["draws"] * (s["rows"] * each + (m * each / 2 if method.exact_kernel else 2))
    return seconds


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the error for every number of features, over draws, on rows that no draw has seen."""
    problem, method = PROBLEMS[configuration["problem"]], METHODS[configuration["method"]]
    X = problem.rows().astype(np.float32)
    chosen = some_rows(len(X), settings["rows"], seed=2)
    left = np.delete(X, chosen, axis=0)
    X = X[chosen]
    fit = left[some_rows(len(left), settings["fit_rows"], seed=3)]
    architecture, sizes = problem.network(X.shape[1]), []
    K = ntk.kernel(architecture, X.astype(np.float64))
    for m in _sizes(method, settings):
        if method.exact_kernel and m > len(fit):
            break
        errors = []
        for seed in range(settings["draws"]):
            Z = _features(architecture, method, m, seed, fit, X)
            errors.append(relative_error(Z @ Z.T, K))
        sizes.append({"n_components": m, "error": summary(errors)})
    return {"n_rows": len(X), "n_fit": len(fit), "sizes": sizes}


def _features(
    architecture: ntk.Architecture, method: Method, m: int, seed: int, fit: NDArray, X: NDArray
) -> NDArray[np.float64]:
    features = ntk.NTKFeatures(
        architecture, made(method.path, method.parameters(m)), m, random_state=seed
    )
    return np.asarray(features.fit(fit).transform(X), np.float64)


def table(results: dict[str, Any]) -> str:
    """Return the errors of every method, a table for each problem."""
    s = results["settings"]
    parts = [
        "# Features of images and series against the exact kernel",
        f"Relative Frobenius error of the NTK of {s['rows']} rows that `fit` did not see, "
        f"mean over {s['draws']} draws, from at most {s['fit_rows']:,} others, and the slope of "
        "its logarithm over that of m. Nyström with the exact kernel of landmarks was measured "
        f"up to {s['landmarks']} of them. Where the widths of hidden layers do not grow, their "
        "error remains.",
    ]
    for name, problem in PROBLEMS.items():
        found = measurements(results, problem=name)
        if not found:
            continue
        rows = []
        for m in found:
            errors = {x["n_components"]: x["error"]["mean"] for x in m["sizes"]}
            fitted = exponent(errors.items())
            rows.append(
                (
                    METHODS[m["method"]].label,
                    *(number(errors.get(size)) for size in s["components"]),
                    None if fitted is None else f"{fitted:.2f}",
                )
            )
        header = ("method", *(f"m = {size:,}" for size in s["components"]), "slope")
        parts += [f"## {problem.label}", markdown_table(header, rows)]
    return "\n\n".join(parts)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: error against m, a panel for each problem."""
    from matplotlib.figure import Figure

    figure, labelled = Figure(figsize=(12, 8), layout="constrained"), {}
    for axes, (name, problem) in zip(figure.subplots(2, 2).flat, PROBLEMS.items(), strict=True):
        for m in measurements(results, problem=name):
            method = METHODS[m["method"]]
            sizes, means = zip(
                *((x["n_components"], x["error"]["mean"]) for x in m["sizes"]), strict=True
            )
            (line,) = axes.loglog(sizes, means, "o-", color=method.colour)
            labelled.setdefault(method.label, line)
        axes.set(title=problem.label.replace("`", ""), xlabel="m", ylabel="relative error")
        components = results["settings"]["components"]
        axes.set_xticks(components, [f"{m:,}" for m in components])
        axes.minorticks_off()
    if labelled:
        figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=3)
    return figure
