"""How the time of an image grows with its pixels: features layer by layer, and the exact kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks import errors, images
from benchmarks.rendering import COLOURS, markdown_table, measurements, mebibytes, number
from benchmarks.timing import medians, peak_memory, side_by_side

TARGETS = {"features": "at most 1.1", "exact": "about 2"}
TITLES = {"features": "features, for an image", "exact": "exact kernel, for a pair of images"}
_FEATURES_GFLOPS, _PAIR_OF_PIXELS = 60, 6e-7  # on two quiet cores: 1e9 operations/s; seconds


def settings(short: bool) -> dict[str, Any]:
    """Return sizes of images and how many there are of each."""
    full = {
        "sides": [8, 16, 32, 64],
        "hidden": [64, 128],
        "n_components": 512,
        "images": 64,
        "exact_images": {"8": 32, "16": 8, "32": 3, "64": 1},  # of either side of the kernel
        "rounds": 3,
        "exact_rounds": 3,
        "slow_rounds": 1,
        "slow_side": 64,
        "memory": 2048,  # MiB: a pair of images of 64 x 64 pixels is more than what is usual
    }
    small = {
        "sides": [8, 16],
        "hidden": [8, 8],
        "n_components": 16,
        "images": 16,
        "exact_images": {"8": 4, "16": 2},
        "rounds": 2,
        "exact_rounds": 1,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every size with features, then with the exact kernel."""
    s = settings
    return [
        *({"key": f"features {side}", "what": "features", "side": side} for side in s["sides"]),
        *(
            {"key": f"exact {side}", "what": "exact", "side": int(side)}
            for side in s["exact_images"]
        ),
    ]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, from operation counts."""
    s, pixels = settings, configuration["side"] ** 2
    if configuration["what"] == "exact":
        pairs = s["exact_images"][str(configuration["side"])] ** 2
        return 20 + pairs * pixels**2 * _PAIR_OF_PIXELS * (_rounds(configuration, s) + 1)
    first, second = s["hidden"]
    products = 27 * first + 2 * first**2 + 18 * first * second + 2 * second**2
    products += 18 * second * s["n_components"]
    seconds = 2 * products * pixels * s["images"] / (_FEATURES_GFLOPS * 1e9)
    return 15 + seconds * (_rounds(configuration, s) + 1)


def _rounds(configuration: dict[str, Any], settings: dict[str, Any]) -> int:
    if configuration["what"] == "features":
        return settings["rounds"]
    slow = configuration["side"] >= settings["slow_side"]
    return settings["slow_rounds" if slow else "exact_rounds"]


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Time what is compiled, over rounds; the first, which compiles, is thrown away."""
    side, what = configuration["side"], configuration["what"]
    architecture = ntk.cnn(3, shape=(side, side, images.CHANNELS))
    if what == "features":
        count, run = settings["images"], _features(architecture, side, settings)
        entries = count
    else:
        count = settings["exact_images"][str(side)]
        run, entries = _exact(architecture, side, count, settings["memory"]), count**2
    run()
    with peak_memory() as memory:
        seconds = side_by_side({what: run}, _rounds(configuration, settings))
    return {
        "pixels": side**2,
        "images": count,
        "entries": entries,
        "seconds": seconds[what],
        "median": medians(seconds)[what],
        "each": medians(seconds)[what] / entries,
        "peak_memory": memory.peak,
    }


def _images(side: int, n: int) -> NDArray[np.float32]:
    return images.standardised(images.cifar10(n, 1, side)).X_train


def _features(
    architecture: ntk.Architecture, side: int, settings: dict[str, Any]
) -> Callable[[], Any]:
    X = _images(side, settings["images"])
    features = ntk.NTKFeatures(
        architecture,
        ntk.LayerwiseNystroem(tuple(settings["hidden"])),
        settings["n_components"],
        random_state=0,
    ).fit(X)
    return lambda: features.transform(X)


def _exact(architecture: ntk.Architecture, side: int, n: int, memory: int) -> Callable[[], NDArray]:
    """Return what computes the kernel of n images with n others."""
    X = _images(side, 2 * n)

    def run() -> NDArray:
        with sklearn.config_context(working_memory=memory):
            return ntk.kernel(architecture, X[:n], X[n:])

    return run


# ---------------------------------------------------------------------------------------------
# Tables and the figure
# ---------------------------------------------------------------------------------------------


def exponent(found: list[dict[str, Any]]) -> float | None:
    """Return the slope of log(seconds of each) over log(pixels)."""
    return errors.exponent((m["pixels"], m["each"]) for m in found)


def series(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of features and of the exact kernel, in the order of the pixels."""
    return {
        what: sorted(measurements(results, what=what), key=lambda m: m["pixels"]) for what in TITLES
    }


def table(results: dict[str, Any]) -> str:
    """Return the times of all sizes, and the exponents."""
    s, found = results["settings"], series(results)
    rows = [
        (
            TITLES[what],
            f"{m['side']} x {m['side']}",
            m["images"],
            number(m["median"]),
            number(1e3 * m["each"]),
            mebibytes(m["peak_memory"]),
        )
        for what, all_sizes in found.items()
        for m in all_sizes
    ]
    exponents = [
        (TITLES[what], f"{slope:.2f}", TARGETS[what])
        for what, all_sizes in found.items()
        if (slope := exponent(all_sizes)) is not None
    ]
    header = ("what", "pixels", "images", "median of all, s", "each, ms", "peak memory, MiB")
    first, second = s["hidden"]
    parts = [
        "# Growth with the pixels",
        "Images of CIFAR-10 with pixels averaged or repeated, `cnn(3)`, float32, compiled before: "
        f"features by `LayerwiseNystroem` with {first} and {second} landmarks in the hidden layers "
        f"and m = {s['n_components']:,}, and `kernel` of so many images with as many others, "
        f"with a `working_memory` of {s['memory']:,} MiB.",
        markdown_table(header, rows),
    ]
    if exponents:
        parts.append("Time of each grows as a power of the number of pixels:")
        parts.append(markdown_table(("what", "exponent", "target"), exponents))
    return "\n\n".join(parts)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: the time of each against the pixels, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    colours = {"features": COLOURS["default"], "exact": COLOURS["exact"]}
    for what, found in series(results).items():
        if not found:
            continue
        slope = exponent(found)
        label = TITLES[what] + ("" if slope is None else f": exponent {slope:.2f}")
        pixels, seconds = ([m[name] for m in found] for name in ("pixels", "each"))
        axes.loglog(pixels, seconds, "o-", color=colours[what], label=label)
    axes.set(xlabel="pixels of an image", ylabel="seconds")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure
