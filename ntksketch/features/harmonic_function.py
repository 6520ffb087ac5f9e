r"""The function of a random direction whose products average to a zonal kernel.

With the Legendre coefficients :math:`c_l` of a kernel and the polynomials
:math:`Q_l = \sqrt{N(d, l)}\, P_l`, orthonormal for a uniform direction, all signs :math:`s_l`
give a function :math:`g = \sum_l s_l \sqrt{c_l}\, Q_l` with the right mean. Degree and signs decide
about its variance.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ntksketch.kernels.series import n_harmonics

_SEARCHED = 12  # degrees up to which all signs are tried
_CAUTION = 4  # weight of variance: a diagonal shift does less harm than noise in a few rows


def recurrence(dim: int, max_degree: int) -> NDArray[np.float64]:
    r"""Return :math:`a_0, \dots` in :math:`z Q_l = a_{l+1} Q_{l+1} + a_l Q_{l-1}`.

    The variable is :math:`z = \sqrt d\, t`, so that :math:`a_l` is of the order of
    :math:`\sqrt l`: Hermite polynomials for large d.
    """
    values = np.zeros(max_degree + 1)
    for degree in range(1, max_degree + 1):
        # t P_l = ((l + d - 2) P_{l+1} + l P_{l-1}) / (2 l + d - 2)
        up = 1.0 if degree == 1 else (degree + dim - 3) / (2 * degree + dim - 4)
        ratio = n_harmonics(dim, degree) / max(n_harmonics(dim, degree - 1), 1)
        values[degree] = up * np.sqrt(dim / ratio) if ratio else 0.0
    return values


def orthonormal_series(weights: NDArray, dim: int, z: jax.Array) -> jax.Array:
    r"""Sum :math:`\sum_l w_l Q_l` at :math:`z = \sqrt d\, t`.

    Up to their leading coefficients the polynomials obey :math:`q_{l+1} = z q_l - a_l^2 q_{l-1}`;
    Clenshaw's recurrence is stable in float32, where powers of z are not.
    """
    a = recurrence(dim, len(weights))
    leading = np.cumprod(np.concatenate([[1.0], a[1:-1]]))
    # in one dimension there is no polynomial of degree 2 or more
    constants = np.divide(weights, leading, out=np.zeros(len(weights)), where=leading > 0)
    value = above = jnp.zeros_like(z)
    for degree in range(len(weights) - 1, -1, -1):
        constant = jnp.asarray(constants[degree], z.dtype)
        step = jnp.asarray(a[degree + 1] ** 2, z.dtype)
        value, above = constant + z * value - step * above, value
    return value


@functools.lru_cache(maxsize=256)
def signed_weights(coefficients: tuple[float, ...], dim: int) -> tuple[tuple[float, ...], float]:
    r"""Return :math:`s_l \sqrt{c_l}` with the signs of least :math:`E\, g^4`, and that moment.

    A large fourth moment means that few directions close to a row decide about its features. All
    signs are tried up to degree 12, in Gauss quadrature that is exact for the moment; above, they
    follow as + + - -.
    """
    roots = np.sqrt(coefficients)
    degrees = [degree for degree in range(len(roots)) if roots[degree] > 0]
    z, weights = _gauss_quadrature(dim, 2 * len(roots) + 1)
    values = _polynomials(dim, len(roots) - 1, z) * roots[:, None]
    searched = [degree for degree in degrees if degree <= _SEARCHED][1:]
    choices = np.array(list(itertools.product([1.0, -1.0], repeat=len(searched))))
    signs = np.tile([(1.0, 1.0, -1.0, -1.0)[i % 4] for i in range(len(roots))], (len(choices), 1))
    signs[:, searched] = choices
    moments = (signs @ values) ** 4 @ weights
    best = int(moments.argmin())
    return tuple((signs[best] * roots).tolist()), float(moments[best])


def best_degree(coefficients: NDArray, total: float, dim: int, n_directions: int) -> int:
    r"""Return the degree of least mean square error of a row's kernel with itself.

    The cut leaves out :math:`f(1) - \sum_{l \le q} c_l`, and the variance of an average over
    the directions is :math:`E\, g^4` divided by their number: high degrees cost more variance than
    they mend bias. The variance counts four times, because the bias shifts the diagonal evenly,
    much as a ridge does, while the variance sits in few rows.
    """
    errors = []
    for degree in range(2, len(coefficients)):
        kept = np.array(coefficients[: degree + 1])
        left = total - kept.sum()
        kept[:2] = 0  # exact or linear
        if not kept.any():
            errors.append(left**2)
            continue
        moment = signed_weights(tuple(kept.tolist()), dim)[1]
        errors.append(left**2 + _CAUTION * moment / max(n_directions, 1))
    return 2 + int(np.argmin(errors)) if errors else len(coefficients) - 1


def _gauss_quadrature(dim: int, n_nodes: int) -> tuple[NDArray, NDArray]:
    """Return nodes z and weights that are exact up to degree 2 n_nodes - 1 (Golub & Welsch)."""
    a = recurrence(dim, n_nodes)[1:]
    a = a[: int(np.argmin(np.append(a[:-1], 0.0) > 0))]  # finitely many points for dim = 1
    nodes, vectors = scipy.linalg.eigh_tridiagonal(np.zeros(len(a) + 1), a)
    return nodes, vectors[0] ** 2


def _polynomials(dim: int, max_degree: int, z: NDArray) -> NDArray[np.float64]:
    a = recurrence(dim, max_degree)
    values = np.zeros((max_degree + 1, len(z)))
    values[0] = 1
    for degree in range(1, max_degree + 1):
        if a[degree] == 0:
            break
        below = a[degree - 1] * values[degree - 2] if degree > 1 else 0.0
        values[degree] = (z * values[degree - 1] - below) / a[degree]
    return values
