"""How fast the NTK of a finite network tends to the infinite one, and how far training moves it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import ntksketch as ntk
from benchmarks.errors import relative_error
from benchmarks.theory_networks import (
    digits,
    draw,
    function_of,
    half_mean_square,
    mean_and_error,
    signs,
    slope,
    step_size,
    train,
)


def convergence(settings: dict[str, Any]) -> dict[str, Any]:
    """Measure the relative error of the NTK of single networks, over widths and draws."""
    s, data = settings, digits(settings["rows"], 1)
    X, f = data.X_train, function_of(settings["depth"])
    K = ntk.kernel(ntk.mlp(s["depth"]), X.astype(np.float64))
    found = {}
    for init in s["inits"]:
        errors = np.empty((s["draws"], len(s["widths"])))
        mean = np.zeros((len(s["widths"]), *K.shape))
        for i, j in np.ndindex(errors.shape):
            params = draw(s["depth"], s["widths"][j], X.shape[1], i, init=init, dtype=np.float32)
            empirical = ntk.empirical_ntk(f, params, X).astype(np.float64)
            errors[i, j] = relative_error(empirical, K)
            mean[j] += empirical / s["draws"]
        found[init] = {
            "errors": [mean_and_error(column) for column in errors.T],
            "errors_of_mean": [relative_error(mean[j], K) for j in range(len(mean))],
            "slope": slope(s["widths"], errors),
        }
    return {"widths": s["widths"], "inits": found}


def drift(settings: dict[str, Any]) -> dict[str, Any]:
    """Measure how far gradient descent moves the NTK of networks, over widths and draws."""
    s, data = settings, digits(settings["rows"], 1)
    X, y, f = data.X_train, signs(data.y_train), function_of(settings["depth"])
    rate = step_size(ntk.kernel(ntk.mlp(s["depth"]), X.astype(np.float64)))
    changes = np.empty((s["draws"], len(s["widths"])))
    moves, losses = np.empty_like(changes), np.empty_like(changes)
    for i, j in np.ndindex(changes.shape):
        start = draw(s["depth"], s["widths"][j], X.shape[1], i, dtype=np.float32)
        end, (outputs,) = train(f, start, X, y, rate, [s["steps"]], X)
        before, after = (ntk.empirical_ntk(f, params, X) for params in (start, end))
        changes[i, j] = relative_error(after, before)
        moves[i, j] = _distance(start, end)
        losses[i, j] = half_mean_square(outputs[-1], y)
    return {
        "widths": s["widths"],
        "changes": [mean_and_error(column) for column in changes.T],
        "moves": [mean_and_error(column) for column in moves.T],
        "losses": [mean_and_error(column) for column in losses.T],
        "slope": slope(s["widths"], changes),
        "rate": rate,
    }


def _distance(start: Any, end: Any) -> float:
    """Return how far parameters have moved, as a share of their norm."""
    pairs = list(zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True))
    moved = sum(float(((b - a) ** 2).sum()) for a, b in pairs)
    return (moved / sum(float((a**2).sum()) for a, _ in pairs)) ** 0.5
