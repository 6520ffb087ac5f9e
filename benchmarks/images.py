"""CIFAR-10 for the benchmarks: sizes, preprocessing, and its choice on training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

import ntksketch as ntk
from benchmarks.datasets import Dataset, load, some_rows

SIDE, CHANNELS = 32, 3
OWN_ROWS, OWN_COMPONENTS = 3, 4  # times the usual, where a network chooses its own whitening


def cifar10(n_train: int, n_test: int, side: int = SIDE) -> Dataset:
    """Return so many images of each part as flat rows, of a size of side x side."""
    data = load("cifar10").first(n_train, n_test)
    if side == SIDE:
        return data
    small = {part: resized(getattr(data, part), side) for part in ("X_train", "X_test")}
    return replace(data, source=f"{data.source}; {side} x {side}", **small)


def side_of(data: Dataset) -> int:
    """Return the width of a set's images."""
    return round((data.X_train.shape[1] / CHANNELS) ** 0.5)


def resized(X: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return images of 32 x 32 with pixels averaged or repeated; flat rows both."""
    if side < 1 or (SIDE % side and side % SIDE):
        raise ValueError(f"side must divide {SIDE} or be a multiple of it, got {side}")
    images = X.reshape(len(X), SIDE, SIDE, CHANNELS)
    if side >= SIDE:
        times = side // SIDE
        images = images.repeat(times, axis=1).repeat(times, axis=2)
    else:
        times = SIDE // side
        images = images.reshape(len(X), side, times, side, times, CHANNELS).mean((2, 4))
    return images.reshape(len(X), -1)


def standardised(data: Dataset) -> Dataset:
    """Return the set with channels standardised by the training images."""
    return _fitted(data, _standardizer(data))


def whitened(data: Dataset, regularization: float) -> Dataset:
    """Return the set standardised and whitened by the training images."""
    return _fitted(data, make_pipeline(_standardizer(data), ntk.ZCAWhitening(regularization)))


def _standardizer(data: Dataset) -> ntk.ChannelStandardizer:
    side = side_of(data)
    return ntk.ChannelStandardizer(shape=(side, side, CHANNELS))


def _fitted(data: Dataset, transformer: Any) -> Dataset:
    X_train = transformer.fit_transform(data.X_train)
    return replace(data, X_train=X_train, X_test=transformer.transform(data.X_test))


class Choice(NamedTuple):
    """What chooses the whitening's regulariser: features on a third of some training images."""

    network: Callable[[tuple[int, ...]], ntk.Architecture]
    rows: int
    hidden: tuple[int, ...]
    components: int
    regularizations: list[float]


def choose_regularization(data: Dataset, choice: Choice) -> tuple[float, list[dict[str, float]]]:
    """Return the whitening's regulariser that does best on held-out training images."""
    rows = some_rows(len(data.X_train), choice.rows, seed=1)
    held_out = np.zeros(len(rows), bool)
    held_out[some_rows(len(rows), len(rows) // 3, seed=2)] = True
    fit, score = rows[~held_out], rows[held_out]
    part = replace(
        data,
        X_train=data.X_train[fit],
        y_train=data.y_train[fit],
        X_test=data.X_train[score],
        y_test=data.y_train[score],
    )
    side, tried = side_of(data), []
    for regularization in choice.regularizations:
        images = whitened(part, regularization)
        model = ntk.NTKClassifier(
            choice.network((side, side, CHANNELS)),
            ntk.LayerwiseNystroem(choice.hidden),
            choice.components,
            random_state=0,
        ).fit(images.X_train, images.y_train)
        accuracy = float(model.score(images.X_test, images.y_test))
        tried.append({"regularization": regularization, "score": accuracy})
    best = max(tried, key=lambda candidate: candidate["score"])
    return best["regularization"], tried
