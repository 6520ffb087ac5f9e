"""Scores of predictions, from blocks of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.cli.errors import InputError
from ntksketch.data import Source


class Accuracy:
    """The share of predictions that are the target."""

    name = "accuracy"

    def __init__(self) -> None:
        self.rows = self.right = 0

    def update(self, targets: NDArray, predicted: NDArray) -> None:
        """Count a block of rows."""
        if (targets.dtype.kind == "U") != (predicted.dtype.kind == "U"):
            raise InputError(
                f"no accuracy: targets are of type {targets.dtype} and the model's classes of type "
                f"{predicted.dtype}"
            )
        self.rows += len(targets)
        self.right += int(np.count_nonzero(_columns(targets) == _columns(predicted)))

    def result(self) -> float | None:
        """Return the score; None where there is none."""
        return self.right / self.rows if self.rows else None


class RSquared:
    """The coefficient of determination, the mean of those of all targets.

    Sums of squares about the mean are merged as Chan, Golub and LeVeque (1983, "Algorithms for
    computing the sample variance", The American Statistician 37(3)) do, which loses no digits to a
    mean that is large. A target that is constant scores 1 if it is predicted exactly, else 0.
    """

    name = "R2"

    def __init__(self) -> None:
        self.rows = 0
        self.mean: Any = 0.0
        self.about_mean: Any = 0.0
        self.residual: Any = 0.0

    def update(self, targets: NDArray, predicted: NDArray) -> None:
        """Add a block of rows."""
        y, p = _columns(targets).astype(np.float64), _columns(predicted).astype(np.float64)
        n, mean = len(y), y.mean(axis=0)
        apart, rows = mean - self.mean, self.rows + n
        self.about_mean += ((y - mean) ** 2).sum(axis=0) + apart**2 * (self.rows * n / rows)
        self.mean += apart * (n / rows)
        self.residual += ((y - p) ** 2).sum(axis=0)
        self.rows = rows

    def result(self) -> float | None:
        """Return the score; None of fewer than two rows, for which it has no meaning."""
        if self.rows < 2:
            return None
        varies = self.about_mean > 0
        share = self.residual / np.where(varies, self.about_mean, 1.0)
        exact = np.where(self.residual == 0, 1.0, 0.0)
        return float(np.mean(np.where(varies, 1.0 - share, exact)))


def score(
    source: Source, predicted: Any, *, classifier: bool, working_memory: float | None
) -> dict[str, float]:
    """Compare predictions with the targets of a source, block by block.

    Parameters
    ----------
    source : Source
        Where the targets are.
    predicted : array of shape (n,) or (n, n_targets)
        Predictions; slices of it must give arrays.
    classifier : bool
        Whether to tell the accuracy rather than R2.
    working_memory : float or None
        Budget in MiB; None reads scikit-learn's setting.

    Returns
    -------
    dict
        The score by its name; empty where it has no meaning.

    Raises
    ------
    InputError
        If targets and predictions are not of one kind.
    """
    found = Accuracy() if classifier else RSquared()
    for start, y in source.target_blocks(working_memory):
        part = np.asarray(predicted[start : start + len(y)])
        if _columns(y).shape != _columns(part).shape:
            raise InputError(
                f"no {found.name}: there are {_columns(y).shape[1]} targets a row, and the model "
                f"predicts {_columns(part).shape[1]}"
            )
        found.update(y, part)
    value = found.result()
    return {} if value is None else {found.name: value}


def _columns(values: NDArray) -> NDArray:
    return values.reshape(len(values), -1)
