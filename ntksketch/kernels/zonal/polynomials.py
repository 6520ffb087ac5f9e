"""Finite series: of powers, and of Legendre polynomials in one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntksketch.kernels.series import legendre_polynomials
from ntksketch.kernels.zonal.base import ZonalKernel


@dataclass(frozen=True)
class Polynomial(ZonalKernel):
    """A polynomial with coefficients in ascending powers, none of them negative."""

    coefficients: tuple[float, ...]

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate by Horner's rule."""
        return np.polynomial.polynomial.polyval(t, self.coefficients)


def polynomial(coefficients: Sequence[float]) -> ZonalKernel:
    r"""Return the polynomial :math:`\sum_i a_i t^i` as a zonal kernel.

    Parameters
    ----------
    coefficients : sequence of float
        The coefficients :math:`a_0, a_1, \dots`, at least 0 and not all 0.

    Returns
    -------
    ZonalKernel
        Vectorised function.

    Raises
    ------
    ValueError
        If there is no positive coefficient, or one is negative or not finite.

    References
    ----------
    Schoenberg (1942), "Positive definite functions on spheres", doi:10.1215/S0012-7094-42-00908-6.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> float(ntk.zonal.polynomial([0.5, 0.0, 2.0])(-1.0))
    2.5
    """
    values = np.asarray(coefficients, dtype=np.float64)
    if values.ndim != 1 or not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ValueError(
            "coefficients must be a sequence of finite numbers of at least 0, one of them "
            f"positive, for the kernel to be positive semi-definite; got {coefficients!r}"
        )
    return Polynomial(tuple(values.tolist()))


@dataclass(frozen=True)
class LegendreSeries(ZonalKernel):
    """A finite series of Legendre polynomials in `dim` dimensions."""

    dim: int
    coefficients: tuple[float, ...]

    def evaluate(self, t: NDArray) -> NDArray:
        """Sum the series."""
        values = legendre_polynomials(t, self.dim, len(self.coefficients) - 1)
        return np.tensordot(np.array(self.coefficients), values, axes=1)
