"""Tables and the figure of `frontier`, from its results alone."""

from __future__ import annotations

from typing import Any

from benchmarks.methods import COLOURS, LABELS, PEERS, PINNED
from benchmarks.rendering import markdown_table, measurements, mebibytes, number

TITLES = {
    "digits": "digits",
    "mnist": "MNIST",
    "protein": "protein",
    "kin40k": "kin40k",
    "california": "California",
}
FIT_STAGES = ("draw", "featurise", "accumulate", "factorise")


def table(results: dict[str, Any]) -> str:
    """Return tables at one size, of the estimators, of the time to an error, and of everything."""
    found = measurements(results, what="features")
    parts = ["# Every method: error, score, time and memory"]
    for what, cells in (("Kernel error", kernel_error), ("Score", score), ("Seconds", seconds)):
        parts += [f"## {what} at one size, depth 2", explanation(what), by_data(found, cells)]
    estimators = measurements(results, what="estimator")
    if estimators:
        parts += ["## The default estimators", ESTIMATORS, estimator_table(estimators, found)]
    reached = measurements(results, what="reach")
    if reached:
        parts += ["## Time to reach a kernel error", reach_text(results), reach_table(reached)]
    parts += ["## What was measured", COVERAGE, coverage(found), *_older(found, estimators)]
    parts += ["## Choices", _choices(results["settings"]), "## Everything", _everything(found)]
    return "\n\n".join(parts)


def _older(found: list[dict[str, Any]], estimators: list[dict[str, Any]]) -> list[str]:
    """Name the rows whose record does not tell of the present way to make choices."""
    texts = []
    rows = [m for m in found if m["method"] in PEERS and "same_ridge" not in m]
    if rows:
        names = sorted({f"{LABELS[m['method']]} on {m['data']}" for m in rows})
        texts.append(
            f"To be measured again: {', '.join(names)}. The width of their kernels was chosen on "
            "4,000 training rows, and they have the other methods' ridge rather than RidgeCV."
        )
    names = sorted(m["data"] for m in estimators if "kind" not in m)
    if names:
        texts.append(
            f"To be measured again: the default on {', '.join(names)}, which was chosen among "
            "kernels of the trained network alone."
        )
    return texts


_EXPLAINED = {
    "Kernel error": "Relative Frobenius error of the kernel matrix of training rows that the "
    "features were not fitted to; the best of a column in bold.",
    "Score": "Accuracy (digits, MNIST) or R² on test rows; the same ridge for every method, its "
    "penalty chosen on the training rows. The last three are features of other kernels: they have "
    "scikit-learn's RidgeCV, and the width of the kernel is chosen on held-out training rows.",
    "Seconds": "Set-up (compilation included) and features of all training rows, in seconds.",
}
ESTIMATORS = (
    'Kernel (of the trained network or of the last layer alone, `kind="nngp"`), depth, bias at '
    "the input and penalty are chosen on training rows, by the score on a sixth of them; MNIST has "
    "rows of unit norm. scikit-learn's features have RidgeCV, and gamma chosen on the same rows at "
    "the same m. The pass makes "
    "features and adds up their statistics; the bare Gram matrix is float32, one triangle, by "
    "blocks, of as many rows and columns. Stages marked * are those of the same steps done "
    "one after the other, where the estimator does not tell its own."
)


COVERAGE = (
    "The combinations of data set, depth and m that were measured, and for how many of the "
    "methods. All others were not: what is not here is not known, and the comparisons at one size "
    "say nothing of other sizes or depths. Features of other kernels have no depth; they count at "
    "depth 2, beside which they are compared."
)


def coverage(found: list[dict[str, Any]]) -> str:
    """Return a table of the combinations measured, with the methods where they are few."""
    methods: dict[tuple[int, int, int], list[str]] = {}
    for m in found:
        place = list(TITLES).index(m["data"]), m["depth"] or 2, m["n_components"]
        methods.setdefault(place, []).append(LABELS[m["method"]])
    rows = [
        (list(TITLES.values())[data], depth, f"{m:,}", len(names), "; ".join(sorted(names)))
        for (data, depth, m), names in sorted(methods.items())
    ]
    everything = max((row[3] for row in rows), default=0)
    few = [(*row[:4], row[4] if row[3] < everything / 2 else "") for row in rows]
    return markdown_table(("data", "depth", "m", "number of methods", "which, if few"), few)


def explanation(what: str) -> str:
    """Return the sentence above a table."""
    return _EXPLAINED[what]


def kernel_error(m: dict[str, Any]) -> float | None:
    """Return the mean relative Frobenius error of a measurement."""
    return m["errors"]["frobenius"]["mean"] if "errors" in m else None


def score(m: dict[str, Any]) -> float:
    """Return minus the score: smaller is better."""
    return -m["score"]


def seconds(m: dict[str, Any]) -> float:
    """Return the seconds of set-up and features."""
    return m["seconds"]["draw"] + m["seconds"]["featurise"]


def common_size(found: list[dict[str, Any]], data: str) -> int | None:
    """Return the number of components for which most methods are measured at depth 2."""
    sizes = [m["n_components"] for m in found if m["data"] == data and m["depth"] in (2, None)]
    return max(set(sizes), key=lambda size: (sizes.count(size), size == 2048, size), default=None)


def at_common_size(found: list[dict[str, Any]], data: str) -> dict[str, dict[str, Any]]:
    """Return the measurements by method that are compared on a data set."""
    size = common_size(found, data)
    return {
        m["method"]: m
        for m in found
        if m["data"] == data and m["n_components"] == size and m["depth"] in (2, None)
    }


def by_data(found: list[dict[str, Any]], value: Any) -> str:
    """Return a table, a column for each data set, the best of each in bold."""
    columns = {data: at_common_size(found, data) for data in TITLES}
    columns = {data: column for data, column in columns.items() if column}
    cells = {}
    for data, column in columns.items():
        values = {method: value(m) for method, m in column.items()}
        values = {method: v for method, v in values.items() if v is not None}
        best = min(values.values(), default=None)
        for method, v in values.items():
            text = f"{-v:.4f}" if value is score else number(v)
            cells[method, data] = f"**{text}**" if v == best else text
    rows = [
        (LABELS[method], *(cells.get((method, data)) for data in columns))
        for method in LABELS
        if any((method, data) in cells for data in columns)
    ]
    header = [f"{TITLES[data]}, m = {common_size(found, data):,}" for data in columns]
    return markdown_table(("method", *header), rows)


def pass_seconds(m: dict[str, Any]) -> tuple[float | None, ...]:
    """Return the seconds of set-up, pass and factorisation of an estimator's measurement."""
    told = m["stages"] or m["by_parts"]
    setup = sum(told.get(name, 0.0) for name in ("draw", "set-up"))
    solve = sum(told.get(name, 0.0) for name in ("factorise", "solve"))
    passing = [told[name] for name in ("pass", "featurise", "accumulate") if name in told]
    return setup, sum(passing) if passing else None, solve


def estimator_table(found: list[dict[str, Any]], features: list[dict[str, Any]]) -> str:
    """Return the scores and times of the estimators, next to scikit-learn's features."""
    rows = []
    for m in found:
        stages = pass_seconds(m)
        ratio = stages[1] / m["bare_gram"] if stages[1] is not None else None
        peer = [
            f["score"]
            for f in features
            if (f["data"], f["method"], f["n_components"])
            == (m["data"], "rbf-nystroem", m["n_components"])
        ]
        mark = "" if m["stages"] else "*"
        rows.append(
            (
                TITLES[m["data"]],
                f"{m['n_components']:,}",
                m.get("kind", "ntk").upper(),
                m["depth"],
                number(m["input_bias_std"]),
                f"{m['score']:.4f}",
                f"{peer[0]:.4f}" if peer else None,
                number(m["fit"]),
                *(None if s is None else f"{number(s)}{mark}" for s in stages),
                number(m["bare_gram"]),
                None if ratio is None else f"{number(ratio)}{mark}",
                mebibytes(m["peak_memory"]),
            )
        )
    header = ("data", "m", "kernel", "depth", "input bias", "accuracy or R²")
    header += ("scikit-learn Nystroem, RBF", "fit, s")
    header += ("set-up, s", "pass, s", "factorise, s", "bare Gram, s", "pass / Gram")
    return markdown_table((*header, "peak memory, MiB"), rows)


def reach_text(results: dict[str, Any]) -> str:
    """Explain the time to reach an error, with the ratio of the two methods."""
    s = results["settings"]
    text = (
        f"{TITLES[s['reach_data']]} with rows of unit norm, depth {s['reach_depth']}: the number "
        f"of components is doubled until the mean kernel error of {s['error_seeds']} draws is at "
        f"most {s['reach_error']}. Seconds of set-up and of the features of all training rows, "
        "compiled before."
    )
    total = {m["method"]: m["total"] for m in measurements(results, what="reach")}
    if {"default", "ntkrf"} <= set(total):
        text += f" The default takes {number(total['ntkrf'] / total['default'])} times less time."
    return text


def reach_table(found: list[dict[str, Any]]) -> str:
    """Return the sizes and times at which the error is reached."""
    rows = []
    for m in found:
        last = m["tried"][-1]
        rows.append(
            (
                LABELS[m["method"]],
                f"{m['n_components']:,}",
                number(last["error"]["mean"]) if m["reached"] else None,
                number(m["seconds"].get("set-up")),
                number(m["seconds"].get("transform")),
                number(m["total"]),
                f"{m['fitted_size']:,}",
                "yes" if m["reached"] else _not_reached(last),
            )
        )
    header = ("method", "m", "kernel error", "set-up, s", "features, s", "together, s")
    return markdown_table((*header, "m by the fitted power law", "reached"), rows)


def _not_reached(last: dict[str, Any]) -> str:
    return (
        f"no: {number(last['error']['mean'])} at m = {last['n_components']:,}; size and time are "
        "extrapolated by the fitted power law, the time in proportion to m"
    )


def _choices(s: dict[str, Any]) -> str:
    return "\n".join(
        [
            "* Every method has the same ridge, StreamingRidge, whose penalty is chosen by "
            "generalised cross-validation on the training rows.",
            f"* Errors are means of {s['error_seeds']} draws ({s['error_seeds_above_2048']} above "
            f"m = 2,048, one of scikit-learn's) on at most {s['error_rows']:,} training rows (of "
            "MNIST the first ones), for features fitted to the other training rows; scores, times "
            "and memory are those of features fitted to all training rows, first draw.",
            "* The spectral factor is the largest eigenvalue of the error in units of the kernel "
            "plus a ridge, which is given relative to the mean of the kernel's diagonal.",
            f"* {', '.join(LABELS[name] for name in PINNED)}: pinned rows, the "
            "methods exactly as in arXiv:2106.07880 (leverage scores, TensorSRHT, three quarters "
            "of the features sketched; q is the highest power of the series, layer by layer).",
            "* scikit-learn's Nystroem with the exact NTK gets kernels that ntksketch computed "
            "block by block, since it calls a kernel function once for every pair of rows: the "
            "landmarks' in float64, the rest in float32.",
            "* scikit-learn's features of other kernels are fitted to float64 rows and scored by "
            "its RidgeCV (leave-one-out errors, the same grid of penalties; all penalties share a "
            "matrix product, which gives the same numbers sooner). The width of their kernels is "
            "chosen on the sixth of the training rows on which the default chooses its network, at "
            "as many components, and the grid goes on while the best is at its edge. Their times "
            "are those of float32 rows.",
            "* Times are single runs after a warm-up, but set-up includes compilation; memory is "
            "the peak above that before the run, in a process of its own, compiled code included.",
        ]
    )


def _everything(found: list[dict[str, Any]]) -> str:
    header = ("data", "depth", "m", "method", "kernel error", "unit norm")
    ridges = sorted({r for m in found for r in m.get("errors", {}) if r != "frobenius"})[::-1]
    header += (*(f"spectral factor, {ridge}" for ridge in ridges), "accuracy or R²")
    header += ("set-up, s", "features, s", "accumulate, s", "factorise, s", "peak memory, MiB")
    order = list(LABELS)
    rows = []
    for m in sorted(
        found,
        key=lambda m: (
            list(TITLES).index(m["data"]),
            m["depth"] or 9,
            m["n_components"],
            order.index(m["method"]),
        ),
    ):
        errors = m.get("errors", {})
        rows.append(
            (
                TITLES[m["data"]],
                m["depth"],
                m["n_components"],
                LABELS[m["method"]],
                with_spread(errors.get("frobenius")),
                with_spread(m.get("unit_errors", {}).get("frobenius")),
                *(with_spread(errors.get(ridge)) for ridge in ridges),
                f"{m['score']:.4f}",
                *(number(m["seconds"].get(stage)) for stage in FIT_STAGES),
                mebibytes(m["peak_memory"]),
            )
        )
    return markdown_table(header, rows)


def with_spread(summary: dict[str, Any] | None) -> str | None:
    """Return a mean with its standard deviation over draws."""
    if summary is None:
        return None
    spread = "" if summary["std"] is None else f" ± {number(summary['std'], 1)}"
    return f"{number(summary['mean'])}{spread}"


def plot(results: dict[str, Any]) -> Any:
    """Return a figure, a column for each data set: error by size and time, score by time."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    found = [m for m in measurements(results, what="features") if m["depth"] in (2, None)]
    names = [name for name in TITLES if any(m["data"] == name for m in found)] or ["digits"]
    figure = Figure(figsize=(3.4 * len(names) + 3.2, 9.5), layout="constrained")
    axes = figure.subplots(3, len(names), squeeze=False)
    for column, name in enumerate(names):
        here = [m for m in found if m["data"] == name]
        with_error = [m for m in here if "errors" in m]
        _draw(axes[0, column], with_error, lambda m: m["n_components"], kernel_error)
        _draw(axes[1, column], with_error, seconds, kernel_error)
        _draw(axes[2, column], here, seconds, lambda m: m["score"])
        axes[0, column].set_title(f"{TITLES[name]}, depth 2")
        axes[0, column].set_xlabel("components m")
        axes[0, column].set_xscale("log", base=2)
        for row in (1, 2):
            axes[row, column].set_xlabel("seconds of set-up and features")
            axes[row, column].set_xscale("log")
            axes[row, column].xaxis.set_minor_formatter(NullFormatter())
        for row in (0, 1):
            axes[row, column].set_yscale("log")
        axes[2, column].set_ylabel("accuracy" if name in ("digits", "mnist") else "R²")
    for row in (0, 1):
        axes[row, 0].set_ylabel("kernel error")
    handles: dict[str, Any] = {}
    for panel in axes.ravel():
        handles.update(dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True)))
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure


def _draw(axes: Any, here: list[dict[str, Any]], x: Any, y: Any) -> None:
    for method in LABELS:
        curve = sorted((m for m in here if m["method"] == method), key=lambda m: m["n_components"])
        if curve:
            line = "--" if method in PINNED else "-"
            points = [x(m) for m in curve], [y(m) for m in curve]
            axes.plot(
                *points, line, marker="o", markersize=4, color=COLOURS[method], label=LABELS[method]
            )
