"""The tables and the figure of `cifar10`, from its results alone."""

from __future__ import annotations

from typing import Any

from benchmarks.finite_cnn import PREPROCESSING
from benchmarks.images import OWN_COMPONENTS, OWN_ROWS
from benchmarks.rendering import listed, markdown_table, measurements, mebibytes, number

HEADER = (
    "model",
    "training images",
    "m",
    "preprocessing",
    "test accuracy",
    "choices, s",
    "set-up, s",
    "features, training, s",
    "features, test, s",
    "fit, s",
    "peak memory, MiB",
)
_FLIPS = "standardised, ZCA, flips"
_MARKERS = "osDv"  # by the number of training images


def table(results: dict[str, Any], labels: dict[str, str]) -> str:
    """Return the models on images of full size, the small problem, and how choices were made."""
    parts = ["# CIFAR-10", _explanation(results)]
    rows = [*_features(results, labels), *_finite(results)]
    parts.append(markdown_table(HEADER, [row for _, row in sorted(rows, key=lambda r: r[0])]))
    if measurements(results, what="pace"):
        parts += ["## Time of an image", *_pace(results, labels)]
    if measurements(results, what="exact") or measurements(results, what="small"):
        parts += ["## Against the exact kernel", _small(results["settings"])]
        parts.append(_small_table(results, labels))
    return "\n\n".join([*parts, "## Choices", _choices(results)])


def _explanation(results: dict[str, Any]) -> str:
    s = results["settings"]
    trained = (
        "; next to a network of the first one's layers and of finite width, trained by gradient "
        "descent"
    )
    return (
        "Ridge regression on features of the NTK of `cnn(3, pooling=2)`, of `cnn(3)` where a row "
        "says without pools, and of the former with means of the four quadrants of its last layer "
        "in place of the mean of all pixels where a row says quadrants (each quadrant has a "
        f"quarter of the m features); {s['n_test']:,} test images"
        f"{trained if measurements(results, what='finite') else ''}. A model is fitted once; "
        "the standard error of an accuracy is "
        f"{50 / s['n_test'] ** 0.5:.1f} points at most, for its test images. Choices are what "
        "was tried on held-out training images; set-up draws the features, compilation included; "
        "fit adds up their statistics and solves, or trains a network. Zandieh et al. (2021), "
        "arXiv:2106.07880, report 72.1 % for their sketch with 16,384 features and all 50,000 "
        "training images, and 70.5 % for the exact kernel of depth 3."
    )


def _features(results: dict[str, Any], labels: dict[str, str]) -> list[tuple[Any, tuple]]:
    places, rows = list(labels), []
    for m in measurements(results, what="features"):
        s, label = m["seconds"], labels.get(m["method"], m["method"])
        place = places.index(m["method"]) if m["method"] in labels else len(places)
        row = (
            label,
            f"{m['n_train']:,}",
            f"{m['n_components']:,}",
            _FLIPS if m["flips"] else PREPROCESSING["whitened"],
            f"{m['score']:.2%}",
            *(number(s[stage]) for stage in ("choose", "draw", "featurise", "featurise test")),
            number(s["accumulate"] + s["factorise"]),
            mebibytes(m["peak_memory"]),
        )
        rows.append(((m["n_train"], 0, place, label, m["n_components"], m["flips"]), row))
    return rows


def _finite(results: dict[str, Any]) -> list[tuple[Any, tuple]]:
    rows = []
    for m in measurements(results, what="finite"):
        row = (
            f"trained network, width {m['chosen']['width']}",
            f"{m['n_train']:,}",
            None,
            PREPROCESSING[m["chosen"]["preprocessing"]],
            f"{m['score']:.2%}",
            number(m["seconds"]["choose"]),
            *(None, None, None),
            number(m["seconds"]["train"]),
            mebibytes(m["peak_memory"]),
        )
        rows.append(((m["n_train"], 1), row))
    return rows


def _pace(results: dict[str, Any], labels: dict[str, str]) -> list[str]:
    """Return the time of an image, and what separates each method from the published sketch."""
    (found,) = measurements(results, what="pace")
    scores: dict[tuple[str, int], dict[int, float]] = {}
    for m in measurements(results, what="features"):
        if not m["flips"]:
            scores.setdefault((m["method"], m["n_components"]), {})[m["n_train"]] = m["score"]
    unit, size = found["unit"].split()
    theirs = scores.get((unit, int(size)), {})
    rows = []
    for key, seconds in found["median"].items():
        method, m = key.split()
        ours = scores.get((method, int(m)), {})
        apart = {n: 100 * (ours[n] - theirs[n]) for n in sorted(ours.keys() & theirs.keys())}
        rows.append(
            (
                labels.get(method, method),
                f"{int(m):,}",
                f"{1000 * seconds:.3g}",
                f"{found['ratio'][key]:.3g}",
                ", ".join(f"{value:+.2f} ({n:,})" for n, value in apart.items()) or None,
            )
        )
    text = (
        f"Features of {found['n_images']} images of 32 x 32, each model's by turns in one process, "
        "medians; the published sketch's time over that of a row, and the difference of their test "
        "accuracies (with so many training images)."
    )
    header = ("model", "m", "an image, ms", "times as fast", "points above")
    return [text, markdown_table(header, rows)]


def _small(s: dict[str, Any]) -> str:
    return (
        f"{s['exact_rows']:,} training and {s['exact_test']:,} test images, averaged to "
        f"{s['exact_side']} x {s['exact_side']} pixels, for which the exact kernel can be "
        "computed, in float64; networks are `cnn(3)`, pooled with `pooling=2`, quadrants with that "
        "and means of quadrants, and plain without pools. The error is the relative Frobenius "
        f"error of the kernel between {s['error_images']} test and training images. Features: "
        f"means and standard deviations over {s['draws']} draws."
    )


def _small_table(results: dict[str, Any], labels: dict[str, str]) -> str:
    rows = []
    exacts = {m["network"]: m for m in measurements(results, what="exact")}
    for network in dict.fromkeys(
        [*exacts, *(m["network"] for m in measurements(results, what="small"))]
    ):
        exact = exacts.get(network)
        if exact is not None:
            seconds = number(exact["seconds"]["kernel"])
            rows.append(("exact", network, None, None, f"{exact['score']:.2%}", None, seconds))
        for m in measurements(results, what="small", network=network):
            for size in m["sizes"]:
                rows.append(
                    (
                        labels.get(m["method"], m["method"]),
                        network,
                        f"{size['n_components']:,}",
                        _spread(size["error"], "{:.3g}"),
                        _spread(size["score"], "{:.2%}"),
                        None
                        if exact is None
                        else f"{100 * (size['score']['mean'] - exact['score']):+.2f}",
                        number(sum(size["seconds"].values())),
                    )
                )
    header = ("model", "network", "m", "error of the kernel", "test accuracy")
    header += ("less exact, points", "kernel or features of the training images, s")
    return markdown_table(header, rows)


def _spread(value: dict[str, Any], form: str) -> str:
    mean = form.format(value["mean"])
    return mean if value["std"] is None else f"{mean} ± {form.format(value['std'])}"


def _choices(results: dict[str, Any]) -> str:
    s = results["settings"]
    lines = [
        "* Channels are standardised, then images are whitened (ZCA), both by the training images; "
        "flips average the features of an image and its mirror image. The regulariser of the "
        f"whitening is one of {listed(s['regularizations'])}, the best with "
        f"{s['choice_components']:,} features on a third of {s['choice_rows']:,} training images "
        f"({OWN_COMPONENTS} times the features, {OWN_ROWS} times the images and the network itself "
        "for quadrants); the penalty of the ridge is that of least generalised cross-validation.",
    ]
    chosen = sorted({m["regularization"] for m in measurements(results, what="features")})
    if chosen:
        lines.append(f"* Chosen for the whitening: {listed(chosen)}.")
    for m in measurements(results, what="finite"):
        c = m["chosen"]
        lines.append(
            "* The trained network has the layers of `cnn(3, pooling=2)` and biases; gradient "
            f"descent with momentum on the entropy, batches of {s['batch']}. A fifth of the "
            f"training images chooses preprocessing, width {listed(s['widths'])} and rate "
            f"{listed(s['rates'])} by the best of {s['first_epochs']} epochs, then the number of "
            f"epochs, up to {s['epochs']}; all training images train it again.\n"
            f"* Chosen for the network: {PREPROCESSING[c['preprocessing']]}; width {c['width']}, "
            f"rate {c['rate']:g}, {c['epochs']} epochs ({c['score']:.2%} of the held-out images)."
        )
    return "\n".join(lines)


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: accuracy against m and time, and errors of the small problem."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    by_size, by_time, errors = figure.subplots(1, 3)
    numbers = sorted({m["n_train"] for m in measurements(results, what="features")})
    colours: dict[str, str] = {}  # Matplotlib names ten
    series: dict[tuple[str, int, bool], list[dict[str, Any]]] = {}
    for m in measurements(results, what="features"):
        series.setdefault((m["method"], m["n_train"], m["flips"]), []).append(m)
    for (method, n, flips), found in sorted(series.items()):
        colour = colours.setdefault(method, f"C{len(colours)}")
        found = sorted(found, key=lambda m: m["n_components"])
        style: dict[str, Any] = {
            "marker": _MARKERS[numbers.index(n) % len(_MARKERS)],
            "color": colour,
        }
        style |= {"fillstyle": "none"} if flips else {}
        label = f"{method}, {n:,}" + (", flips" if flips else "")
        scores = [m["score"] for m in found]
        by_size.semilogx([m["n_components"] for m in found], scores, **style)
        seconds = [sum(m["seconds"].values()) for m in found]
        by_time.semilogx(seconds, scores, label=label, **style)
    for m in measurements(results, what="finite"):
        by_size.axhline(m["score"], color="#999999")
        seconds = sum(m["seconds"].values())
        by_time.semilogx([seconds], [m["score"]], "*", color="#999999", label="trained network")
    for m in measurements(results, what="small"):
        colour = colours.setdefault(m["method"], f"C{len(colours)}")
        means = [size["error"]["mean"] for size in m["sizes"]]
        sizes = [size["n_components"] for size in m["sizes"]]
        errors.loglog(sizes, means, "o-", color=colour, label=m["method"])
    by_size.set(xlabel="m", title="test accuracy")
    by_time.set(xlabel="seconds in all", title="test accuracy")
    errors.set(xlabel="m", title="error of the kernel, small problem")
    for axes in (by_size, by_time, errors):
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
    errors.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    errors.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    errors.yaxis.set_minor_locator(NullLocator())
    for axes in (by_time, errors):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure
