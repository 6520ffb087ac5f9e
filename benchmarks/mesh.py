"""The pass over the rows on the accelerators that JAX finds: time, accuracy and precision."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import load
from benchmarks.rendering import COLOURS, markdown_table, measurements, number
from benchmarks.timing import Stages, finish, medians, peak_memory
from ntksketch.distributed import gather_on_mesh
from ntksketch.features.statistics import gather
from ntksketch.linear import GramAccumulator

_STREAM_ROWS = 50_000  # of a stream of random numbers
_NOISE = 0.1  # standard deviation of the synthetic targets' noise; theirs is about one


def settings(short: bool) -> dict[str, Any]:
    """Return sizes."""
    full = {
        "mnist_components": [4096, 8192, 16384],
        "synthetic": [[200_000, 16384], [2_000_000, 16384]],  # rows, components
        "synthetic_columns": 784,
        "test_rows": 10_000,
        "precision": [8192, 2048],
        "depth": 2,
        "again_rows": 60_000,
        "block": 8192,
        "rounds": 5,
    }
    small = {
        "mnist_components": [],
        "synthetic": [[3000, 64]],
        "synthetic_columns": 20,
        "test_rows": 500,
        "precision": [500, 64],
        "block": 512,
        "rounds": 2,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the precision of the sums, then MNIST, then the synthetic teacher."""
    mnist = [
        {"key": f"mnist {m}", "what": "mnist", "n_components": m}
        for m in settings["mnist_components"]
    ]
    synthetic = [
        {"key": f"synthetic {n} {m}", "what": "synthetic", "n_rows": n, "n_components": m}
        for n, m in settings["synthetic"]
    ]
    n, m = settings["precision"]
    precision = {"key": "precision", "what": "precision", "n_rows": n, "n_components": m}
    return [precision, *mnist, *synthetic]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on one recent accelerator with 16 cores beside it."""
    m = configuration["n_components"]
    return 15 + 2e-12 * m**3 * 8 + configuration.get("n_rows", 60_000) * m**2 * 4e-14


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit, and time the stages."""
    outcome = _MEASURES[configuration["what"]](configuration, settings)
    return {**outcome, "devices": [device.device_kind for device in jax.local_devices()]}


def _mnist(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    data = load("mnist")
    model = ntk.NTKClassifier(
        ntk.mlp(settings["depth"]), n_components=configuration["n_components"], random_state=0
    )
    return _fit(
        model, data.X_train, data.y_train, data.X_test, data.y_test, configuration, settings
    )


def _synthetic(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    n, n_test = configuration["n_rows"], settings["test_rows"]
    X, y = teacher(n + n_test, settings["synthetic_columns"])
    model = ntk.NTKRegressor(
        ntk.mlp(settings["depth"]), n_components=configuration["n_components"], random_state=0
    )
    return _fit(model, X[:n], y[:n], X[n:], y[n:], configuration, settings)


def _fit(
    model: Any,
    X: NDArray,
    y: NDArray,
    X_test: NDArray,
    y_test: NDArray,
    configuration: dict[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    bare = bare_gram(configuration["n_components"], settings) * len(X)
    with peak_memory() as memory:
        model.fit(X, y)
    stages = Stages(model.fit_seconds_)
    with stages("predict"):
        score = model.score(X_test, y_test)
    return {
        "again": _again(model, X[: settings["again_rows"]], y),
        "n_rows": len(X),
        "seconds": dict(stages),
        "bare_gram": bare,
        "score": float(score),
        "alpha": model.alpha_,
        "peak_memory": memory.peak,
    }


def _again(model: Any, X: NDArray, y: NDArray) -> float:
    """Return the seconds that a row takes in a pass whose code is compiled."""
    source = ntk.data.open_source(X, targets=y[: len(X)].astype(np.float32))
    start = time.perf_counter()
    gather_on_mesh(model._map, source, GramAccumulator())
    return (time.perf_counter() - start) / len(X)


def bare_gram(m: int, settings: dict[str, Any]) -> float:
    """Return the seconds that a row takes in a full-precision product of a block with itself."""
    rows = settings["block"]
    Z = jax.random.normal(jax.random.key(0), (rows, m), jnp.float32)

    @functools.partial(jax.jit, donate_argnums=0)
    def add(gram: jax.Array, Z: jax.Array) -> jax.Array:
        return gram + jnp.matmul(Z.T, Z, precision=jax.lax.Precision.HIGHEST)

    gram = finish(add(jnp.zeros((m, m)), Z))
    seconds = []
    for _ in range(settings["rounds"]):
        start = time.perf_counter()
        gram = finish(add(gram, Z))
        seconds.append(time.perf_counter() - start)
    return medians({"gram": seconds})["gram"] / rows


def _precision(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Compare the sums on the devices, and those on the host, with sums in float64."""
    n, m = configuration["n_rows"], configuration["n_components"]
    X, y = teacher(n, settings["synthetic_columns"])
    architecture = ntk.mlp(settings["depth"])
    fm = ntk.NTKFeatures(architecture, "gegenbauer", m, random_state=0).fit(X)
    Z = fm.transform(X).astype(np.float64)
    exact = GramAccumulator().update(Z, y).finalise()
    source = ntk.data.open_source(X, targets=y)
    errors = {}
    for name, sums in (("devices", gather_on_mesh), ("host", gather)):
        stats = sums(fm.feature_map_, source, GramAccumulator()).finalise()
        errors[name] = float(np.linalg.norm(stats.gram - exact.gram) / np.linalg.norm(exact.gram))
    return {"deviation": errors}


def teacher(n: int, n_columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return Gaussian rows and a random ReLU network's values for them, with noise."""
    X, y = np.empty((n, n_columns), np.float32), np.empty(n, np.float32)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((n_columns, 32), np.float32) * np.float32(np.sqrt(2 / n_columns))
    c = rng.standard_normal(32, np.float32) / np.float32(np.sqrt(32))

    def fill(start: int) -> None:
        rows = slice(start, start + _STREAM_ROWS)
        stream = np.random.default_rng((1, start))
        stream.standard_normal(dtype=np.float32, out=X[rows])
        noise = stream.standard_normal(len(X[rows]), np.float32)
        y[rows] = np.maximum(X[rows] @ W, 0) @ c + np.float32(_NOISE) * noise

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, n, _STREAM_ROWS)))
    return X, y


_MEASURES = {"mnist": _mnist, "synthetic": _synthetic, "precision": _precision}


def table(results: dict[str, Any]) -> str:
    """Return the tables."""
    fits = [m for m in measurements(results) if m["what"] != "precision"]
    again = results["settings"]["again_rows"]
    header = ("data", "rows", "components", "set-up, s", "pass, s", "solve, s", "predict, s")
    header += ("bare Gram, s", "pass/Gram", f"{again:,} rows again, s", "test score")
    rows = [
        (
            m["what"],
            f"{m['n_rows']:,}",
            f"{m['n_components']:,}",
            *(number(m["seconds"][stage]) for stage in ("set-up", "pass", "solve", "predict")),
            number(m["bare_gram"]),
            number(m["seconds"]["pass"] / m["bare_gram"]),
            number(m["again"] * min(again, m["n_rows"])),
            f"{m['score']:.4f}",
        )
        for m in fits
    ]
    parts = [
        "# The pass on accelerators",
        f"`NTKClassifier` and `NTKRegressor`, default method, depth {results['settings']['depth']}"
        ", float32 at full precision; the pass reads the rows from the host's memory and takes "
        "compilation with it, which a second pass over fewer rows does not. Bare Gram: the blocked "
        "products of as many features with themselves, on the device. Set-up and solve run mostly "
        "on the host. Score: accuracy, or R² of a random ReLU network with noise of a hundredth "
        "of its variance.",
        markdown_table(header, rows),
    ]
    for m in measurements(results, what="precision"):
        errors = m["deviation"]
        parts.append(
            f"Relative error of the Gram matrix of {m['n_rows']:,} x {m['n_components']:,} "
            f"features against float64: {errors['devices']:.1e} on the devices, "
            f"{errors['host']:.1e} on the host. Reduced precision (TF32) would give about 3e-4."
        )
    kinds = sorted({kind for m in measurements(results) for kind in m["devices"]})
    return "\n\n".join([*parts, f"Devices: {', '.join(kinds)}."])


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: where the time goes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    fits = [m for m in measurements(results) if m["what"] != "precision"]
    left = np.zeros(len(fits))
    for stage, colour in zip(("set-up", "pass", "solve"), COLOURS.values(), strict=False):
        seconds = [m["seconds"][stage] for m in fits]
        axes.barh(range(len(fits)), seconds, left=left, color=colour, label=stage)
        left += seconds
    labels = [f"{m['what']}\n{m['n_rows']:,} x {m['n_components']:,}" for m in fits]
    axes.set_yticks(range(len(fits)), labels)
    axes.set(xlabel="seconds")
    axes.legend()
    return figure
