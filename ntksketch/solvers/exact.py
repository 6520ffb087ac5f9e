"""Exact kernel ridge regression by conjugate gradients, without the kernel matrix."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import get_blas_funcs

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import memory_budget, require_memory
from ntksketch.kernels import ZonalKernel, resolve_target
from ntksketch.kernels.cost import DEFAULT_SECONDS, require_time
from ntksketch.kernels.inputs import with_input
from ntksketch.kernels.pivoted_cholesky import pivoted_cholesky
from ntksketch.kernels.products import KernelProduct
from ntksketch.linear.conjugate_gradients import ShiftedSystems
from ntksketch.linear.low_rank import LowRank, low_rank
from ntksketch.solvers.checkpoint import Checkpoint, kernel_sample
from ntksketch.solvers.problem import (
    Problem,
    check_controls,
    check_problem,
    scale_columns,
    whole_number,
)
from ntksketch.solvers.status import ConvergenceStatus

(_dger,) = get_blas_funcs(["ger"], dtype=np.float64)

_RANK = 4  # the preconditioner's rank is by default this times the root of the number of rows


@dataclass(frozen=True, eq=False)
class KernelRidgeSolution:
    r"""Kernel ridge regression on all training rows; made by :func:`solve_kernel_ridge`.

    Attributes
    ----------
    architecture : Architecture or ZonalKernel
        What has the kernel.
    kind : {"ntk", "nngp"}
        Which kernel.
    X : ndarray or CSR of shape (n, d)
        The training rows.
    alphas : float or ndarray of shape (n_alphas,)
        Penalties, as they were given.
    dual_coef : ndarray of shape (n,), (n, k), (n_alphas, n) or (n_alphas, n, k), float64
        Coefficients a of the training rows. There is an axis of penalties if they were an array,
        and one of targets if those were a matrix.
    intercept : float or ndarray of shape (k,), (n_alphas,) or (n_alphas, k)
        Intercepts b; zero where none was fitted.
    status : ConvergenceStatus
        Residuals and iterations of each system, and whether all converged.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((60, 3))
    >>> solution = ntk.solve_kernel_ridge(ntk.mlp(depth=1), X, np.abs(X[:, 0]), alphas=0.1)
    >>> solution.dual_coef.shape, solution.predict(X[:2]).shape, solution.status.converged
    ((60,), (2,), True)
    """

    architecture: Architecture | ZonalKernel
    kind: str
    X: Any
    alphas: float | NDArray[np.float64]
    dual_coef: NDArray[np.float64]
    intercept: float | NDArray[np.float64]
    status: ConvergenceStatus

    def predict(self, X: Any, *, working_memory: float | None = None) -> NDArray[np.float64]:
        """Predict the targets of rows; their kernel with the training rows is not stored.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (p, d)
            Rows, as those of training came; they are taken in the dtype of these.
        working_memory : float, default=None
            Budget in MiB for temporaries; None reads scikit-learn's setting of the same name.

        Returns
        -------
        ndarray of shape (p,), (p, k), (n_alphas, p) or (n_alphas, p, k), float64
            Predictions, with the axes of `dual_coef`.

        Raises
        ------
        ValueError
            If the rows cannot be used.
        """
        _, X = with_input(self.architecture, X)
        rows = KernelProduct(
            self.architecture, self.X, kind=self.kind, working_memory=working_memory
        )
        path = np.ndim(self.alphas) == 1
        dual = self.dual_coef if path else self.dual_coef[None]
        intercept = self.intercept if path else np.asarray(self.intercept)[None]
        shape = dual.shape
        dual = np.moveaxis(dual.reshape(*shape[:2], -1), 0, 1)  # (n, n_alphas, k)
        values = rows.product_with(X, dual.reshape(shape[1], -1))
        values = np.moveaxis(values.reshape(len(values), shape[0], -1), 1, 0)
        values = values.reshape(shape[0], -1, *shape[2:]) + np.asarray(intercept)[:, None]
        return values if path else values[0]


def solve_kernel_ridge(
    architecture: Architecture | ZonalKernel,
    X: Any,
    y: ArrayLike,
    alphas: ArrayLike,
    *,
    kind: str = "ntk",
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_iter: int = 500,
    rank: int | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    working_memory: float | None = None,
    random_state: int | None = None,
    max_seconds: float = DEFAULT_SECONDS,
) -> KernelRidgeSolution:
    r"""Exact kernel ridge regression on any number of rows, without storing their kernel.

    Minimises :math:`\sum_i w_i (y_i - f(x_i) - b)^2 + \alpha |f|_K^2`. With
    :math:`f = \sum_j a_j K(\cdot, x_j)` and an intercept the solution is that of

    .. math:: (K + \alpha W^{-1}) a + b \mathbf{1} = y, \qquad \mathbf{1}^\top a = 0,

    which is solved by conjugate gradients on the vectors whose sum is zero, and so is exact in b,
    too. Tiles of K are computed when they are multiplied; each serves the directions of all
    targets and all penalties at once, and its transpose as well.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        The network, or a zonal kernel.
    X : array-like or sparse matrix of shape (n, d)
        Rows, or images, signals or sequences as :func:`kernel` takes them. Kernels of float32 rows
        have float32 entries, which are multiplied and added up in float64; everything else is
        float64 throughout.
    y : array-like of shape (n,) or (n, k)
        Targets.
    alphas : float or array-like of shape (n_alphas,)
        Penalties, above zero, in units of the kernel.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    fit_intercept : bool, default=True
        Whether to fit b; if not, it is zero.
    sample_weight : float or array-like of shape (n,), default=None
        Non-negative weights W, which count as repetitions of a row.
    tolerance : float, default=1e-6
        Relative residual at which a system is solved. Fitted values are then within
        tolerance times the norm of the (centred) targets of the exact ones.
    max_iter : int, default=500
        Largest number of iterations; each is one pass over the pairs of rows.
    rank : int, default=None
        Rank r of the preconditioner, which takes two arrays of n times r float64 entries; 0 does
        without, None takes :math:`4 \sqrt n`.
    checkpoint : Checkpoint, str or path-like, default=None
        Where the state is saved while the solver runs, and from where it goes on if the file is
        there. A path saves every 300 seconds.
    working_memory : float, default=None
        Budget in MiB for temporaries and for tiles of the kernel that are kept between iterations;
        None reads scikit-learn's setting of the same name.
    random_state : int, default=None
        Seed of the preconditioner, on which the answer depends within the tolerance only. None
        takes that of the checkpoint, or another one each time.
    max_seconds : float, default=3600
        How long one pass over the kernel of a network on images or signals may take, as
        :func:`kernel_cost` estimates it; ``math.inf`` sets no limit. There is a pass in each
        iteration, unless `working_memory` has room for the kernel.

    Returns
    -------
    KernelRidgeSolution
        Coefficients, intercepts, the status, and predictions.

    Raises
    ------
    MemoryError
        Before the start, if the preconditioner cannot fit; the message has its size.
    TypeError, ValueError
        If data or parameters cannot be used, or the checkpoint is of another problem. Before the
        start, if a pass takes more than `max_seconds`.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If a system is not solved within the tolerance; the solution's status says why.

    Notes
    -----
    The preconditioner is :math:`F F^\top + \alpha I`, with the Nystroem approximation
    :math:`F F^\top` of K from randomly pivoted Cholesky [1]_ [2]_. One factor serves all penalties.
    It stops before its rank where what it leaves of the trace is below the least penalty: the
    preconditioned matrix then has a condition number of at most 2.

    With r the vector of residuals, fitted values are off by at most :math:`|r|`, and the
    prediction at any x by at most :math:`|r| \sqrt{K(x, x) / (4 \alpha)}` where there is no
    intercept (with weights of one).

    References
    ----------
    .. [1] Diaz, Epperly, Frangella, Tropp, Webber (2023), "Robust, randomized preconditioning for
       kernel ridge regression", arXiv:2304.12465.
    .. [2] Chen, Epperly, Tropp, Webber (2022), "Randomly pivoted Cholesky", arXiv:2207.06503.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((60, 3))
    >>> y = np.abs(X[:, 0])
    >>> solution = ntk.solve_kernel_ridge(ntk.mlp(depth=1), X[:50], y[:50], alphas=[0.1, 1.0])
    >>> solution.status.converged, solution.predict(X[50:]).shape
    (True, (2, 10))
    """
    architecture, X = with_input(architecture, X)
    problem = check_problem(X, y, alphas, fit_intercept, sample_weight)
    controls = check_controls(tolerance, max_iter, checkpoint, random_state)
    n = len(problem.used)
    rank = _RANK * math.isqrt(n) if rank is None else whole_number("rank", rank, least=0)
    rank = min(rank, n)
    rows, roots = problem.rows, problem.roots
    target, kind = resolve_target(architecture, kind)
    require_time(target, n, None, kind, rows.dtype, working_memory, max_seconds)
    K = KernelProduct(target, rows, kind=kind, working_memory=working_memory)
    unit = roots / np.linalg.norm(roots) if problem.fit_intercept else None
    with memory_budget(working_memory):
        sample = kernel_sample(K.target, K.kind, rows)
        approximation = approximate_kernel(K, rows, problem, rank, controls.seed, unit)
    shifts = problem.shifts
    right, scales = scale_columns(roots[:, None] * problem.targets[problem.used])
    # c = W^-1/2 a solves (W^1/2 K W^1/2 + alpha) c + b w^1/2 = W^1/2 y
    systems = ShiftedSystems(
        product=lambda V: roots[:, None] * K.product(roots[:, None] * V),
        right=np.tile(right, len(problem.alphas)),
        shifts=shifts,
        constraint=unit,
        precondition=lambda R, columns: approximation.solve(R, shifts[columns]),
    )
    described = {
        **problem.describe(),
        "architecture": f"{K.target} ({K.kind})",
        "solver": "exact",
        "rank": str(rank),
    }
    result, status = controls.solve(
        systems, problem.shape, len(approximation.values), described, sample
    )
    scales = np.tile(scales, len(problem.alphas))
    dual = np.zeros((len(problem.weight), len(shifts)))
    dual[problem.used] = roots[:, None] * result.solution * scales
    intercept = result.multipliers * scales / np.linalg.norm(roots)
    return KernelRidgeSolution(
        architecture=K.target,
        kind=K.kind,
        X=problem.X,
        alphas=problem.given_alphas,
        dual_coef=problem.unpack(dual),
        intercept=problem.unpack(intercept),
        status=status,
    )


def approximate_kernel(
    K: KernelProduct,
    rows: Any,
    problem: Problem,
    rank: int,
    seed: int,
    unit: NDArray[np.float64] | None,
) -> LowRank:
    """Return the preconditioner's approximation of the weighted kernel, in the unit's complement.

    Parameters
    ----------
    K : KernelProduct
        The kernel.
    rows : ndarray or CSR of shape (n, d)
        Rows of positive weight.
    problem : Problem
        Their weights and penalties.
    rank, seed : int
        Largest rank, and what decides the pivots.
    unit : ndarray of shape (n,) or None
        Direction that is left out.

    Returns
    -------
    LowRank
        Of rank zero where `rank` is, or the kernel.
    """
    n = len(problem.used)
    require_memory(
        2.0 * n * rank * 8,
        f"the preconditioner of rank {rank:,} for {n:,} rows",
        "give a smaller rank",
    )
    _, factor = pivoted_cholesky(
        np.random.default_rng(seed),
        K.target,
        K.kind,
        rows,
        rank,
        problem.weight[problem.used],
        enough=float(problem.alphas.min()),
    )
    factor = np.array(factor, np.float64, order="F")
    if unit is not None and factor.size:
        factor = _dger(-1.0, unit, unit @ factor, a=factor, overwrite_a=1)
    return low_rank(factor, overwrite=True)
