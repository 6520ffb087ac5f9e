"""Rows of the experiments on theory, and gradient descent on all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import Dataset, load, normalised

Function = Callable[[Any, Any], Any]


def digits(n_train: int, n_test: int) -> Dataset:
    """Return images of digits of unit norm; the label is 1 for odd ones."""
    data = normalised(load("digits")).first(n_train, n_test)
    return Dataset(
        data.name,
        data.task,
        data.X_train,
        data.y_train % 2,
        data.X_test,
        data.y_test % 2,
        data.source,
    )


def signs(labels: NDArray) -> NDArray[np.float64]:
    """Return targets -1 and 1 of labels 0 and 1."""
    return 2.0 * labels - 1


@functools.cache
def function_of(depth: int) -> Function:
    """Return the outputs of networks as a function of parameters and rows."""
    return functools.partial(ntk.apply_network, ntk.mlp(depth))


def draw(
    depth: int, width: int, n_columns: int, seed: int, *, init: Any = "gaussian", dtype: Any
) -> Any:
    """Return the parameters of a network at its start."""
    key = jax.random.fold_in(jax.random.key(seed), width)
    return ntk.init_network(
        ntk.mlp(depth), key, width, input_shape=n_columns, init=init, dtype=dtype
    )


def step_size(K: NDArray) -> float:
    """Return the step with which gradient descent learns the first eigenvector at once."""
    return float(len(K) / np.linalg.eigvalsh(K)[-1])


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _descend(f: Function, params: Any, X: Any, y: Any, rate: Any, steps: Any) -> Any:
    def loss(params: Any) -> Any:
        return jnp.mean((f(params, X)[:, 0] - y) ** 2) / 2

    def step(_: Any, params: Any) -> Any:
        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

    return jax.lax.fori_loop(0, steps, step, params)


def train(
    f: Function,
    params: Any,
    X: NDArray,
    y: NDArray,
    rate: float,
    times: Sequence[int],
    *seen: NDArray,
) -> tuple[Any, list[NDArray[np.float64]]]:
    """Train by gradient descent on half the mean squared error of all rows.

    Parameters
    ----------
    f : callable
        Function of parameters and rows, with one output.
    params : pytree
        Parameters at the start, which decide the precision.
    X : ndarray of shape (n, d)
        Rows.
    y : ndarray of shape (n,)
        Targets.
    rate : float
        Learning rate.
    times : sequence of int
        Numbers of steps, ascending, after which outputs are wanted.
    *seen : ndarray of shape (p, d)
        Rows whose outputs are wanted.

    Returns
    -------
    params : pytree
        Parameters at the last time.
    outputs : list of ndarray of shape (n_times, p), float64
        Outputs of each of the arrays seen.
    """
    dtype = jax.tree.leaves(params)[0].dtype
    outputs: list[list[NDArray]] = [[] for _ in seen]
    done = 0
    with jax.enable_x64(dtype == np.float64):
        params = jax.tree.map(jnp.copy, params)  # each call gives its own away
        rows, targets = jnp.asarray(X, dtype), jnp.asarray(y, dtype)
        for time in times:
            if time > done:
                rate_, steps = jnp.asarray(rate, dtype), jnp.asarray(time - done, jnp.int32)
                params, done = _descend(f, params, rows, targets, rate_, steps), time
            for kept, part in zip(outputs, seen, strict=True):
                kept.append(np.asarray(f(params, jnp.asarray(part, dtype))[:, 0], np.float64))
    return params, [np.stack(kept) for kept in outputs]


def half_mean_square(outputs: NDArray, y: NDArray) -> NDArray[np.float64]:
    """Return the loss that `train` descends, of outputs of all rows in the last axis."""
    return np.mean((outputs - y) ** 2, axis=-1) / 2


def mean_and_error(values: Sequence[float] | NDArray) -> dict[str, Any]:
    """Return the mean over draws with its standard error, and the draws."""
    values = np.asarray(values, np.float64)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_error": error, "draws": values.tolist()}


def slope(sizes: Sequence[float], errors: NDArray) -> dict[str, Any]:
    """Return the exponent of errors of shape (draws, sizes) as a power of the size."""
    exponents = np.polyfit(np.log(sizes), np.log(errors).T, 1)[0]
    return mean_and_error(exponents)
