"""Gradient descent on the squared loss, solved in the eigenvectors of the kernel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgWarning, eigh, get_blas_funcs, get_lapack_funcs

from ntksketch.dynamics.filters import learned_share
from ntksketch.linear.gram import GramStatistics
from ntksketch.linear.penalty import Penalty

(_dsygst,) = get_lapack_funcs(["sygst"], dtype=np.float64)
(_dsyrk,) = get_blas_funcs(["syrk"], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SpectralFlow:
    r"""Training of a model that is linear in its parameters, from zero, at any time.

    Coefficients of p basis functions (kernels with training rows, or features) move by the gradient
    of :math:`L = \frac{1}{2W}\sum_i w_i |f(x_i) - y_i|^2`. They are

    .. math:: a(t) = B \,\mathrm{diag}\Big(\frac{s_t(\lambda)}{\lambda}\Big)\, C

    with the shares :math:`s_t` of :func:`learned_share`.

    Attributes
    ----------
    spectrum : ndarray of shape (p,), float64
        Eigenvalues of the kernel over the total weight, ascending, as they were found: the last r
        count, and those before are rounding, or below a cutoff.
    vectors : ndarray of shape (p, p), float64
        A column for each of them.
    loadings : ndarray of shape (r, k), float64
        C: the gradient at the start, along these.
    energies : ndarray of shape (r,), float64
        What each of them adds to the loss at the start.
    floor : float
        Loss that no training removes.
    """

    spectrum: NDArray[np.float64]
    vectors: NDArray[np.float64]
    loadings: NDArray[np.float64]
    energies: NDArray[np.float64]
    floor: float

    @property
    def rank(self) -> int:
        """Number of eigenvalues that count, r."""
        return len(self.energies)

    @property
    def basis(self) -> NDArray[np.float64]:
        """B, a column for each eigenvalue that counts; of shape (p, r)."""
        return self.vectors[:, len(self.spectrum) - self.rank :]

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """The eigenvalues, 0 in place of those that do not count; of shape (p,)."""
        still = np.zeros(len(self.spectrum) - self.rank)
        return np.concatenate([still, self.moving])

    @property
    def max_learning_rate(self) -> float:
        """Twice the inverse of the largest eigenvalue, from which on gradient descent diverges."""
        return float(2 / self.spectrum[-1]) if self.rank else np.inf

    @property
    def moving(self) -> NDArray[np.float64]:
        """The eigenvalues that count, all above 0."""
        return self.spectrum[len(self.spectrum) - self.rank :]

    def gram(self, total_weight: float, penalty: Penalty | None = None) -> NDArray[np.float64]:
        """Return the lower triangle of the features' Gram matrix, whole but for rounding.

        What does not count in training is there as well: with more rows it may.
        """
        vectors = self.vectors
        if penalty is not None:  # they are orthonormal under it
            vectors = penalty.root(penalty.root(vectors, transpose=True))
        vectors = np.asfortranarray(vectors * np.sqrt(total_weight * np.abs(self.spectrum)))
        below = int(np.searchsorted(self.spectrum, 0.0))
        gram = _dsyrk(1.0, vectors[:, below:], lower=1)
        return _dsyrk(-1.0, vectors[:, :below], beta=1.0, c=gram, lower=1, overwrite_c=1)

    def require_rate(self, learning_rate: float | None) -> None:
        """Raise ValueError if gradient descent with a learning rate does not converge."""
        if learning_rate is not None and not learning_rate < self.max_learning_rate:
            raise ValueError(
                f"learning_rate={learning_rate:.6g} must be below max_learning_rate_ = "
                f"2 / (largest eigenvalue) = {self.max_learning_rate:.6g}: with larger steps "
                "gradient descent does not converge"
            )

    def steps(self, times: NDArray[np.float64], learning_rate: float | None) -> NDArray[np.float64]:
        """Return what multiplies the loadings, of shape (n_times, r)."""
        return learned_share(self.moving, times, learning_rate) / self.moving

    def coefficients(
        self, times: NDArray[np.float64], learning_rate: float | None = None
    ) -> NDArray[np.float64]:
        """Return the coefficients at some times.

        Parameters
        ----------
        times : ndarray of shape (n_times,), float64
            Times, or numbers of steps.
        learning_rate : float, default=None
            Size of the steps; None for continuous time.

        Returns
        -------
        ndarray of shape (n_times, k, p), float64
            Coefficients.
        """
        k = self.loadings.shape[1]
        moved = self.steps(times, learning_rate)[:, None, :] * self.loadings.T
        rows = moved.reshape(len(times) * k, self.rank) @ self.basis.T
        return rows.reshape(len(times), k, len(self.basis))

    def loss(
        self, times: NDArray[np.float64], learning_rate: float | None = None
    ) -> NDArray[np.float64]:
        """Return the loss on the training rows at some times, of shape (n_times,)."""
        left = 1 - learned_share(self.moving, times, learning_rate)
        return self.floor + left**2 @ self.energies


def flow_on_kernel(
    K: NDArray[np.float64],
    residual: NDArray[np.float64],
    *,
    weight: NDArray[np.float64] | None = None,
    cutoff: float | None = None,
    epsilon: float = float(np.finfo(np.float64).eps),
) -> SpectralFlow:
    r"""Solve the flow of functions of a kernel on all training rows.

    With :math:`D = \mathrm{diag}(\sqrt w)` the function at x is
    :math:`f_0(x) + \sum_i K(x, x_i)\, a_i(t)`, where

    .. math:: a(t) = \tfrac1W D V \,\frac{s_t(\lambda)}{\lambda}\, V^\top D\,(y - f_0),
        \qquad \tfrac1W D K D = V \Lambda V^\top.

    Parameters
    ----------
    K : ndarray of shape (n, n), float64
        Kernel of the training rows; only the lower triangle is read. In Fortran's order it is
        overwritten.
    residual : ndarray of shape (n, k), float64
        Targets, less the function at the start.
    weight : ndarray of shape (n,), float64, default=None
        Positive weights, W in total; None for ones.
    cutoff : float, default=None
        Eigenvalues up to this share of the largest count as 0, and all that are rounding.
    epsilon : float, default=2.2e-16
        Machine epsilon of the kernel's entries.

    Returns
    -------
    SpectralFlow
        The flow, whose basis functions are the kernels with the rows.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If an eigenvalue is negative by more than rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.dynamics import flow_on_kernel
    >>> flow = flow_on_kernel(np.diag([1.0, 4.0]), np.array([[1.0], [1.0]]))
    >>> flow.eigenvalues, flow.coefficients(np.array([np.inf]))
    (array([0.5, 2. ]), array([[[1.  , 0.25]]]))
    """
    n = len(residual)
    total = float(n if weight is None else weight.sum())
    roots = None if weight is None else np.sqrt(weight)[:, None]
    K = np.asfortranarray(K)
    if roots is not None:
        K *= roots
        K *= roots.T
        residual = residual * roots
    spectrum, vectors = eigh(K, driver="evr", lower=True, overwrite_a=True, check_finite=False)
    rank = _rank(spectrum, cutoff, epsilon, "K")
    loadings = vectors.T @ residual / total
    energies = total / 2 * np.einsum("ij,ij->i", loadings, loadings)
    moving = slice(n - rank, None)
    if roots is not None:
        vectors *= roots
    return SpectralFlow(
        spectrum=spectrum / total,
        vectors=vectors,
        loadings=loadings[moving],
        energies=energies[moving],
        floor=float(energies[: n - rank].sum()),
    )


def flow_on_statistics(
    stats: GramStatistics, *, cutoff: float | None = None, overwrite: bool = False
) -> SpectralFlow:
    r"""Solve the flow of linear functions of features from sums over the training rows.

    The function at x is :math:`f_0(x) + \langle z(x), a(t)\rangle`, where

    .. math:: a(t) = V\,\frac{s_t(\lambda)}{\lambda}\, V^\top M / W,
        \qquad G / W = V \Lambda V^\top.

    It is that of :func:`flow_on_kernel` with :math:`K = ZZ^\top`. With a penalty matrix P in the
    statistics the features are those that are white under it, as in ridge regression.

    Parameters
    ----------
    stats : GramStatistics
        Plain sums, without an intercept, over features and over targets less the function at the
        start.
    cutoff : float, default=None
        Eigenvalues up to this share of the largest count as 0, and all that are rounding.
    overwrite : bool, default=False
        Use the memory of the Gram matrix, which is lost.

    Returns
    -------
    SpectralFlow
        The flow, whose basis functions are the features.

    Raises
    ------
    ValueError
        If the statistics are about the means.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If an eigenvalue is negative by more than rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.dynamics import flow_on_statistics
    >>> from ntksketch.linear import GramAccumulator
    >>> Z, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, 1.0])
    >>> flow = flow_on_statistics(GramAccumulator(fit_intercept=False).update(Z, y).finalise())
    >>> flow.coefficients(np.array([np.inf]))
    array([[[1. , 0.5]]])
    """
    if stats.fit_intercept:
        raise ValueError("the statistics are about the means: gather them with fit_intercept=False")
    gram = stats.gram if overwrite else stats.gram.copy(order="F")
    if stats.penalty is not None:
        gram, _ = _dsygst(gram, stats.penalty.packed, itype=1, lower=1, overwrite_a=1)
    spectrum, vectors = eigh(gram, driver="evr", lower=True, overwrite_a=True, check_finite=False)
    moving = slice(len(spectrum) - _rank(spectrum, cutoff, stats.epsilon, "the Gram matrix"), None)
    if stats.penalty is not None:
        vectors = stats.penalty.whiten(vectors, transpose=True, overwrite=True)
    total = stats.total_weight
    spectrum /= total
    loadings = vectors[:, moving].T @ stats.moment / total
    energies = np.einsum("ij,ij->i", loadings, loadings) / (2 * spectrum[moving])
    at_start = float(stats.y_squares.sum()) / (2 * total)
    return SpectralFlow(
        spectrum=spectrum,
        vectors=vectors,
        loadings=loadings,
        energies=energies,
        floor=max(at_start - float(energies.sum()), 0.0),
    )


def _rank(eigenvalues: NDArray[np.float64], cutoff: float | None, epsilon: float, what: str) -> int:
    """Return how many eigenvalues, which are ascending, do not count as 0."""
    largest, below = max(float(eigenvalues[-1]), 0.0), max(-float(eigenvalues[0]), 0.0)
    share = max(len(eigenvalues) * float(np.finfo(np.float64).eps), epsilon)
    noise = (share if cutoff is None else max(cutoff, share)) * largest
    if below > noise:  # as large as that is what rounding, or something else, has done to all
        warnings.warn(
            f"{what} has negative eigenvalues, down to {-below:.3g}, so that all up to {below:.3g} "
            f"count as zero (the largest is {largest:.3g}): give a positive semi-definite kernel, "
            "float64 rows, landmarks that differ more, or a cutoff that says what is rounding",
            LinAlgWarning,
            stacklevel=3,
        )
        noise = below
    return int((eigenvalues > noise).sum())


def as_kernel(K: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a kernel of rows with themselves in float64, or raise an error that names it."""
    given = np.asarray(K)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {given.dtype}")
    if given.ndim != 2 or given.shape[0] != given.shape[1] or len(given) == 0:
        raise ValueError(
            f"{name} must be square, a row and a column for each row of data, got {given.shape}"
        )
    values = given.astype(np.float64, copy=False)
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise ValueError(f"{name} contains NaN or infinity")
    gap = float(np.abs(values - values.T).max())
    if gap > np.sqrt(kernel_epsilon(given)) * largest:
        raise ValueError(
            f"{name} must be symmetric, the kernel of rows with themselves in the same order: "
            f"entries differ from their mirror images by up to {gap:.3g}"
        )
    return values


def kernel_epsilon(K: ArrayLike) -> float:
    """Return the machine epsilon of a kernel's entries."""
    dtype = np.asarray(K).dtype
    single = dtype.kind == "f" and dtype.itemsize < 8
    return float(np.finfo(dtype if single else np.float64).eps)
