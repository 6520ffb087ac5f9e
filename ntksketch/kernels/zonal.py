r"""Zonal kernels: functions of the cosine between two rows.

Off the sphere a zonal function :math:`f` stands for the homogeneous kernel
:math:`|x||y| f(\cos(x, y))`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntksketch.architectures import Architecture, Dense, Relu, Serial, mlp, serial
from ntksketch.architectures.layers import as_layers
from ntksketch.kernels.dual import SqrtPolynomial, fit_sqrt_polynomial, kappa0, kappa1

__all__ = ["ZonalKernel", "nngp", "ntk"]


@dataclass(frozen=True)
class ZonalKernel:
    """Scalar function on [-1, 1] of a bias-free network's NTK or NNGP kernel.

    Made by :func:`ntk` and :func:`nngp`. Calling it evaluates the function in float64.

    Parameters
    ----------
    architecture : Architecture
        A network whose hidden layers have no bias.
    kind : {"ntk", "nngp"}
        Which kernel.
    """

    architecture: Architecture
    kind: str

    def __call__(self, t: Any) -> np.ndarray:
        """Evaluate the function.

        Parameters
        ----------
        t : array-like of float
            Cosines in [-1, 1], of any shape.

        Returns
        -------
        ndarray of float64
            Values, of the same shape.

        Raises
        ------
        ValueError
            If a value is NaN or outside [-1, 1].
        """
        t = np.asarray(t, dtype=np.float64)
        if not np.all(np.abs(t) <= 1):
            worst = t.flat[np.argmax(~(np.abs(t.ravel()) <= 1))]
            raise ValueError(f"t must hold cosines in [-1, 1], got {worst}; divide by the norms")
        return profile(self.architecture, self.kind, t)


def ntk(depth: int) -> ZonalKernel:
    r"""Return the NTK of a bias-free ReLU network with `depth` hidden layers, as a function of t.

    It is :math:`K_L(t) = \mathrm{NTK}(x, y)` for unit vectors with :math:`\langle x, y\rangle = t`.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.

    Returns
    -------
    ZonalKernel
        Vectorised function with :math:`K_L(1) = L + 1`.

    References
    ----------
    Zandieh et al. (2021), arXiv:2106.07880; Geifman et al. (2020), arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.ntk(depth=1)([-1.0, 0.0, 1.0]).round(4)
    array([0.    , 0.3183, 2.    ])
    """
    return ZonalKernel(mlp(depth), "ntk")


def nngp(depth: int) -> ZonalKernel:
    r"""Return the NNGP kernel of a bias-free ReLU network, the `depth`-fold composition of kappa1.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    References
    ----------
    Cho & Saul (2009), "Kernel methods for deep learning", NeurIPS 22.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> float(ntk.zonal.nngp(depth=3)(1.0))
    1.0
    """
    return ZonalKernel(mlp(depth), "nngp")


def split_input(architecture: Architecture) -> tuple[Dense | None, tuple[Architecture, ...]]:
    """Split off a first Dense layer, the only one whose bias keeps a kernel zonal."""
    first, *rest = as_layers(architecture)
    if isinstance(first, Dense):
        return first, tuple(rest)
    return None, (first, *rest)


def is_zonal(architecture: Architecture) -> bool:
    """Say whether the kernel is zonal in the rows after the first Dense layer."""
    _, rest = split_input(architecture)
    return all(
        isinstance(layer, Relu) or (isinstance(layer, Dense) and layer.bias_std == 0)
        for layer in rest
    )


def profile(architecture: Architecture, kind: str, t: np.ndarray) -> np.ndarray:
    """Return the zonal function f at cosines t of the rows after the first Dense layer.

    float64, exact functions: the kernel is f(cos) times the product of those rows' norms.
    """
    first, rest = split_input(architecture)
    nngp_t, ntk_t, variance = t, t if first is not None else np.zeros_like(t), 1.0
    for layer in rest:
        if isinstance(layer, Relu):
            cosine = np.clip(nngp_t / variance, -1, 1) if variance > 0 else np.zeros_like(t)
            nngp_t, ntk_t = variance * kappa1(cosine), ntk_t * kappa0(cosine)
        else:
            if not isinstance(layer, Dense) or layer.bias_std != 0:
                raise ValueError(f"{serial(*rest)} is not zonal: {layer} stands behind its input")
            weight = layer.weight_std**2
            nngp_t, variance = weight * nngp_t, weight * variance
            ntk_t = weight * ntk_t + nngp_t
    return ntk_t if kind == "ntk" else nngp_t


@functools.lru_cache(maxsize=256)
def profile_polynomial(architecture: Serial | Architecture, kind: str) -> SqrtPolynomial | None:
    """Return the zonal function as polynomials to float32 accuracy, or None if too many terms."""
    return fit_sqrt_polynomial(functools.partial(profile, architecture, kind))
