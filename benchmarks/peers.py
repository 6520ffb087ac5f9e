"""scikit-learn's feature maps, and the widths of their kernels chosen on training rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import Dataset, some_rows
from benchmarks.ridge import fit_ridge, predict
from benchmarks.timing import Stages

GAMMAS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # times 1 / (median squared distance)


def rbf_sampler(gamma: Any, n_components: int, seed: int) -> Any:
    """Return random Fourier features of the Gaussian kernel."""
    from sklearn.kernel_approximation import RBFSampler

    return RBFSampler(gamma=gamma, n_components=n_components, random_state=seed)


def rbf_nystroem(gamma: Any, n_components: int, seed: int) -> Any:
    """Return Nystroem features of the Gaussian kernel."""
    from sklearn.kernel_approximation import Nystroem

    return Nystroem(kernel="rbf", gamma=gamma, n_components=n_components, random_state=seed)


def polynomial_count_sketch(gamma: Any, n_components: int, seed: int) -> Any:
    """Return a sketch of the kernel (gamma <x, y> + 1)^2."""
    from sklearn.kernel_approximation import PolynomialCountSketch

    return PolynomialCountSketch(
        gamma=gamma, degree=2, coef0=1, n_components=n_components, random_state=seed
    )


class NTKNystroem:
    """scikit-learn's Nystroem with the exact NTK.

    Its kernel may be a function of two rows, called for each pair: hopeless. So it is given
    kernels computed by :func:`ntksketch.kernel`: the landmarks' own, in float64, to whiten, and
    that of rows with landmarks, in the rows' dtype. Landmarks are drawn uniformly.

    Parameters
    ----------
    architecture : Architecture
    n_components : int
    seed : int
    """

    def __init__(self, architecture: Any, n_components: int, seed: int) -> None:
        self.architecture, self.n_components, self.seed = architecture, n_components, seed

    def __repr__(self) -> str:
        return f"Nystroem(kernel='precomputed', n_components={self.n_components})"

    def fit(self, X: NDArray[np.float32]) -> NTKNystroem:
        """Draw landmarks, and let scikit-learn whiten their kernel."""
        from sklearn.kernel_approximation import Nystroem

        self.landmarks = X[some_rows(len(X), self.n_components, self.seed)]
        K = ntk.kernel(self.architecture, self.landmarks.astype(np.float64))
        features: Any = Nystroem(
            kernel="precomputed", n_components=len(self.landmarks), random_state=self.seed
        ).fit(K)
        features.components_ = features.components_.astype(X.dtype)
        features.normalization_ = features.normalization_.astype(X.dtype)
        self.features = features
        return self

    def transform(self, X: NDArray[np.float32]) -> NDArray:
        """Return features of rows."""
        return self.features.transform(ntk.kernel(self.architecture, X, self.landmarks))


def choose_gamma(
    data: Dataset,
    n_components: int,
    settings: dict[str, Any],
    make: Callable[[float, int, int], Any],
) -> float:
    """Choose the kernel's width on hold-out training rows, at few components."""
    rows = some_rows(len(data.X_train), settings["gamma_rows"], seed=1)
    X, Y = data.X_train[rows], data.targets[rows]
    scale = 1 / median_squared_distance(X[:1000])
    n_fit, errors = len(X) * 3 // 4, []
    m = min(n_components, settings["gamma_components"])
    for factor in settings["gammas"]:
        features = make(factor * scale, m, 0).fit(X)
        model = fit_ridge(features.transform, X[:n_fit], Y[:n_fit], Stages())
        prediction = predict(model, features.transform, X[n_fit:])
        errors.append(float(np.mean((prediction - Y[n_fit:]) ** 2)))
    return float(settings["gammas"][int(np.argmin(errors))] * scale)


def median_squared_distance(X: NDArray) -> float:
    """Return the median of the squared distances between rows."""
    X = X.astype(np.float64)
    norms = np.square(X).sum(axis=1)
    distances = norms[:, None] + norms - 2 * X @ X.T
    return float(np.median(distances[np.triu_indices(len(X), 1)]))
