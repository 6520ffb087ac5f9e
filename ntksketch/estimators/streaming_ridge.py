"""Ridge regression that sees its rows once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from ntksketch.data.source import Source
from ntksketch.distributed.dask_collections import DaskSource, gather_by_tasks
from ntksketch.estimators.rows import as_source
from ntksketch.estimators.targets import EncodedTargets, require_kind
from ntksketch.features.statistics import weighted_blocks
from ntksketch.linear import (
    GramAccumulator,
    GramStatistics,
    RidgeSolution,
    default_alphas,
    gcv_scores,
    holdout_scores,
    ridge_path,
    search_by_gcv,
    solve_ridge,
)
from ntksketch.linear.penalty import Penalty
from ntksketch.linear.ridge import as_alphas, linear_predictions
from ntksketch.linear.rows import PIECE_ROWS, as_weights

RIDGE_CONSTRAINTS: dict[str, list[Any]] = {  # types; the values are checked where they are used
    "alphas": [str, Real, "array-like"],
    "fit_intercept": ["boolean"],
}
_WHOLE_PATH = 1024  # features up to which an eigendecomposition of all penalties is quick


@dataclass(frozen=True, eq=False)
class _Choice:
    """Solutions for the penalties requested (None: the default grid) and their scores."""

    requested: NDArray[np.float64] | None
    solution: RidgeSolution
    gcv: NDArray[np.float64] | None = None
    holdout: NDArray[np.float64] | None = None

    @property
    def index(self) -> int:
        """The penalty of least score; of equal ones the largest."""
        scores = self.gcv if self.holdout is None else self.holdout
        if scores is None:
            return 0
        if self.solution.largest_eigenvalue == 0:  # every penalty gives the same solution
            return int(self.solution.alphas.argmax())
        best = scores.min()
        if not np.isfinite(best):
            raise ValueError(
                "generalised cross-validation needs a total weight above the degrees of "
                "freedom of the fit, and weights that count rows; choose by select_alpha, "
                "or pass one penalty"
            )
        return int(np.argmax(np.where(scores == best, self.solution.alphas, -1.0)))


class StreamingRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Exact ridge regression on rows that arrive in blocks.

    Minimises :math:`\sum_i w_i (y_i - z_i^\top c - b)^2 + \alpha |c|^2`, the objective of
    :class:`sklearn.linear_model.Ridge`, from sufficient statistics: memory grows with the
    square of the number of features and not with the rows. The penalty is chosen by
    generalised cross-validation, or by `select_alpha` on rows kept aside. After
    `partial_fit` the system is solved when a coefficient or a prediction is first asked for.

    Parameters
    ----------
    alphas : "auto", float or array_like of shape (n_alphas,), default="auto"
        Penalty, or penalties to choose from. "auto" is a logarithmic grid of 17 from 2e-7
        (float32: 1e-6) to 10 times the largest eigenvalue of the features' Gram matrix, of
        which a search tries some eight if there are more than 1,024 features. A change by
        `set_params` takes effect on the rows already seen.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is not penalised. A change takes effect with the
        next `fit`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features), float64
        Coefficients for the chosen penalty.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept.
    alpha_ : float
        The chosen penalty.
    alphas_ : ndarray of shape (n_alphas,)
        The penalties chosen from: those given, or those tried.
    gcv_scores_ : ndarray of shape (n_alphas,)
        Generalised cross-validation scores; only if there was more than one penalty.
    holdout_scores_ : ndarray of shape (n_alphas,)
        Mean squared errors on the rows kept aside; only after `select_alpha`.
    rank_ : int or None
        Numerical rank of the Gram matrix; None where it was solved without eigenvalues: for
        one penalty, or by the search.
    n_samples_seen_ : int
        Number of rows of positive weight.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if all of them are strings.

    See Also
    --------
    ntksketch.linear.GramAccumulator : The statistics.
    ntksketch.linear.ridge_path : The solver.

    Notes
    -----
    Features of float32 are multiplied in float32 and added up in float64. Penalties below
    1e-7 of the largest eigenvalue are beyond normal equations; a warning tells.

    References
    ----------
    .. [1] G. H. Golub, M. Heath and G. Wahba (1979). Generalized cross-validation as a method
       for choosing a good ridge parameter. Technometrics 21(2).
       doi:10.1080/00401706.1979.10489751

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.estimators import StreamingRidge
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.standard_normal((300, 3))
    >>> y = Z @ [1.0, 2.0, 3.0] + 4.0
    >>> model = StreamingRidge(alphas=1e-3)
    >>> for start in range(0, 300, 100):
    ...     model = model.partial_fit(Z[start : start + 100], y[start : start + 100])
    >>> model.coef_.round(3), round(model.intercept_, 3)
    (array([1., 2., 3.]), 4.0)
    """

    _penalty: Penalty | None = None  # set by estimators whose features are not white
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = RIDGE_CONSTRAINTS

    def __init__(
        self, alphas: str | float | ArrayLike = "auto", *, fit_intercept: bool = True
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept

    def fit(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> StreamingRidge:
        """Fit to these rows alone, read in blocks.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features), or Source
            Dense features; a memory-mapped array is not loaded whole, nor is a source.
        y : array_like of shape (n_samples,) or (n_samples, n_targets), or None
            Targets; None for those of a source.
        sample_weight : float or array_like of shape (n_samples,), optional
            Non-negative weights, which count as repetitions of a row.

        Returns
        -------
        StreamingRidge
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, a shape or a value cannot be used.
        """
        self._check_parameters()
        source, sample_weight = as_source(self, X, y, sample_weight)
        if source is not None:
            return self._fit_source(source, sample_weight)
        X, y = self._validate(X, y, reset=True)
        weight = None if sample_weight is None else as_weights(sample_weight, len(X))
        self._take(gather_array(X, y, weight, bool(self.fit_intercept)), y.ndim == 1)
        self._current()
        return self

    def _fit_source(self, source: Source, sample_weight: ArrayLike | None) -> StreamingRidge:
        weight = sample_weight
        if weight is not None:
            weight = as_weights(weight, cast(int, source.shape[0]))
        self._take(*gather_source(source, weight, bool(self.fit_intercept)))
        self._current()
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> StreamingRidge:
        """Add rows to those already seen; a block that is refused changes nothing.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Dense features.
        y : array_like of shape (n_samples,) or (n_samples, n_targets)
            Targets, of one kind of shape in all blocks.
        sample_weight : float or array_like of shape (n_samples,), optional
            Non-negative weights, which count as repetitions of a row.

        Returns
        -------
        StreamingRidge
            The estimator, which solves when it is next asked for a coefficient.

        Raises
        ------
        ValueError
            If a parameter, a shape or a value cannot be used.
        """
        self._check_parameters()
        first = not self.__sklearn_is_fitted__()
        accumulator = self._new_accumulator() if first else self._accumulator
        if accumulator.fit_intercept != self.fit_intercept:
            raise ValueError(
                f"the rows so far were gathered with fit_intercept={accumulator.fit_intercept}; "
                "call fit to begin anew"
            )
        X, y = self._validate(X, y, reset=first)
        if not first:
            require_kind(y, self._single_target)
        accumulator.update(X, y, sample_weight)
        if first:
            self._accumulator, self._single_target = accumulator, y.ndim == 1
        self._choice = None
        return self

    def select_alpha(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> StreamingRidge:
        """Choose the penalty by the mean squared error on rows kept aside.

        The choice holds until more rows are fitted or `alphas` changes.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Features of rows that were not fitted.
        y : array_like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : float or array_like of shape (n_samples,), optional
            Non-negative weights.

        Returns
        -------
        StreamingRidge
            The estimator, which predicts with the chosen penalty.

        Raises
        ------
        ValueError
            If a shape or a value cannot be used.
        """
        check_is_fitted(self)
        X, y = self._validate(X, y, reset=False)
        choice = self._current()
        scores = holdout_scores(choice.solution, X, y, sample_weight)
        self._choice = replace(choice, holdout=scores)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Predict targets.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Dense features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, of float32 if `X` is and of float64 otherwise.
        """
        check_is_fitted(self)
        Z = np.asarray(
            validate_data(self, cast(Any, X), dtype=[np.float64, np.float32], reset=False)
        )
        return linear_predictions(Z, self.coef_, self.intercept_)

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Coefficients for the chosen penalty."""
        choice = self._current()
        coef = choice.solution.coef[choice.index].T
        return coef[0] if self._single_target else coef

    @property
    def intercept_(self) -> float | NDArray[np.float64]:
        """Intercept for the chosen penalty."""
        choice = self._current()
        intercept = choice.solution.intercept[choice.index]
        return float(intercept[0]) if self._single_target else intercept

    @property
    def alpha_(self) -> float:
        """The chosen penalty."""
        choice = self._current()
        return float(choice.solution.alphas[choice.index])

    @property
    def alphas_(self) -> NDArray[np.float64]:
        """The penalties chosen from."""
        return self._current().solution.alphas

    @property
    def gcv_scores_(self) -> NDArray[np.float64]:
        """Generalised cross-validation score of each penalty."""
        scores = self._current().gcv
        if scores is None:
            raise AttributeError("gcv_scores_ needs more than one penalty to choose from")
        return scores

    @property
    def holdout_scores_(self) -> NDArray[np.float64]:
        """Mean squared error of each penalty on the rows kept aside."""
        scores = self._current().holdout
        if scores is None:
            raise AttributeError("holdout_scores_ is there after select_alpha only")
        return scores

    @property
    def rank_(self) -> int | None:
        """Numerical rank of the Gram matrix, where eigenvalues were computed."""
        return self._current().solution.rank

    @property
    def n_samples_seen_(self) -> int:
        """Number of rows of positive weight."""
        check_is_fitted(self)
        return self._accumulator.n_rows

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_accumulator")

    def _take(self, accumulator: GramAccumulator, single_target: bool) -> None:
        """Fit to rows whose statistics others gathered."""
        self._accumulator, self._single_target = accumulator, single_target
        self._choice = None
        self.n_features_in_ = accumulator.n_features

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[NDArray, NDArray]:
        # the accumulator converts integers and looks for NaN piece by piece
        X, y = validate_data(
            self,
            X,
            y,
            dtype="numeric",
            ensure_all_finite=False,
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        return np.asarray(X), np.asarray(y)

    def _check_parameters(self) -> None:
        self._validate_params()
        self._requested_alphas()

    def _requested_alphas(self) -> NDArray[np.float64] | None:
        if isinstance(self.alphas, str):
            if self.alphas != "auto":
                raise ValueError(
                    f'alphas must be "auto", a number or an array of numbers, got {self.alphas!r}'
                )
            return None
        return as_alphas(self.alphas)

    def _new_accumulator(self) -> GramAccumulator:
        return GramAccumulator(fit_intercept=bool(self.fit_intercept))

    def _current(self) -> _Choice:
        """Solve, unless that was done for these rows and penalties."""
        check_is_fitted(self)
        requested = self._requested_alphas()
        choice = self._choice
        if choice is None or not _equal(choice.requested, requested):
            stats = replace(self._accumulator.finalise(copy=False), penalty=self._penalty)
            choice = self._choice = _solve(stats, requested)
        return choice


def gather_array(
    Z: NDArray, y: NDArray, weight: NDArray | None, fit_intercept: bool
) -> GramAccumulator:
    """Return the statistics of features in memory, read in blocks."""
    accumulator = GramAccumulator(fit_intercept)
    with accumulator.batch() as batch:
        for rows in gen_batches(len(Z), PIECE_ROWS):
            batch.update(Z[rows], y[rows], None if weight is None else weight[rows])
    return accumulator


def gather_source(
    source: Source, weight: NDArray | None, fit_intercept: bool
) -> tuple[GramAccumulator, bool]:
    """Return the statistics of a source of features, and whether there is a single target."""
    if isinstance(source, DaskSource):
        return gather_by_tasks(None, source.with_weight(weight), np.asarray, fit_intercept)
    encoded = EncodedTargets(source, np.asarray)
    accumulator = GramAccumulator(fit_intercept)
    with accumulator.batch() as batch:
        for Z, y, part in weighted_blocks(encoded, PIECE_ROWS, weight):
            if sp.issparse(Z):
                raise TypeError(f"{source.name} has sparse rows; dense ones are expected")
            batch.update(Z, y, part)
    return accumulator, bool(encoded.single_target)


def _solve(stats: GramStatistics, requested: NDArray[np.float64] | None) -> _Choice:
    alphas = default_alphas(stats) if requested is None else requested
    if len(alphas) == 1:
        return _Choice(requested, solve_ridge(stats, float(alphas[0])))
    if requested is None and len(stats.gram) > _WHOLE_PATH:
        solution, scores = search_by_gcv(stats, alphas)
        return _Choice(requested, solution, gcv=scores)
    solution = ridge_path(stats, alphas)
    return _Choice(requested, solution, gcv=gcv_scores(stats, solution))


def _equal(a: NDArray | None, b: NDArray | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)
