"""Exponentials of the distance between unit vectors: Laplace, Gaussian and in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from ntksketch.kernels.zonal.base import ZonalKernel


@dataclass(frozen=True)
class GammaExponential(ZonalKernel):
    """The function ``exp(-c |x - y|^gamma)`` of unit vectors."""

    c: float
    gamma: float

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate the exponential."""
        return np.exp(-self.c * (2 - 2 * t) ** (self.gamma / 2))


def gamma_exponential(c: float, gamma: float) -> ZonalKernel:
    r"""Return the gamma-exponential kernel :math:`\exp(-c |x-y|^\gamma)` of unit vectors.

    As a function of the cosine it is :math:`\exp(-c (2 - 2t)^{\gamma/2})`; other rows have the
    homogeneous form :math:`|x||y| f(\cos)`.

    Parameters
    ----------
    c : float
        Inverse width, positive.
    gamma : float
        Exponent in (0, 2]: 1 is the Laplace kernel, 2 the Gaussian.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no number in its range.

    References
    ----------
    Geifman, Yadav, Kasten, Galun, Jacobs, Basri (2020), "On the similarity between the Laplace and
    Neural Tangent Kernels", arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.gamma_exponential(c=1.0, gamma=2.0)([0.0, 1.0]).round(4)
    array([0.1353, 1.    ])
    """
    for name, value, most in (("c", c, math.inf), ("gamma", gamma, 2)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a real number, got {value!r}")
        if not (0 < value <= most and math.isfinite(value)):
            limit = "positive and finite" if most == math.inf else f"in (0, {most}]"
            raise ValueError(f"{name} must be {limit}, got {value!r}")
    return GammaExponential(float(c), float(gamma))


def laplace(c: float) -> ZonalKernel:
    r"""Return the Laplace kernel :math:`\exp(-c |x-y|)` of unit vectors.

    On the sphere its eigenvalues decay at the rate of those of the NTK; other rows have the
    homogeneous form :math:`|x||y| f(\cos)`.

    Parameters
    ----------
    c : float
        Inverse width, positive.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    Raises
    ------
    TypeError, ValueError
        If `c` is no positive number.

    References
    ----------
    Geifman, Yadav, Kasten, Galun, Jacobs, Basri (2020), "On the similarity between the Laplace and
    Neural Tangent Kernels", arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.laplace(c=0.5)([-1.0, 1.0]).round(4)
    array([0.3679, 1.    ])
    """
    return gamma_exponential(c, 1.0)
