"""CIFAR-10: features of a convolutional network, its exact kernel, and the network trained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks import cifar10_drawing, finite_cnn, images, kept, ridge
from benchmarks.datasets import Dataset
from benchmarks.errors import relative_error, summary
from benchmarks.methods import made
from benchmarks.runner import LONG
from benchmarks.timing import Stages, median_ratio, medians, peak_memory, side_by_side
from ntksketch.diagnostics import exact_ridge

plot = cifar10_drawing.plot


class ImageMethod(NamedTuple):
    """A row of the table of methods: what makes features, of which network, and its sizes."""

    label: str
    network: str
    path: str  # class or classmethod
    parameters: dict[str, Any]
    sizes: dict[int, list[int]]  # numbers of features, by the number of training images
    flips: dict[int, list[int]] | None = None  # the same, averaged over mirror images
    seconds: float | None = None  # of an image, where it is no product of matrices
    own_choice: bool = False  # whether its own network chooses the whitening


NETWORKS: dict[str, Callable[[tuple[int, ...]], ntk.Architecture]] = {
    "pooled": lambda shape: ntk.cnn(3, pooling=2, shape=shape),
    "plain": lambda shape: ntk.cnn(3, shape=shape),
    "quadrants": lambda shape: ntk.cnn(
        3, readout=ntk.AvgPool(shape[0] // 8), pooling=2, shape=shape
    ),
}
_SAYS = {"pooled": "", "plain": ", without pools", "quadrants": ", quadrants"}
METHODS = {  # settings know nothing of it: what is measured stays when there is another row
    "nystroem-256": ImageMethod(
        "Nyström by layers, 128 and 256",
        "pooled",
        "LayerwiseNystroem",
        {"hidden_components": (128, 256)},
        {5000: [1024, 2048], 10_000: [4096], 50_000: [8192]},
        {5000: [2048]},
    ),
    "nystroem-512": ImageMethod(
        "Nyström by layers, 256 and 512",
        "pooled",
        "LayerwiseNystroem",
        {"hidden_components": (256, 512)},
        {5000: [2048], 10_000: [2048]},
    ),
    "nystroem": ImageMethod(
        "Nyström by layers, widths by default", "pooled", "LayerwiseNystroem", {}, {5000: [2048]}
    ),
    "quadrants": ImageMethod(
        "Nyström by layers, 128 and 256",
        "quadrants",
        "LayerwiseNystroem",
        {"hidden_components": (128, 256)},
        {5000: [2048, 4096], 50_000: [8192, 16384]},
        {50_000: [8192]},
        own_choice=True,
    ),
    "random": ImageMethod(
        "Random features",
        "pooled",
        "RandomFeatures",
        {},
        {5000: [1024]},
        seconds=0.06,
    ),
    "gradient": ImageMethod(
        "Gradients, width 128",
        "pooled",
        "GradientFeatures",
        {"width": 128},
        {5000: [1024, 2048], 10_000: [4096]},
        seconds=0.02,
    ),
    "cntksketch": ImageMethod(
        "CNTKSketch, as published, q = 2",
        "plain",
        "PolynomialSketch.published",
        {"degree": 2},
        {5000: [1024]},
        seconds=0.4,
    ),
}
_PUBLISHED = "cntksketch"  # whose time is the unit of the others'
_PACE_IMAGES, _PACE_ROUNDS = 32, 3
_PIXELS, _GFLOPS = images.SIDE**2, 90
_MEMORY = 1024  # MiB for features, also where a pass is given less for a block that may be lost
_SLOW = 0.1  # seconds of an image that make hours of a row
_ZCA_SECONDS = 12  # the eigenvalues of 3,072 x 3,072 numbers


def settings(short: bool) -> dict[str, Any]:
    """Return how everything is chosen; sizes are those of each method, or the same for all."""
    full = {
        "sizes": None,
        "flips": None,
        "long_from": 50_000,
        "n_test": 10_000,
        "regularizations": [0.01, 0.1, 1.0],
        "choice_rows": 3000,
        "choice_hidden": [64, 128],
        "choice_components": 512,
        "finite_rows": 5000,
        "widths": [32, 64],
        "rates": [0.02, 0.05],
        "first_epochs": 8,
        "epochs": 40,
        "batch": 50,
        "exact_side": 8,
        "exact_rows": 500,
        "exact_test": 500,
        "error_images": 250,
        "exact_components": [256, 512, 1024],
        "draws": 3,
    }
    small = {
        "sizes": {"60": [32], "80": [32]},
        "flips": {"60": [32]},
        "long_from": 80,
        "n_test": 100,
        "regularizations": [0.1],
        "choice_rows": 60,
        "choice_hidden": [16, 16],
        "choice_components": 16,
        "finite_rows": 60,
        "widths": [8],
        "rates": [0.1],
        "first_epochs": 1,
        "epochs": 2,
        "batch": 20,
        "exact_rows": 30,
        "exact_test": 20,
        "error_images": 10,
        "exact_components": [16, 32],
        "draws": 2,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the small problem first, then the trained network, then features by their sizes."""
    s = settings
    networks = dict.fromkeys(method.network for method in METHODS.values())
    found = [{"key": f"exact {name}", "what": "exact", "network": name} for name in networks]
    found += [{"key": f"small {name}", "what": "small", "method": name} for name in METHODS]
    n = s["finite_rows"]
    found.append({"key": f"finite {n}", "what": "finite", "n_train": n})
    found.append({"key": "pace", "what": "pace"})
    features = [
        _features(name, int(n), m, flips, s)
        for name, method in METHODS.items()
        for flips, sizes in (
            (False, s["sizes"] or method.sizes),
            (True, s["flips"] or method.flips or {}),
        )
        for n, several in sizes.items()
        for m in several
    ]
    return [*found, *sorted(features, key=lambda c: (c["n_train"], c["n_components"]))]


def _features(
    method: str, n_train: int, m: int, flips: bool, settings: dict[str, Any]
) -> dict[str, Any]:
    slow = (METHODS[method].seconds or 0) > _SLOW and settings["sizes"] is None
    words = [LONG] if slow or n_train >= settings["long_from"] else []
    words += [method, str(n_train), str(m), *(["flips"] if flips else [])]
    about = {"key": " ".join(words), "what": "features", "method": method, "n_train": n_train}
    return {**about, "n_components": m, "flips": flips}


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, from operation counts."""
    s, what = settings, configuration["what"]
    regularizations = len(s["regularizations"])
    chosen_by = _choice(s, configuration.get("method"))
    choice = chosen_by.rows * _seconds_of_image(chosen_by.hidden, chosen_by.components)
    choice = 10 + regularizations * (choice + _ZCA_SECONDS)
    if what in ("exact", "small"):
        name = configuration.get("network") or METHODS[configuration["method"]].network
        pairs = s["exact_rows"] * (s["exact_rows"] / 2 + s["exact_test"])
        pairs = pairs if what == "exact" else s["error_images"] ** 2
        draws = len(s["exact_components"]) * s["draws"] if what == "small" else 0
        per_pixels = 3.5e-7 if name == "plain" else 1e-7
        return 30 + pairs * s["exact_side"] ** 4 * per_pixels + 5 * draws
    if what == "pace":
        return 120 + _PACE_ROUNDS * _PACE_IMAGES * sum(m.seconds or 0.02 for m in METHODS.values())
    if what == "finite":
        widths = sum((width / 64) ** 1.5 for width in s["widths"])
        candidates = len(finite_cnn.PREPROCESSING) * widths * len(s["rates"])
        epochs = candidates * s["first_epochs"] + 2 * s["epochs"]
        return choice + epochs * s["finite_rows"] * 1.3e-3
    m, method = configuration["n_components"], METHODS[configuration["method"]]
    hidden = method.parameters.get("hidden_components", (256, 512))
    n_images = configuration["n_train"] + s["n_test"]
    quarters = 4 if method.network == "quadrants" else 1
    each = method.seconds or _seconds_of_image(hidden, m // quarters)
    seconds = n_images * each * (2 if configuration["flips"] else 1)
    solve = configuration["n_train"] * m**2 * 1e-11 + 3e-11 * m**3
    return choice + _ZCA_SECONDS + 3e-3 * m + 1.05 * seconds + solve


def _seconds_of_image(hidden: Any, m: int) -> float:
    """Return the seconds of an image's features layer by layer: value and tangent."""
    first, second = hidden
    products = _PIXELS * (27 * first + 2 * first**2)
    products += _PIXELS / 4 * (18 * first * second + 2 * second**2)
    products += _PIXELS / 16 * 18 * second * m
    return 2 * products / (_GFLOPS * 1e9)


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Measure features on images of full size, or the small problem, or the trained network."""
    if configuration["what"] == "exact":
        return measure_exact(configuration["network"], settings)
    if configuration["what"] == "small":
        return measure_small(configuration["method"], settings)
    if configuration["what"] == "pace":
        return measure_pace(settings)
    n_train, n_test = configuration["n_train"], settings["n_test"]
    if configuration["what"] == "finite":
        data = images.cifar10(n_train, n_test)
        regularization, _ = images.choose_regularization(data, _choice(settings))
        outcome = finite_cnn.measure(data, regularization, settings)
        return outcome | {"regularization": regularization, **_about(data)}

    def prepare(stages: Stages) -> tuple[Dataset, dict[str, Any]]:
        choice = _choice(settings, configuration["method"])
        return _prepared(images.cifar10(n_train, n_test), choice, stages)

    def draw_features(data: Dataset) -> Any:
        method, m = configuration["method"], configuration["n_components"]
        return draw(method, m, data, flips=configuration["flips"])

    if configuration["key"].startswith(LONG):
        folder = kept.folder_of(configuration["key"], settings)
        return kept.measure(folder, prepare, draw_features)
    stages = Stages()
    data, about = prepare(stages)
    outcome = ridge.measure_features(lambda: draw_features(data), data, warm_rows=1)
    outcome["seconds"] = {**stages, **outcome["seconds"]}
    return about | outcome


def _choice(settings: dict[str, Any], method: str | None = None) -> images.Choice:
    """Return what chooses the whitening's regulariser: the same for all, or a row's own.

    Means of quadrants need more images, and more features, to gain from what whitening brings out.
    """
    usual = images.Choice(
        NETWORKS["pooled"],
        settings["choice_rows"],
        tuple(settings["choice_hidden"]),
        settings["choice_components"],
        settings["regularizations"],
    )
    if method is None or not METHODS[method].own_choice:
        return usual
    return usual._replace(
        network=NETWORKS[METHODS[method].network],
        rows=images.OWN_ROWS * usual.rows,
        components=images.OWN_COMPONENTS * usual.components,
    )


def _about(data: Dataset) -> dict[str, Any]:
    return {"n_train": len(data.X_train), "n_test": len(data.X_test), "source": data.source}


def _prepared(
    data: Dataset, choice: images.Choice, stages: Stages
) -> tuple[Dataset, dict[str, Any]]:
    """Return the images whitened, and how the regulariser was chosen."""
    with stages("choose"):
        regularization, tried = images.choose_regularization(data, choice)
    with stages("preprocess"):
        data = images.whitened(data, regularization)
    return data, {"regularization": regularization, "tried": tried, **_about(data)}


def draw(
    method: str, n_components: int, data: Dataset, *, flips: bool = False, seed: int = 0
) -> Any:
    """Return features fitted to training images, averaged with those of mirror images or not."""
    row = METHODS[method]
    side = images.side_of(data)
    shape = (side, side, images.CHANNELS)
    features: Any = ntk.NTKFeatures(
        NETWORKS[row.network](shape),
        made(row.path, row.parameters),
        n_components,
        random_state=seed,
        working_memory=_MEMORY,
    )
    features = ntk.FlipAverage(features, shape) if flips else features
    return features.fit(data.X_train)


def measure_pace(settings: dict[str, Any]) -> dict[str, Any]:
    """Time the features of the same few images by turns; no choice of a regulariser is made."""
    short = settings["sizes"] is not None
    count = 4 if short else _PACE_IMAGES
    data = images.whitened(images.cifar10(settings["choice_rows"], count), 0.1)
    data = data.first(max(count, settings["choice_rows"] // 3), count)
    transforms = {}
    for method, row in METHODS.items():
        for m in [32] if short else next(iter(row.sizes.values())):
            features = draw(method, m, data)
            transforms[f"{method} {m}"] = functools.partial(features.transform, data.X_test)
            features.transform(data.X_test)  # compiles
    seconds = side_by_side(transforms, 1 if short else _PACE_ROUNDS)
    unit = next((key for key in transforms if key.startswith(_PUBLISHED)), next(iter(transforms)))
    return {
        "n_images": count,
        "unit": unit,
        "seconds": {key: [s / count for s in several] for key, several in seconds.items()},
        "median": {key: s / count for key, s in medians(seconds).items()},
        "ratio": {key: median_ratio(seconds, unit, key) for key in transforms},
    }


# ---------------------------------------------------------------------------------------------
# The small problem, for which there is the exact kernel
# ---------------------------------------------------------------------------------------------


def _small(settings: dict[str, Any]) -> tuple[Dataset, dict[str, Any], Stages]:
    """Return few images of few pixels, whitened; what belongs to the outcome, and seconds."""
    s, stages = settings, Stages()
    data = images.cifar10(s["exact_rows"], s["exact_test"], s["exact_side"])
    data, about = _prepared(data, _choice(s)._replace(rows=len(data.X_train)), stages)
    return data, about, stages


def _kernel(network: str, X: NDArray, Y: NDArray | None = None) -> NDArray[np.float64]:
    side = round((X.shape[1] / images.CHANNELS) ** 0.5)
    architecture = NETWORKS[network]((side, side, images.CHANNELS))
    return ntk.kernel(
        architecture, X.astype(np.float64), None if Y is None else Y.astype(np.float64)
    )


def measure_exact(network: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Fit the exact kernel of a network to few images, averaged to few pixels."""
    data, about, stages = _small(settings)
    with peak_memory() as memory:
        with stages("kernel"):
            K = _kernel(network, data.X_train)
        with stages("fit"):
            solved = exact_ridge(K, data.targets)
        with stages("kernel test"):
            K_test = _kernel(network, data.X_test, data.X_train)
    return about | {
        **data.scores(solved.predict(K_test)),
        "alpha": solved.alpha,
        "seconds": dict(stages),
        "peak_memory": memory.peak,
    }


def measure_small(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Fit features to the same images, and compare with the exact kernel of some of them."""
    data, about, stages = _small(settings)
    some = slice(settings["error_images"])
    network = METHODS[method].network
    K = _kernel(network, data.X_test[some], data.X_train[some])
    sizes = [_compared(method, m, data, K, settings) for m in settings["exact_components"]]
    return about | {"network": network, "sizes": sizes, "seconds": dict(stages)}


def _compared(
    method: str, m: int, data: Dataset, K: NDArray, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return accuracy, relative error of the kernel and seconds of features, over draws."""
    scores, errors, stages = [], [], Stages()
    some = slice(settings["error_images"])
    for seed in range(settings["draws"]):
        with stages("draw"):
            features = draw(method, m, data, seed=seed)
        features.transform(data.X_train[:1])  # compiles
        with stages("featurise"):
            Z = features.transform(data.X_train).astype(np.float64)
        Z_test = features.transform(data.X_test).astype(np.float64)
        errors.append(relative_error(Z_test[some] @ Z[some].T, K))
        prediction = exact_ridge(Z @ Z.T, data.targets).predict(Z_test @ Z.T)
        scores.append(data.scores(prediction)["score"])
    return {
        "n_components": m,
        "score": summary(scores),
        "error": summary(errors),
        "seconds": {name: seconds / settings["draws"] for name, seconds in stages.items()},
    }


def table(results: dict[str, Any]) -> str:
    """Return the tables."""
    labels = {name: method.label + _SAYS[method.network] for name, method in METHODS.items()}
    return cifar10_drawing.table(results, labels)
