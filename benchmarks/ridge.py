"""The ridge that every method is given: the library's, its penalty by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning

import ntksketch as ntk
from benchmarks.datasets import Dataset
from benchmarks.timing import Stages, peak_memory

BLOCK_ROWS = 8192

Transform = Callable[[NDArray[np.float32]], NDArray]


def measure_features(
    draw: Callable[[], Any], data: Dataset, *, warm_rows: int = 1000
) -> dict[str, Any]:
    """Draw features, fit the ridge on them and score it: times by stage, and peak memory.

    Before the features are timed those of a few rows are made, which compiles.
    """
    stages = Stages()
    with peak_memory() as memory:
        with stages("draw"):
            features = draw()
        features.transform(data.X_train[:warm_rows])  # rows are padded to one shape
        model = fit_ridge(features.transform, data.X_train, data.targets, stages)
        prediction = predict(model, features.transform, data.X_test, stages)
    return outcome(features, model, data, prediction) | {
        "seconds": dict(stages),
        "peak_memory": memory.peak,
    }


def outcome(
    features: Any, model: ntk.StreamingRidge, data: Dataset, prediction: NDArray
) -> dict[str, Any]:
    """Return what was fitted, and its scores."""
    return {
        "features": repr(getattr(features, "method_", features)),
        **data.scores(prediction),
        "alpha": model.alpha_,
        "alphas": model.alphas_.tolist(),
    }


def fit_ridge(
    transform: Transform, X: NDArray[np.float32], Y: NDArray, stages: Stages
) -> ntk.StreamingRidge:
    """Fit on features of all rows; `stages` gets featurise, accumulate and factorise."""
    model = ntk.StreamingRidge()
    for rows in row_blocks(len(X)):
        with stages("featurise"):
            Z = transform(X[rows])
        with stages("accumulate"):
            model.partial_fit(Z, Y[rows])
    with stages("factorise"), warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)
        _ = model.coef_  # solves
    return model


def predict(
    model: ntk.StreamingRidge,
    transform: Transform,
    X: NDArray[np.float32],
    stages: Stages | None = None,
) -> NDArray[np.float64]:
    """Predict targets of rows; `stages` gets featurise test and predict."""
    stages, predicted = Stages() if stages is None else stages, []
    for rows in row_blocks(len(X)):
        with stages("featurise test"):
            Z = transform(X[rows])
        with stages("predict"):
            predicted.append(model.predict(Z))
    return np.concatenate(predicted)


def row_blocks(n: int) -> Iterator[slice]:
    """Return consecutive slices of n rows."""
    yield from (slice(start, start + BLOCK_ROWS) for start in range(0, n, BLOCK_ROWS))
