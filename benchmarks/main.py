"""Kernel error, test score, time and memory on four data sets, next to the exact kernel."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks import ridge
from benchmarks.datasets import Dataset, load, some_rows
from benchmarks.errors import relative_error
from benchmarks.exact import solve_kernel_ridge
from benchmarks.peers import GAMMAS, choose_gamma, rbf_sampler
from benchmarks.rendering import COLOURS, markdown_table, measurements, mebibytes, number
from benchmarks.timing import Stages, peak_memory
from ntksketch.diagnostics import exact_ridge

METHODS = {"default": "random features", "published": "published", "rbf": "RBF features"}
TITLES = {"digits": "digits", "mnist": "MNIST", "protein": "protein", "california": "California"}
STAGES = ("featurise", "accumulate", "factorise")
_SIZES = {  # rows to train on, rows to test on, columns: for the estimates of time
    "digits": (1438, 359, 64),
    "mnist": (60000, 10000, 784),
    "protein": (41157, 4573, 9),
    "california": (16512, 4128, 8),
}


def settings(short: bool) -> dict[str, Any]:
    """Return data sets, sizes and how penalties are chosen."""
    full = {
        "depths": [1, 2],
        "depths_above_2048": [2],
        "n_components": {name: [256, 512, 1024, 2048, 4096, 8192] for name in TITLES},
        "exact_rows": {"digits": 1438, "mnist": 10000, "protein": 10000, "california": 16512},
        "exact_gcv_rows": 4000,
        "max_train": 10**6,
        "max_test": 10**6,
        "error_rows": 2000,
        "error_seeds": 3,
        "gamma_components": 1024,
        "gammas": GAMMAS,
    }
    small = {
        "depths": [1],
        "n_components": {"digits": [64, 128]},
        "exact_rows": {"digits": 300},
        "exact_gcv_rows": 200,
        "max_train": 400,
        "max_test": 100,
        "error_rows": 200,
        "error_seeds": 2,
        "gamma_components": 64,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the most informative first: m = 2048, exact kernels, other sizes, the largest last."""
    exact = [
        {"key": f"exact {data} {depth}", "data": data, "depth": depth, "method": "exact"}
        for data in settings["exact_rows"]
        for depth in reversed(settings["depths"])
    ]
    features = [
        {"key": _key(method, data, depth, m), "data": data, "depth": depth, "method": method}
        | {"n_components": m}
        for data, sizes in settings["n_components"].items()
        for m in sizes
        for method in METHODS
        for depth in _depths(method, m, settings)
    ]

    def rank(configuration: dict[str, Any]) -> tuple[int, int]:
        order = [2048, 1024, 4096, 512, 256, 8192]
        m = configuration["n_components"]
        return (order.index(m) if m in order else len(order)), configuration["depth"] or 0

    features.sort(key=rank)
    first = sum(c["n_components"] == 2048 for c in features)
    return [*features[:first], *exact, *features[first:]]


def _key(*parts: Any) -> str:
    return " ".join(str(part) for part in parts if part is not None)


def _depths(method: str, m: int, settings: dict[str, Any]) -> list[int | None]:
    if method == "rbf":
        return [None]
    return settings["depths_above_2048" if m > 2048 else "depths"]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, from operation counts."""
    n, n_test, d = _SIZES[configuration["data"]]
    n, n_test = min(n, settings["max_train"]), min(n_test, settings["max_test"])
    if configuration["method"] == "exact":
        rows, few = settings["exact_rows"][configuration["data"]], settings["exact_gcv_rows"]
        return 5 + rows**2 * (rows + n_test / rows) / 3 / 5e10 + 3e-10 * min(rows, few) ** 3
    m, depth = configuration["n_components"], configuration["depth"]
    inner = [d] + [max(m // 2, 1024)] * ((depth or 1) - 1)
    featurise = (n + n_test) * m * (sum(2 * w for w in inner) / 9e10 + 4e-9 * (depth or 1))
    accumulate = n * m**2 * 2 / 1.2e11 + n / ridge.BLOCK_ROWS * m**2 * 1.5e-9
    factorise = 3e-10 * m**3 if m <= 1024 else 8 * (m**3 / 3 / 4.5e10 + m**2 * 3e-8)
    factorise *= 1 if n > 4 * m else 2
    choice = 0.0
    if configuration["method"] == "rbf":  # some seven widths
        few = min(m, settings["gamma_components"])
        choice = 2 + 7 * n * few * (2 * d / 9e10 + 4e-9 + 2 * few / 1.2e11)
    return 6 + choice + featurise + accumulate + factorise


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Measure one method at one size on one data set."""
    data = load(configuration["data"]).first(settings["max_train"], settings["max_test"])
    about = {"n_train": len(data.X_train), "n_test": len(data.X_test), "source": data.source}
    if configuration["method"] == "exact":
        return about | _measure_exact(data, configuration["depth"], settings)
    outcome = _measure_features(data, configuration, settings)
    if configuration["method"] != "rbf":
        outcome["kernel_error"] = _kernel_errors(data, configuration, settings)
    return about | outcome


def _measure_features(
    data: Dataset, configuration: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    extra, m, stages = {}, configuration["n_components"], Stages()
    if configuration["method"] == "rbf":
        with stages("choose gamma"):
            extra["gamma"], extra["held_out"] = _choose_gamma(data, m, settings)
    outcome = ridge.measure_features(
        lambda: _draw(configuration, data.X_train, extra.get("gamma"), seed=0), data
    )
    outcome["seconds"] = {**stages, **outcome["seconds"]}
    return extra | outcome


def _choose_gamma(
    data: Dataset, n_components: int, settings: dict[str, Any]
) -> tuple[float, list[dict[str, float]]]:
    m = min(n_components, settings["gamma_components"])

    def score(part: Dataset, gamma: float) -> float:
        features = rbf_sampler(gamma, m, 0)
        return ridge.measure_features(lambda: features.fit(part.X_train), part)["score"]

    return choose_gamma(data, settings["gammas"], score)


def _draw(configuration: dict[str, Any], X: NDArray, gamma: float | None, seed: int) -> Any:
    """Return fitted features."""
    m = configuration["n_components"]
    if configuration["method"] == "rbf":
        return rbf_sampler(gamma, m, seed).fit(X)
    chosen = {
        "published": {"method": ntk.RandomFeatures.published()},
        "default": {"method": "random-features"},
    }
    architecture = ntk.mlp(configuration["depth"])
    features = ntk.NTKFeatures(
        architecture, n_components=m, random_state=seed, **chosen[configuration["method"]]
    )
    return features.fit(X)


def _kernel_errors(
    data: Dataset, configuration: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Return relative Frobenius errors on a sample of rows, one for each draw."""
    X = data.X_train[some_rows(len(data.X_train), settings["error_rows"], seed=2)]
    K = ntk.kernel(ntk.mlp(configuration["depth"]), X.astype(np.float64))
    errors = []
    for seed in range(settings["error_seeds"]):
        Z = _draw(configuration, X, None, seed).transform(X)
        errors.append(relative_error(Z @ Z.T, K))
    return {
        "rows": len(X),
        "draws": errors,
        "mean": float(np.mean(errors)),
        "std": float(np.std(errors, ddof=1)),
    }


def _measure_exact(data: Dataset, depth: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Exact kernel ridge on some or all training rows; the penalty by GCV on at most a few."""
    architecture, stages = ntk.mlp(depth), Stages()
    rows = some_rows(len(data.X_train), settings["exact_rows"][data.name])
    X, Y = data.X_train[rows].astype(np.float64), data.targets[rows]
    few = some_rows(len(X), settings["exact_gcv_rows"], seed=1)
    with peak_memory() as memory:
        with stages("kernel"):
            K = ntk.kernel(architecture, X)
        with stages("choose alpha"):
            alpha = exact_ridge(K[np.ix_(few, few)], Y[few]).alpha
        with stages("factorise"):
            model = solve_kernel_ridge(K, Y, alpha)
        del K
        with stages("predict"):
            prediction = np.concatenate(
                [
                    model.predict(ntk.kernel(architecture, data.X_test[part].astype(float), X))
                    for part in (slice(i, i + 2000) for i in range(0, len(data.X_test), 2000))
                ]
            )
    return {
        "n_exact": len(X),
        **data.scores(prediction),
        "alpha": alpha,
        "seconds": dict(stages),
        "peak_memory": memory.peak,
    }


def table(results: dict[str, Any]) -> str:
    """Return a table at one size, which compares, and one of everything."""
    found = measurements(results)
    m = _common_size(found)
    parts = ["# NTK features on four data sets"]
    if m is not None:
        parts += [
            f"Accuracy (digits, MNIST) or R² (protein, California) on test rows at m = {m:,}; in "
            "brackets the relative Frobenius error of the kernel matrix and, where exact kernel "
            "ridge saw a sample of the training rows, their number. RBF features are "
            "scikit-learn's RBFSampler.",
            _comparison(found, m),
        ]
    parts += ["## Choices", _choices(results["settings"]), "## Everything", _everything(found)]
    return "\n\n".join(parts)


def _common_size(found: list[dict[str, Any]]) -> int | None:
    """Return the largest number of components for which most is measured."""
    counts = Counter(c["n_components"] for c in found if "n_components" in c)
    return max(counts, key=lambda m: (counts[m], m), default=None)


def _comparison(found: list[dict[str, Any]], m: int) -> str:
    rows = []
    for data in TITLES:
        here = [c for c in found if c["data"] == data]
        for depth in sorted({c["depth"] for c in here if c["depth"]}):
            cells = []
            for method in ("exact", *METHODS):
                chosen = [
                    c
                    for c in here
                    if c["method"] == method
                    and c.get("n_components", m) == m
                    and c["depth"] in (depth, None)
                ]
                cells.append(_cell(chosen[0]) if chosen else None)
            rows.append((TITLES[data], depth, *cells))
    return markdown_table(("data", "depth", "exact NTK", *METHODS.values()), rows)


def _cell(c: dict[str, Any]) -> str:
    text = f"{c['score']:.4f}"
    if c["method"] == "exact" and c["n_exact"] < c["n_train"]:
        text += f" ({c['n_exact']:,} rows)"
    if "kernel_error" in c:
        text += f" ({c['kernel_error']['mean']:.2g})"
    return text


def _choices(s: dict[str, Any]) -> str:
    return "\n".join(
        [
            "* Every method has the same ridge, StreamingRidge, whose penalty is chosen by "
            "generalised cross-validation on the training rows.",
            f"* The kernel error is the mean of {s['error_seeds']} draws on at most "
            f"{s['error_rows']:,} training rows, ± their standard deviation; scores, times and "
            "memory are those of the first draw.",
            "* RBF: gamma is chosen on training rows held out, at "
            f"{s['gamma_components']:,} components or fewer, from {s['gammas'][0]:g} to "
            f"{s['gammas'][-1]:g} times the inverse median squared distance, and beyond for as "
            "long as the best is at an edge.",
            f"* Exact: the penalty is chosen by generalised cross-validation on at most "
            f"{s['exact_gcv_rows']:,} training rows, in float64.",
            "* Times are single runs after a warm-up; memory is the peak above that before the "
            "run, in a process of its own, compiled code included.",
        ]
    )


def _everything(found: list[dict[str, Any]]) -> str:
    header = ("data", "depth", "method", "m or rows", "kernel error", "accuracy or R²", "RMSE")
    header += (*(f"{stage}, s" for stage in STAGES), "peak memory, MiB")
    methods = ["exact", *METHODS]
    rows = []
    for c in sorted(
        found,
        key=lambda c: (
            list(TITLES).index(c["data"]),
            c["depth"] or 9,
            methods.index(c["method"]),
            c.get("n_components", 0),
        ),
    ):
        error = c.get("kernel_error")
        seconds = dict(c["seconds"])
        if c["method"] == "exact":
            seconds = {"featurise": seconds["kernel"], "factorise": seconds["factorise"]}
        rows.append(
            (
                TITLES[c["data"]],
                c["depth"],
                "exact" if c["method"] == "exact" else METHODS[c["method"]],
                c.get("n_components", c.get("n_exact")),
                f"{error['mean']:.3g} ± {error['std']:.1g}" if error else None,
                f"{c['score']:.4f}",
                number(c.get("rmse"), 4),
                *(number(seconds.get(stage)) for stage in STAGES),
                mebibytes(c["peak_memory"]),
            )
        )
    return markdown_table(header, rows)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure with a column for each data set: kernel error, score, times."""
    from matplotlib.figure import Figure

    found = measurements(results)
    names = [name for name in TITLES if any(c["data"] == name for c in found)] or ["digits"]
    figure = Figure(figsize=(3.1 * len(names) + 2.6, 8.5), layout="constrained")
    axes = figure.subplots(3, len(names), squeeze=False, sharex="col")
    for column, name in enumerate(names):
        here = [c for c in found if c["data"] == name]
        _draw_errors(axes[0, column], here)
        _draw_scores(axes[1, column], here)
        _draw_times(axes[2, column], here)
        axes[0, column].set_title(TITLES[name])
        axes[1, column].set_ylabel("accuracy" if name in ("digits", "mnist") else "R²")
        axes[2, column].set_xlabel("components m")
        for row in range(3):
            axes[row, column].set_xscale("log", base=2)
    axes[0, 0].set_ylabel("kernel error")
    axes[2, 0].set_ylabel("seconds (largest depth)")
    handles: dict[str, Any] = {}
    for panel in axes.ravel():
        handles.update(dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True)))
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure


def _curves(here: list[dict[str, Any]]) -> Any:
    """Yield method, depth and measurements by size."""
    for method in METHODS:
        for depth in sorted({c["depth"] for c in here if c["method"] == method}, key=str):
            chosen = [c for c in here if (c["method"], c["depth"]) == (method, depth)]
            yield method, depth, sorted(chosen, key=lambda c: c["n_components"])


def _style(method: str, depth: int | None) -> dict[str, Any]:
    line = {1: "--", 2: "-", None: "-"}.get(depth, ":")
    label = METHODS.get(method, "exact") + (f", depth {depth}" if depth else "")
    return {"color": COLOURS[method], "linestyle": line, "label": label}


def _draw_errors(axes: Any, here: list[dict[str, Any]]) -> None:
    for method, depth, curve in _curves([c for c in here if "kernel_error" in c]):
        m = [c["n_components"] for c in curve]
        mean = [c["kernel_error"]["mean"] for c in curve]
        std = [c["kernel_error"]["std"] for c in curve]
        axes.errorbar(m, mean, std, marker="o", markersize=4, **_style(method, depth))
    axes.set_yscale("log")


def _draw_scores(axes: Any, here: list[dict[str, Any]]) -> None:
    for method, depth, curve in _curves(here):
        scores = [c["score"] for c in curve]
        m = [c["n_components"] for c in curve]
        axes.plot(m, scores, marker="o", markersize=4, **_style(method, depth))
    for c in (c for c in here if c["method"] == "exact"):
        axes.axhline(c["score"], linewidth=1.2, **_style("exact", c["depth"]))
        if c["n_exact"] < c["n_train"]:
            where = axes.get_yaxis_transform()
            text = f"exact on {c['n_exact']:,} rows"
            axes.text(0.98, c["score"], text, transform=where, ha="right", va="bottom", fontsize=8)


def _draw_times(axes: Any, here: list[dict[str, Any]]) -> None:
    colours = dict(zip(STAGES, ("#8a5fb0", "#c2a01e", "#4b4b4b"), strict=True))
    lines = {"default": "-", "published": "--", "rbf": ":"}
    largest = max((c["depth"] for c in here if c["depth"]), default=None)
    for method, depth, curve in _curves(here):
        if depth not in (largest, None):
            continue
        for stage in STAGES:
            seconds = [c["seconds"].get(stage) for c in curve]
            m = [c["n_components"] for c in curve]
            label = f"{stage}, {METHODS[method]}"
            axes.plot(m, seconds, lines[method], color=colours[stage], label=label)
    axes.set_yscale("log")
