"""Sparse parities: no kernel learns them from few rows, and a network does."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.theory_networks import Function, mean_and_error
from benchmarks.timing import Stages

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
    s, stages, fits = settings, Stages(), {"kernel": _kernel_ridge, "network": _network}
    shape = s["draws"], len(s["sizes"])
    errors, chosen = ({name: np.empty(shape) for name in fits} for _ in range(2))
    last = s["test_rows"] + s["held_out"]
    for seed in range(s["draws"]):
        X, y = parity(last + max(s["sizes"]), s["dim"], s["order"], seed)
        for j, n in enumerate(s["sizes"]):
            parts = slice(last, last + n), slice(s["test_rows"], last), slice(s["test_rows"])
            train, held, test = ((X[part], y[part]) for part in parts)
            for name, fit in fits.items():
                with stages(name):
                    errors[name][seed, j], chosen[name][seed, j] = fit(train, held, test, s, seed)
    return {
        "sizes": s["sizes"],
        "errors": {name: [mean_and_error(e) for e in each.T] for name, each in errors.items()},
        "chosen": {name: each.tolist() for name, each in chosen.items()},
        "bounds": [bound(n, s["dim"], s["order"]) for n in s["sizes"]],
        "seconds": dict(stages),
    }


Rows = tuple[NDArray, NDArray]


def _architecture(settings: dict[str, Any]) -> ntk.Architecture:
    """Return the network; without biases its kernel would have no odd part above the first."""
    return ntk.mlp(settings["depth"], bias_std=1.0)


def _kernel_ridge(
    train: Rows, held: Rows, test: Rows, settings: dict[str, Any], seed: int
) -> tuple[float, float]:
    """Solve exact kernel ridge; return the test error, and the penalty held-out rows choose."""
    X, kernel = train[0].astype(np.float64), _architecture(settings)
    eigenvalues, vectors = np.linalg.eigh(ntk.kernel(kernel, X))
    alphas = np.array(settings["alphas"]) * eigenvalues.mean()
    shrunk = (vectors.T @ train[1]) / (np.maximum(eigenvalues, 0) + alphas[:, None])
    duals = vectors @ shrunk.T
    errors = [
        np.mean((ntk.kernel(kernel, rows.astype(np.float64), X) @ duals - y[:, None]) ** 2, axis=0)
        for rows, y in (held, test)
    ]
    best = int(errors[0].argmin())
    return float(errors[1][best]), float(settings["alphas"][best])


def _network(
    train: Rows, held: Rows, test: Rows, settings: dict[str, Any], seed: int
) -> tuple[float, float]:
    """Train by Adam; return the test error, and the epochs that held-out rows choose."""
    s, architecture, rng = settings, _architecture(settings), np.random.default_rng(seed)
    f = functools.partial(ntk.apply_network, architecture, parameterization="standard")
    params = ntk.init_network(
        architecture,
        jax.random.key(seed),
        s["width"],
        input_shape=s["dim"],
        parameterization="standard",
    )
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = AdamState(params, zeros, zeros, 0)
    X, y = (jnp.asarray(part, jnp.float32) for part in train)
    whole = len(X) // s["batch"] * s["batch"] or len(X)  # rows in batches of one size
    batch, best = min(s["batch"], len(X)), (math.inf, math.inf, 0)
    for epoch in range(s["epochs"]):
        order = rng.permutation(len(X))[:whole].reshape(-1, batch)
        state = adam_epoch(f, state, X, y, order, s["rate"], s["decay"])
        errors = [
            float(np.mean((np.asarray(f(state.params, rows))[:, 0] - targets) ** 2))
            for rows, targets in (held, test)
        ]
        best = min(best, (*errors, epoch + 1), key=lambda found: found[0])
        if errors[0] < s["enough"]:
            break
    return best[1], best[2]


class AdamState(NamedTuple):
    """Parameters, running means of gradients and of their squares, and the number of steps."""

    params: Any
    first: Any
    second: Any
    count: Any


@functools.partial(jax.jit, static_argnums=0)
def adam_epoch(
    f: Function, state: AdamState, X: Any, y: Any, order: Any, rate: Any, decay: Any
) -> AdamState:
    """Take a step of Adam on the squared error for each row of `order`, a batch of numbers."""

    def loss(params: Any, rows: Any) -> Any:
        return jnp.mean((f(params, X[rows])[:, 0] - y[rows]) ** 2)

    def step(state: AdamState, rows: Any) -> tuple[AdamState, None]:
        gradient, count = jax.grad(loss)(state.params, rows), state.count + 1
        a, b = _RATES
        first = jax.tree.map(lambda m, g: a * m + (1 - a) * g, state.first, gradient)
        second = jax.tree.map(lambda v, g: b * v + (1 - b) * g**2, state.second, gradient)

        def moved(p: Any, m: Any, v: Any) -> Any:
            scaled = m / (1 - a**count) / (jnp.sqrt(v / (1 - b**count)) + _SMALL)
            return p * (1 - rate * decay) - rate * scaled  # Loshchilov and Hutter (2019)

        params = jax.tree.map(moved, state.params, first, second)
        return AdamState(params, first, second, count), None

    return jax.lax.scan(step, state._replace(count=jnp.asarray(state.count)), order)[0]
