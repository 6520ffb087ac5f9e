"""Exact kernel ridge regression with the NTK, by an iteration."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntksketch.architectures import Architecture
from ntksketch.estimators.rows import RowsMixin
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.cost import DEFAULT_SECONDS
from ntksketch.solvers import Checkpoint, solve_kernel_ridge


class ExactNTKRegressor(RowsMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Kernel ridge regression with the exact NTK of any number of rows, which is never stored.

    Each iteration passes over all pairs of rows, see :func:`solve_kernel_ridge`; for a model in one
    pass over the rows there is :class:`NTKRegressor`.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel, default=None
        The network, such as ``ntksketch.mlp(depth=2)``; None means ``mlp(depth=1)``. A zonal kernel
        such as ``ntksketch.zonal.laplace(1.0)`` stands for itself.
    alpha : float, default=1.0
        Penalty, above zero, in units of the kernel.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is not penalised.
    tolerance : float, default=1e-6
        Relative residual at which the iteration ends.
    max_iter : int, default=500
        Largest number of iterations.
    rank : int, default=None
        Rank of the preconditioner; None takes four times the root of the number of rows.
    checkpoint : Checkpoint, str or path-like, default=None
        Where the state is saved on the way, and from where `fit` goes on if the file is there.
    working_memory : float, default=None
        Budget in MiB for temporaries and for parts of the kernel that are kept between iterations;
        None reads scikit-learn's setting of the same name.
    random_state : int, RandomState instance or None, default=None
        Decides the preconditioner. With a checkpoint, None takes the checkpoint's.
    max_seconds : float, default=3600
        How long one pass over the kernel of a network on images or signals may take, as
        :func:`kernel_cost` estimates it; ``math.inf`` sets no limit.

    Attributes
    ----------
    solution_ : KernelRidgeSolution
        The solution, which holds the training rows.
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Coefficients of the training rows.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercepts; zero where none was fitted.
    status_ : ConvergenceStatus
        How the iteration ended.
    n_iter_ : int
        Number of iterations.
    n_features_in_ : int
        Number of columns of the rows.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if all of them are strings.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), arXiv:1806.07572; Diaz, Epperly, Frangella, Tropp, Webber
    (2023), arXiv:2304.12465.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ntk.ExactNTKRegressor(ntk.mlp(depth=1), alpha=0.01).fit(X, y)
    >>> model.status_.converged, model.predict(X[:2]).shape
    (True, (2,))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "architecture": [Architecture, ZonalKernel, None],
        "alpha": [Real],
        "kind": [str],
        "fit_intercept": ["boolean"],
        "tolerance": [Real],
        "max_iter": [Integral],
        "rank": [Integral, None],
        "checkpoint": [Checkpoint, str, os.PathLike, None],
        "working_memory": [Real, None],
        "random_state": ["random_state"],
        "max_seconds": [Real],
    }

    def __init__(
        self,
        architecture: Architecture | ZonalKernel | None = None,
        alpha: float = 1.0,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        fit_intercept: bool = True,
        tolerance: float = 1e-6,
        max_iter: int = 500,
        rank: int | None = None,
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        working_memory: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        max_seconds: float = DEFAULT_SECONDS,
    ) -> None:
        self.architecture = architecture
        self.alpha = alpha
        self.kind = kind
        self.fit_intercept = fit_intercept
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.rank = rank
        self.checkpoint = checkpoint
        self.working_memory = working_memory
        self.random_state = random_state
        self.max_seconds = max_seconds

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> ExactNTKRegressor:
        """Solve, and keep the rows for predictions.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, or images, signals or sequences as :func:`kernel` takes them.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, which count as repetitions of a row.

        Returns
        -------
        ExactNTKRegressor
            The fitted regressor.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data cannot be used; the message says what came and what to do.
            Before the start, if a pass takes more than `max_seconds`.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the iteration ended above the tolerance; ``status_`` says why.
        """
        self._validate_params()
        architecture, X = self._bind(X)
        X, y = self._validate_rows(X, y, multi_output=True, y_numeric=True)
        seed = self.random_state
        if seed is not None:
            seed = int(check_random_state(seed).randint(np.iinfo(np.int32).max))
        self.solution_ = solve_kernel_ridge(
            architecture,
            X,
            y,
            self.alpha,
            kind=self.kind,
            fit_intercept=self.fit_intercept,
            sample_weight=sample_weight,
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            rank=self.rank,
            checkpoint=self.checkpoint,
            working_memory=self.working_memory,
            random_state=seed,
            max_seconds=self.max_seconds,
        )
        self.architecture_ = architecture
        self.dual_coef_, self.intercept_ = self.solution_.dual_coef, self.solution_.intercept
        self.status_ = self.solution_.status
        self.n_iter_ = max(1, int(self.status_.iterations.max()))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions: float32 if the rows are, else float64.
        """
        check_is_fitted(self)
        X = self._validate_rows(X, reset=False)
        predicted = self.solution_.predict(X, working_memory=self.working_memory)
        return predicted.astype(X.dtype, copy=False)
