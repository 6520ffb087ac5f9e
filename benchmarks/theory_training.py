"""Trained networks next to what their kernels predict in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import load, normalised, some_rows
from benchmarks.errors import relative_error
from benchmarks.theory_networks import (
    digits,
    draw,
    function_of,
    half_mean_square,
    mean_and_error,
    signs,
    step_size,
    train,
)
from benchmarks.timing import Stages


def closed_form(settings: dict[str, Any]) -> dict[str, Any]:
    """Compare test outputs of networks over time with those of three predictions.

    These are the linearised network, trained by the same steps, and the closed forms of the
    empirical kernel at the start and of the exact kernel, both from the network's own start.
    """
    s, data = settings, digits(settings["rows"], settings["test_rows"])
    rows = data.X_train.astype(np.float64), data.X_test.astype(np.float64)
    y, architecture = signs(data.y_train), ntk.mlp(s["depth"])
    exact = ntk.kernel(architecture, rows[0]), ntk.kernel(architecture, rows[1], rows[0])
    rate = step_size(exact[0])
    found = [
        [_one_network(rows, y, exact, rate, width, seed, s) for seed in range(s["draws"])]
        for width in s["widths"]
    ]
    return {
        "widths": s["widths"],
        "times": s["times"],
        "rate": rate,
        "errors": {
            name: [
                [mean_and_error(e) for e in np.transpose([each["errors"][name] for each in draws])]
                for draws in found
            ]
            for name in found[0][0]["errors"]
        },
        "right": [np.min([each["right"] for each in draws], axis=0).tolist() for draws in found],
        "loss": [np.mean([each["loss"] for each in draws], axis=0).tolist() for draws in found],
        "linearised_and_flow": max(each["agreement"] for draws in found for each in draws),
    }


Kernels = tuple[NDArray, NDArray]  # of the training rows, and of test rows with them


def _one_network(
    rows: Kernels,
    y: NDArray,
    exact: Kernels,
    rate: float,
    width: int,
    seed: int,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Train one network, and return errors of the predictions and how well it fits, over time."""
    X, X_test = rows
    depth, times = settings["depth"], settings["times"]
    f = function_of(depth)
    start = draw(depth, width, X.shape[1], seed, dtype=np.float64)
    _, (fitted, network) = train(f, start, X, y, rate, [0, *times], X, X_test)
    f0 = fitted[0], network[0]
    empirical = ntk.empirical_ntk(f, start, X), ntk.empirical_ntk(f, start, X_test, X)
    _, (linearised,) = train(ntk.linearize(f, start), start, X, y, rate, times, X_test)
    predictions = {
        "linearised network": linearised,
        "empirical kernel": _flow(empirical, y, f0, times, rate),
        "exact kernel": _flow(exact, y, f0, times, rate),
    }
    return {
        "errors": {
            name: [relative_error(*pair) for pair in zip(predicted, network[1:], strict=True)]
            for name, predicted in predictions.items()
        },
        "right": np.mean((fitted[1:] > 0) == (y > 0), axis=1),
        "loss": half_mean_square(fitted[1:], y),
        "agreement": relative_error(predictions["empirical kernel"], linearised),
    }


def _flow(
    kernels: Kernels, y: NDArray, f0: tuple[NDArray, NDArray], times: list[int], rate: float
) -> NDArray[np.float64]:
    """Return test outputs at some times, from kernels of the training and of the test rows."""
    flow = ntk.GradientFlow("precomputed", learning_rate=rate).fit(kernels[0], y, f0=f0[0])
    return flow.predict(kernels[1], np.asarray(times), f0=f0[1])


def mnist(settings: dict[str, Any]) -> dict[str, Any]:
    """Compare a network trained on zeros and ones with features of its kernel, at the same time."""
    s, stages = settings, Stages()
    (X, labels), (X_test, labels_test) = _zeros_and_ones(s["rows"])
    y, f, architecture = signs(labels), function_of(s["depth"]), ntk.mlp(s["depth"])
    with stages("exact kernel"):
        K = ntk.kernel(architecture, X.astype(np.float64))
    rate = step_size(K)
    start = draw(s["depth"], s["width"], X.shape[1], 0, dtype=np.float32)
    with stages("network"):
        _, (before, outputs) = train(f, start, X, y, rate, [0, s["steps"]], X, X_test)
    network = outputs[-1]
    found = {}

    def compare(name: str, predicted: NDArray) -> None:
        found[name] = {
            "accuracy": float(np.mean((predicted > 0) == labels_test)),
            "same_labels": float(np.mean((predicted > 0) == (network > 0))),
            "correlation": float(np.corrcoef(predicted, network)[0, 1]),
            "error": relative_error(predicted, network),
        }

    compare("network", network)
    with stages("exact kernel"):
        exact = ntk.GradientFlow("precomputed", learning_rate=rate).fit(K, y, f0=before[0])
        K_test = ntk.kernel(architecture, X_test.astype(np.float64), X.astype(np.float64))
        compare("exact kernel", exact.predict(K_test, s["steps"], f0=outputs[0]))
    for method in s["methods"]:
        with stages(method):
            flow = ntk.GradientFlow(
                architecture, method, s["n_components"], learning_rate=rate, random_state=0
            )
            flow.fit(X, y, f0=before[0])
            compare(method, flow.predict(X_test, s["steps"], f0=outputs[0]))
    return {"found": found, "n_train": len(X), "n_test": len(X_test), "seconds": dict(stages)}


def _zeros_and_ones(n: int) -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """Return at most n training images of zeros and ones with their labels, and test images."""
    data = normalised(load("mnist"))
    train, test = data.y_train < 2, data.y_test < 2
    X, y = data.X_train[train], data.y_train[train]
    chosen = some_rows(len(X), n)
    return (X[chosen], y[chosen]), (data.X_test[test], data.y_test[test])
