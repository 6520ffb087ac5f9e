"""Every method at every size, and exact kernel ridge regression, on one problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import gen_batches

import ntksketch as ntk
from ntksketch.architectures.spatial import is_spatial
from ntksketch.cli.errors import InputError
from ntksketch.cli.problem import Problem
from ntksketch.diagnostics import Estimate, exact_ridge
from ntksketch.features import METHODS

EXACT = "exact kernel ridge"
RIDGE = 1.0  # of the spectral factor, relative to trace(K)/n
CHECKED_ROWS, DRAWS = 300, 4  # of a sample for the kernel error, and of the features
_BATCH = 8192  # rows featurised at a time
_WARM_UP = 1024  # rows: at least one block of features and one tile of the kernel


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes
    ----------
    method : str
        Its name.
    n_components : int or None
        Number of features; None for the exact kernel.
    error, factor : Estimate or None
        Relative Frobenius error and spectral factor on training rows, averaged over draws of the
        features; None for the exact kernel.
    score : float
        Accuracy or R² on the test rows.
    featurise_seconds : float
        Time of the features, or of the kernel matrix, of all training rows.
    fit_seconds : float
        Time of the whole fit, that of the features or the kernel included.
    """

    method: str
    n_components: int | None
    error: Estimate | None
    factor: Estimate | None
    score: float
    featurise_seconds: float
    fit_seconds: float


@dataclass(frozen=True)
class Comparison:
    """What was measured on a problem.

    Attributes
    ----------
    problem : Problem
        The rows.
    rows : list of Row
        Methods in the order asked for, each from few components to many.
    exact : Row or None
        Exact kernel ridge regression; None if it was left out.
    notes : list of str
        What was left out and why.
    """

    problem: Problem
    rows: list[Row]
    exact: Row | None
    notes: list[str]


def named_methods(
    names: Sequence[str] | None = None, architecture: ntk.Architecture | None = None
) -> dict[str, Any]:
    """Return methods by name: those of the library, and ``ntkrf``, the published one.

    Parameters
    ----------
    names : sequence of str, default=None
        Which; None means all that take the network.
    architecture : Architecture, default=None
        The network; None is one on rows.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    target = ntk.mlp(1) if architecture is None else architecture
    known: dict[str, Any] = {name: method() for name, method in METHODS.items()}
    known["ntkrf"] = ntk.RandomFeatures.published()
    if is_spatial(target):
        known["polynomial-sketch"] = ntk.PolynomialSketch(variant="layered")
    for name in names or ():
        if name not in known:
            raise InputError(f"--method {name}: the methods are {', '.join(known)}")
    if names:
        return {name: known[name] for name in names}
    return {name: method for name, method in known.items() if method.takes(target)}


def count_stages(n_methods: int, n_sizes: int) -> int:
    """Return how often `evaluate` reports a stage."""
    return 2 * n_methods * n_sizes + 1


def evaluate(
    problem: Problem,
    architecture: ntk.Architecture,
    methods: Mapping[str, Any],
    sizes: Sequence[int],
    *,
    seed: int,
    max_exact_rows: int,
    stage: Callable[[str], None],
    rows_done: Callable[[int, int], None],
) -> Comparison:
    """Measure kernel errors, scores and times.

    Parameters
    ----------
    problem : Problem
        The rows.
    architecture : Architecture
        The network.
    methods : mapping of str to method
        Methods by name.
    sizes : sequence of int
        Numbers of components.
    seed : int
        Seed of the features.
    max_exact_rows : int
        With more training rows than this exact kernel ridge regression is left out.
    stage : callable
        Called with a description when a stage begins, `count_stages` times.
    rows_done : callable
        Called with the number of rows that a stage has worked off since the last call, and with
        how many it has in all.

    Returns
    -------
    Comparison
        A configuration that a method refuses is left out with a note.

    Raises
    ------
    InputError
        If every configuration was refused.
    """
    exact, notes, rows = None, [], []
    stage(EXACT)
    if len(problem.X_train) <= max_exact_rows:
        try:
            exact = _evaluate_exact(problem, architecture)
        except (MemoryError, ValueError) as error:
            notes.append(f"Exact kernel ridge regression was left out: {error}.")
    else:
        notes.append(
            f"Exact kernel ridge regression was left out: {len(problem.X_train):,} training rows "
            f"are more than --max-exact-rows {max_exact_rows:,}."
        )
    for name, method in methods.items():
        for size in sizes:
            stage(f"{name}, {size} components: kernel error")
            features = ntk.NTKFeatures(architecture, method, size, random_state=seed)
            try:
                features.fit(problem.X_train)
            except (MemoryError, ValueError) as error:
                notes.append(f"{name} with {size} components was left out: {error}.")
                stage("left out")
                continue
            errors: tuple[Estimate | None, Estimate | None] = None, None
            try:
                errors = _kernel_errors(features, problem.X_train)
            except (MemoryError, ValueError) as error:
                notes.append(f"{name} with {size} components has no kernel error: {error}.")
            stage(f"{name}, {size} components")
            rows.append(_evaluate_features(problem, name, features, *errors, rows_done))
    if not rows:
        raise InputError(" ".join(notes))
    return Comparison(problem, rows, exact, notes)


def _evaluate_features(
    problem: Problem,
    name: str,
    features: ntk.NTKFeatures,
    error: Estimate | None,
    factor: Estimate | None,
    rows_done: Callable[[int, int], None],
) -> Row:
    X = problem.X_train
    n = 2 * len(X)  # featurised, and then fitted
    model_class = ntk.NTKClassifier if problem.task == "classification" else ntk.NTKRegressor
    model = model_class(
        features.architecture,
        features.method,
        features.n_components,
        random_state=features.random_state,
    )
    features.transform(X[:_WARM_UP])  # compiles
    start = time.perf_counter()
    for batch in gen_batches(len(X), _BATCH):
        rows_done(len(features.transform(X[batch])), n)
    featurised = time.perf_counter()
    model.fit(X, problem.y_train, progress=lambda k: rows_done(k, n))
    fitted = time.perf_counter()
    return Row(
        method=name,
        n_components=features.n_components,
        error=error,
        factor=factor,
        score=float(model.score(problem.X_test, problem.y_test)),
        featurise_seconds=featurised - start,
        fit_seconds=fitted - featurised,
    )


def _kernel_errors(features: ntk.NTKFeatures, X: NDArray) -> tuple[Estimate, Estimate]:
    """Return the kernel error and the spectral factor with standard errors over new draws."""
    errors, factors = [], []
    for draw in range(DRAWS):
        seed = cast(int, features.random_state) + draw
        redrawn = cast(ntk.NTKFeatures, clone(features)).set_params(random_state=seed).fit(X)
        report = ntk.check_features(
            redrawn, X, alphas=[RIDGE], n_rows=CHECKED_ROWS, n_samples=2, n_draws=2
        )
        errors.append(report.frobenius.value)
        factors.append(report.ridges[0].spectral_factor.value)
    return Estimate.from_sample(errors), Estimate.from_sample(factors)


def _evaluate_exact(problem: Problem, architecture: ntk.Architecture) -> Row:
    X = problem.X_train.astype(np.float64)
    classes, targets = _targets(problem)
    ntk.kernel(architecture, X[:_WARM_UP])  # compiles
    start = time.perf_counter()
    K = ntk.kernel(architecture, X)
    computed = time.perf_counter()
    exact = exact_ridge(K, targets)
    fitted = time.perf_counter()
    K_test = ntk.kernel(architecture, problem.X_test.astype(np.float64), X)
    predicted = exact.predict(K_test)
    if classes is None:
        score = r2_score(problem.y_test, predicted)
    else:
        binary = predicted.shape[1] == 1
        chosen = (predicted[:, 0] > 0).astype(int) if binary else predicted.argmax(axis=1)
        score = accuracy_score(problem.y_test, classes[chosen])
    return Row(EXACT, None, None, None, float(score), computed - start, fitted - start)


def _targets(problem: Problem) -> tuple[NDArray | None, NDArray]:
    """Return classes and the targets with which NTKClassifier fits them, or None and numbers."""
    if problem.task == "regression":
        return None, problem.y_train
    binarizer = LabelBinarizer(neg_label=-1)
    targets = np.asarray(binarizer.fit_transform(problem.y_train), dtype=np.float64)
    return binarizer.classes_, targets
