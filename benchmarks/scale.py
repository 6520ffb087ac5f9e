"""How time and memory grow with the rows, and what more components and exact solves give."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs

import ntksketch as ntk
from benchmarks import errors, scale_exact, scale_flow
from benchmarks.datasets import load, some_rows
from benchmarks.mesh import teacher
from benchmarks.rendering import COLOURS, markdown_table, measurements, mebibytes, number
from benchmarks.timing import Stages, medians, peak_memory
from ntksketch.estimators.cost import fit_cost

_GRAM_BLOCK = 8192
_FEWEST_FOR_EXPONENT = 50_000  # rows: fixed costs are small from there


def settings(short: bool) -> dict[str, Any]:
    """Return sizes."""
    full = {
        "depth": 2,
        "memory": 256,
        "beijing_rows": [50_000, 100_000, 200_000, 305_880],
        "beijing_components": 8192,
        "accuracy_components": [512, 1024, 2048, 4096],
        "synthetic": [[10_000, 1024], [50_000, 1024], [200_000, 1024], [1_000_000, 1024]],
        "synthetic_large": [[4_000_000, 512], [50_000, 16384]],
        "synthetic_columns": 32,
        "dask_rows": 200_000,
        "dask_components": 2048,
        "dask_workers": [1, 2],
        "exact_rows": [20_000],
        "solver_memory": 128,
        "large_rows": 60_000,
        "flow": [[400_000, 4096]],
        "large_components": [2048, 4096, 8192, 16384],
        "test_rows": 5000,
        "gram_rounds": 3,
    }
    small = {
        "memory": 16,
        "beijing_rows": [],
        "accuracy_components": [],
        "synthetic": [[2000, 32], [4000, 32]],
        "synthetic_large": [],
        "dask_rows": 2000,
        "dask_components": 32,
        "dask_workers": [1],
        "exact_rows": [],
        "large_rows": 0,
        "flow": [[2000, 32]],
        "large_components": [],
        "test_rows": 200,
        "gram_rounds": 2,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return small ones first."""
    s = settings
    found: list[dict[str, Any]] = [
        {"what": "synthetic", "n_rows": n, "n_components": m}
        for n, m in (*s["synthetic"], *s["synthetic_large"])
    ]
    found += [
        {"what": "dask", "n_rows": s["dask_rows"], "n_components": s["dask_components"], "w": w}
        for w in s["dask_workers"]
    ]
    most = max(s["beijing_rows"], default=0)
    found += [
        {"what": "beijing", "n_rows": most, "n_components": m} for m in s["accuracy_components"]
    ]
    found += [
        {"what": "beijing", "n_rows": n, "n_components": s["beijing_components"]}
        for n in s["beijing_rows"]
    ]
    found += scale_flow.configurations(s)
    found += scale_exact.configurations(s)
    for c in found:
        c["key"] = " ".join(str(value) for value in c.values())
    return found


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores."""
    n, m = configuration["n_rows"], configuration["n_components"]
    if configuration["what"] in scale_exact.MEASURES:
        return scale_exact.estimate(configuration)
    if configuration["what"] == "flow":
        return scale_flow.estimate(configuration)
    return 15 + 2e-11 * n * m**2 + 3e-10 * m**3


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit from a file, or on a cluster, or exactly."""
    return _MEASURES[configuration["what"]](configuration, settings)


def _synthetic(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    n, n_test = configuration["n_rows"], settings["test_rows"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        X, y = teacher(n + n_test, settings["synthetic_columns"])
        np.save(path, X[:n])
        X_test, y_test = X[n:].copy(), y[n:].copy()
        del X
        return _fit(path, y[:n], X_test, y_test, configuration, settings)


def _beijing(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit some of the training rows, all of which are standardised, from a Zarr store."""
    import zarr

    data = load("beijing_pm25")
    rows = some_rows(len(data.X_train), configuration["n_rows"], seed=1)
    rows = np.random.default_rng(2).permutation(rows)  # they come by station and time
    X, y = data.X_train[rows], data.y_train[rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.zarr"
        store = zarr.create_array(
            str(path), shape=X.shape, dtype=X.dtype, chunks=(8192, X.shape[1])
        )
        store[:] = X
        X_test, y_test = data.X_test, data.y_test
        del X, data, store
        return _fit(path, y, X_test, y_test, configuration, settings)


def _fit(
    path: Path,
    y: NDArray,
    X_test: NDArray,
    y_test: NDArray,
    configuration: dict[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    n, m = len(y), configuration["n_components"]
    bare = bare_gram(m, settings) * n
    source = ntk.data.open_source(path, targets=y)
    model = ntk.NTKRegressor(
        ntk.mlp(settings["depth"], input_bias_std=1.0),
        n_components=m,
        working_memory=settings["memory"],
        random_state=0,
    )
    cost = fit_cost(source, m, settings["memory"])
    with peak_memory() as memory:
        model.fit(source)
    stages = Stages(model.fit_seconds_)
    with stages("predict"):
        score = model.score(X_test, y_test)
    return {
        "seconds": dict(stages),
        "bare_gram": bare,
        "ratio": model.fit_seconds_["pass"] / bare,
        "estimated_seconds": cost.seconds,
        "estimated_memory": cost.memory,
        "score": float(score),
        "peak_memory": memory.peak,
        "peak_of_process": _highest(),
    }


def _highest() -> int | None:
    """Return the highest resident memory of this process since its last measurement began."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), None)


def bare_gram(m: int, settings: dict[str, Any]) -> float:
    """Return the seconds that a row takes in a float32 product of a block with itself."""
    (syrk,) = get_blas_funcs(["syrk"], dtype=np.float32)
    rows = min(_GRAM_BLOCK, max(256, 2**28 // m))
    Z = np.random.default_rng(0).standard_normal((rows, m), np.float32)
    seconds = []
    for _ in range(settings["gram_rounds"] + 1):
        start = time.perf_counter()
        syrk(1.0, Z.T, lower=1)
        seconds.append(time.perf_counter() - start)
    return medians({"gram": seconds[1:]})["gram"] / rows


def _dask(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit on workers of one core each."""
    import dask.array as da
    from distributed import Client, LocalCluster

    n, n_test = configuration["n_rows"], settings["test_rows"]
    X, y = teacher(n + n_test, settings["synthetic_columns"])
    flags = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    flags["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    model = ntk.NTKRegressor(
        ntk.mlp(settings["depth"]),
        n_components=configuration["n_components"],
        working_memory=settings["memory"],
        random_state=0,
    )
    os.environ.update(flags)
    with (
        LocalCluster(
            n_workers=configuration["w"],
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        chunk = max(1000, n // 20)
        rows, targets = (da.from_array(a[:n], chunks=cast(Any, chunk)) for a in (X, y))
        rows, targets = client.persist([rows.rechunk({1: -1}), targets])
        model.fit(rows[: n // 10], targets[: n // 10])  # compiles on every worker
        with peak_memory() as memory:
            model.fit(rows, targets)
        held = cast(dict[str, int | None], client.run(_highest))
    return {
        "seconds": model.fit_seconds_,
        "score": float(model.score(X[n:], y[n:])),
        "peak_memory": memory.peak,
        "peak_of_workers": max(value or 0 for value in held.values()),
    }


_MEASURES = {
    "synthetic": _synthetic,
    "beijing": _beijing,
    "dask": _dask,
    "flow": scale_flow.measure,
    **scale_exact.MEASURES,
}


def exponent(found: list[dict[str, Any]]) -> float | None:
    """Return the slope of log(time of the pass) over log(rows), from enough rows on."""
    return errors.exponent(
        (m["n_rows"], m["seconds"]["pass"]) for m in found if m["n_rows"] >= _FEWEST_FOR_EXPONENT
    )


def _series(results: dict[str, Any]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return the fits from files, by data and components."""
    series: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for m in measurements(results):
        if m["what"] in ("synthetic", "beijing"):
            series.setdefault((m["what"], m["n_components"]), []).append(m)
    return series


def table(results: dict[str, Any]) -> str:
    """Return the tables."""
    s = results["settings"]
    header = ("data", "rows", "components", "set-up, s", "pass, s", "solve, s", "bare Gram, s")
    header += ("pass/Gram", "test R²")
    header += ("estimated in all, s", "estimated memory, MiB", "peak of the fit, MiB")
    header += ("peak of the process, MiB",)
    rows = [
        (
            what,
            f"{m['n_rows']:,}",
            f"{n_components:,}",
            *(number(m["seconds"][stage]) for stage in ("set-up", "pass", "solve")),
            number(m["bare_gram"]),
            number(m["ratio"]),
            f"{m['score']:.4f}",
            number(m["estimated_seconds"]),
            mebibytes(m["estimated_memory"]),
            mebibytes(m["peak_memory"]),
            mebibytes(m["peak_of_process"]),
        )
        for (what, n_components), found in _series(results).items()
        for m in found
    ]
    parts = [
        "# Growth with the rows",
        f"`NTKRegressor`, default method, depth {s['depth']} with a bias at the input, "
        f"`working_memory` of {s['memory']} MiB, float32, from a file: synthetic rows from .npy, "
        "those of beijing_pm25 (hourly air quality; a fifth of the rows at random for the test, "
        "standardised) from a Zarr store. The bare Gram matrix is BLAS's product of blocks in "
        "float32, one triangle, side by side.",
        markdown_table(header, rows),
    ]
    slopes = [
        f"{what}, m = {m:,}: {slope:.2f}"
        for (what, m), found in _series(results).items()
        if (slope := exponent(found)) is not None
    ]
    if slopes:
        parts.append(
            f"Time of the pass grows as a power of the rows, from {_FEWEST_FOR_EXPONENT:,} on: "
            + "; ".join(slopes)
            + "."
        )
    clusters = measurements(results, what="dask")
    if clusters:
        header = ("workers", "rows", "components", "set-up, s", "pass, s", "solve, s", "test R²")
        parts += [
            "Dask, workers of one core each, rows already in their memory, synthetic data:",
            markdown_table(
                (*header, "peak of a worker, MiB"),
                [
                    (
                        m["w"],
                        f"{m['n_rows']:,}",
                        f"{m['n_components']:,}",
                        *(number(m["seconds"][k]) for k in ("set-up", "pass", "solve")),
                        f"{m['score']:.4f}",
                        mebibytes(m["peak_of_workers"]),
                    )
                    for m in clusters
                ],
            ),
        ]
    parts += [*scale_flow.parts(results), *scale_exact.parts(results)]
    return "\n\n".join(parts)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: time and memory against rows, and the score against components."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    time_axes, memory_axes, score_axes = figure.subplots(1, 3)
    colours = iter(COLOURS.values())
    for (what, m), found in _series(results).items():
        found = sorted(found, key=lambda f: f["n_rows"])
        if len(found) < 2:
            continue
        colour, n = next(colours), [f["n_rows"] for f in found]
        label = f"{what}, m = {m:,}"
        time_axes.loglog(n, [f["seconds"]["pass"] for f in found], "o-", color=colour, label=label)
        time_axes.loglog(n, [f["bare_gram"] for f in found], ":", color=colour)
        peaks = [f["peak_of_process"] / 2**20 for f in found]
        memory_axes.semilogx(n, peaks, "o-", color=colour, label=label)
    time_axes.set(xlabel="rows", title="pass, s (dotted: bare Gram)")
    memory_axes.set(xlabel="rows", title="peak of the process, MiB", ylim=(0, None))
    for axes in (time_axes, memory_axes):
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    most = max((m["n_rows"] for m in measurements(results, what="beijing")), default=0)
    points = sorted(
        (m["n_components"], m["score"]) for m in measurements(results, what="beijing", n_rows=most)
    )
    if points:
        score_axes.semilogx(*zip(*points, strict=True), "o-", color=COLOURS["default"])
    score_axes.set(xlabel="components", title=f"test R², beijing_pm25, {most:,} rows")
    return figure
