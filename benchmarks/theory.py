"""What theory says of the NTK and of finite networks, each claim with a measurement."""

from __future__ import annotations

from typing import Any

from benchmarks import theory_drawing
from benchmarks.theory_parity import sparse_parity
from benchmarks.theory_spectra import regression, spectra
from benchmarks.theory_training import closed_form, mnist
from benchmarks.theory_width import convergence, drift

table, plot = theory_drawing.table, theory_drawing.plot

_MEASURES = {
    "convergence": convergence,
    "initialisation": convergence,
    "drift 1": drift,
    "drift 2": drift,
    "closed form": closed_form,
    "spectra": spectra,
    "regression": regression,
    "mnist": mnist,
    "parity": sparse_parity,
}
_SECONDS = {  # on two quiet cores
    "convergence": 10,
    "initialisation": 70,
    "drift 1": 60,
    "drift 2": 40,
    "closed form": 300,
    "spectra": 20,
    "regression": 30,
    "mnist": 200,
    "parity": 150,
}


def settings(short: bool) -> dict[str, Any]:
    """Return sizes of every experiment."""
    powers = [2**k for k in range(6, 14)]  # 64 ... 8,192
    full = {
        "convergence": _widths(1, powers, rows=16, draws=20) | {"inits": ["gaussian"]},
        "initialisation": _widths(3, powers[:5], rows=16, draws=16)
        | {"inits": ["gaussian", "orthogonal"]},
        "drift 1": _widths(1, powers, rows=64, draws=5) | {"steps": 1000},
        "drift 2": _widths(2, powers[:5], rows=64, draws=4) | {"steps": 300},
        "closed form": _widths(1, [64, 256, 1024, 4096], rows=256, draws=3)
        | {"test_rows": 300, "times": [2**k for k in range(12)]},
        "spectra": {"depths": [1, 2, 3], "c": 1.0, "fitted": [32, 256]},
        "regression": {
            "data": ["digits", "california", "protein"],
            "rows": 1000,
            "test_rows": 1000,
            "depth": 2,
            "widths": [2.0 ** (k / 2) for k in range(-10, 3)],
        },
        "mnist": {
            "rows": 2000,
            "depth": 1,
            "width": 4096,
            "steps": 200,
            "n_components": 1024,
            "methods": ["auto", "gegenbauer", "random-features", "polynomial-sketch"],
        },
        "parity": {
            "sizes": [500, 1000, 1500, 2000, 4000],
            "dim": 50,
            "order": 3,
            "draws": 3,
            "held_out": 500,
            "test_rows": 2000,
            "depth": 1,
            "alphas": [10.0**k for k in range(-4, 3)],
            "width": 256,
            "rate": 0.01,
            "decay": 0.1,
            "batch": 64,
            "epochs": 150,
            "enough": 0.01,
        },
    }
    few = {"widths": [16, 64], "rows": 8, "draws": 2}
    small = {
        "convergence": few,
        "initialisation": few | {"depth": 2},
        "drift 1": few | {"steps": 20},
        "drift 2": few | {"steps": 5},
        "closed form": few | {"test_rows": 8, "times": [1, 4]},
        "spectra": {"depths": [1, 2], "fitted": [8, 32]},
        "regression": {"data": ["digits"], "rows": 40, "test_rows": 20, "widths": [0.5, 1.0]},
        "mnist": {"rows": 40, "width": 32, "steps": 5, "n_components": 32, "methods": ["auto"]},
        "parity": {"sizes": [60, 120], "dim": 10, "order": 2, "draws": 2, "epochs": 3}
        | {"held_out": 20, "test_rows": 40, "width": 16},
    }
    experiments = {key: {**of, **(small[key] if short else {})} for key, of in full.items()}
    return {"short": short, "experiments": experiments}


def _widths(depth: int, widths: list[int], rows: int, draws: int) -> dict[str, Any]:
    return {"depth": depth, "widths": widths, "rows": rows, "draws": draws}


def configurations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the experiments."""
    return [{"key": key} for key in settings["experiments"]]


def estimate(configuration: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return seconds on two quiet cores, as they were once."""
    return 10 if settings["short"] else _SECONDS[configuration["key"]]


def measure(configuration: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Make one experiment."""
    key = configuration["key"]
    return _MEASURES[key](settings["experiments"][key])
