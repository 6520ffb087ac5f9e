"""Sparse parities: no kernel learns them from few rows, and a network does."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.theory_networks import Function, mean_and_error
from benchmarks.timing import Stages
from ntksketch.diagnostics import exact_ridge

_RATES = 0.9, 0.999  # of the averages of Kingma and Ba (2015), arXiv:1412.6980
_SMALL = 1e-8


def parity(n: int, dim: int, order: int, seed: int) -> tuple[NDArray[np.float32], NDArray]:
    """Return rows of signs, scaled to unit norm, and the product of their first signs."""
    rows = np.random.default_rng(seed).choice([-1.0, 1.0], (n, dim))
    return (rows / dim**0.5).astype(np.float32), rows[:, :order].prod(axis=1)


def bound(n: int, dim: int, order: int) -> float:
    """Return what the expected squared error of n rows and any kernel is at least.

    A prediction is a combination of the n functions K(., x_i). The parities of this order are
    orthonormal, and n functions capture n of them at most: of a parity drawn at random, a share of
    n / C(d, k) of its square. Where a kernel knows no order of the coordinates, as the NTK, every
    parity is as hard as one drawn at random.
    """
    return max(0.0, 1 - n / math.comb(dim, order))


def sparse_parity(settings: dict[str, Any]) -> dict[str, Any]:
    """Return squared errors on test rows of kernel ridge and of a trained network."""
    s, stages = settings, Stages()
    sizes, depth = s["sizes"], s["depth"]
    errors: dict[str, list[list[float]]] = {"kernel": [], "network": []}
    chosen: dict[str, list[list[float]]] = {"kernel": [], "network": []}
    for seed in range(s["draws"]):
        total = max(sizes) + s["held_out"] + s["test_rows"]
        X, y = parity(total, s["dim"], s["order"], seed)
        held, test = slice(0, s["held_out"]), slice(s["held_out"], s["held_out"] + s["test_rows"])
        X_rest, y_rest = X[test.stop :], y[test.stop :]
        for kept in (*errors.values(), *chosen.values()):
            kept.append([])
        for n in sizes:
            parts = (X_rest[:n], y_rest[:n]), (X[held], y[held]), (X[test], y[test])
            for name, fit in (("kernel", _kernel_ridge), ("network", _network)):
                with stages(name):
                    error, choice = fit(*parts, depth, s, seed)
                errors[name][-1].append(error)
                chosen[name][-1].append(choice)
    return {
        "sizes": sizes,
        "errors": {k: [mean_and_error(e) for e in np.transpose(v)] for k, v in errors.items()},
        "chosen": chosen,
        "bounds": [bound(n, s["dim"], s["order"]) for n in sizes],
        "seconds": dict(stages),
    }


Rows = tuple[NDArray, NDArray]


def _kernel_ridge(
    train: Rows, held: Rows, test: Rows, depth: int, settings: dict[str, Any], seed: int
) -> tuple[float, float]:
    """Return the test error of exact kernel ridge and its penalty, chosen on held-out rows."""
    X, kernel = train[0].astype(np.float64), _architecture(depth)
    eigenvalues, vectors = np.linalg.eigh(ntk.kernel(kernel, X))
    rotated = vectors.T @ train[1]
    alphas = np.array(settings["alphas"]) * eigenvalues.mean()
    shrunk = rotated / (np.maximum(eigenvalues, 0) + alphas[:, None])
    duals = vectors @ shrunk.T
    errors = [
        np.mean((ntk.kernel(kernel, rows.astype(np.float64), X) @ duals - y[:, None]) ** 2, axis=0)
        for rows, y in (held, test)
    ]
    best = int(errors[0].argmin())
    return float(errors[1][best]), float(settings["alphas"][best])


def _architecture(depth: int) -> ntk.Architecture:
    """Return the network; without biases its kernel would have no odd part of any order."""
    return ntk.mlp(depth, bias_std=1.0)


@functools.cache
def _function(depth: int) -> Function:
    architecture = _architecture(depth)
    return functools.partial(ntk.apply_network, architecture, parameterization="standard")


def _network(
    train: Rows, held: Rows, test: Rows, depth: int, settings: dict[str, Any], seed: int
) -> tuple[float, float]:
    """Return the test error of a network trained by Adam, and its epochs, chosen on held-out rows.
    """
    s = settings
    f = _function(depth)
    params = ntk.init_network(
        _architecture(depth),
        jax.random.key(seed),
        s["width"],
        input_shape=s["dim"],
        parameterization="standard",
    )
    X, y = (jnp.asarray(a, jnp.float32) for a in train)
    state = params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)
    best, rng = (math.inf, math.inf, 0), np.random.default_rng(seed)
    count = 0
    epoch_steps = max(len(X) // s["batch"], 1)
    for epoch in range(s["epochs"]):
        order = rng.permutation(len(X))[: epoch_steps * s["batch"]].reshape(epoch_steps, -1)
        state = _epoch(f, state, X, y, order, count, s["rate"], s["decay"])
        count += epoch_steps
        held_error, test_error = (
            float(np.mean((np.asarray(f(state[0], rows))[:, 0] - targets) ** 2))
            for rows, targets in (held, test)
        )
        if held_error < best[0]:
            best = held_error, test_error, epoch + 1
        if held_error < s["enough"]:
            break
    return best[1], best[2]


@functools.partial(jax.jit, static_argnums=0)
def _epoch(f: Any, state: Any, X: Any, y: Any, order: Any, count: Any, rate: Any, decay: Any) -> Any:
    def loss(params: Any, rows: Any) -> Any:
        return jnp.mean((f(params, X[rows])[:, 0] - y[rows]) ** 2)

    def step(carry: Any, rows: Any) -> Any:
        (params, first, second), count = carry
        gradient = jax.grad(loss)(params, rows)
        count = count + 1
        first = jax.tree.map(lambda m, g: _RATES[0] * m + (1 - _RATES[0]) * g, first, gradient)
        second = jax.tree.map(lambda v, g: _RATES[1] * v + (1 - _RATES[1]) * g**2, second, gradient)
        scales = [1 / (1 - r ** count.astype(jnp.float32)) for r in _RATES]
        params = jax.tree.map(
            lambda p, m, v: p * (1 - rate * decay)
            - rate * m * scales[0] / (jnp.sqrt(v * scales[1]) + _SMALL),
            params,
            first,
            second,
        )
        return ((params, first, second), count), None

    (state, _), _ = jax.lax.scan(step, (state, jnp.asarray(count, jnp.int32)), order)
    return state
