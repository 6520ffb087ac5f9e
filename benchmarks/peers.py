"""scikit-learn's feature maps, and the widths of their kernels chosen on training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks.datasets import Dataset, held_out, some_rows
from benchmarks.leave_one_out import LeaveOneOutRidge

GAMMAS = (1 / 4, 1 / 2, 1, 2, 4)  # to begin with, times 1 / (median squared distance)
_MOST_TRIED = 12
_ROWS_OF_DISTANCES = 1000


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
    data: Dataset, factors: Iterable[float], score: Callable[[Dataset, float], float]
) -> tuple[float, list[dict[str, float]]]:
    """Choose the kernel's width by the score on the held-out training rows.

    Parameters
    ----------
    data : Dataset
    factors : iterable of float
        Widths to begin with, in units of 1 / (median squared distance); doubled or halved beyond
        them for as long as the best is at an edge.
    score : callable
        Fits to the training rows of a data set with a width, and scores on its test rows.

    Returns
    -------
    float
        The width.
    list of dict
        "gamma" and "score" of all that were tried, by width.
    """
    part, sample = held_out(data), some_rows(len(data.X_train), _ROWS_OF_DISTANCES, seed=1)
    scale = 1 / median_squared_distance(data.X_train[sample])
    scores: dict[float, float] = {}
    pending = list(factors)
    while pending:
        scores |= {factor: score(part, factor * scale) for factor in pending}
        pending = beyond(scores)
    best = _best(scores)
    tried = [{"gamma": f * scale, "score": scores[f]} for f in sorted(scores)]
    return best * scale, tried


def beyond(scores: dict[float, float]) -> list[float]:
    """Return the factor beyond the edge that is best, if one is and not too many were tried."""
    best = _best(scores)
    if len(scores) >= _MOST_TRIED or min(scores) < best < max(scores):
        return []
    return [best / 2 if best == min(scores) else best * 2]


def _best(scores: dict[float, float]) -> float:
    """Return the factor of the highest score, the smallest of equals."""
    return max(sorted(scores), key=lambda factor: scores[factor])


def measure(data: Dataset, make: Callable[[], Any]) -> dict[str, float]:
    """Return scores and penalty of RidgeCV on features of float64 rows, scikit-learn's default."""
    X = data.X_train.astype(np.float64)
    features = make().fit(X)
    model = LeaveOneOutRidge(features.transform(X), data.targets)
    prediction = model.predict(features.transform(data.X_test.astype(np.float64)))
    return data.scores(prediction) | {"alpha": model.alpha}


def median_squared_distance(X: NDArray) -> float:
    """Return the median of the squared distances between rows."""
    X = X.astype(np.float64)
    norms = np.square(X).sum(axis=1)
    distances = norms[:, None] + norms - 2 * X @ X.T
    return float(np.median(distances[np.triu_indices(len(X), 1)]))
