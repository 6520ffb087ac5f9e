"""How long transform, kernel and ridge take, in bare matrix products timed side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ntksketch as ntk
from benchmarks.methods import library_method
from benchmarks.rendering import COLOURS, markdown_table, measurements, mebibytes, number
from benchmarks.timing import Stages, finish, median_ratio, medians, peak_memory, side_by_side
from ntksketch.linear import (
    GramAccumulator,
    default_alphas,
    ridge_path,
    search_by_gcv,
    solve_ridge,
)

TRANSFORM_METHODS = ("random-features", "published", "leverage", "tensor-sketch")
ZONAL_METHODS = ("gegenbauer", "polynomial-sketch")
KERNELS = {"depth 3": (3, 0.0), "depth 1": (1, 0.0), "depth 3 with bias": (3, 0.1)}
ZONAL_DEPTHS = (1, 2, 4, 8)
DIRECTIONS = ("orthogonal", "structured")
TARGETS = {
    "transform 1 random-features": 2,
    "transform 4 random-features": 6,
    "kernel depth 3": 3,
    "pass": 1.5,
}
TARGETS |= {f"transform {depth} gegenbauer": 1.3 for depth in ZONAL_DEPTHS}
TARGETS |= {f"landmarks {depth}": 1.3 for depth in ZONAL_DEPTHS}
TARGETS |= {f"transform {depth} polynomial-sketch": 6 for depth in (1, 4)}
_MORE_ROUNDS = 4  # for what takes half a second: it is at the mercy of whatever else runs
_STEADY = "gegenbauer", "landmarks"  # with targets near what a product takes


def settings(short: bool) -> dict[str, Any]:
    """Return sizes and rounds."""
    full = {
        "methods": TRANSFORM_METHODS,
        "depths": [1, 4, 2, 3],
        "zonal_depths": {
            "gegenbauer": ZONAL_DEPTHS,
            "polynomial-sketch": [1, 4],
            "landmarks": ZONAL_DEPTHS,
        },
        "direction_widths": [256, 784, 3072, 12288],
        "direction_rows": 1000,
        "n_features": 784,
        "transform_rows": 5000,
        "n_components": 8192,
        "kernel_rows": 10000,
        "ridge_rows": 60000,
        "ridge_features": 4096,
        "ridge_block": 5000,
        "ridge_targets": 10,
        "rounds": 5,
        "slow_rounds": 3,
    }
    small = {
        "methods": ["random-features"],
        "depths": [1],
        "zonal_depths": {"gegenbauer": [1], "polynomial-sketch": [1], "landmarks": [1]},
        "direction_widths": [50],
        "direction_rows": 50,
        "n_features": 50,
        "transform_rows": 200,
        "n_components": 128,
        "kernel_rows": 300,
        "ridge_rows": 600,
        "ridge_features": 64,
        "ridge_block": 200,
        "rounds": 2,
        "slow_rounds": 2,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return random features, kernels, ridge, zonal methods, then the other methods."""
    transforms = [
        {"key": f"transform {depth} {method}", "what": "transform", "depth": depth, "name": method}
        for method in settings["methods"]
        for depth in settings["depths"]
    ]
    kernels = [{"key": f"kernel {name}", "what": "kernel", "name": name} for name in KERNELS]
    ridge = [{"key": what, "what": what, "name": what} for what in ("pass", "factorise")]
    zonal = [
        {"key": f"landmarks {depth}", "what": "landmarks", "depth": depth, "name": name}
        if name == "landmarks"
        else {"key": f"transform {depth} {name}", "what": "transform", "depth": depth, "name": name}
        for name, depths in settings["zonal_depths"].items()
        for depth in depths
    ]
    directions = [
        {"key": f"directions {d}", "what": "directions", "name": "directions", "width": d}
        for d in settings["direction_widths"]
    ]
    first = len(settings["depths"])
    return [*transforms[:first], *kernels, *ridge, *zonal, *transforms[first:], *directions]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores."""
    s, rounds = settings, settings["rounds"]
    unit = 2 * s["transform_rows"] * s["n_features"] * s["n_components"] / 9e10
    gram = 2 * s["ridge_features"] ** 2 / 1.2e11  # a row
    width = configuration.get("width", 0)
    seconds = {
        "transform": unit
        * (2 + 1.5 * configuration.get("depth", 1))
        * (_rounds(configuration, s) + 1),
        "kernel": 2 * s["kernel_rows"] ** 2 * s["n_features"] / 9e10 * 5 * (rounds + 1),
        "landmarks": unit * 2 * (_rounds(configuration, s) + 1),
        "directions": s["n_components"]
        * (5e-11 * s["direction_rows"] * width + 2e-11 * width**1.5),
        "pass": gram * s["ridge_rows"] * 3.5 * (s["slow_rounds"] + 1),
        "factorise": 6e-10 * s["ridge_features"] ** 3 * (s["slow_rounds"] + 1),
    }
    return 5 + seconds[configuration["what"]]


def _rounds(configuration: dict[str, Any], settings: dict[str, Any]) -> int:
    return settings["rounds"] * (_MORE_ROUNDS if configuration["name"] in _STEADY else 1)


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Time a configuration and its units by turns."""
    return _MEASURES[configuration["what"]](configuration, settings)


def transform_method(name: str) -> Any:
    """Return the method that a row of the table is about."""
    if name in ZONAL_METHODS:
        return library_method(name)
    return {
        "random-features": ntk.RandomFeatures(),
        "published": ntk.RandomFeatures.published(),
        "leverage": ntk.RandomFeatures(sampling="leverage"),
        "tensor-sketch": ntk.RandomFeatures(product="tensor-sketch"),
    }[name]


def _transform(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    s, rng = settings, np.random.default_rng(0)
    X = rng.standard_normal((s["transform_rows"], s["n_features"]), dtype=np.float32)
    W = rng.standard_normal((s["n_features"], s["n_components"]), dtype=np.float32)
    method = transform_method(configuration["name"])
    fm = ntk.NTKFeatures(
        ntk.mlp(configuration["depth"]), method, s["n_components"], random_state=0
    ).fit(X)
    functions = {"measured": lambda: fm.transform(X), **_products(X, W)}
    outcome = _side_by_side(functions, ("measured",), _rounds(configuration, s))
    return {**outcome, "method": repr(fm.method_), "target": TARGETS.get(configuration["key"])}


def _landmarks(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Time the kernel of rows with landmarks: Nystroem's features before they are whitened."""
    s, rng = settings, np.random.default_rng(0)
    X = rng.standard_normal((s["transform_rows"], s["n_features"]), dtype=np.float32)
    Z = rng.standard_normal((s["n_components"], s["n_features"]), dtype=np.float32)
    architecture = ntk.mlp(configuration["depth"])
    functions = {"measured": lambda: ntk.kernel(architecture, X, Z), **_products(X, Z.T)}
    outcome = _side_by_side(functions, ("measured",), _rounds(configuration, s))
    return {**outcome, "target": TARGETS.get(configuration["key"])}


def _directions(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Time Gegenbauer features of both kinds of directions on rows of some width."""
    s, d = settings, configuration["width"]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((s["direction_rows"], d), dtype=np.float32)
    W = rng.standard_normal((d, s["n_components"]), dtype=np.float32)
    functions: dict[str, Callable[[], Any]] = {}
    set_up = Stages()
    for kind in DIRECTIONS:
        method = ntk.Gegenbauer(linear="random", directions=kind)
        fm = ntk.NTKFeatures(ntk.mlp(2), method, s["n_components"], random_state=0)
        with set_up(kind):
            fm.fit(X)
        functions[kind] = functools.partial(fm.transform, X)
    functions |= _products(X, W)
    return {**_side_by_side(functions, DIRECTIONS, s["rounds"]), "set_up": dict(set_up)}


def _kernel(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shape = (settings["kernel_rows"], settings["n_features"])
    X = rng.standard_normal(shape, dtype=np.float32)
    depth, bias_std = KERNELS[configuration["name"]]
    architecture = ntk.mlp(depth, bias_std=bias_std)
    functions = {"measured": lambda: ntk.kernel(architecture, X), **_products(X, X.T)}
    outcome = _side_by_side(functions, ("measured",), settings["rounds"])
    return {**outcome, "target": TARGETS.get(configuration["key"])}


def _pass(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    s, rng = settings, np.random.default_rng(0)
    Z = rng.standard_normal((s["ridge_rows"], s["ridge_features"]), dtype=np.float32)
    Y = rng.standard_normal((s["ridge_rows"], s["ridge_targets"]), dtype=np.float32)
    blocks = [slice(i, i + s["ridge_block"]) for i in range(0, len(Z), s["ridge_block"])]

    def stream() -> ntk.StreamingRidge:
        model = ntk.StreamingRidge(alphas=1.0)
        for rows in blocks:
            model.partial_fit(Z[rows], Y[rows])
        return model

    def numpy_gram() -> np.ndarray:
        gram = np.zeros((Z.shape[1], Z.shape[1]), np.float32)
        for rows in blocks:
            gram += Z[rows].T @ Z[rows]
        return gram

    @jax.jit
    def add(gram: jax.Array, block: jax.Array) -> jax.Array:
        return gram + jnp.matmul(block.T, block, precision=jax.lax.Precision.HIGHEST)

    def jax_gram() -> jax.Array:
        gram = jnp.zeros((Z.shape[1], Z.shape[1]), jnp.float32)
        for rows in blocks:
            gram = add(gram, Z[rows])
        return gram

    functions = {"measured": stream, "numpy": numpy_gram, "jax": jax_gram}
    outcome = _side_by_side(functions, ("measured",), s["slow_rounds"])
    return {**outcome, "target": TARGETS["pass"]}


def _factorise(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    s, rng = settings, np.random.default_rng(0)
    n = 2 * s["ridge_features"]
    Z = rng.standard_normal((n, s["ridge_features"]), dtype=np.float32)
    Y = rng.standard_normal((n, s["ridge_targets"]), dtype=np.float32)
    stats = GramAccumulator().update(Z, Y).finalise()
    alphas = default_alphas(stats)
    solvers: dict[str, Callable[[], Any]] = {
        "one penalty": lambda: solve_ridge(stats, alphas[4]),
        "search of penalties": lambda: search_by_gcv(stats, alphas),
        "path of penalties": lambda: ridge_path(stats, alphas),
    }
    functions = dict(solvers)
    functions.update(_products(Z.T, Z))
    return _side_by_side(functions, tuple(solvers), s["slow_rounds"])


def _products(A: np.ndarray, B: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the bare product of two matrices in NumPy and in JAX."""
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
    a, b = jnp.asarray(A), jnp.asarray(B)
    return {"numpy": lambda: A @ B, "jax": lambda: product(a, b)}


def _side_by_side(
    functions: dict[str, Callable[[], Any]], measured: tuple[str, ...], rounds: int
) -> dict[str, Any]:
    """Warm up, with the peak memory of each measured function, then time."""
    peaks = {}
    for name, function in functions.items():
        with peak_memory() as memory:
            finish(function())
        peaks[name] = memory.peak
    seconds = side_by_side(functions, rounds)
    return {
        "seconds": seconds,
        "median": medians(seconds),
        "ratio": {
            name: {unit: median_ratio(seconds, name, unit) for unit in ("numpy", "jax")}
            for name in measured
        },
        "peak_memory": peaks,
    }


_MEASURES = {
    "transform": _transform,
    "landmarks": _landmarks,
    "directions": _directions,
    "kernel": _kernel,
    "pass": _pass,
    "factorise": _factorise,
}


def table(results: dict[str, Any]) -> str:
    """Return the table, in an order that compares."""
    s = results["settings"]
    found = measurements(results)
    order = [("transform", m) for m in (*TRANSFORM_METHODS, *ZONAL_METHODS)]
    order += [("landmarks", "landmarks")]
    order += [("directions", "directions")]
    order += [("kernel", k) for k in KERNELS] + [("pass", "pass"), ("factorise", "factorise")]
    rows = []
    for what, name in order:
        chosen = [m for m in found if (m["what"], m["name"]) == (what, name)]
        for m in sorted(chosen, key=lambda m: m.get("depth", m.get("width", 0))):
            for measured, ratios in m["ratio"].items():
                target = f"≤ {m['target']}" if m.get("target") else None
                units = [number(m["median"][unit]) for unit in ("numpy", "jax")]
                times = [number(ratios[unit]) for unit in ("numpy", "jax")]
                peak = mebibytes(m["peak_memory"][measured])
                label = _label(m, measured)
                rows.append((label, number(m["median"][measured]), *units, *times, target, peak))
    header = ("what", "seconds", "NumPy product, s", "JAX product, s")
    header += ("ratio to NumPy", "ratio to JAX", "target", "peak memory, MiB")
    return "\n\n".join(
        [
            "# Speed, in matrix products",
            f"All in float32; medians of {s['rounds']} rounds ({s['slow_rounds']} for ridge, "
            f"{_MORE_ROUNDS * s['rounds']} for Gegenbauer's transform and for landmarks), "
            "measured and bare product by turns, and medians of the ratios within a round. "
            "Peak memory is that of a first call, above the input.",
            f"* transform: {s['transform_rows']:,} rows of {s['n_features']} columns to "
            f"{s['n_components']:,} components; unit: one ({s['transform_rows']:,} x "
            f"{s['n_features']})({s['n_features']} x {s['n_components']:,}) product.\n"
            "* landmarks: the exact kernel of as many rows with as many landmarks, which Nyström "
            "features are before they are whitened; the same unit.\n"
            f"* Gegenbauer features, directions: {s['direction_rows']:,} rows of several widths to "
            f"{s['n_components']:,} components, depth 2, whose linear part is random: a matrix of "
            "directions against Hadamard transforms; the unit is a product with a full matrix.\n"
            f"* kernel: {s['kernel_rows']:,} rows of {s['n_features']} columns; unit: X @ X.T "
            "(NumPy computes one triangle and mirrors it).\n"
            f"* StreamingRidge: {s['ridge_rows']:,} rows of {s['ridge_features']:,} features in "
            f"blocks of {s['ridge_block']:,}; unit: the bare blocked Gram matrix. Factorisations "
            f"apart; their unit is the Gram matrix of {2 * s['ridge_features']:,} rows.",
            markdown_table(header, rows),
        ]
    )


def _label(m: dict[str, Any], measured: str) -> str:
    if m["what"] == "transform":
        return f"transform, depth {m['depth']}, {m['name']}"
    if m["what"] == "landmarks":
        return f"kernel with landmarks, depth {m['depth']}"
    if m["what"] == "directions":
        return f"Gegenbauer, {measured} directions, {m['width']:,} columns"
    if m["what"] == "kernel":
        return f"kernel, {m['name']}"
    return "StreamingRidge, pass" if m["what"] == "pass" else f"StreamingRidge, {measured}"


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: ratios of transforms against depth; the other ratios as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {**COLOURS, "leverage": "#8a5fb0", "tensor-sketch": "#5f8f2f"}
    colours |= {"gegenbauer": "#2a9d8f", "polynomial-sketch": "#c94f9a", "landmarks": "#777777"}
    found = measurements(results)
    for name, colour in colours.items():
        chosen = [m for m in found if m["name"] == name and "depth" in m]
        points = sorted((m["depth"], m["ratio"]["measured"]["jax"]) for m in chosen)
        if points:
            left.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
    goals = {depth: TARGETS[f"transform {depth} random-features"] for depth in (1, 4)}
    left.plot(list(goals), list(goals.values()), "k_", markersize=18, label="target")
    left.set(xlabel="depth", xticks=(1, 2, 3, 4, 8), ylim=(0, None), title="transform")
    left.set_ylabel("time in JAX matrix products")
    left.legend()
    others = [m for m in found if m["what"] in ("kernel", "pass")]
    for i, m in enumerate(others):
        right.barh(i, m["ratio"]["measured"]["numpy"], color=COLOURS["default"])
        if m.get("target"):
            right.plot([m["target"]] * 2, [i - 0.4, i + 0.4], "k-")
    right.set_yticks(range(len(others)), [_label(m, "").replace(", ", "\n") for m in others])
    right.set(xlabel="time in NumPy matrix products (line: target)", title="kernel and ridge")
    return figure
