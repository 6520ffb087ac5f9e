r"""Expansions of functions on [-1, 1]: power series and Legendre polynomials in d dimensions.

By Schoenberg's theorem a function of the cosine is a positive semi-definite kernel on the spheres
of every dimension if and only if its power series has no negative coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

_CIRCLE = 2**17  # points of the Fourier transform
_DECAY = 1e-15  # of the aliased coefficients
_TERMS = 2**13  # of the power series that Legendre coefficients are taken from
_SMALL_DIMENSION = 8  # up to which integration is accurate and the power series too slow
_NODES = 2000

Function = Callable[[NDArray], NDArray]


def power_series(function: Function, n_terms: int) -> NDArray[np.float64]:
    r"""Return the first coefficients of a function that is analytic in the unit disc.

    They are the Fourier coefficients on a circle slightly inside the unit circle (Cauchy's
    integral), with an absolute error of a few rounding errors of the function.

    Parameters
    ----------
    function : callable
        Vectorised function of complex arguments.
    n_terms : int
        Number of coefficients, at most 8192.

    Returns
    -------
    ndarray of shape (n_terms,), float64
        Real parts of the coefficients of :math:`t^0, t^1, \dots`
    """
    radius = _DECAY ** (1 / _CIRCLE)
    half = np.arange(_CIRCLE // 2 + 1)
    # real on the real axis, so the lower half circle mirrors the upper one
    values = function(radius * np.exp(2j * np.pi * half / _CIRCLE))
    coefficients = np.fft.irfft(np.conj(values), _CIRCLE)[:n_terms]
    return coefficients / radius ** np.arange(n_terms)


def legendre_coefficients(function: Function, dim: int, max_degree: int) -> NDArray[np.float64]:
    r"""Expand a function in the Legendre polynomials of a dimension, :math:`\sum_l c_l P_l(t)`.

    :math:`P_l` are the Gegenbauer polynomials with index :math:`(d - 2)/2`, scaled to
    :math:`P_l(1) = 1`. Up to eight dimensions the coefficients are integrals over the angle.
    In higher ones, where integration amplifies rounding by the dimension of the space of
    harmonics, the power series is converted term by term: only positive numbers are added. On
    the two points of the sphere in one dimension there are two polynomials, 1 and t.

    Parameters
    ----------
    function : callable
        Vectorised function on [-1, 1] and in the complex unit disc.
    dim : int
        Dimension d, at least 1.
    max_degree : int
        Largest degree.

    Returns
    -------
    ndarray of shape (max_degree + 1,), float64
        Coefficients :math:`c_l`.

    References
    ----------
    Han, Zandieh, Avron (2022), "Random Gegenbauer features for scalable kernel methods",
    arXiv:2202.03474. Müller (1998), "Analysis of spherical symmetries in Euclidean spaces".
    """
    if dim == 1:
        ends = function(np.array([1.0, -1.0]))
        both = np.array([ends.mean(), (ends[0] - ends[1]) / 2])
        return np.pad(both, (0, max(max_degree - 1, 0)))[: max_degree + 1]
    if dim <= _SMALL_DIMENSION:
        return _integrate(function, dim, max_degree)
    series = power_series(function, _TERMS)
    result = np.empty(max_degree + 1)
    for degree in range(max_degree + 1):
        powers = np.arange(degree, _TERMS, 2)
        result[degree] = series[powers] @ monomial_in_legendre(powers, degree, dim)
    return result


def monomial_in_legendre(powers: NDArray, degree: int, dim: int) -> NDArray[np.float64]:
    r"""Return the coefficient of :math:`P_l` in :math:`t^n` for exponents n of l's parity, n >= l.

    With :math:`\lambda = (d-2)/2 > 0` and n = l + 2k it is
    :math:`n!\,(l + \lambda)\,(2\lambda)_l / (2^n\, k!\,(\lambda)_{n-k+1}\, l!)`.
    """
    index, k = (dim - 2) / 2, (powers - degree) // 2
    logarithm = (
        gammaln(powers + 1)
        + np.log(degree + index)
        + gammaln(2 * index + degree)
        - gammaln(2 * index)
        - powers * np.log(2)
        - gammaln(k + 1)
        - gammaln(index + powers - k + 1)
        + gammaln(index)
        - gammaln(degree + 1)
    )
    return np.exp(logarithm)


def _integrate(function: Function, dim: int, max_degree: int) -> NDArray[np.float64]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # the square of a variable crowds the nodes at t = 1, where kernels are least smooth
    angle = np.pi * ((nodes + 1) / 2) ** 2
    measure = weights * (nodes + 1) * np.sin(angle) ** (dim - 2)
    t = np.cos(angle)
    products = legendre_polynomials(t, dim, max_degree) @ (measure * function(t)) / measure.sum()
    return products * np.array([n_harmonics(dim, degree) for degree in range(max_degree + 1)])


def legendre_polynomials(t: NDArray, dim: int, max_degree: int) -> NDArray:
    """Return the Legendre polynomials of degrees 0 to max_degree at t, first axis the degree."""
    values = np.ones((max_degree + 1, *np.shape(t)), np.result_type(t, np.float64))
    if max_degree:
        values[1] = t
    for degree in range(1, max_degree):
        if dim == 1:
            values[degree + 1] = values[degree - 1]
            continue
        up = (2 * degree + dim - 2) * t * values[degree] - degree * values[degree - 1]
        values[degree + 1] = up / (degree + dim - 2)
    return values


def n_harmonics(dim: int, degree: int) -> int:
    """Return the dimension N(d, l) of the spherical harmonics of a degree in d dimensions."""
    if degree == 0:
        return 1
    if dim == 1:
        return int(degree == 1)
    lower = math.comb(degree + dim - 3, dim - 1) if degree >= 2 else 0
    return math.comb(degree + dim - 1, dim - 1) - lower
