"""Kernel error and score of features of sparse, text-like rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning

import ntksketch as ntk
from benchmarks.methods import COLOURS, LABELS, draw
from benchmarks.rendering import markdown_table, measurements, number
from benchmarks.sparse import hashed_rows, zipf_ranks
from benchmarks.timing import Stages
from ntksketch.diagnostics import exact_ridge

METHODS = (
    "nystroem",
    "nystroem-kmeans",
    "polynomial-sketch",
    "ntksketch-2",
    "random-features",
    "gegenbauer",
)
_DENSE = ("nystroem-kmeans", "random-features", "gegenbauer")  # keep d m numbers
EXACT = "exact"
_WIDTH = 256  # of the teacher's hidden layers
_NOISE = 0.1  # variance, in units of the teacher's
_OF_TOPIC = 0.2  # share of the words that belong to the row's topic
_TOPIC_WORDS = 500  # of each topic, equally frequent


def settings(short: bool) -> dict[str, Any]:
    """Return sizes of rows and of features."""
    full = {
        "columns": [20_000, 100_000],
        "columns_of_dense": 20_000,
        "n_components": [256, 1024],
        "train_rows": 2000,
        "test_rows": 500,
        "entries": 100,
        "depth": 2,
        "topics": 10,
        "draws": 1,
    }
    small = {
        "columns": [1000],
        "columns_of_dense": 1000,
        "n_components": [64],
        "train_rows": 300,
        "test_rows": 60,
        "topics": 3,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the exact kernel, and all methods at all sizes; of dense ones only few columns."""
    found = []
    for d in settings["columns"]:
        found.append({"key": f"{EXACT} {d}", "method": EXACT, "columns": d})
        for m in settings["n_components"]:
            found += [
                {"key": f"{method} {d} {m}", "method": method, "columns": d, "n_components": m}
                for method in METHODS
                if method not in _DENSE or d <= settings["columns_of_dense"]
            ]
    return found


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, roughly."""
    n, m = settings["train_rows"] + settings["test_rows"], configuration.get("n_components", 0)
    if configuration["method"] == EXACT:
        return 3 + 3e-10 * n**3
    dense = configuration["method"] in _DENSE
    each = n * m * 1e-6 + dense * configuration["columns"] * m * 1e-7
    return 5 + each * settings["draws"]


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Measure errors on the test rows, and the scores of ridge regression, for fitted features."""
    n_train, n_test = settings["train_rows"], settings["test_rows"]
    d, depth = configuration["columns"], settings["depth"]
    X, topics = rows_with_topics(
        n_train + n_test, d, settings["entries"], settings["topics"], seed=0
    )
    Y = np.column_stack([one_hot(topics), teacher(X, seed=1)])
    train, test, known, unknown = X[:n_train], X[n_train:], Y[:n_train], Y[n_train:]
    if configuration["method"] == EXACT:
        K = ntk.kernel(ntk.mlp(depth), train.astype(np.float64))
        across = ntk.kernel(ntk.mlp(depth), test.astype(np.float64), train.astype(np.float64))
        return scores(lambda y: exact_ridge(K, y).predict(across), known, unknown)
    K, stages, each = ntk.kernel(ntk.mlp(depth), test.astype(np.float64)), Stages(), []
    for seed in range(settings["draws"]):
        with stages("set-up"):
            features = draw(
                configuration["method"], depth, configuration["n_components"], seed, train
            )
        with stages("transform"):
            Z, Z_test = features.transform(train), features.transform(test)
        found = scores(lambda y, Z=Z, Z_test=Z_test: ridge(Z, y).predict(Z_test), known, unknown)
        each.append(errors(Z_test, K) | found)
    means = {name: float(np.mean([found[name] for found in each])) for name in each[0]}
    seconds = {name: value / len(each) for name, value in stages.items()}
    return means | {"draws": each, "seconds": seconds}


def ridge(Z: NDArray, Y: NDArray) -> ntk.StreamingRidge:
    """Return the ridge that every method has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)
        return ntk.StreamingRidge().fit(Z, Y)


def errors(Z: NDArray, K: NDArray[np.float64]) -> dict[str, float]:
    """Return relative Frobenius errors of a kernel matrix: whole, and off the diagonal."""
    E = Z.astype(np.float64) @ Z.T.astype(np.float64) - K
    whole = float(np.linalg.norm(E) / np.linalg.norm(K))
    off = ~np.eye(len(K), dtype=bool)
    return {
        "kernel_error": whole,
        "kernel_error_off": float(np.linalg.norm(E[off]) / np.linalg.norm(K[off])),
    }


def scores(
    predict: Callable[[NDArray], NDArray], known: NDArray, unknown: NDArray
) -> dict[str, float]:
    """Return the accuracy for topics, and R^2 for the teacher, which is the last column.

    `predict` returns what it says of the test rows for targets of the training rows.
    """
    topics, said = predict(known[:, :-1]), predict(known[:, -1:]).ravel()
    right = topics.argmax(axis=1) == unknown[:, :-1].argmax(axis=1)
    residual = np.mean((said - unknown[:, -1]) ** 2)
    return {
        "accuracy": float(np.mean(right)),
        "r2": float(1 - residual / np.var(unknown[:, -1])),
    }


def one_hot(labels: NDArray) -> NDArray[np.float64]:
    """Return -1 and 1 for each class."""
    return np.where(labels[:, None] == np.arange(labels.max() + 1), 1.0, -1.0)


def rows_with_topics(
    n_rows: int, n_columns: int, entries: int, n_topics: int, seed: int
) -> tuple[Any, NDArray]:
    """Return rows of hashed words, some of them of the row's topic, and the topics.

    Most words follow Zipf's law, whatever the topic; a few come from the topic's own words.

    Returns
    -------
    csr_array of shape (n_rows, n_columns), float32
    ndarray of shape (n_rows,)
        Numbers of topics.
    """
    rng = np.random.default_rng(seed)
    topics = rng.integers(n_topics, size=n_rows)
    ranks = zipf_ranks(rng, n_rows * entries, 10 * n_columns)
    own = rng.random(len(ranks)) < _OF_TOPIC
    start = 10 * n_columns + np.repeat(topics, entries)[own] * _TOPIC_WORDS
    ranks[own] = start + rng.integers(_TOPIC_WORDS, size=len(start))
    return hashed_rows(ranks, n_rows, n_columns), topics


def teacher(X: Any, seed: int) -> NDArray[np.float64]:
    """Return what a random network of two hidden layers says of rows, and noise."""
    rng = np.random.default_rng(seed)
    hidden = np.maximum(X @ rng.standard_normal((X.shape[1], _WIDTH)), 0)
    hidden = np.maximum(hidden @ rng.standard_normal((_WIDTH, _WIDTH)), 0)
    y = hidden @ rng.standard_normal(_WIDTH)
    y = (y - y.mean()) / y.std()
    return y + np.sqrt(_NOISE) * rng.standard_normal(len(y))


def table(results: dict[str, Any]) -> str:
    """Return the errors and scores, with what they are."""
    return "\n\n".join(["# Sparse rows: error and score", text(results), comparison(results)])


def text(results: dict[str, Any]) -> str:
    """Say what was measured."""
    s = results["settings"]
    return (
        f"{s['train_rows']:,} training rows and {s['test_rows']:,} test rows (CSR, float32) of "
        f"{s['entries']} hashed words, {_OF_TOPIC:.0%} of them from {_TOPIC_WORDS:,} words of the "
        f"row's topic, one of {s['topics']}; depth {s['depth']}. Relative Frobenius error of the "
        "kernel matrix of the test rows, whole and off the diagonal; accuracy for the topics, and "
        "R² for a random ReLU network of two hidden layers with noise, which leaves at most "
        f"{1 / (1 + _NOISE):.2f}. The same ridge for all, its penalty chosen on the training rows; "
        f"draws of the features: {s['draws']}. Rows are nearly orthogonal, so that landmarks miss "
        "a part of each row's own value, on the diagonal. Methods that keep a number for each "
        f"column and feature stop at {s['columns_of_dense']:,} columns."
    )


def comparison(results: dict[str, Any]) -> str:
    """Return the table."""
    rows = []
    for m in _in_order(results):
        size = f"{m['n_components']:,}" if "n_components" in m else None
        seconds = sum(m["seconds"].values()) if "seconds" in m else None
        cells = number(m.get("kernel_error")), number(m.get("kernel_error_off"))
        score = f"{m['accuracy']:.1%}", f"{m['r2']:.3f}", number(seconds)
        rows.append((f"{m['columns']:,}", size, label(m), *cells, *score))
    header = ("columns d", "m", "method", "error", "off the diagonal", "accuracy", "R²")
    return markdown_table((*header, "set-up and transform, s"), rows)


def label(m: dict[str, Any]) -> str:
    """Return the name of a measurement's method."""
    return "exact NTK" if m["method"] == EXACT else LABELS[m["method"]]


def _in_order(results: dict[str, Any]) -> list[dict[str, Any]]:
    def place(m: dict[str, Any]) -> tuple[int, int, int]:
        return m["columns"], m.get("n_components", 0), (EXACT, *METHODS).index(m["method"])

    return sorted(measurements(results), key=place)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: score against error off the diagonal, the exact kernel as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, score, name in zip(panels, ("accuracy", "r2"), ("accuracy", "R²"), strict=True):
        for method in METHODS:
            found = measurements(results, method=method)
            if found:
                x, y = [m["kernel_error_off"] for m in found], [m[score] for m in found]
                axes.plot(x, y, "o", color=COLOURS[method], label=LABELS[method])
        for m in measurements(results, method=EXACT):
            axes.axhline(m[score], color="#c03030", linewidth=1, label="exact NTK")
        axes.set(xscale="log", xlabel="kernel error off the diagonal", ylabel=name)
    handles = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure
