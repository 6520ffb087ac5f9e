"""The distribution of trained networks over their random initialisations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntksketch.dynamics.filters import as_learning_rate, as_times
from ntksketch.dynamics.flow import SpectralFlow, as_kernel, flow_on_kernel, kernel_epsilon


class EnsembleMoments(NamedTuple):
    """Mean and covariance of trained networks; made by `ensemble_moments`.

    Attributes
    ----------
    mean : ndarray of shape (q,), (q, k), (n_times, q) or (n_times, q, k), float64
        Mean at each row.
    cov : ndarray of shape (q, q) or (n_times, q, q), float64
        Covariance between rows, the same for each target.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> moments = ntk.ensemble_moments(2 * np.eye(2), np.eye(2), [1.0, 3.0], np.inf)
    >>> moments.mean, bool(abs(moments.cov).max() < 1e-12)
    (array([1., 3.]), True)
    """

    mean: NDArray[np.float64]
    cov: NDArray[np.float64]


def ensemble_covariance(
    response: NDArray[np.float64],
    train: NDArray[np.float64],
    across: NDArray[np.float64],
    new: NDArray[np.float64],
) -> NDArray[np.float64]:
    r"""Return the covariance of trained networks at new rows, or only its diagonal.

    The function at the start is Gaussian with the NNGP K as its covariance, and what training adds
    is linear in it, :math:`f_t(X_*) = f_0(X_*) + A_t (y - f_0(X))`, so that

    .. math:: \Sigma_t = K_{**} + A_t K A_t^\top - A_t K_{*}^\top - K_{*} A_t^\top.

    Parameters
    ----------
    response : ndarray of shape (q, n), float64
        :math:`A_t`: how new rows answer to targets of training rows.
    train : ndarray of shape (n, n), float64
        NNGP of the training rows.
    across : ndarray of shape (q, n), float64
        NNGP between new rows and training rows.
    new : ndarray of shape (q, q) or (q,), float64
        NNGP of the new rows, or its diagonal.

    Returns
    -------
    ndarray of shape (q, q) or (q,), float64
        The covariance, symmetric; or the variances, of which none is below zero.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.dynamics import ensemble_covariance
    >>> one = np.ones((1, 1))
    >>> ensemble_covariance(0.5 * one, one, one, one)
    array([[0.25]])
    """
    half = response @ train - 2 * across
    if new.ndim == 1:
        return np.maximum(new + np.einsum("ij,ij->i", half, response), 0.0)
    product = half @ response.T
    return new + (product + product.T) / 2


def ensemble_moments(
    ntk: ArrayLike,
    nngp: ArrayLike,
    y: ArrayLike,
    t: Any,
    *,
    learning_rate: float | None = None,
    cutoff: float | None = None,
) -> EnsembleMoments:
    r"""Mean and covariance of infinitely many wide networks after training from random starts.

    Networks of infinite width stay linear in their parameters during training [1]_. Over random
    initialisations the function at the start is a Gaussian process of mean zero with the
    NNGP K as its covariance. Trained by the gradient flow of
    :math:`L = \frac{1}{2n}\sum_i |f(x_i) - y_i|^2` it is one at every time t,

    .. math::

        \mu_t = A_t y, \qquad
        \Sigma_t = K_{**} + A_t K A_t^\top - A_t K_*^\top - K_* A_t^\top, \qquad
        A_t = \Theta_* \Theta^{-1} (I - e^{-\Theta t / n}),

    with the NTK :math:`\Theta` of the training rows and :math:`\Theta_*`, :math:`K_*` between other
    rows and these. For networks of this library :meth:`GradientFlow.predict` computes the kernels,
    too; here they may be any, such as empirical ones.

    Parameters
    ----------
    ntk, nngp : array_like of shape (q, q)
        Kernels of all rows, the training rows first.
    y : array_like of shape (n,) or (n, k)
        Targets of the first n rows, which are the training rows.
    t : float or array_like of shape (n_times,)
        Time in units of n over the NTK, at least 0, infinity included; or number of steps.
    learning_rate : float, default=None
        Size of the steps of gradient descent; None for continuous time.
    cutoff : float, default=None
        Eigenvalues of the NTK up to this share of the largest count as 0, and all that are rounding
        in its dtype.

    Returns
    -------
    EnsembleMoments
        ``mean`` of shape (q,) or (q, k) and ``cov`` of shape (q, q) at all rows, with an axis of
        times in front if `t` is an array. Each of several targets has the same covariance, and
        different ones are independent.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a value is not finite, a kernel is not symmetric, or the learning rate
        is so large that gradient descent does not converge.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If an eigenvalue of the NTK is negative by more than rounding.

    References
    ----------
    .. [1] J. Lee, L. Xiao, S. S. Schoenholz, Y. Bahri, R. Novak, J. Sohl-Dickstein and
       J. Pennington (2019). Wide neural networks of any depth evolve as linear models under
       gradient descent. arXiv:1902.06720

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((8, 3))
    >>> arch = ntk.mlp(depth=2)
    >>> kernels = ntk.kernel(arch, X), ntk.kernel(arch, X, kind="nngp")
    >>> moments = ntk.ensemble_moments(*kernels, y=np.sign(X[:5, 0]), t=[0.0, np.inf])
    >>> bool(np.allclose(moments.mean[1, :5], np.sign(X[:5, 0])))  # trained to the end
    True
    >>> bool((moments.cov[0] == kernels[1]).all())  # not trained
    True
    """
    rate = as_learning_rate(learning_rate)
    times, single = as_times(t, steps=rate is not None)
    theta, K = as_kernel(ntk, "ntk"), as_kernel(nngp, "nngp")
    epsilon = kernel_epsilon(ntk)
    targets = np.asarray(y, dtype=np.float64)
    n, q = len(targets) if targets.ndim else 0, len(K)
    if theta.shape != K.shape:
        raise ValueError(f"ntk and nngp must be of the same rows, got {theta.shape} and {K.shape}")
    if targets.ndim not in (1, 2) or 0 in targets.shape or n > q:
        raise ValueError(
            f"y must have shape (n,) or (n, k) for the first n of {q} rows, got {targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError("y contains NaN or infinity")
    residual = targets.reshape(n, -1)
    flow = flow_on_kernel(theta[:n, :n].copy(order="F"), residual, cutoff=cutoff, epsilon=epsilon)
    flow.require_rate(rate)
    coef = flow.coefficients(times, rate)
    mean = (theta[:, :n] @ coef.swapaxes(1, 2)).reshape(len(times), q, *targets.shape[1:])
    cov = np.stack(
        [
            ensemble_covariance(A, K[:n, :n], K[:, :n], K)
            for A in responses(flow, theta[:, :n], times, rate)
        ]
    )
    return EnsembleMoments(mean[0], cov[0]) if single else EnsembleMoments(mean, cov)


def responses(
    flow: SpectralFlow,
    across: NDArray[np.float64],
    times: NDArray[np.float64],
    learning_rate: float | None,
    weight: NDArray[np.float64] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Yield how rows answer to targets of training rows, a (q, n) array a time.

    `across` is the kernel between the rows and the training rows, of which `flow` is made with
    these weights.
    """
    total = float(len(flow.basis) if weight is None else weight.sum())
    projected = across @ flow.basis
    for step in flow.steps(times, learning_rate):
        yield (projected * (step / total)) @ flow.basis.T
