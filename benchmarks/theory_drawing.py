"""Table and figure of the experiments on theory."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rendering import COLOURS, listed, markdown_table, measurements, number
from benchmarks.theory_claims import claims, plus_minus

_BLUE, _ORANGE, _GREEN, _BLACK = COLOURS.values()
_SHADES = (_BLUE, _ORANGE, _GREEN, _BLACK, "#8a5fb0")
_PREDICTIONS = {
    "exact kernel": (_BLUE, "o-"),
    "empirical kernel": (_ORANGE, "s-"),
    "linearised network": (_BLACK, "x:"),
}


def table(results: dict[str, Any]) -> str:
    """Return the claims with what was measured, then the numbers of each experiment."""
    rows = [(c.claim, c.source, c.measured, c.verdict) for c in claims(results)]
    parts = [
        "# Theory",
        "What theory says of the NTK and of networks of finite width, each claim with one "
        "measurement. Networks are `mlp(depth)` in the NTK parameterization, trained by gradient "
        "descent on half the mean squared error of all rows at once, with the inverse of the "
        "kernel's largest eigenvalue (over n) as the step. Those that learn parities are not: they "
        "are in the standard parameterization, and Adam trains them on batches, with weight decay "
        "and an early stop. Targets are -1 and 1. ± is one standard error, over draws of the "
        "networks.",
        markdown_table(("claim", "source", "measured", "verdict"), rows),
    ]
    for title, write in _SECTIONS.items():
        text = write(results)
        if text:
            parts += [f"## {title}", text]
    return "\n\n".join(parts)


def _one(results: dict[str, Any], key: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return settings and measurement of an experiment, if it was made."""
    found = measurements(results, key=key)
    return (results["settings"]["experiments"][key], found[0]) if found else None


def _widths(results: dict[str, Any]) -> str:
    columns: dict[str, dict[int, str]] = {}
    notes = []
    for key in ("convergence", "initialisation"):
        if one := _one(results, key):
            s, m = one
            for init, found in m["inits"].items():
                name = f"error, depth {s['depth']}, {init} weights"
                columns[name] = _cells(m["widths"], found["errors"], found["slope"])
            notes.append(f"depth {s['depth']}: {s['draws']} draws, {s['rows']} rows")
    for key in ("drift 1", "drift 2"):
        if one := _one(results, key):
            s, m = one
            columns[f"change, depth {s['depth']}"] = _cells(m["widths"], m["changes"], m["slope"])
            notes.append(
                f"change, depth {s['depth']}: {s['draws']} draws, {s['rows']} rows, "
                f"{s['steps']:,} steps"
            )
    if not columns:
        return ""
    widths = sorted({width for cells in columns.values() for width in cells if width})
    rows = [
        (f"{width:,}" if width else "exponent", *(cells.get(width) for cells in columns.values()))
        for width in (*widths, 0)
    ]
    text = (
        "Relative error of the NTK of one network against the infinite one, and relative change of "
        "a network's NTK from the start of training to its end (Frobenius norm, per cent); "
        f"digits of unit norm. {'; '.join(notes).capitalize()}."
    )
    return f"{text}\n\n{markdown_table(('width', *columns), rows)}"


def _cells(widths: list[int], values: list[dict[str, Any]], slope: Any) -> dict[int, str]:
    """Return cells by width, and the exponent at 0."""
    shares = {w: _percent(value) for w, value in zip(widths, values, strict=True)}
    return {**shares, 0: plus_minus(slope)}


def _percent(value: dict[str, Any]) -> str:
    each = {k: None if value[k] is None else 100 * value[k] for k in ("mean", "standard_error")}
    return plus_minus(each)


def _closed_form(results: dict[str, Any]) -> str:
    one = _one(results, "closed form")
    if not one:
        return ""
    s, m = one
    header = ("steps", "training loss", "training rows right")
    header += tuple(f"{name}, width {m['widths'][-1]:,}" for name in _PREDICTIONS)
    header += tuple(f"exact kernel, width {width:,}" for width in m["widths"][:-1])
    errors = [m["errors"][name][-1] for name in _PREDICTIONS]
    errors += m["errors"]["exact kernel"][:-1]
    rows = [
        (
            f"{time:,}",
            number(m["loss"][-1][i]),
            f"{m['right'][-1][i]:.1%}",
            *(_percent(each[i]) for each in errors),
        )
        for i, time in enumerate(m["times"])
    ]
    text = (
        f"Relative error, in per cent, of three predictions of the outputs of a trained network of "
        f"depth {s['depth']} on {s['test_rows']} test rows: the network linearised at its start "
        f"and trained by the same steps; `GradientFlow` on the empirical NTK at the start; and on "
        f"the exact NTK. All begin with the network's own outputs. Odd digits against even ones, "
        f"{s['rows']} training rows, {s['draws']} networks, float64; loss and share are of the "
        "widest, the share of the worst of them."
    )
    return f"{text}\n\n{markdown_table(header, rows)}"


def _kernels(results: dict[str, Any]) -> str:
    parts = []
    if one := _one(results, "spectra"):
        s, m = one
        rows = [
            (name, *(_or_none(found["exponents"][parity]) for parity in ("even", "odd")))
            for name, found in m["spectra"].items()
        ]
        parts += [
            "Exponents of the eigenvalues on the sphere in three dimensions, over degrees "
            f"{s['fitted'][0]} to {s['fitted'][1]}. With one hidden layer and no biases there are "
            "none of odd degree above 1.",
            markdown_table(("kernel", "even degrees", "odd degrees"), rows),
        ]
    if one := _one(results, "regression"):
        s, m = one
        rows = [
            (
                name,
                kind,
                number(of["width"]),
                f"{of['misfit']:.2%}" if of["misfit"] else None,
                f"{of['correlation']:.4f}",
                f"{of['score']:.4f}",
            )
            for name, found in m["regression"].items()
            for kind, of in found.items()
        ]
        header = ("data", "kernel", "c", "variance of the NTK not fitted")
        header += ("correlation with the NTK's predictions", "test score")
        parts += [
            f"Exact ridge regression on {s['rows']:,} rows of unit norm, the penalty by "
            "generalised cross-validation, and its predictions for "
            f"{s['test_rows']:,} others at most. The NTK is that of depth {s['depth']}; the other "
            "kernels are exp(-c |x - y|) and exp(-c |x - y|²), with the c of a grid from "
            f"{number(min(s['widths']))} to {number(max(s['widths']))} of which a multiple plus a "
            "constant is closest to the NTK of the training rows"
            f"{_at_the_least(s, m)}. Score: accuracy, or R².",
            markdown_table(header, rows),
        ]
    return "\n\n".join(parts)


def _at_the_least(s: dict[str, Any], m: dict[str, Any]) -> str:
    """Say for which kernels the closest c is the grid's first, so that a smaller may be closer."""
    least = [
        f"{kind} on {name}"
        for name, found in m["regression"].items()
        for kind, of in found.items()
        if of["width"] == min(s["widths"])
    ]
    if not least:
        return ""
    return (
        f"; for {listed(least)} that is the smallest c of the grid, and a smaller one may be "
        "closer: as c falls, the kernel without its constant tends to a multiple of the negative "
        "distance or of its square"
    )


def _or_none(exponent: float | None) -> str:
    return "none" if exponent is None else f"{exponent:.3f}"


def _mnist(results: dict[str, Any]) -> str:
    one = _one(results, "mnist")
    if not one:
        return ""
    s, m = one
    rows = [
        (
            name if name in ("network", "exact kernel") else f'features, method="{name}"',
            f"{found['accuracy']:.2%}",
            f"{found['same_labels']:.2%}",
            f"{found['correlation']:.4f}",
            f"{found['error']:.1%}",
            number(m["seconds"][name]),
        )
        for name, found in m["found"].items()
    ]
    header = ("model", "test accuracy", "same label as the network", "correlation with it")
    header += ("relative difference from it", "s")
    text = (
        f"Zeros against ones, {m['n_train']:,} training and {m['n_test']:,} test images of unit "
        f"norm: a network of depth {s['depth']} and width {s['width']:,} after {s['steps']} steps, "
        f"and `GradientFlow` at the same time on the exact kernel and on {s['n_components']:,} "
        "features, all from the network's own outputs at the start."
    )
    return f"{text}\n\n{markdown_table(header, rows)}"


def _parity(results: dict[str, Any]) -> str:
    one = _one(results, "parity")
    if not one:
        return ""
    s, m = one
    rows = [
        (
            f"{n:,}",
            number(m["bounds"][i]),
            plus_minus(m["errors"]["kernel"][i], "{:.3f}"),
            plus_minus(m["errors"]["network"][i], "{:.3f}"),
            listed(epochs[i] for epochs in m["chosen"]["network"]),
        )
        for i, n in enumerate(m["sizes"])
    ]
    header = ("rows n", "bound 1 - n/C(d, k)", "NTK ridge", "network", "epochs of the network")
    text = (
        f"Squared error on {s['test_rows']:,} test rows of the product of {s['order']} of "
        f"{s['dim']} random signs; {s['draws']} draws of rows and network. `mlp({s['depth']}, "
        f"bias_std=1)` for both: exact ridge with its NTK, the penalty chosen on {s['held_out']} "
        f"held-out rows, and a network of width {s['width']} in the standard parameterization, "
        f"trained by Adam (rate {s['rate']:g}, weight decay {s['decay']:g}, batches of "
        f"{s['batch']}) for {s['epochs']} epochs at most, their number chosen on the same rows. "
        "Why no kernel is below the bound: its predictions lie in the span of n functions, which "
        "hold at most a share of n / C(d, k) of a parity drawn at random; and the NTK, for which "
        "coordinates have no order, finds all of them as hard."
    )
    return f"{text}\n\n{markdown_table(header, rows)}"


_SECTIONS = {
    "Width": _widths,
    "Trained networks and closed forms": _closed_form,
    "NTK and Laplace kernel": _kernels,
    "A network on MNIST and features of its kernel": _mnist,
    "Where kernels fail": _parity,
}


# ---------------------------------------------------------------------------------------------
# The figure
# ---------------------------------------------------------------------------------------------


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: one panel an experiment."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18, 8.5), layout="constrained")
    panels = figure.subplots(2, 4)
    draws = {
        "convergence": _draw_convergence,
        "initialisation": _draw_initialisation,
        "drift 1": _draw_drift,
        "closed form": _draw_closed_form,
        "spectra": _draw_spectra,
        "regression": _draw_regression,
        "mnist": _draw_mnist,
        "parity": _draw_parity,
    }
    for axes, (key, draw) in zip(panels.flat, draws.items(), strict=True):
        one = _one(results, key)
        if one:
            draw(axes, *one, results)
            axes.legend(fontsize=9)
        else:
            axes.set_axis_off()
    return figure


def _line(axes: Any, x: Any, values: list[dict[str, Any]], style: str, **options: Any) -> None:
    means, errors = ([v[k] or 0 for v in values] for k in ("mean", "standard_error"))
    axes.errorbar(x, means, errors, fmt=style, capsize=2, **options)


def _guide(axes: Any, widths: list[int], start: float, power: float, label: str) -> None:
    ends = np.array([widths[0], widths[-1]], float)
    axes.plot(ends, start * (ends / ends[0]) ** power, "--", color="#999999", label=label)


def _log_log(axes: Any, title: str, x: str, y: str) -> None:
    axes.set(xscale="log", yscale="log", title=title, xlabel=x, ylabel=y)


def _draw_convergence(axes: Any, s: Any, m: Any, results: Any) -> None:
    found = m["inits"]["gaussian"]
    label = f"one network: exponent {plus_minus(found['slope'])}"
    _line(axes, m["widths"], found["errors"], "o-", color=_BLUE, label=label)
    mean = f"mean of {s['draws']}"
    axes.plot(m["widths"], found["errors_of_mean"], "s:", color=_ORANGE, label=mean)
    _guide(axes, m["widths"], found["errors"][0]["mean"], -0.5, "width^(-1/2)")
    _log_log(axes, "NTK against the infinite one", "width", "relative error")
    axes.set_ylim(top=4 * found["errors"][0]["mean"])  # room for the legend


def _draw_initialisation(axes: Any, s: Any, m: Any, results: Any) -> None:
    for colour, (init, found) in zip(_SHADES, m["inits"].items(), strict=False):
        label = f"{init}: exponent {plus_minus(found['slope'])}"
        _line(axes, m["widths"], found["errors"], "o-", color=colour, label=label)
    start = m["inits"]["gaussian"]["errors"][0]["mean"]
    _guide(axes, m["widths"], start, -0.5, "width^(-1/2)")
    _log_log(axes, f"Orthogonal weights, depth {s['depth']}", "width", "relative error")


def _draw_drift(axes: Any, s: Any, m: Any, results: Any) -> None:
    pairs = [one for key in ("drift 1", "drift 2") if (one := _one(results, key))]
    for colour, (s_, m_) in zip(_SHADES, pairs, strict=False):
        label = f"depth {s_['depth']}: exponent {plus_minus(m_['slope'])}"
        _line(axes, m_["widths"], m_["changes"], "o-", color=colour, label=label)
    _guide(axes, m["widths"], m["changes"][0]["mean"], -0.5, "width^(-1/2), the bound")
    _log_log(axes, "Change of the NTK in training", "width", "relative change")


def _draw_closed_form(axes: Any, s: Any, m: Any, results: Any) -> None:
    for name, (colour, style) in _PREDICTIONS.items():
        label = f"{name}, {m['widths'][-1]:,}"
        _line(axes, m["times"], m["errors"][name][-1], style, color=colour, label=label)
    for width, shade in zip(m["widths"][1:-1], ("#a9cbe6", "#6aa5d6"), strict=False):
        values = m["errors"]["exact kernel"][m["widths"].index(width)]
        _line(axes, m["times"], values, "o-", color=shade, label=f"exact kernel, {width:,}")
    axes.axhline(0.05, linestyle="--", color="#999999", label="5 %")
    _log_log(axes, "Closed form of a trained network", "steps", "relative error, test outputs")


def _draw_spectra(axes: Any, s: Any, m: Any, results: Any) -> None:
    for colour, (name, found) in zip(_SHADES, m["spectra"].items(), strict=False):
        values = np.array(found["eigenvalues"])
        degrees = np.arange(len(values))
        shown = (degrees > 0) & (degrees % 2 == 0)
        label = f"{name}: exponent {found['exponents']['even']:.2f}"
        axes.plot(degrees[shown], values[shown], color=colour, label=label)
    _log_log(axes, "Eigenvalues on the sphere, d = 3", "degree (even)", "eigenvalue")


def _draw_regression(axes: Any, s: Any, m: Any, results: Any) -> None:
    kinds = [kind for kind in next(iter(m["regression"].values())) if kind != "NTK"]
    for i, (kind, colour) in enumerate(zip(kinds, _SHADES, strict=False)):
        values = [1 - found[kind]["correlation"] for found in m["regression"].values()]
        places = np.arange(len(values)) + 0.35 * (i - 0.5)
        axes.bar(places, values, 0.33, color=colour, label=kind)
    axes.set_xticks(range(len(m["regression"])), m["regression"])
    axes.set(yscale="log", title="Predictions next to the NTK's", ylabel="1 - correlation")


def _draw_mnist(axes: Any, s: Any, m: Any, results: Any) -> None:
    names = [name for name in m["found"] if name != "network"]
    errors = [m["found"][name]["error"] for name in names]
    colours = [_BLACK if name == "exact kernel" else _BLUE for name in names]
    axes.barh(range(len(names)), errors, color=colours)
    for i, name in enumerate(names):
        text = f" {m['found'][name]['accuracy']:.2%}"
        axes.text(errors[i], i, text, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), [name.replace("-", "\n") for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.plot([], [], " ", label=f"network: {m['found']['network']['accuracy']:.2%}")
    xlabel = "relative difference of test outputs; accuracy"
    axes.set(title="MNIST 0/1 next to the trained network", xlabel=xlabel)


def _draw_parity(axes: Any, s: Any, m: Any, results: Any) -> None:
    _line(axes, m["sizes"], m["errors"]["kernel"], "o-", color=_BLACK, label="NTK ridge")
    axes.plot(m["sizes"], m["bounds"], "--", color="#999999", label="no kernel is below")
    label = f"network of width {s['width']}"
    _line(axes, m["sizes"], m["errors"]["network"], "o-", color=_ORANGE, label=label)
    title = f"Parity of {s['order']} of {s['dim']} signs"
    axes.set(xlabel="training rows", ylabel="squared test error", title=title, ylim=(0, None))
