"""The exact kernel as a kernel object of scikit-learn."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal

import numpy as np
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from ntksketch.architectures import Architecture, mlp
from ntksketch.architectures.spatial import is_spatial
from ntksketch.kernels import ZonalKernel, kernel, kernel_diag, resolve_target
from ntksketch.kernels.deviations import diagonal_of_deviations, kernel_of_deviations

Bounds = tuple[float, float] | Literal["fixed"]


class NTKKernel(Kernel):
    r"""Exact NTK or NNGP kernel for scikit-learn's Gaussian processes and kernel methods.

    An instance is a kernel of :mod:`sklearn.gaussian_process` and as it is the `kernel` of `SVC`,
    `SVR`, `KernelRidge`, `KernelPCA` and scikit-learn's `Nystroem`. It adds and multiplies with
    other kernels, pickles and clones. Kernels are computed in float64.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel, default=None
        The network; None means ``mlp(depth=1)``. A zonal kernel stands for itself.
    weight_std : float, default=None
        Standard deviation of the weights of every Dense layer, positive: a hyper-parameter, in
        place of the layers' own. None leaves the layers as they are.
    bias_std : float, default=None
        The same for biases. A value of 0 stays 0.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel of a network.
    weight_std_bounds, bias_std_bounds : pair of float or "fixed", default=(1e-2, 1e2)
        Between which values a Gaussian process seeks the hyper-parameter.

    See Also
    --------
    ntksketch.kernel : The function.
    ntksketch.NTKRegressor : Regression on features, for many rows.

    Notes
    -----
    Without biases `weight_std` does no more than scale the kernel, as a factor of
    :class:`~sklearn.gaussian_process.kernels.ConstantKernel` does. Called with two single rows
    (1-D arrays), the object returns a number, as a function of a pair of rows does.

    References
    ----------
    Lee, Bahri, Novak, Schoenholz, Pennington, Sohl-Dickstein (2018), "Deep neural networks as
    Gaussian processes", arXiv:1711.00165. Rasmussen & Williams (2006), "Gaussian processes for
    machine learning", chapter 5.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> kernel = ntk.NTKKernel(ntk.mlp(depth=2), weight_std=1.0, bias_std=0.1)
    >>> gp = GaussianProcessRegressor(kernel, alpha=0.5, normalize_y=True).fit(X[:100], y[:100])
    >>> mean, std = gp.predict(X[100:], return_std=True)
    >>> gp.kernel_.theta.shape
    (2,)
    """

    def __init__(
        self,
        architecture: Architecture | ZonalKernel | None = None,
        weight_std: float | None = None,
        bias_std: float | None = None,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        weight_std_bounds: Bounds = (1e-2, 1e2),
        bias_std_bounds: Bounds = (1e-2, 1e2),
    ) -> None:
        self.architecture = architecture
        self.weight_std = weight_std
        self.bias_std = bias_std
        self.kind = kind
        self.weight_std_bounds = weight_std_bounds
        self.bias_std_bounds = bias_std_bounds

    @property
    def hyperparameter_weight_std(self) -> Hyperparameter:
        """The deviation of the weights, fixed where it is none."""
        return self._hyperparameter("weight_std")

    @property
    def hyperparameter_bias_std(self) -> Hyperparameter:
        """The deviation of the biases, fixed where it is none or zero."""
        return self._hyperparameter("bias_std")

    def _hyperparameter(self, name: str) -> Hyperparameter:
        bounds = getattr(self, f"{name}_bounds") if getattr(self, name) else "fixed"
        return Hyperparameter(name, "numeric", bounds)

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        r"""Evaluate the kernel.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            Rows, or one row as a 1-D array.
        Y : array-like or sparse matrix of shape (p, d), default=None
            Other rows; None means X.
        eval_gradient : bool, default=False
            Return the gradient as well; Y must be None.

        Returns
        -------
        K : ndarray of shape (n, p), float64
            The kernel; a float if X and Y are single rows.
        K_gradient : ndarray of shape (n, n, n_dims), float64
            Derivatives with respect to the logarithms of the hyper-parameters, exact up to
            rounding: by forward differentiation of the recursion through the layers. Only with
            `eval_gradient`.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the rows cannot be used.
        """
        if eval_gradient and Y is not None:
            raise ValueError("eval_gradient=True takes Y=None: the gradient is of the rows' own K")
        single = np.ndim(X) == 1 and Y is not None and np.ndim(Y) == 1
        X, Y = _as_rows(X), None if Y is X else _as_rows(Y)
        target, kind, deviations = self._checked()
        if not deviations:
            K = kernel(target, X, Y, kind=kind, max_seconds=math.inf)
            K = np.asarray(K, np.float64)
            return (K, np.empty((*K.shape, 0))) if eval_gradient else K.item() if single else K
        names = tuple(h.name for h in self.hyperparameters if not h.fixed) if eval_gradient else ()
        parts = kernel_of_deviations(target, kind, deviations, X, Y, gradient=names)
        if eval_gradient:
            return parts[0], np.moveaxis(parts[1:], 0, -1)
        return parts[0].item() if single else parts[0]

    def diag(self, X: Any) -> Any:
        """Evaluate the kernel of every row with itself.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n,), float64
            The diagonal of ``self(X)``.
        """
        target, kind, deviations = self._checked()
        X = _as_rows(X)
        if deviations:
            return diagonal_of_deviations(target, kind, deviations, X)
        return kernel_diag(target, X, kind=kind)

    def is_stationary(self) -> Any:
        """Say whether the kernel depends on differences of rows only.

        Returns
        -------
        bool
            False: the kernel of a network depends on the rows' lengths and angles.
        """
        return False

    def _checked(self) -> tuple[Any, str, dict[str, float]]:
        """Return what has the kernel, its kind and the deviations in place of the layers' own."""
        architecture = mlp(1) if self.architecture is None else self.architecture
        target, kind = resolve_target(architecture, self.kind)
        deviations = {}
        for name in ("weight_std", "bias_std"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"{name} must be a real number or None, got {value!r}")
            if not math.isfinite(value) or value < 0 or (value == 0 and name == "weight_std"):
                least = "positive" if name == "weight_std" else "at least 0"
                raise ValueError(f"{name} must be finite and {least}, got {value!r}")
            deviations[name] = float(value)
        if deviations and is_spatial(target):
            raise ValueError(
                f"{' and '.join(deviations)} must be None for {target}, which works on images or "
                "signals: set the layers' own"
            )
        if deviations and isinstance(target, ZonalKernel):
            raise ValueError(
                f"{' and '.join(deviations)} must be None for {target}, which has no layers; scale "
                "it by a factor, sklearn.gaussian_process.kernels.ConstantKernel() * NTKKernel(...)"
            )
        return target, kind, deviations

    def __repr__(self) -> str:
        parts = [] if self.architecture is None else [repr(self.architecture)]
        for name in ("weight_std", "bias_std"):
            if getattr(self, name) is not None:
                parts.append(f"{name}={float(getattr(self, name)):.3g}")
        if self.kind != "ntk":
            parts.append(f"kind={self.kind!r}")
        return f"NTKKernel({', '.join(parts)})"


def _as_rows(X: Any) -> Any:
    """Return rows as they are, in float64 if dense; one row of a 1-D array."""
    if X is None or hasattr(X, "tocsr"):
        return X if X is None else X.astype(np.float64)
    return np.atleast_2d(np.asarray(X, np.float64))
