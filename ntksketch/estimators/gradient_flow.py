"""Training in closed form: gradient flow of the squared loss on kernels and on features."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if

from ntksketch.architectures import Architecture
from ntksketch.dynamics import (
    KernelRows,
    SpectralFlow,
    as_times,
    flow_on_statistics,
    learned_share,
)
from ntksketch.dynamics.filters import as_learning_rate
from ntksketch.estimators.features import NTKFeatures
from ntksketch.estimators.flow_on_rows import (
    FlowOnRows,
    initial_outputs,
    takes_blocks,
)
from ntksketch.estimators.ridge_on_features import Fitted
from ntksketch.estimators.targets import require_kind
from ntksketch.features import Method
from ntksketch.kernels import ZonalKernel
from ntksketch.linear.rows import as_weights


class GradientFlow(MultiOutputMixin, RegressorMixin, FlowOnRows):
    r"""Training of an infinitely wide or linearised network under the squared loss, at any time.

    A network that is linear in its parameters, trained by the gradient flow of

    .. math:: L = \frac{1}{2n} \sum_i |f(x_i) - y_i|^2,
        \qquad \frac{df(X)}{dt} = -\frac1n K\,(f(X) - y),

    is at time t [1]_

    .. math:: f_t(x) = f_0(x) + K(x, X)\, K^{-1} (I - e^{-K t / n})\, (y - f_0(X)),

    which is computed from one eigendecomposition: of the kernel K of all rows, or of the Gram
    matrix of features. Times are in units of 1 over an eigenvalue of K/n.

    Parameters
    ----------
    kernel : Architecture, ZonalKernel, NTKFeatures, "linear" or "precomputed", default=None
        What has the kernel. A network, such as ``ntksketch.mlp(depth=2)``, or a zonal kernel: the
        exact kernel of all rows; with a `method`, its features. None means ``mlp(depth=1)``.
        NTKFeatures: these features, as they are if they are fitted, else drawn for the rows.
        "linear": rows are features themselves. "precomputed": kernels come in place of rows.
    method : str or method, default=None
        How features approximate the kernel of a network, see :class:`NTKFeatures`; None computes
        it for all pairs of rows.
    n_components : int, default=1024
        Number of features, where there is a method.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel of a network: training of all layers, or of the last one alone.
    t : float, default=inf
        The time of predictions that name none; infinity is the end of training.
    learning_rate : float, default=None
        None for continuous time. A number is the step of gradient descent, and times are numbers
        of steps; it must be below ``max_learning_rate_``. A change takes effect at once.
    cutoff : float, default=None
        Eigenvalues up to this share of the largest count as zero: nothing moves along their
        eigenvectors, at any time, and the end of training is the solution of least norm. None,
        or less than it, takes what is rounding: float64's epsilon times the size of the matrix, at
        least float32's epsilon where there are products or kernels of float32, and at least the
        size of a negative eigenvalue, of which a warning tells.
    working_memory : float, default=None
        Budget in MiB for blocks of rows, beside the matrix and its eigenvectors; None reads
        scikit-learn's setting of the same name.
    random_state : int, RandomState instance or None, default=None
        Decides the draw of features, unless they have a `random_state` of their own.

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_samples,) or (n_components,), float64
        Eigenvalues of K/n, ascending, or those of the features' Gram matrix over n, which are the
        same but for zeros. One over them is the time in which their part is learned.
    max_learning_rate_ : float
        Twice the inverse of the largest eigenvalue, from which on gradient descent diverges.
    rank_ : int
        Number of eigenvalues above zero.
    features_ : NTKFeatures
        The features, where there are any.
    n_features_in_ : int
        Number of columns of the rows.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if all of them are strings.

    See Also
    --------
    ntksketch.ensemble_moments : Mean and covariance over random starts, from given kernels.
    ntksketch.NTKRegressor : Ridge regression, the other way to stop early.

    Notes
    -----
    Sample weights count as repetitions of rows: n is their sum. No intercept is fitted; pass the
    mean of the targets as `f0` for one. All solves are in float64. Features take the memory of
    :class:`StreamingRidge` whatever the number of rows; the exact kernel two n x n matrices.
    A kernel of images that is refused for its time may be given as a matrix,
    ``kernel="precomputed"``, from :func:`ntksketch.kernel` with ``max_seconds=math.inf``.

    Ridge regression with a penalty :math:`\alpha` learns the share
    :math:`\lambda / (\lambda + \alpha / n)` where the flow learns :math:`1 - e^{-\lambda t}`: much
    alike for :math:`t = n / \alpha` [2]_.

    References
    ----------
    .. [1] J. Lee, L. Xiao, S. S. Schoenholz, Y. Bahri, R. Novak, J. Sohl-Dickstein and
       J. Pennington (2019). Wide neural networks of any depth evolve as linear models under
       gradient descent. arXiv:1902.06720
    .. [2] A. Ali, J. Z. Kolter and R. J. Tibshirani (2019). A continuous-time view of early
       stopping for least squares regression. arXiv:1810.10082

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> flow = ntk.GradientFlow(ntk.mlp(depth=2)).fit(X[:300], y[:300], f0=y[:300].mean())
    >>> times = np.array([0.0, 10.0, 1000.0, np.inf])
    >>> flow.predict(X[300:], times, f0=y[:300].mean()).shape
    (4, 142)
    >>> bool((np.diff(flow.training_loss(times)) < 0).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "kernel": [Architecture, ZonalKernel, NTKFeatures, str, None],
        "method": [str, Method, None],
        "n_components": [Integral],
        "kind": [str],
        "t": [Real],
        "learning_rate": [Real, None],
        "cutoff": [Real, None],
        "working_memory": [Real, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        kernel: Architecture | ZonalKernel | NTKFeatures | str | None = None,
        method: str | Method | None = None,
        n_components: int = 1024,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        t: float = np.inf,
        learning_rate: float | None = None,
        cutoff: float | None = None,
        working_memory: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.method = method
        self.n_components = n_components
        self.kind = kind
        self.t = t
        self.learning_rate = learning_rate
        self.cutoff = cutoff
        self.working_memory = working_memory
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        f0: Any = None,
    ) -> GradientFlow:
        """Solve the training on these rows; on features in one pass over them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows; sources and Dask collections on features only. With ``kernel="precomputed"`` the
            kernel of the training rows, of shape (n_samples, n_samples).
        y : array-like of shape (n_samples,) or (n_samples, n_targets), or None
            Targets; None for those of a source.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Non-negative weights, which count as repetitions of a row.
        f0 : float or array-like in the shape of the targets, default=None
            Outputs of the network before training; None for zeros.

        Returns
        -------
        GradientFlow
            The fitted model.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data cannot be used, or if gradient descent with this
            `learning_rate` does not converge; the message says what came and what to do.
        MemoryError
            Before the start, if the kernel of all rows cannot fit.

        Warns
        -----
        scipy.linalg.LinAlgWarning
            If an eigenvalue is negative by more than rounding.
        """
        rate = self._check_parameters()
        if takes_blocks(self):
            rows, sums, single = self._sum_rows(X, y, sample_weight, f0)
            stats = replace(sums.finalise(copy=False), penalty=rows.penalty)
            flow = flow_on_statistics(stats, cutoff=self.cutoff, overwrite=True)
            rest = {name: value for name, value in sums.to_arrays().items() if name != "gram"}
        else:
            rows, flow, single = self._solve_kernel(X, y, sample_weight, f0)
            rest = {}
        flow.require_rate(rate)
        self._rows, self._flow, self._sums, self._rest = rows, flow, None, rest
        self._single_target, self._started = single, f0 is not None
        return self

    @available_if(takes_blocks)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, *, f0: Any = None
    ) -> GradientFlow:
        """Add rows to those already seen, on features; a block that is refused changes nothing.

        The training is solved when a prediction is next asked for. Features that are not fitted are
        drawn for the first block.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, of one kind of shape in all blocks.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Non-negative weights, which count as repetitions of a row.
        f0 : float or array-like in the shape of `y`, default=None
            Outputs of the network before training, for every block or for none.

        Returns
        -------
        GradientFlow
            The model.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data cannot be used, or if the rows before were not features, or
            others, since the kernel was another one.
        """
        self._check_parameters()
        first = not self.__sklearn_is_fitted__()
        if not first:
            self._require_same_rows()
        if not (first or self._started == (f0 is not None)):
            raise ValueError(
                f"f0 was {'given' if self._started else 'not given'} with the blocks before: give "
                "it with all blocks or with none"
            )
        architecture, X = self._bind(X)
        X, y = self._validate_rows(X, y, multi_output=True, y_numeric=True, reset=first)
        if not first:
            require_kind(y, self._single_target)
        weight = None if sample_weight is None else as_weights(sample_weight, X.shape[0])
        residual = y - initial_outputs(f0, y.shape, "y")
        rows, sums = self._add_rows(architecture, X, residual, weight)
        self._rows, self._sums, self._flow = rows, sums, None
        self._single_target, self._started = y.ndim == 1, f0 is not None
        return self

    def predict(
        self,
        X: Any,
        t: Any = None,
        *,
        f0: Any = None,
        return_std: bool = False,
        return_cov: bool = False,
    ) -> Any:
        r"""Predict the outputs of the network at some times of its training.

        With `return_std` or `return_cov` they are those of infinitely many networks of infinite
        width from random starts: their mean, which is the training from zero, and their deviation;
        see :func:`ensemble_moments` for the formula.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Source
            Rows; with ``kernel="precomputed"`` their kernel with the training rows.
        t : float or array-like of shape (n_times,), default=None
            Times, or numbers of steps, at least 0 and perhaps infinite; None takes the parameter.
        f0 : float or array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Outputs before training; to be given if and only if `fit` had them.
        return_std, return_cov : bool, default=False
            Return standard deviations, or covariances, over random starts as well; for exact
            kernels of networks.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Outputs, float32 if the rows are, else float64; with an axis of times in front if `t` is
            an array.
        std : ndarray of shape (n_samples,), float64
            Standard deviations, the same for each target, with times in front alike; only with
            `return_std`.
        cov : ndarray of shape (n_samples, n_samples), float64
            Covariances; only with `return_cov`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there was no fit.
        TypeError, ValueError
            If times or rows are not as described, if `f0` is missing or was not there in `fit`, or
            if there is no ensemble.
        """
        flow, rate = self._solved()
        times, single = self._times(t, rate)
        if return_std or return_cov:
            self._require_ensemble(return_std and return_cov)
        if self._started != (f0 is not None):
            raise ValueError(
                "fit had f0, so that predict needs that of its rows: the outputs before training"
                if self._started
                else "f0 is given, and fit had none: give both that of their rows"
            )
        coef = flow.coefficients(times, rate).reshape(-1, flow.basis.shape[0])
        rows = self._rows
        if isinstance(rows, KernelRows):
            X = self._validate_rows(X, reset=False)
            values: Any = rows.predict(X, coef, self.working_memory).astype(X.dtype, copy=False)
        else:
            fitted = Fitted(rows.feature_map, coef, 0.0, None, self.working_memory)
            values = self._predict_chunks(X, fitted)
        predicted = self._arrange(values, len(times), f0)
        predicted = predicted[0] if single else np.stack(predicted)
        if not (return_std or return_cov):
            return predicted
        spread = cast(KernelRows, rows).covariance(
            flow, X, times, rate, self.working_memory, diagonal=return_std
        )
        spread = np.sqrt(spread) if return_std else spread
        return predicted, spread[0] if single else spread

    def training_loss(self, t: Any) -> float | NDArray[np.float64]:
        """Return the loss on the training rows at some times of the training.

        Parameters
        ----------
        t : float or array-like of shape (n_times,)
            Times, or numbers of steps, at least 0 and perhaps infinite.

        Returns
        -------
        float or ndarray of shape (n_times,), float64
            Half the weighted mean over rows of the squared error, which is summed over targets.
            On features rounding leaves an error of about their products' epsilon times its value
            at 0.

        Raises
        ------
        TypeError, ValueError
            If times are not as described.
        """
        flow, rate = self._solved()
        times, single = self._times(t, rate)
        loss = flow.loss(times, rate)
        return float(loss[0]) if single else loss

    def filter(self, t: Any) -> NDArray[np.float64]:
        r"""Return the share of each eigenvector's part of the targets that is learned at a time.

        It is :math:`1 - e^{-\lambda t}`, or :math:`1 - (1 - \eta \lambda)^t` for steps of gradient
        descent; the sum over eigenvalues is the training's effective number of parameters.

        Parameters
        ----------
        t : float or array-like of shape (n_times,)
            Times, or numbers of steps, at least 0 and perhaps infinite.

        Returns
        -------
        ndarray of shape (n_eigenvalues,) or (n_times, n_eigenvalues), float64
            Shares, in the order of ``eigenvalues_``.

        Raises
        ------
        TypeError, ValueError
            If times are not as described.
        """
        flow, rate = self._solved()
        times, single = self._times(t, rate)
        shares = learned_share(flow.eigenvalues, times, rate)
        return shares[0] if single else shares

    @property
    def eigenvalues_(self) -> NDArray[np.float64]:
        """Eigenvalues of the kernel over the number of rows."""
        return self._training().eigenvalues

    @property
    def max_learning_rate_(self) -> float:
        """The step from which on gradient descent diverges."""
        return self._training().max_learning_rate

    @property
    def rank_(self) -> int:
        """Number of eigenvalues above zero."""
        return self._training().rank

    def _check_parameters(self) -> float | None:
        """Return the learning rate, checked with everything else that needs no rows."""
        self._validate_params()
        rate = as_learning_rate(self.learning_rate)
        self._times(None, rate)
        if np.ndim(self.t):
            raise ValueError(
                f"the parameter t must be a number, got {self.t!r}; predict takes more"
            )
        if self.cutoff is not None and not 0 <= self.cutoff < 1:
            raise ValueError(f"cutoff must be at least 0 and below 1, got {self.cutoff!r}")
        if isinstance(self.kernel, str) and self.kernel not in ("linear", "precomputed"):
            raise ValueError(
                'kernel must be an architecture, a zonal kernel, NTKFeatures, "linear" or '
                f'"precomputed", got {self.kernel!r}'
            )
        if isinstance(self.kernel, str | NTKFeatures) and self.method is not None:
            name = repr(self.kernel) if isinstance(self.kernel, str) else "NTKFeatures"
            raise ValueError(f"method={self.method!r} is for a network's kernel; {name} takes none")
        return rate

    def _times(self, t: Any, rate: float | None) -> tuple[NDArray[np.float64], bool]:
        return as_times(self.t if t is None else t, steps=rate is not None)

    def _solved(self) -> tuple[SpectralFlow, float | None]:
        """Return the solution and the learning rate, with which it must converge."""
        flow, rate = self._training(), as_learning_rate(self.learning_rate)
        flow.require_rate(rate)
        return flow, rate

    def _require_ensemble(self, both: bool) -> None:
        """Raise ValueError unless there is a Gaussian ensemble to speak of."""
        if both:
            raise ValueError("return_std and return_cov: ask for one of them")
        rows = self._rows
        if not (isinstance(rows, KernelRows) and isinstance(rows.target, Architecture)):
            raise ValueError(
                "return_std and return_cov need the exact kernels of a network: give kernel an "
                "architecture and no method; for given kernels there is ensemble_moments"
            )
        if self._started:
            raise ValueError(
                "return_std and return_cov are of random starts, and fit had f0, the start of one "
                "network: fit without f0"
            )
