"""Errors of features against the exact NTK on a sample of rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import Dataset, some_rows


def apart(data: Dataset, n_rows: int) -> tuple[NDArray, NDArray]:
    """Return a sample of the training rows, at most half of them, and the others.

    Of MNIST these are the first rows, for which figures of other software exist.
    """
    X = data.X_train
    n_rows = min(n_rows, len(X) // 2)
    chosen = np.arange(n_rows) if data.name == "mnist" else some_rows(len(X), n_rows, seed=2)
    return X[chosen], np.delete(X, chosen, axis=0)


class Yardstick:
    """The exact kernel of a sample of rows, decomposed once.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    depth : int
    ridges : sequence of float
        Relative to trace(K)/n.
    """

    def __init__(self, X: NDArray, depth: int, ridges: Iterable[float]) -> None:
        self.X = X
        self.K = ntk.kernel(ntk.mlp(depth), X.astype(np.float64))
        eigenvalues, vectors = scipy.linalg.eigh(self.K, check_finite=False)
        mean = float(np.trace(self.K)) / len(X)
        self.whitenings = {
            str(ridge): vectors / np.sqrt(np.maximum(eigenvalues, 0) + ridge * mean)
            for ridge in ridges
        }

    def errors(self, features: Any) -> dict[str, float]:
        """Return the relative Frobenius error, and the spectral factor at each ridge."""
        Z = np.asarray(features.transform(self.X), dtype=np.float64)
        E = Z @ Z.T - self.K
        found = {"frobenius": float(np.linalg.norm(E) / np.linalg.norm(self.K))}
        for ridge, W in self.whitenings.items():
            found[ridge] = _spectral_norm(E, W)
        return found

    def over_draws(self, draw: Callable[[int], Any], seeds: int) -> dict[str, dict[str, Any]]:
        """Return mean and standard deviation of each error over draws."""
        each = [self.errors(draw(seed)) for seed in range(seeds)]
        return {name: summary([errors[name] for errors in each]) for name in each[0]}


def relative_error(found: NDArray, wanted: NDArray) -> float:
    """Return the Frobenius norm of the difference, relative."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """Return the exponent of y = x^exponent that fits best, or None for fewer than two points."""
    points = list(points)
    if len({x for x, _ in points}) < 2:
        return None
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def summary(values: list[float]) -> dict[str, Any]:
    """Return the mean, the standard deviation (of one value: None) and the values."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "draws": values}


def _spectral_norm(E: NDArray, W: NDArray) -> float:
    """Return the spectral norm of W.T @ E @ W."""
    n = len(E)
    if n < 64:
        return float(np.abs(np.linalg.eigvalsh(W.T @ E @ W)).max())
    linear_operator: Any = scipy.sparse.linalg.LinearOperator
    operator = linear_operator((n, n), matvec=lambda x: W.T @ (E @ (W @ x)), dtype=E.dtype)
    start = np.random.default_rng(0).standard_normal(n)
    top = scipy.sparse.linalg.eigsh(
        operator, k=1, which="LM", v0=start, tol=cast(Any, 1e-4), return_eigenvectors=False
    )
    return float(np.abs(top[0]))
