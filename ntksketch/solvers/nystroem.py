"""Ridge regression on many landmarks by conjugate gradients, without their Gram matrix."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any, cast

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, solve_triangular

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import memory_budget, require_memory
from ntksketch.features.nystroem import Nystroem, NystroemMap
from ntksketch.kernels import ZonalKernel, resolve_target
from ntksketch.kernels.cost import DEFAULT_SECONDS, require_time
from ntksketch.kernels.inputs import with_input
from ntksketch.kernels.products import LandmarkProduct
from ntksketch.linear.cholesky import cholesky_factor
from ntksketch.linear.conjugate_gradients import ShiftedSystems
from ntksketch.solvers.checkpoint import Checkpoint, digest, kernel_sample
from ntksketch.solvers.exact import KernelRidgeSolution
from ntksketch.solvers.problem import (
    Problem,
    check_controls,
    check_problem,
    scale_columns,
    whole_number,
)


def solve_nystroem_ridge(
    architecture: Architecture | ZonalKernel,
    X: Any,
    y: ArrayLike,
    alphas: ArrayLike,
    *,
    landmarks: int | ArrayLike,
    kind: str = "ntk",
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_iter: int = 100,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    working_memory: float | None = None,
    random_state: int | None = None,
    max_seconds: float = DEFAULT_SECONDS,
) -> KernelRidgeSolution:
    r"""Nystroem ridge regression with many landmarks, in passes of n m kernel entries.

    The regression is that of :class:`Nystroem` features: with :math:`L L^\top = K_{mm}` (raised by
    the features' jitter) it minimises, over :math:`f = \sum_j \beta_j K(\cdot, z_j)`,

    .. math:: \sum_i w_i (y_i - f(x_i) - b)^2 + \alpha |L^\top \beta|^2.

    Forming the features' Gram matrix would take :math:`n m^2` operations. Conjugate gradients
    instead multiply by :math:`K_{nm}^\top W K_{nm}`, panel by panel of rows, for all targets and
    penalties at once. What is left are operations of order :math:`m^3` for Cholesky factors.

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
        Penalties, above zero.
    landmarks : int or array-like of shape (m, d)
        The landmarks, or how many random rows to take.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    fit_intercept : bool, default=True
        Whether to fit b; if not, it is zero.
    sample_weight : float or array-like of shape (n,), default=None
        Non-negative weights W, which count as repetitions of a row.
    tolerance : float, default=1e-6
        Relative residual, of the normal equations for :math:`L^\top \beta`, at which a system is
        solved.
    max_iter : int, default=100
        Largest number of iterations; each is one pass over the pairs of rows and landmarks.
    checkpoint : Checkpoint, str or path-like, default=None
        Where the state is saved while the solver runs, and from where it goes on if the file is
        there. A path saves every 300 seconds.
    working_memory : float, default=None
        Budget in MiB for temporaries and for panels of the kernel that are kept between iterations;
        None reads scikit-learn's setting of the same name. Beside it there are :math:`2 + a`
        float64 matrices of m times m entries for a penalties.
    random_state : int, default=None
        Seed of the landmarks. None takes that of the checkpoint, or another one each time.
    max_seconds : float, default=3600
        How long one pass over the kernel of a network on images or signals may take, as
        :func:`kernel_cost` estimates it; ``math.inf`` sets no limit.

    Returns
    -------
    KernelRidgeSolution
        Coefficients of the landmarks, which stand for the training rows, intercepts, the status,
        and predictions.

    Raises
    ------
    MemoryError
        Before the start, if the factors cannot fit; the message has their size.
    TypeError, ValueError
        If data or parameters cannot be used, or the checkpoint is of another problem.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If a system is not solved within the tolerance; the solution's status says why.

    Notes
    -----
    The preconditioner takes the landmarks for a sample of the rows, as Falkon [1]_ does:
    :math:`K_{nm}^\top K_{nm} \approx (n/m) K_{mm}^2`, so that the system for :math:`L^\top \beta`
    is nearly :math:`(n/m) L^\top L + \alpha I`, of which there is a Cholesky factor for each
    penalty; with an intercept L is centred. Landmarks that are no sample of the rows, such as
    centroids, give the same solution in more iterations.

    References
    ----------
    .. [1] Rudi, Carratino, Rosasco (2017), "FALKON: An optimal large scale kernel method",
       arXiv:1705.10958.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((300, 3))
    >>> y = np.abs(X[:, 0])
    >>> solution = ntk.solve_nystroem_ridge(ntk.mlp(depth=1), X, y, 0.1, landmarks=50)
    >>> solution.status.converged, solution.dual_coef.shape
    (True, (50,))
    """
    architecture, X = with_input(architecture, X)
    problem = check_problem(X, y, alphas, fit_intercept, sample_weight)
    controls = check_controls(tolerance, max_iter, checkpoint, random_state)
    target, kind = resolve_target(architecture, kind)
    rows = problem.rows
    with memory_budget(working_memory):
        chosen = _choose(target, kind, problem, rows, landmarks, controls.seed)
    m = chosen.landmarks.shape[0]
    require_memory(
        (2.0 + len(problem.alphas)) * m**2 * 8,
        f"{2 + len(problem.alphas)} matrices of {m:,} x {m:,} entries for the landmarks",
        "take fewer landmarks, or one penalty at a time",
    )
    require_time(target, rows.shape[0], m, kind, rows.dtype, working_memory, max_seconds)
    with memory_budget(working_memory):
        sample = kernel_sample(target, kind, rows)
        factor, _, rank = chosen.factorise()
    K = LandmarkProduct(target, kind, rows, chosen.landmarks, working_memory)

    equations = _NormalEquations(K, factor, problem)
    right, scales = scale_columns(equations.right)
    systems = ShiftedSystems(
        product=equations.product,
        right=np.tile(right, len(problem.alphas)),
        shifts=problem.shifts,
        precondition=_Preconditioner(factor, problem, equations.total / m).solve,
    )
    described = {
        "solver": "nystroem",
        **problem.describe(),
        "architecture": f"{target} ({kind})",
        "landmarks": digest(chosen.landmarks),
    }
    result, status = controls.solve(systems, problem.shape, rank, described, sample)
    coefficients = equations.unwhiten(result.solution) * np.tile(scales, len(problem.alphas))
    shift = equations.means @ coefficients
    return KernelRidgeSolution(
        architecture=target,
        kind=kind,
        X=chosen.landmarks,
        alphas=problem.given_alphas,
        dual_coef=problem.unpack(coefficients),
        intercept=problem.unpack(np.tile(equations.y_mean, len(problem.alphas)) - shift),
        status=status,
    )


def _choose(
    target: Architecture | ZonalKernel,
    kind: str,
    problem: Problem,
    rows: Any,
    landmarks: int | ArrayLike,
    seed: int,
) -> NystroemMap:
    """Return the map of given landmarks, or of random rows."""
    if isinstance(landmarks, Integral):
        method, m = Nystroem("uniform"), whole_number("landmarks", landmarks, least=1)
    elif isinstance(landmarks, str):
        raise TypeError(f"landmarks must be rows, or how many rows to take, got {landmarks!r}")
    else:
        method = Nystroem(landmarks)
        m = method.landmarks.shape[0]
    weight = problem.weight[problem.used]
    key = jax.random.key(seed)
    chosen = method.init(key, target, rows, kind=kind, n_components=m, sample_weight=weight)
    return cast(NystroemMap, chosen)


class _NormalEquations:
    r"""The normal equations for :math:`L^\top \beta`, about weighted means with an intercept.

    Attributes
    ----------
    right : ndarray of shape (m, k)
        Right-hand sides.
    means, y_mean : ndarray of shape (m,) and (k,)
        Weighted means of the kernel with the landmarks and of the targets; zero without intercept.
    total : float
        Sum of the weights.
    """

    def __init__(self, K: LandmarkProduct, factor: NDArray[np.float64], problem: Problem) -> None:
        weight, targets = problem.weight[problem.used], problem.targets[problem.used]
        self._K, self._factor, self._weight = K, factor, weight
        self.total = float(weight.sum())
        centred = problem.fit_intercept
        self.y_mean = weight @ targets / self.total if centred else np.zeros(targets.shape[1])
        columns = np.column_stack([targets - self.y_mean, np.ones(len(weight))])
        sums = K.adjoint(weight[:, None] * columns)  # means and moments in one pass
        self.means = sums[:, -1] / self.total if centred else np.zeros(len(sums))
        self.right = self._whiten(sums[:, :-1])

    def product(self, V: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the equations' matrix times columns."""
        coefficients = self.unwhiten(V)
        shared = self.total * np.outer(self.means, self.means @ coefficients)
        return self._whiten(self._K.normal(coefficients, self._weight) - shared)

    def unwhiten(self, V: NDArray[np.float64]) -> NDArray[np.float64]:
        r"""Return :math:`L^{-\top} V`, coefficients of the landmarks."""
        return self._whiten(V, transpose=True)

    def _whiten(self, V: NDArray[np.float64], transpose: bool = False) -> NDArray[np.float64]:
        return solve_triangular(
            self._factor, V, trans=int(transpose), lower=True, check_finite=False
        )


class _Preconditioner:
    """Cholesky factors of scaled products of the landmarks' factor, one for each penalty."""

    def __init__(self, factor: NDArray[np.float64], problem: Problem, scale: float) -> None:
        centred = factor - factor.mean(axis=0) if problem.fit_intercept else factor
        gram = scale * (centred.T @ centred)
        self.factors = []
        for alpha in problem.alphas:
            shifted = np.array(gram, order="F")
            shifted.flat[:: len(gram) + 1] += alpha
            self.factors.append(cholesky_factor(shifted))
        self.n_targets = problem.shape[1]

    def solve(self, R: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return approximate solutions of systems for residuals."""
        solved = np.empty_like(R)
        for i, factor in enumerate(self.factors):
            mine = np.flatnonzero(columns // self.n_targets == i)
            if len(mine):
                solved[:, mine] = cho_solve((factor, True), R[:, mine], check_finite=False)
        return solved
