"""Polynomials for zonal functions, and how many columns their powers get."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.optimize

from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.series import power_series

FITS = ("nnls", "taylor")

_NODES = 2001  # of the least-squares fit
_NEGLIGIBLE = 1e-11  # coefficients up to this share of f(1) are rounding
_COSINE = 0.5  # at which variances are compared


@functools.lru_cache(maxsize=256)
def fit_polynomial(kernel: ZonalKernel, degree: int, fit: str) -> tuple[float, ...]:
    r"""Return a polynomial for a zonal function that has no negative coefficient.

    Parameters
    ----------
    kernel : ZonalKernel
        The function.
    degree : int
        Largest power.
    fit : {"nnls", "taylor"}
        "taylor" cuts the power series off. "nnls" is the non-negative least-squares fit on a
        uniform grid, which puts the lost terms' share into the highest powers.

    Returns
    -------
    tuple of float
        Coefficients of :math:`t^0, t^1, \dots`, as many as the last one that is not zero needs.

    Raises
    ------
    ValueError
        If the value at 1 is not positive, the power series has a negative coefficient, or no
        coefficient up to the degree is above rounding.
    """
    end = float(kernel.evaluate(np.ones(1))[0])
    if not end > 0:
        raise ValueError(f"a kernel's function must be positive at t = 1, got {end:.3g}")
    if fit == "taylor":
        coefficients = power_series(kernel.evaluate, degree + 1)
        worst = int(coefficients.argmin())
        if coefficients[worst] < -_NEGLIGIBLE * abs(end):
            raise ValueError(
                f"the power series has the negative coefficient {coefficients[worst]:.3g} at "
                f"t^{worst}, which has no features; take coefficients='nnls'"
            )
    else:
        t = np.linspace(-1, 1, _NODES)
        powers = t[:, None] ** np.arange(degree + 1)
        coefficients, _ = scipy.optimize.nnls(powers, kernel.evaluate(t))
    coefficients = np.where(coefficients > _NEGLIGIBLE * abs(end), coefficients, 0.0)
    if not coefficients.any():
        raise ValueError(
            f"the polynomial of degree {degree} for {kernel} has no coefficient above rounding: "
            "take a larger degree" + " or coefficients='nnls'" * (fit == "taylor")
        )
    return tuple(coefficients[: np.flatnonzero(coefficients)[-1] + 1].tolist())


def relative_variance(power: int, complex_to_real: bool) -> float:
    """Return the variance of a power's sketch with one column, between typical unit vectors.

    That of the top node of a tree, whose children have cosines t^a and t^b.
    """
    if power < 2:
        return power * (1 + _COSINE**2)
    left = 1 << (power - 1).bit_length() - 1
    a, b = _COSINE ** (2 * left), _COSINE ** (2 * (power - left))
    if complex_to_real:
        return (1 + a) * (1 + b) + 2 * a * b
    return (1 + 2 * a) * (1 + 2 * b) - a * b


def divide_columns(shares: Mapping[int, float], n_columns: int) -> dict[int, int]:
    r"""Divide columns among powers in proportion to shares, at least one for each.

    The variances :math:`a^2 v / m` of independent parts with m columns add up to the least total
    when m is proportional to :math:`a \sqrt v`.

    Parameters
    ----------
    shares : mapping of int to float
        A positive share for each power.
    n_columns : int
        Number of columns, at least one for each power.

    Returns
    -------
    dict of int to int
        Numbers of columns that add up to `n_columns`.
    """
    columns, remaining = {}, n_columns
    total = sum(shares.values())
    # small shares first: those that are raised to one column take it from the larger ones
    order = sorted(shares, key=lambda power: shares[power])
    for position, power in enumerate(order):
        left = len(order) - position - 1
        fair = round(remaining * shares[power] / total) if left else remaining
        columns[power] = min(max(fair, 1), remaining - left)
        remaining -= columns[power]
        total -= shares[power]
    return dict(sorted(columns.items()))


def column_shares(coefficients: Sequence[float], complex_to_real: bool) -> dict[int, float]:
    """Return the share of columns of each power of at least 1 that a polynomial has."""
    return {
        power: coefficient * relative_variance(power, complex_to_real) ** 0.5
        for power, coefficient in enumerate(coefficients)
        if power and coefficient > 0
    }


def n_monomials(n_variables: int, power: int) -> int:
    """Return the number of monomials of a power: the columns of an exact one."""
    return math.comb(n_variables + power - 1, power)


def choose_exact(shares: Mapping[int, float], n_variables: int, n_columns: int) -> int:
    """Return up to which power exact columns leave the least total variance to the others.

    Parameters
    ----------
    shares : mapping of int to float
        The share of each power.
    n_variables : int
        Number of columns of the rows.
    n_columns : int
        Number of columns, at least one for each power.

    Returns
    -------
    int
        The largest exact power, 0 for none.
    """
    best, left = (0, sum(shares.values()) ** 2 / max(n_columns, 1)), n_columns
    for position, power in enumerate(sorted(shares), start=1):
        left -= n_monomials(n_variables, power)
        if left < len(shares) - position:
            break
        rest = sum(share for other, share in shares.items() if other > power)
        variance = rest**2 / left if rest else 0.0
        if variance < best[1]:
            best = power, variance
    return best[0]
