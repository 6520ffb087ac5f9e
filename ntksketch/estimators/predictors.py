"""Ridge regression and classification on NTK features, in one pass over the rows."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, cast

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ntksketch.architectures import Architecture
from ntksketch.data.open import open_source
from ntksketch.data.source import Source
from ntksketch.distributed.dask_collections import (
    DaskSource,
    gather_by_tasks,
    is_dask,
    map_rows,
    row_dtype,
)
from ntksketch.distributed.mesh import fits, gather_on_mesh, row_mesh
from ntksketch.estimators.features import FEATURE_CONSTRAINTS, NTKFeatures
from ntksketch.estimators.rows import RowsMixin, as_source
from ntksketch.estimators.streaming_ridge import RIDGE_CONSTRAINTS, StreamingRidge
from ntksketch.estimators.targets import EncodedTargets, one_hot, read_labels
from ntksketch.features import FeatureMap, Method
from ntksketch.features.nystroem import NystroemMap
from ntksketch.features.pass_state import PassState
from ntksketch.features.statistics import chunk_rows, gather, transform_chunk
from ntksketch.kernels import ZonalKernel
from ntksketch.linear.gram import GramAccumulator, as_weights
from ntksketch.linear.ridge import linear_predictions

_MATRICES = 6  # of float64 that the statistics and their solve take at most


def solve_bytes(n_components: int) -> float:
    """Return the bytes that the statistics of so many components and their solve may take."""
    return 8.0 * _MATRICES * n_components**2


class _Fitted(NamedTuple):
    """What predictions need: the features, the ridge's coefficients, and classes if it has any."""

    feature_map: FeatureMap
    coef: np.ndarray
    intercept: Any
    classes: np.ndarray | None
    working_memory: float | None

    def predict(self, X: Any) -> np.ndarray:
        """Return the predictions of a chunk of rows."""
        Z = transform_chunk(self.feature_map, X, self.working_memory)
        scores = linear_predictions(Z, self.coef, self.intercept)
        if self.classes is None:
            return scores
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes[chosen]


def _predict(X: Any, fitted: _Fitted) -> np.ndarray:
    """Return the predictions of a chunk of Dask's, which may be larger than the budget's."""
    n_rows = chunk_rows(fitted.feature_map, X.dtype, fitted.working_memory)
    starts = range(0, max(X.shape[0], 1), n_rows)
    return np.concatenate([fitted.predict(X[i : i + n_rows]) for i in starts])


class _RidgeOnFeatures(RowsMixin, BaseEstimator):
    """Features, then a streaming ridge: what the regressor and the classifier share."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **FEATURE_CONSTRAINTS,
        **RIDGE_CONSTRAINTS,
    }

    def __init__(
        self,
        architecture: Architecture | ZonalKernel | None = None,
        method: str | Method = "auto",
        n_components: int = 1024,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        alphas: str | float | ArrayLike = "auto",
        fit_intercept: bool = True,
        working_memory: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.architecture = architecture
        self.method = method
        self.n_components = n_components
        self.kind = kind
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.working_memory = working_memory
        self.random_state = random_state

    @property
    def alpha_(self) -> float:
        """The penalty chosen."""
        check_is_fitted(self)
        return self.ridge_.alpha_

    def _fit_rows(
        self,
        X: Any,
        source: Source,
        encode: Callable[[np.ndarray], np.ndarray],
        sample_weight: np.ndarray | None,
        progress: Callable[[int], object] | None,
        checkpoint: str | os.PathLike[str] | None,
    ) -> None:
        """Draw the features for rows, gather their statistics from a source, then solve."""
        ridge = StreamingRidge(self.alphas, fit_intercept=self.fit_intercept)
        ridge._check_parameters()
        features = NTKFeatures(
            self.architecture,
            self.method,
            self.n_components,
            kind=cast(Any, self.kind),
            working_memory=self.working_memory,
            random_state=self.random_state,
        )
        state = None if checkpoint is None else PassState(checkpoint)
        start = time.perf_counter()
        features._draw(X, sample_weight)
        feature_map = features.feature_map_
        if isinstance(feature_map, NystroemMap):
            feature_map, ridge._penalty = feature_map.before_whitening()
        drawn = time.perf_counter()
        ridge._take(*self._gather(feature_map, source, encode, sample_weight, progress, state))
        passed = time.perf_counter()
        _ = ridge.coef_  # solve now, so that warnings come from fit
        solved = time.perf_counter()
        self.fit_seconds_ = {
            "set-up": drawn - start,
            "pass": passed - drawn,
            "solve": solved - passed,
        }
        self.features_, self.ridge_, self._map = features, ridge, feature_map
        if state is not None:
            state.remove()

    def _gather(
        self,
        feature_map: FeatureMap,
        source: Source,
        encode: Callable[[np.ndarray], np.ndarray],
        sample_weight: np.ndarray | None,
        progress: Callable[[int], object] | None,
        state: PassState | None,
    ) -> tuple[GramAccumulator, bool]:
        """Return the statistics, and whether there is a single target.

        Dask's workers sum what is Dask's. Other rows are summed on the devices where JAX has any
        beside the processor and the sums fit there.
        """
        if isinstance(source, DaskSource):
            if state is not None:
                raise ValueError("checkpoint is for rows that are not Dask's: persist what it has")
            source = source.with_weight(sample_weight)
            memory = self.working_memory
            return gather_by_tasks(feature_map, source, encode, self.fit_intercept, memory)
        accumulator = GramAccumulator(bool(self.fit_intercept))
        options: dict[str, Any] = {
            "sample_weight": sample_weight,
            "working_memory": self.working_memory,
            "progress": progress,
        }
        encoded = EncodedTargets(source, encode)
        accelerated = len(jax.local_devices()) > 1 or jax.default_backend() != "cpu"
        if accelerated and state is None:  # sums on devices are not on the way to a disk
            mesh = row_mesh()
            if fits(feature_map.n_components, source.dtype, mesh):
                gather_on_mesh(feature_map, encoded, accumulator, mesh=mesh, **options)
                return accumulator, bool(encoded.single_target)
        gather(feature_map, encoded, accumulator, **options, state=state)
        return accumulator, bool(encoded.single_target)

    def _predict_rows(
        self,
        X: Any,
        progress: Callable[[int], object] | None,
        classes: np.ndarray | None = None,
    ) -> Any:
        """Return the ridge's predictions in the rows' dtype, or classes; of Dask's rows lazily."""
        check_is_fitted(self)
        lazy = is_dask(X)
        if not (lazy or isinstance(X, Source)):
            X = self._validate_rows(X, reset=False)
        dtype = row_dtype(X) if lazy else X.dtype
        coef, intercept = self.ridge_.coef_, self.ridge_.intercept_
        fitted = _Fitted(self._map, coef, intercept, classes, self.working_memory)
        if lazy:
            self._require_width(X)
            width = None if coef.ndim == 1 or classes is not None else len(coef)
            return map_rows(_predict, X, fitted, width, dtype if classes is None else classes.dtype)
        predictions = []
        for rows in self._chunks(X, chunk_rows(self._map, dtype, self.working_memory)):
            predictions.append(fitted.predict(rows))
            if progress is not None:
                progress(rows.shape[0])
        return np.concatenate(predictions)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ridge_")


class NTKRegressor(MultiOutputMixin, RegressorMixin, _RidgeOnFeatures):
    """Ridge regression on NTK features: kernel regression with the NTK, in one pass.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel, default=None
        The network, such as ``ntksketch.mlp(depth=2)``; None means ``mlp(depth=1)``. A zonal kernel
        such as ``ntksketch.zonal.laplace(1.0)`` stands for itself.
    method : str or method, default="auto"
        How the kernel is approximated, see :class:`NTKFeatures`.
    n_components : int, default=1024
        Number of columns of the features.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    alphas : "auto", float or array-like of shape (n_alphas,), default="auto"
        Penalty, or penalties to choose from by generalised cross-validation; see
        :class:`StreamingRidge`.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is not penalised.
    working_memory : float, default=None
        Budget in MiB for a chunk of rows and its features, beside the statistics: the solve takes
        up to six float64 matrices of `n_components` squared entries. None reads scikit-learn's
        setting of the same name.
    random_state : int, RandomState instance or None, default=None
        Decides the draw of the features.

    Attributes
    ----------
    features_ : NTKFeatures
        The fitted features.
    ridge_ : StreamingRidge
        The fitted ridge, with its penalties and scores, and with its coefficients: those of the
        features, or before whitening (``features_.feature_map_.before_whitening()``) for Nystroem.
    alpha_ : float
        The penalty chosen.
    fit_seconds_ : dict of str to float
        Wall time of the last fit in seconds: "set-up" of the features, "pass" over the rows,
        "solve".
    n_features_in_ : int
        Number of columns of the rows.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if all of them are strings.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), arXiv:1806.07572; Zandieh et al. (2021), arXiv:2106.07880.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ntk.NTKRegressor(ntk.mlp(depth=1), n_components=128, random_state=0).fit(X, y)
    >>> model.predict(X[:2]).shape
    (2,)
    """

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        progress: Callable[[int], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> NTKRegressor:
        """Fit in one pass over the rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows. A source is read twice where the method looks at rows beforehand: once to
            draw a sample.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), or None
            Targets; None for those of a source.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, which count as repetitions of a row.
        progress : callable, default=None
            Called during the pass with the number of rows of each block that is done.
        checkpoint : str or path-like, default=None
            A file that keeps the statistics of the blocks that are done, from time to time. A fit
            of the same model to the same rows goes on from there, and is that of one that was not
            stopped. The file is deleted at the end.

        Returns
        -------
        NTKRegressor
            The fitted regressor.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data cannot be used; the message says what came and what to do.
        """
        self._validate_params()
        source, sample_weight = as_source(self, X, y, sample_weight)
        if source is None:
            X, y = self._validate_rows(X, y, multi_output=True, y_numeric=True)
            source = open_source(X, targets=y)
        else:
            X = source
        weight = None if sample_weight is None else as_weights(sample_weight, X.shape[0])
        self._fit_rows(X, source, np.asarray, weight, progress, checkpoint)
        return self

    def predict(self, X: Any, *, progress: Callable[[int], object] | None = None) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows.
        progress : callable, default=None
            Called with the number of rows of each block that is done.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions: float32 if the rows are, else float64.
        """
        return self._predict_rows(X, progress)


class NTKClassifier(ClassifierMixin, _RidgeOnFeatures):
    """Classification by ridge regression of one-hot targets on NTK features, in one pass.

    Targets are +1 for a row's class and -1 for the others, one column a class (a single column
    for two classes); the class of the largest prediction wins.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel, default=None
        The network, such as ``ntksketch.mlp(depth=2)``; None means ``mlp(depth=1)``. A zonal kernel
        such as ``ntksketch.zonal.laplace(1.0)`` stands for itself.
    method : str or method, default="auto"
        How the kernel is approximated, see :class:`NTKFeatures`.
    n_components : int, default=1024
        Number of columns of the features.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    alphas : "auto", float or array-like of shape (n_alphas,), default="auto"
        Penalty, or penalties to choose from by generalised cross-validation; see
        :class:`StreamingRidge`.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is not penalised.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the rows' weights; "balanced" makes them inversely
        proportional to the classes' frequencies.
    working_memory : float, default=None
        Budget in MiB for a chunk of rows and its features, beside the statistics: the solve takes
        up to six float64 matrices of `n_components` squared entries. None reads scikit-learn's
        setting of the same name.
    random_state : int, RandomState instance or None, default=None
        Decides the draw of the features.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    features_ : NTKFeatures
        The fitted features.
    ridge_ : StreamingRidge
        The fitted ridge, with its penalties and scores, and with its coefficients: those of the
        features, or before whitening (``features_.feature_map_.before_whitening()``) for Nystroem.
    alpha_ : float
        The penalty chosen.
    fit_seconds_ : dict of str to float
        Wall time of the last fit in seconds: "set-up" of the features, "pass" over the rows,
        "solve".
    n_features_in_ : int
        Number of columns of the rows.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if all of them are strings.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), arXiv:1806.07572; Zandieh et al. (2021), arXiv:2106.07880.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ntk.NTKClassifier(ntk.mlp(depth=1), n_components=512, random_state=0)
    >>> model.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_RidgeOnFeatures._parameter_constraints,
        "class_weight": [dict, str, None],
    }

    def __init__(
        self,
        architecture: Architecture | ZonalKernel | None = None,
        method: str | Method = "auto",
        n_components: int = 1024,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        alphas: str | float | ArrayLike = "auto",
        fit_intercept: bool = True,
        class_weight: dict | str | None = None,
        working_memory: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            architecture,
            method,
            n_components,
            kind=kind,
            alphas=alphas,
            fit_intercept=fit_intercept,
            working_memory=working_memory,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        progress: Callable[[int], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> NTKClassifier:
        """Fit in one pass over the rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows. A source is read twice where the method looks at rows beforehand: once to
            draw a sample.
        y : array-like of shape (n_samples,), or None
            Classes of any type that can be sorted, at least two; None for the targets of a source,
            which are then read beforehand.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, which count as repetitions of a row.
        progress : callable, default=None
            Called during the pass with the number of rows of each block that is done.
        checkpoint : str or path-like, default=None
            A file that keeps the statistics of the blocks that are done, from time to time. A fit
            of the same model to the same rows goes on from there, and is that of one that was not
            stopped. The file is deleted at the end.

        Returns
        -------
        NTKClassifier
            The fitted classifier.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data cannot be used; the message says what came and what to do.
        """
        self._validate_params()
        source, sample_weight = as_source(self, X, y if is_dask(y) else None, sample_weight)
        if source is None:
            X, y = self._validate_rows(X, y)
            source = open_source(X)
        else:
            X = source
            y = read_labels(source) if y is None or is_dask(y) else np.asarray(y)
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        weight = None if sample_weight is None else as_weights(sample_weight, X.shape[0])
        if self.class_weight is not None:
            by_class = compute_sample_weight(cast(Any, self.class_weight), y)
            weight = by_class if weight is None else weight * by_class
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes, got one class: {classes[0]}")
        encode = functools.partial(one_hot, n_classes=len(classes), dtype=X.dtype)
        self._fit_rows(X, source.with_targets(codes), encode, weight, progress, checkpoint)
        self.classes_ = classes
        return self

    def decision_function(
        self, X: Any, *, progress: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """Predict the one-hot targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows.
        progress : callable, default=None
            Called with the number of rows of each block that is done.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Scores, one column a class; for two classes one number a row, positive for the second.
        """
        return self._predict_rows(X, progress)

    def predict(self, X: Any, *, progress: Callable[[int], object] | None = None) -> np.ndarray:
        """Predict classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows.
        progress : callable, default=None
            Called with the number of rows of each block that is done.

        Returns
        -------
        ndarray of shape (n_samples,)
            Classes, of the type given to `fit`.
        """
        check_is_fitted(self)
        return self._predict_rows(X, progress, self.classes_)
