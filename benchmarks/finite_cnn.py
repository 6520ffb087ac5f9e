"""A convolutional network of finite width, trained by gradient descent: next to `ntk.cnn`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks import images
from benchmarks.datasets import Dataset, some_rows
from benchmarks.timing import Stages, peak_memory

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_MOMENTUM = 0.9
_SCORED = 500  # images at a time
PREPROCESSING = {"standardised": "standardised", "whitened": "standardised, ZCA"}

Parameters = list[tuple[jax.Array, jax.Array]]


def initial(key: jax.Array, width: int, n_classes: int) -> Parameters:
    """Return weights of He et al. (2015), arXiv:1502.01852, and biases of zero."""
    shapes = [(3, 3, fan, width) for fan in (images.CHANNELS, width, width)]
    filters = [
        jax.random.normal(k, shape) * np.sqrt(2 / np.prod(shape[:3]))
        for k, shape in zip(jax.random.split(key, 3), shapes, strict=True)
    ]
    readout = jax.random.normal(jax.random.fold_in(key, 3), (width, n_classes)) / np.sqrt(width)
    return [(w, jnp.zeros(w.shape[-1])) for w in (*filters, readout)]


def apply(parameters: Parameters, X: jax.Array) -> jax.Array:
    """Return what the network says of images: the layers of ``cnn(3, pooling=2)``, with biases."""
    *hidden, (readout, bias) = parameters
    for i, (filters, offset) in enumerate(hidden):
        X = _pooled(X) if i else X
        X = jax.lax.conv_general_dilated(X, filters, (1, 1), "SAME", dimension_numbers=_LAYOUT)
        X = jax.nn.relu(X + offset)
    return X.mean(axis=(1, 2)) @ readout + bias


def _pooled(X: jax.Array) -> jax.Array:
    n, height, width, channels = X.shape
    return X.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _step(parameters, velocity, rate, X, y):
    def loss(parameters):
        likelihood = jax.nn.log_softmax(apply(parameters, X))
        return -jnp.mean(jnp.take_along_axis(likelihood, y[:, None], axis=1))

    gradient = jax.grad(loss)(parameters)
    velocity = jax.tree.map(lambda v, g: _MOMENTUM * v - rate * g, velocity, gradient)
    return jax.tree.map(jnp.add, parameters, velocity), velocity


_apply = jax.jit(apply)


def epochs(
    X: NDArray, y: NDArray, width: int, rate: float, batch: int, n_epochs: int
) -> Iterator[Parameters]:
    """Yield the parameters after each epoch of gradient descent with momentum on the entropy."""
    parameters = initial(jax.random.key(0), width, int(y.max()) + 1)
    velocity = jax.tree.map(jnp.zeros_like, parameters)
    rng = np.random.default_rng(0)
    for _ in range(n_epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X) - batch + 1, batch):  # whole batches: one shape
            rows = order[start : start + batch]
            parameters, velocity = _step(parameters, velocity, rate, X[rows], y[rows])
        yield jax.tree.map(jnp.copy, parameters)  # the step gives its own away


def accuracy(parameters: Parameters, X: NDArray, y: NDArray) -> float:
    """Return the share of images whose class is right."""
    right = 0
    for start in range(0, len(X), _SCORED):
        rows = slice(start, start + _SCORED)
        right += int((np.asarray(_apply(parameters, X[rows])).argmax(axis=1) == y[rows]).sum())
    return right / len(X)


def measure(data: Dataset, regularization: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Choose preprocessing, width, rate and epochs on held-out training images; train on all.

    A few epochs decide between networks, and the best of them goes on to find its epochs.
    """
    s, stages, tried = settings, Stages(), []
    held_out = np.zeros(len(data.X_train), bool)
    held_out[some_rows(len(held_out), len(held_out) // 5, seed=2)] = True
    parts = replace(
        data,
        X_train=data.X_train[~held_out],
        y_train=data.y_train[~held_out],
        X_test=data.X_train[held_out],
        y_test=data.y_train[held_out],
    )
    with peak_memory() as memory:
        with stages("choose"):
            for preprocessing in PREPROCESSING:
                prepared = _prepared(parts, preprocessing, regularization)
                for width, rate in itertools.product(s["widths"], s["rates"]):
                    network = {"preprocessing": preprocessing, "width": width, "rate": rate}
                    tried.append(_best_epoch(prepared, network, s["first_epochs"], s["batch"]))
            best = max(tried, key=lambda candidate: candidate["score"])
            prepared = _prepared(parts, best["preprocessing"], regularization)
            chosen = _best_epoch(prepared, best, s["epochs"], s["batch"])
        with stages("preprocess"):
            prepared = _prepared(data, chosen["preprocessing"], regularization)
        with stages("train"):
            *_, parameters = _run(prepared, chosen, chosen["epochs"], s["batch"])
        with stages("predict"):
            score = accuracy(parameters, prepared.X_test, prepared.y_test)
    return {
        "score": score,
        "chosen": chosen,
        "tried": tried,
        "seconds": dict(stages),
        "peak_memory": memory.peak,
    }


def _best_epoch(
    data: Dataset, network: dict[str, Any], n_epochs: int, batch: int
) -> dict[str, Any]:
    """Return the network with the number of epochs that does best on the set's test images."""
    scores = [
        accuracy(parameters, data.X_test, data.y_test)
        for parameters in _run(data, network, n_epochs, batch)
    ]
    best = int(np.argmax(scores))
    return {**network, "epochs": best + 1, "score": scores[best]}


def _prepared(data: Dataset, preprocessing: str, regularization: float) -> Dataset:
    """Return images as arrays of shape (n, height, width, channels)."""
    whiten = preprocessing == "whitened"
    ready = images.whitened(data, regularization) if whiten else images.standardised(data)
    side = images.side_of(ready)
    shape = (-1, side, side, images.CHANNELS)
    return replace(ready, X_train=ready.X_train.reshape(shape), X_test=ready.X_test.reshape(shape))


def _run(data: Dataset, network: dict[str, Any], n_epochs: int, batch: int) -> Iterator[Parameters]:
    batch = min(batch, len(data.X_train))
    return epochs(data.X_train, data.y_train, network["width"], network["rate"], batch, n_epochs)
