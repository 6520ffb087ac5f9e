"""Data sets of the benchmarks: float32 rows, fixed splits.

They come from the folder named by the environment variable NTKSKETCH_DATA, if it is set, and else
from scikit-learn (digits), or through scikit-learn from OpenML and StatLib.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VARIABLE = "NTKSKETCH_DATA"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows and targets, divided into training and test rows.

    Attributes
    ----------
    name : str
    task : str
        "classification" or "regression".
    X_train, X_test : ndarray of shape (n, d), float32
    y_train, y_test : ndarray of shape (n,)
        Labels 0 ... k-1, or numbers.
    source : str
        Where it came from and how it was divided.
    """

    name: str
    task: str
    X_train: NDArray[np.float32]
    y_train: NDArray
    X_test: NDArray[np.float32]
    y_test: NDArray
    source: str

    @property
    def targets(self) -> NDArray[np.float64]:
        """Training targets of a least-squares fit: one-hot in -1 and 1, or the numbers; (n, k)."""
        if self.task == "regression":
            return self.y_train.astype(np.float64)[:, None]
        return np.where(self.y_train[:, None] == np.arange(self.y_train.max() + 1), 1.0, -1.0)

    def scores(self, prediction: NDArray) -> dict[str, float]:
        """Return the accuracy, or R^2 and RMSE, of predicted targets for the test rows."""
        if self.task == "classification":
            return {"score": float(np.mean(prediction.argmax(axis=1) == self.y_test))}
        squared = np.mean((prediction[:, 0] - self.y_test) ** 2)
        return {
            "score": float(1 - squared / np.var(self.y_test)),
            "rmse": float(np.sqrt(squared)),
        }

    def first(self, n_train: int, n_test: int) -> Dataset:
        """Return so many random rows (always the same) of each part; all if there are fewer."""
        train = some_rows(len(self.X_train), n_train)
        test = some_rows(len(self.X_test), n_test)
        return replace(
            self,
            X_train=self.X_train[train],
            y_train=self.y_train[train],
            X_test=self.X_test[test],
            y_test=self.y_test[test],
        )


def held_out(data: Dataset) -> Dataset:
    """Return the training rows alone, a random sixth of them (always the same) as test rows.

    What is chosen for a test is chosen by the score on these: networks of the library and kernels
    of others alike.
    """
    aside = np.zeros(len(data.X_train), bool)
    aside[np.random.default_rng(3).permutation(len(aside))[: len(aside) // 6]] = True
    return replace(
        data,
        X_train=data.X_train[~aside],
        y_train=data.y_train[~aside],
        X_test=data.X_train[aside],
        y_test=data.y_train[aside],
    )


@dataclass(frozen=True, eq=False)
class Folds:
    """A classification set with fixed parts: one to choose parameters, four to score.

    Attributes
    ----------
    X : ndarray of shape (n, d), float32
    y : ndarray of shape (n,)
        Labels.
    tuning : tuple of two ndarrays
        Numbers of the rows to fit and to choose parameters by.
    folds : list of tuples of two ndarrays
        Numbers of the rows to fit and to score.
    """

    X: NDArray[np.float32]
    y: NDArray
    tuning: tuple[NDArray, NDArray]
    folds: list[tuple[NDArray, NDArray]]

    def capped(self, n_rows: int) -> Folds:
        """Return so many random rows (always the same) in the same parts; all if fewer."""
        kept = some_rows(len(self.X), n_rows)
        places = np.full(len(self.X), -1)
        places[kept] = np.arange(len(kept))

        def renumbered(parts: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
            fit, score = (places[part] for part in parts)
            return fit[fit >= 0], score[score >= 0]

        folds = [renumbered(fold) for fold in self.folds]
        return Folds(self.X[kept], self.y[kept], renumbered(self.tuning), folds)


def load_folds(name: str) -> Folds:
    """Return a set of the folder's uci121 part; where it has a test part, the training part.

    Raises
    ------
    RuntimeError
        If it is not in the folder.
    """

    def fetch() -> dict[str, NDArray]:
        raise OSError("its folds are not published where scikit-learn fetches from")

    arrays, _ = _obtain(f"uci121/{name}.npz", fetch, name)
    part = "" if "X" in arrays else "_train"
    return Folds(
        arrays[f"X{part}"].astype(np.float32),
        arrays[f"y{part}"].astype(int),
        (arrays["tune_train"], arrays["tune_val"]),
        [(arrays[f"fold{k}_train"], arrays[f"fold{k}_test"]) for k in range(4)],
    )


def load_series(name: str) -> Dataset:
    """Return a set of time series of the folder's ucr part, each of mean 0 and variance 1.

    Raises
    ------
    RuntimeError
        If it is not in the folder.
    """

    def fetch() -> dict[str, NDArray]:
        raise OSError("the UCR archive is not where scikit-learn fetches from")

    def normal(X: NDArray) -> NDArray[np.float32]:
        X = X - X.mean(axis=1, keepdims=True, dtype=np.float64)
        spread = X.std(axis=1, keepdims=True)
        return (X / np.where(spread > 0, spread, 1)).astype(np.float32)

    arrays, source = _obtain(f"ucr/{name}.npz", fetch, name)
    rows = {part: normal(arrays[part]) for part in ("X_train", "X_test")}
    labels = {part: arrays[part].astype(int) for part in ("y_train", "y_test")}
    return Dataset(name, "classification", **rows, **labels, source=f"{source}; the given split")


def some_rows(n: int, wanted: int, seed: int = 0) -> NDArray[np.intp]:
    """Return sorted numbers of `wanted` of n rows, drawn at random; all if there are fewer."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:wanted])


def normalised(data: Dataset) -> Dataset:
    """Return the set with its rows scaled to unit norm; rows of zeros stay."""

    def scaled(X: NDArray[np.float32]) -> NDArray[np.float32]:
        norms = np.linalg.norm(X, axis=1, keepdims=True)
        return (X / np.where(norms > 0, norms, 1)).astype(np.float32)

    source = f"{data.source}; rows of unit norm"
    return replace(data, X_train=scaled(data.X_train), X_test=scaled(data.X_test), source=source)


def load(name: str) -> Dataset:
    """Return a data set by name.

    Raises
    ------
    ValueError
        If there is none of that name.
    RuntimeError
        If it is neither in the folder nor can be fetched.
    """
    if name not in _LOADERS:
        raise ValueError(f"data set must be one of {', '.join(_LOADERS)}, got {name!r}")
    return _LOADERS[name]()


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    X, y = map(np.asarray, load_digits(return_X_y=True))
    return _split_at_random("digits", "classification", X / 16, y, "scikit-learn", scale=False)


def _mnist() -> Dataset:
    def fetch() -> dict[str, NDArray]:
        X, y = _openml("mnist_784", version=1)
        y = y.astype(int)
        parts = {"X_train": X[:60000], "X_test": X[60000:]}
        return {**parts, "y_train": y[:60000], "y_test": y[60000:]}

    arrays, source = _obtain("mnist.npz", fetch, "OpenML mnist_784")
    rows = {
        part: (arrays[part].reshape(len(arrays[part]), -1) / 255).astype(np.float32)
        for part in ("X_train", "X_test")
    }
    return Dataset(
        "mnist",
        "classification",
        rows["X_train"],
        arrays["y_train"].astype(int),
        rows["X_test"],
        arrays["y_test"].astype(int),
        f"{source}; the given split",
    )


def _cifar10() -> Dataset:
    def fetch() -> dict[str, NDArray]:
        X, y = _openml("CIFAR_10", version=1)
        X = X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8)
        parts = {"X_train": X[:50000], "X_test": X[50000:]}
        return {**parts, "y_train": y[:50000], "y_test": y[50000:]}

    arrays, source = _obtain("cifar10.npz", fetch, "OpenML CIFAR_10")
    rows = {}
    for part in ("X_train", "X_test"):
        rows[part] = arrays[part].reshape(len(arrays[part]), -1).astype(np.float32)
        rows[part] /= 255
    labels = {part: arrays[part].astype(int) for part in ("y_train", "y_test")}
    source = f"{source}; the last 10,000 images for the test"
    return Dataset("cifar10", "classification", **rows, **labels, source=source)


def _protein() -> Dataset:
    def fetch() -> dict[str, NDArray]:
        X, y = _openml("physicochemical-protein", version=1)
        return {"X": X, "y": y}

    arrays, source = _obtain("uci_reg/protein.npz", fetch, "OpenML physicochemical-protein")
    X, y = arrays["X"], arrays["y"]
    if "test_mask" not in arrays:
        return _split_at_random("protein", "regression", X, y, source, test_share=0.1)
    test = arrays["test_mask"][:, 0].astype(bool)
    return _split("protein", "regression", X, y, test, f"{source}; split 0 of its test_mask")


def _kin40k() -> Dataset:
    def fetch() -> dict[str, NDArray]:
        raise OSError("there is no copy that scikit-learn fetches")

    arrays, source = _obtain("uci_reg/kin40k.npz", fetch, "kin40k")
    test = arrays["test_mask"][:, 0].astype(bool)
    source = f"{source}; split 0 of its test_mask"
    return _split("kin40k", "regression", arrays["X"], arrays["y"], test, source)


def _california() -> Dataset:
    def fetch() -> dict[str, NDArray]:
        from sklearn.datasets import fetch_california_housing

        X, y = map(np.asarray, fetch_california_housing(return_X_y=True))
        return {"X": X, "y": y}

    arrays, source = _obtain("california_housing.npz", fetch, "scikit-learn's fetch")
    return _split_at_random("california", "regression", arrays["X"], arrays["y"], source)


def _beijing() -> Dataset:
    def fetch() -> dict[str, NDArray]:
        raise OSError("there is no copy of this form that scikit-learn fetches")

    arrays, source = _obtain("beijing_pm25.npz", fetch, "beijing_pm25")
    return _split_at_random("beijing_pm25", "regression", arrays["X"], arrays["y"], source)


def _obtain(
    file: str, fetch: Callable[[], dict[str, NDArray]], remote: str
) -> tuple[dict[str, NDArray], str]:
    """Return arrays and where they came from: the folder, or a download."""
    folder = os.environ.get(VARIABLE)
    if folder and (Path(folder) / file).exists():
        with np.load(Path(folder) / file) as arrays:
            return dict(arrays), file
    try:
        return fetch(), remote
    except Exception as error:  # whatever the network may bring
        where = f"{file} is not in {VARIABLE}={folder}" if folder else f"{VARIABLE} is not set"
        raise RuntimeError(
            f"{where}, and {remote} could not be fetched ({error}); set {VARIABLE} to a folder "
            f"that has {file}, or give access to the network"
        ) from error


def _openml(name: str, version: int) -> tuple[NDArray, NDArray]:
    from sklearn.datasets import fetch_openml

    bunch: Any = fetch_openml(name, version=version, as_frame=False)
    return bunch.data.astype(np.float64), bunch.target.astype(np.float64)


def _split_at_random(
    name: str,
    task: str,
    X: NDArray,
    y: NDArray,
    source: str,
    *,
    test_share: float = 0.2,
    scale: bool = True,
) -> Dataset:
    test = np.zeros(len(X), bool)
    test[np.random.default_rng(0).permutation(len(X))[: round(test_share * len(X))]] = True
    source = f"{source}; {test_share:.0%} of the rows at random (seed 0) for the test"
    return _split(name, task, X, y, test, source, scale=scale)


def _split(
    name: str,
    task: str,
    X: NDArray,
    y: NDArray,
    test: NDArray[np.bool_],
    source: str,
    *,
    scale: bool = True,
) -> Dataset:
    X = X.astype(np.float64)
    if scale:
        spread = X[~test].std(axis=0)
        X = (X - X[~test].mean(axis=0)) / np.where(spread > 0, spread, 1)
        source += "; columns standardised by the training rows"
    X = X.astype(np.float32)
    return Dataset(name, task, X[~test], y[~test], X[test], y[test], source)


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "protein": _protein,
    "california": _california,
    "kin40k": _kin40k,
    "beijing_pm25": _beijing,
}
