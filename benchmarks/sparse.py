"""Time of features of sparse, text-like rows against entries and against columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.errors import exponent
from benchmarks.methods import COLOURS, LABELS, LIBRARY, draw
from benchmarks.rendering import markdown_table, measurements, mebibytes, number
from benchmarks.timing import peak_memory, seconds_of

METHODS = ("polynomial-sketch", "nystroem", "ntksketch-2", "random-features", "gegenbauer")
_DENSE = ("random-features", "gegenbauer")  # keep directions: d m numbers
_SLOW = "count-sketch"  # a loop over columns in Python


def settings(short: bool) -> dict[str, Any]:
    """Return sizes: entries of a row at the most columns, and columns at some entries."""
    full = {
        "methods": list(METHODS),
        "n_rows": 2000,
        "n_components": 1024,
        "depth": 2,
        "entries": [30, 100, 300, 1000],
        "columns": [10**4, 10**5, 10**6],
        "entries_in_between": 100,
        "columns_of_dense": 10**5,
        "columns_of_slow": 10**4,
        "rounds": 3,
    }
    small = {
        "n_rows": 200,
        "n_components": 64,
        "entries": [10, 30],
        "columns": [10**3, 10**4],
        "entries_in_between": 10,
        "columns_of_dense": 10**4,
        "columns_of_slow": 10**3,
        "rounds": 1,
    }
    return {**full, **small} if short else full


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for each method all columns, then all entries; of slow ones only the most."""
    s = settings
    limits = dict.fromkeys(_DENSE, s["columns_of_dense"]) | {_SLOW: s["columns_of_slow"]}
    found = []
    for method in (*s["methods"], _SLOW):
        columns = [d for d in s["columns"] if d <= limits.get(method, d)]
        entries = s["entries"][-1:] if method in limits else s["entries"]
        own = [(d, s["entries_in_between"]) for d in columns]
        own += [(columns[-1], each) for each in entries]
        for d, each in dict.fromkeys(own):
            about = {"method": method, "columns": d, "entries": each}
            found.append({"key": f"{method} {d} {each}", **about})
    return found


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, roughly."""
    m, d = settings["n_components"], configuration["columns"]
    each = settings["n_rows"] * m * (configuration["entries"] * 1e-9 + 2e-7)
    if configuration["method"] == _SLOW:
        each += d * 3e-4
    setup = d * m * 6e-8 if configuration["method"] in _DENSE else 0.0
    return 3 + setup + each * (settings["rounds"] + 1)


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Time set-up and transform of one method on rows of one kind."""
    n, m = settings["n_rows"], settings["n_components"]
    X = text_like(n, configuration["columns"], configuration["entries"], seed=0)
    features: list[Any] = []

    def fit() -> None:
        features.append(draw(configuration["method"], settings["depth"], m, 0, X, gamma=1.0))

    setup = seconds_of(fit)
    with peak_memory() as memory:
        features[0].transform(X)  # compiles
    seconds = [seconds_of(lambda: features[0].transform(X)) for _ in range(settings["rounds"])]
    return {
        "nnz": int(X.nnz),
        "setup": setup,
        "seconds": seconds,
        "median": float(np.median(seconds)),
        "peak_memory": memory.peak,
        "dense_bytes": n * configuration["columns"] * X.dtype.itemsize,
        "sparse_bytes": X.data.nbytes + X.indices.nbytes + X.indptr.nbytes,
    }


def text_like(n_rows: int, n_columns: int, entries: int, seed: int) -> Any:
    """Return rows of hashed words: frequencies by Zipf's law, signs by the hash, unit norm.

    Parameters
    ----------
    n_rows, n_columns : int
    entries : int
        Words of a row; equal words are added up, so that a row has somewhat fewer entries.
    seed : int

    Returns
    -------
    csr_array of shape (n_rows, n_columns), float32
    """
    ranks = zipf_ranks(np.random.default_rng(seed), n_rows * entries, 10 * n_columns)
    return hashed_rows(ranks, n_rows, n_columns)


def zipf_ranks(rng: np.random.Generator, n_words: int, vocabulary: int) -> NDArray[np.uint64]:
    """Return words by rank, their frequencies by Zipf's law."""
    return np.exp(rng.random(n_words) * np.log(vocabulary)).astype(np.uint64)


def hashed_rows(words: NDArray[np.uint64], n_rows: int, n_columns: int) -> Any:
    """Return rows of hashed words, as many words each: signs by the hash, unit norm."""
    hashed = words * np.uint64(0x9E3779B97F4A7C15)  # wraps: Knuth's multiplicative hash
    columns = ((hashed >> np.uint64(33)) % np.uint64(n_columns)).astype(np.int32)
    signs = np.where(hashed >> np.uint64(32) & np.uint64(1), 1.0, -1.0).astype(np.float32)
    rows = np.repeat(np.arange(n_rows, dtype=np.int32), len(words) // n_rows)
    X = sp.csr_array((signs, (rows, columns)), shape=(n_rows, n_columns))
    X.sum_duplicates()
    X.eliminate_zeros()
    norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(np.where(norms > 0, norms, 1), np.diff(X.indptr))
    return X


def series(
    results: dict[str, Any], method: str
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return (entries, seconds) at the most columns, and (columns, seconds) at some entries."""
    s = results["settings"]
    found = measurements(results, method=method)
    most = max((m["columns"] for m in found), default=0)
    by_entries = sorted((m["nnz"], m["median"]) for m in found if m["columns"] == most)
    by_columns = sorted(
        (m["columns"], m["median"]) for m in found if m["entries"] == s["entries_in_between"]
    )
    return by_entries, by_columns


def table(results: dict[str, Any]) -> str:
    """Return the exponents of time, and everything."""
    s = results["settings"]
    methods = [name for name in LABELS if measurements(results, method=name)]
    exponents = []
    for method in methods:
        found = map(exponent, series(results, method))
        exponents.append((LABELS[method], *map(number, found)))
    rows = [
        (
            LABELS[m["method"]],
            f"{m['columns']:,}",
            f"{m['nnz']:,}",
            number(m["setup"]),
            number(m["median"]),
            mebibytes(m["peak_memory"]),
            mebibytes(m["dense_bytes"]),
        )
        for m in sorted(
            measurements(results),
            key=lambda m: (methods.index(m["method"]), m["columns"], m["entries"]),
        )
    ]
    everything = ("method", "columns d", "non-zero entries", "set-up, s", "transform, s")
    return "\n\n".join(
        [
            "# Sparse rows",
            f"{s['n_rows']:,} CSR rows of hashed words in float32, their frequencies by Zipf's "
            f"law, to {s['n_components']:,} features at depth {s['depth']}; medians of "
            f"{s['rounds']} rounds. Time as a power of the entries at the most columns, and of the "
            f"columns at {s['entries_in_between']} words a row: 0 is no growth, 1 is growth in "
            "proportion. Random features and Gegenbauer keep directions, a number for each column "
            f"and feature: they stop at {s['columns_of_dense']:,} columns. scikit-learn's "
            "PolynomialCountSketch, of degree 2, loops over columns in Python: it stops at "
            f"{s['columns_of_slow']:,}.",
            markdown_table(("method", "exponent of entries", "exponent of columns"), exponents),
            "## Everything",
            "Peak memory is that of the first transform above what there was before, features "
            "included, next to the memory that the rows would take if they were dense.",
            markdown_table((*everything, "peak memory, MiB", "dense rows, MiB"), rows),
        ]
    )


def plot(results: dict[str, Any]) -> Any:
    """Return a figure: time against entries, and against columns."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for method in (*LIBRARY, _SLOW):
        for axes, points in zip((left, right), series(results, method), strict=True):
            if points:
                axes.plot(
                    *zip(*points, strict=True), "o-", color=COLOURS[method], label=LABELS[method]
                )
    left.set(xlabel="non-zero entries, at the most columns", ylabel="seconds of transform")
    right.set(xlabel=f"columns d, {results['settings']['entries_in_between']} words a row")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
    handles = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure
