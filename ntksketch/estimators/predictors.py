"""Ridge regression and classification on NTK features, in one pass over the rows."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ntksketch.architectures import Architecture
from ntksketch.data.open import open_source
from ntksketch.distributed.dask_collections import is_dask
from ntksketch.estimators.ridge_on_features import RidgeOnFeatures
from ntksketch.estimators.rows import as_source
from ntksketch.estimators.targets import one_hot, read_labels
from ntksketch.features import Method
from ntksketch.kernels import ZonalKernel
from ntksketch.linear.rows import as_weights


class NTKRegressor(MultiOutputMixin, RegressorMixin, RidgeOnFeatures):
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
            Rows, or images, signals or sequences as :func:`kernel` takes them. A source is read
            twice where the method looks at rows beforehand: once to draw a sample.
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
        architecture, X = self._bind(X)
        source, sample_weight = as_source(self, X, y, sample_weight)
        if source is None:
            X, y = self._validate_rows(X, y, multi_output=True, y_numeric=True)
            source = open_source(X, targets=y)
        else:
            X = source
        weight = None if sample_weight is None else as_weights(sample_weight, X.shape[0])
        self._fit_rows(architecture, X, source, np.asarray, weight, progress, checkpoint)
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


class NTKClassifier(ClassifierMixin, RidgeOnFeatures):
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
        **RidgeOnFeatures._parameter_constraints,
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
            Rows, or images, signals or sequences as :func:`kernel` takes them. A source is read
            twice where the method looks at rows beforehand: once to draw a sample.
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
        architecture, X = self._bind(X)
        source, sample_weight = as_source(self, X, y if is_dask(y) else None, sample_weight)
        if source is None:
            X, y = self._validate_rows(X, y)
            source = open_source(X)
        else:
            X = source
            given = not (y is None or is_dask(y))
            y = np.asarray(y) if given else read_labels(source, self.working_memory)
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
        self._fit_rows(
            architecture, X, source.with_targets(codes), encode, weight, progress, checkpoint
        )
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
