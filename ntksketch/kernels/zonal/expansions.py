"""Zonal functions as short polynomials and as Legendre series, computed once for each kernel."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ntksketch.kernels.dual import SqrtPolynomial, fit_sqrt_polynomial
from ntksketch.kernels.series import legendre_coefficients
from ntksketch.kernels.zonal.base import NEGLIGIBLE, ZonalKernel


@functools.lru_cache(maxsize=256)
def short_polynomial(kernel: ZonalKernel) -> SqrtPolynomial | None:
    """Return the zonal function as polynomials to float32 accuracy, or None if too many terms."""
    return fit_sqrt_polynomial(kernel.evaluate)


@functools.lru_cache(maxsize=256)
def expansion(kernel: ZonalKernel, dim: int, max_degree: int) -> NDArray[np.float64]:
    """Return the Legendre coefficients of a zonal kernel, with rounding below zero cut off.

    Raises
    ------
    ValueError
        If a coefficient is negative: the kernel is then not positive semi-definite.
    """
    coefficients = legendre_coefficients(kernel.evaluate, dim, max_degree)
    scale = float(np.abs(kernel.evaluate(np.array([1.0]))[0]))
    worst = int(coefficients.argmin())
    if coefficients[worst] < -1e-9 * scale:
        raise ValueError(
            f"{kernel} is no kernel in {dim} dimensions: its coefficient of degree {worst} is "
            f"{coefficients[worst]:.3g}, and none may be negative"
        )
    coefficients = np.where(coefficients > NEGLIGIBLE * scale, coefficients, 0.0)
    coefficients.flags.writeable = False  # the cache's own
    return coefficients
