"""A supervised problem with a split: what the methods are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from ntksketch.cli.errors import InputError
from ntksketch.cli.loading import Loaded

_LEAST_TRAIN, _LEAST_TEST = 5, 2
_MOST_CLASSES = 20  # of whole numbers that count as classes unless the user says so
_LARGEST_WHOLE = 2.0**53  # beyond it every float64 is a whole number


@dataclass(frozen=True, eq=False)
class Problem:
    """Training and test rows.

    Attributes
    ----------
    name : str
        What it is called in tables and reports.
    task : {"classification", "regression"}
        What the targets are.
    X_train, X_test : ndarray of shape (n, d), float32
        Rows.
    y_train, y_test : ndarray of shape (n,)
        Targets.
    """

    name: str
    task: str
    X_train: NDArray[np.float32]
    y_train: NDArray
    X_test: NDArray[np.float32]
    y_test: NDArray

    @property
    def score_name(self) -> str:
        """What the score is called."""
        return "test accuracy" if self.task == "classification" else "test R²"

    def format_score(self, score: float) -> str:
        """Return a score as text."""
        return f"{score:.2%}" if self.task == "classification" else f"{score:.4f}"


def make_problem(
    name: str, data: Loaded, *, task: str, test_fraction: float, standardize: bool, seed: int
) -> Problem:
    """Split rows, unless that was done, and bring them to one scale.

    Parameters
    ----------
    name : str
        What to call it.
    data : Loaded
        Rows and targets.
    task : {"auto", "classification", "regression"}
        "auto" takes text, truth values and at most 20 different whole numbers for classes.
    test_fraction : float
        Part of the rows that becomes test rows.
    standardize : bool
        Whether columns get mean 0 and variance 1 on the training rows.
    seed : int
        Seed of the split.

    Returns
    -------
    Problem
        Rows in float32.

    Raises
    ------
    InputError
        If there are too few rows, or the targets do not suit the task.
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"--test-fraction must be between 0 and 1, got {test_fraction:g}")
    task, y = _task(name, data.y, task)
    if data.test is not None:
        parts: Any = data.X, data.test[0], y, _task(name, data.test[1], task)[1]
    else:
        n, n_test = len(data.X), round(test_fraction * len(data.X))
        if n_test < _LEAST_TEST or n - n_test < _LEAST_TRAIN:
            raise _too_few(name, n - n_test, n_test)
        parts = train_test_split(data.X, y, test_size=n_test, random_state=seed)
    X_train, X_test, y_train, y_test = parts
    if len(X_train) < _LEAST_TRAIN or len(X_test) < _LEAST_TEST:
        raise _too_few(name, len(X_train), len(X_test))
    if task == "classification" and len(np.unique(y_train)) < 2:
        raise InputError(f"{name}: all training rows are of one class, {y_train[0]}")
    if task == "regression" and np.ptp(y_test) == 0:
        raise InputError(f"{name}: all test targets are {y_test[0]:g}, so that R² has no meaning")
    if standardize:
        scaler = StandardScaler().fit(X_train)
        X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    if not np.any(X_train):
        zeros = "no column varies" if standardize else "all rows are zero"
        raise InputError(f"{name}: {zeros}, so that there is nothing to learn from")
    with np.errstate(over="ignore"):  # looked for below
        rows = [np.asarray(X, dtype=np.float32) for X in (X_train, X_test)]
    if not all(np.isfinite(X).all() for X in rows):
        raise InputError(f"{name}: rows are too large for float32; rescale them")
    return Problem(name, task, rows[0], y_train, rows[1], y_test)


def _task(name: str, y: NDArray, task: str) -> tuple[str, NDArray]:
    """Return the task and the targets in the type that suits it."""
    whole = y.dtype.kind in "biu"
    if y.dtype.kind == "f":
        whole = bool(((y == np.round(y)) & (np.abs(y) < _LARGEST_WHOLE)).all())
    if task == "auto":
        few = whole and len(np.unique(y)) <= _MOST_CLASSES
        classes = few or y.dtype.kind in "bU"
        task = "classification" if classes else "regression"
    if task == "regression":
        if y.dtype.kind == "U":
            raise InputError(f"{name}: the targets are text, such as {y[0]!r}: not for regression")
        return task, y.astype(np.float64)
    if not whole and y.dtype.kind != "U":
        raise InputError(f"{name}: the targets are fractions: not for classification")
    return task, y.astype(np.int64) if y.dtype.kind == "f" else y


def _too_few(name: str, n_train: int, n_test: int) -> InputError:
    rows = "row" if n_train + n_test == 1 else "rows"
    return InputError(
        f"{name}: {n_train + n_test} {rows} make {n_train} training and {n_test} test rows, and "
        f"at least {_LEAST_TRAIN} and {_LEAST_TEST} are needed"
    )
