"""Errors of a feature map against the exact kernel, on all rows or on samples of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from ntksketch.architectures import Architecture
from ntksketch.diagnostics.report import Estimate, KernelErrorReport, RidgeError
from ntksketch.features.state import Explicit, linear
from ntksketch.kernels import ZonalKernel, kernel
from ntksketch.kernels.cost import DEFAULT_SECONDS
from ntksketch.kernels.gram import check_rows, precision
from ntksketch.kernels.inputs import with_input
from ntksketch.kernels.zonal import zonal_form

_HELD_OUT = 3  # one row in three is held out for the prediction gap


class _Errors(NamedTuple):
    """Errors on one sample of rows; the last three have an entry for each ridge."""

    frobenius: float
    spectral: float
    diagonal: float
    dimension: list[float]
    factor: list[float]
    gap: list[float]


def check_features(
    features: Any,
    X: Any,
    y: ArrayLike | None = None,
    *,
    alphas: Sequence[float] = (1.0, 0.1, 0.01),
    architecture: Architecture | ZonalKernel | None = None,
    kind: str | None = None,
    n_rows: int = 2000,
    n_samples: int = 4,
    n_draws: int = 8,
    random_state: int = 0,
    max_seconds: float = DEFAULT_SECONDS,
) -> KernelErrorReport:
    r"""Measure how far features are from the exact kernel K.

    With the features Z of the same rows, the report has the Frobenius, spectral and diagonal errors
    of :math:`ZZ^\top`, its bias over new draws, the truncation error where a method cuts off a
    series (that of the kernel its features have without sketching), and for each ridge a the
    spectral factor
    :math:`\|(K+aI)^{-1/2}(ZZ^\top-K)(K+aI)^{-1/2}\|_2`, the statistical dimension
    :math:`\operatorname{tr} K(K+aI)^{-1}`, and the gap between the predictions of exact kernel
    ridge and of ridge on the features. A factor :math:`\epsilon < 1` bounds the risk of ridge on
    the features: at most a bound of that of exact kernel ridge times :math:`1/(1-\epsilon)`, and
    :math:`\epsilon/(1+\epsilon)` times the variance of the noise and the rank of Z over n.

    Parameters
    ----------
    features : NTKFeatures or other transformer
        Fitted features; anything with ``transform`` will do if `architecture` is given.
    X : array-like or sparse matrix of shape (n, d)
        Rows, or images, signals or sequences as :func:`kernel` takes them.
    y : array-like of shape (n,) or (n, k), default=None
        Targets for the prediction gap; None draws them from the Gaussian process with kernel K.
    alphas : sequence of float, default=(1.0, 0.1, 0.01)
        Ridges, relative to trace(K)/n.
    architecture : Architecture or ZonalKernel, default=None
        The exact kernel; None takes that of the features.
    kind : {"ntk", "nngp"}, default=None
        Which kernel; None takes that of the features, else "ntk".
    n_rows : int, default=2000
        With more rows than this the errors are averages over samples of at most this many, and
        have standard errors. They then hold for data sets of the samples' size.
    n_samples : int, default=4
        Number of samples, disjoint and drawn at random.
    n_draws : int, default=8
        Number of new draws for the bias, from features that have a ``random_state``.
    random_state : int, default=0
        Seed of the samples, the targets and the new draws.
    max_seconds : float, default=3600
        How long the kernel of a network on images may take, as :func:`kernel_cost` estimates it;
        ``math.inf`` sets no limit.

    Returns
    -------
    KernelErrorReport
        Prints as a table; ``plot()`` draws it, ``to_dict()`` turns it into plain numbers.

    Raises
    ------
    ValueError
        If an argument cannot be used, the kernel is zero on these rows, or, before the start, if
        it takes more than `max_seconds`.

    References
    ----------
    Avron, Kapralov, Musco, Musco, Velingker, Zandieh (2017), "Random Fourier features for kernel
    ridge regression: approximation bounds and statistical guarantees", arXiv:1804.09893 (the
    spectral factor).

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:300] / 16
    >>> fm = ntk.NTKFeatures(ntk.mlp(depth=1), n_components=2048, random_state=0).fit(X)
    >>> report = ntk.check_features(fm, X)
    >>> report.frobenius.value < 0.05
    True
    """
    architecture, kind = _target(features, architecture, kind)
    ridges = _check_arguments(
        alphas, n_rows=(n_rows, 4), n_samples=(n_samples, 2), n_draws=(n_draws, 2)
    )
    target, X = with_input(architecture, X)
    X = check_rows(X)
    if y is not None:
        y = np.asarray(y, dtype=np.float64)
        check_consistent_length(X, y)
    rng = np.random.default_rng(random_state)
    samples = _samples(rng, X.shape[0], n_rows, n_samples)
    expected = _expected_kernel(features)
    errors, offsets, truncations, n_components = [], [], [], 0
    for rows in samples:
        K = kernel(target, X[rows].astype(np.float64), kind=kind, max_seconds=max_seconds)
        if not K.any():
            raise ValueError("the exact kernel is zero on these rows: there is nothing to compare")
        with warnings.catch_warnings():  # fitted to a frame: its names say nothing here
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            Z = np.asarray(features.transform(X[rows]), dtype=np.float64)
        n_components = Z.shape[1]
        errors.append(_errors(rng, K, Z @ Z.T, None if y is None else y[rows], ridges))
        if expected is not None:
            difference = expected(X[rows].astype(np.float64)) - K
            truncations.append(float(np.linalg.norm(difference) / np.linalg.norm(K)))
        if not offsets:
            offsets = _offsets(features, X[rows], Z, K.sum(), n_draws, rng)
    frobenius, spectral, diagonal, dimension, factor, gap = zip(*errors, strict=True)

    def at_each_ridge(values: Any) -> list[Estimate]:
        return [Estimate.from_sample(column) for column in zip(*values, strict=True)]

    by_ridge = zip(ridges.tolist(), *map(at_each_ridge, (dimension, factor, gap)), strict=True)
    return KernelErrorReport(
        description=f"{getattr(features, 'method_', features)!r}, {kind} of {architecture!r}",
        n_components=n_components,
        n_rows=len(samples[0]),
        n_samples=len(samples),
        frobenius=Estimate.from_sample(frobenius),
        spectral=Estimate.from_sample(spectral),
        diagonal=Estimate.from_sample(diagonal),
        bias=Estimate.from_sample(offsets),
        truncation=None if expected is None else Estimate.from_sample(truncations),
        ridges=tuple(RidgeError(*row) for row in by_ridge),
    )


def _target(
    features: Any, architecture: Architecture | ZonalKernel | None, kind: str | None
) -> tuple[Architecture | ZonalKernel, str]:
    """Return the exact kernel to compare with: the one given, or the features' own."""
    check_is_fitted(features)
    if architecture is None:
        architecture = getattr(features, "architecture_", None)
    if architecture is None:
        raise ValueError(f"architecture must be given, since {features!r} has none of its own")
    return architecture, getattr(features, "kind", "ntk") if kind is None else kind


def _expected_kernel(features: Any) -> Callable[[Any], NDArray] | None:
    """Return the kernel that the features have without sketching, of rows; None: the exact one."""
    expected = getattr(getattr(features, "feature_map_", None), "expected", None)
    if expected is None:
        return None
    # it is a function of the rows after a first Dense layer
    first, _ = zonal_form(features.architecture_, features.kind)

    def of_rows(X: Any) -> NDArray:
        with precision(X.dtype):
            rows = X if first is None else linear(first, Explicit(X, None)).phi
        return kernel(expected, rows if sp.issparse(rows) else np.asarray(rows))

    return of_rows


def _check_arguments(alphas: Sequence[float], **counts: tuple[int, int]) -> NDArray[np.float64]:
    """Return the ridges; raise if one, or a count with its least value, cannot be used."""
    ridges = np.asarray(alphas, dtype=np.float64)
    if ridges.ndim != 1 or not np.all(np.isfinite(ridges) & (ridges > 0)):
        raise ValueError(f"alphas must be a sequence of positive numbers, got {alphas!r}")
    for name, (value, least) in counts.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return ridges


def _samples(
    rng: np.random.Generator, n: int, n_rows: int, n_samples: int
) -> list[NDArray[np.intp]]:
    """Return all rows as one sample if they are few, else disjoint random samples."""
    if n < 2:
        raise ValueError("there must be at least two rows, one of them to be held out")
    if n <= n_rows:
        return [np.arange(n)]
    size = min(n_rows, n // n_samples)
    if size < 2:
        raise ValueError(
            f"{n} rows do not make n_samples={n_samples} samples of two or more: lower it, or "
            "raise n_rows"
        )
    return list(np.sort(rng.permutation(n)[: size * n_samples].reshape(n_samples, size), axis=1))


def _offsets(
    features: Any, X: Any, Z: NDArray, total: float, n_draws: int, rng: np.random.Generator
) -> list[float]:
    """Return the relative offset of the sum of all entries of ZZ', of new draws where possible."""
    draws = [Z]
    if "random_state" in features.get_params():
        seeds = rng.integers(2**31, size=n_draws).tolist()
        redrawn = (
            cast(Any, clone(features)).set_params(random_state=seed).fit(X) for seed in seeds
        )
        draws = (np.asarray(map_.transform(X), dtype=np.float64) for map_ in redrawn)
    return [float(np.square(Z.sum(axis=0)).sum() / total - 1) for Z in draws]


def _errors(
    rng: np.random.Generator, K: NDArray, G: NDArray, y: NDArray | None, alphas: NDArray
) -> _Errors:
    """Compare the exact kernel K with the features' Gram matrix G on one sample of rows."""
    E = G - K
    eigenvalues, V = scipy.linalg.eigh(K)
    rotated = V.T @ E @ V
    targets = y
    if targets is None:
        targets = V @ (
            np.sqrt(np.maximum(eigenvalues, 0))[:, None] * rng.standard_normal((len(K), 8))
        )
    held_out = np.zeros(len(K), bool)
    held_out[rng.permutation(len(K))[: max(1, len(K) // _HELD_OUT)]] = True
    dimensions, factors, gaps = [], [], []
    for alpha in alphas * np.trace(K) / len(K):
        positive = np.maximum(eigenvalues, 0)
        dimensions.append(float((positive / (positive + alpha)).sum()))
        whitening = 1 / np.sqrt(positive + alpha)
        factors.append(_spectral_norm(whitening[:, None] * rotated * whitening))
        exact = _kernel_ridge(K, targets, held_out, alpha)
        gap = np.linalg.norm(_kernel_ridge(G, targets, held_out, alpha) - exact)
        gaps.append(float(gap / np.linalg.norm(exact)) if gap else 0.0)
    diagonal = np.linalg.norm(np.diag(E)) / np.linalg.norm(np.diag(K))
    return _Errors(
        float(np.linalg.norm(E) / np.linalg.norm(K)),
        _spectral_norm(E) / float(np.abs(eigenvalues).max()),
        float(diagonal),
        dimensions,
        factors,
        gaps,
    )


def _kernel_ridge(K: NDArray, y: NDArray, held_out: NDArray, alpha: float) -> NDArray:
    """Fit kernel ridge without intercept on the other rows and predict the held-out ones."""
    train = ~held_out
    system = K[np.ix_(train, train)] + alpha * np.eye(train.sum())
    dual = scipy.linalg.solve(system, y[train], assume_a="pos", overwrite_a=True)
    return K[np.ix_(held_out, train)] @ dual


def _spectral_norm(A: NDArray) -> float:
    """Return the largest absolute eigenvalue of a symmetric matrix."""
    if not A.any():
        return 0.0
    if len(A) < 64:
        return float(np.abs(np.linalg.eigvalsh(A)).max())
    start = np.random.default_rng(0).standard_normal(len(A))
    top = scipy.sparse.linalg.eigsh(
        A, k=1, which="LM", v0=start, tol=cast(Any, 1e-6), return_eigenvectors=False
    )
    return float(np.abs(top[0]))
