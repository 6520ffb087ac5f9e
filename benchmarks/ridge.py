"""The ridge that every method is given: the library's, its penalty by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning

import ntksketch as ntk
from benchmarks.timing import Stages

BLOCK_ROWS = 8192

Transform = Callable[[NDArray[np.float32]], NDArray]


def fit_ridge(
    transform: Transform, X: NDArray[np.float32], Y: NDArray, stages: Stages
) -> ntk.StreamingRidge:
    """Fit on features of all rows; `stages` gets featurise, accumulate and factorise."""
    model = ntk.StreamingRidge()
    for rows in _blocks(len(X)):
        with stages("featurise"):
            Z = transform(X[rows])
        with stages("accumulate"):
            model.partial_fit(Z, Y[rows])
    with stages("factorise"), warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)
        _ = model.coef_  # solves
    return model


def predict(
    model: ntk.StreamingRidge, transform: Transform, X: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Predict targets of rows."""
    return np.concatenate([model.predict(transform(X[rows])) for rows in _blocks(len(X))])


def _blocks(n: int) -> Iterator[slice]:
    yield from (slice(start, start + BLOCK_ROWS) for start in range(0, n, BLOCK_ROWS))
