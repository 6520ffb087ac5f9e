r"""Random directions for arc-cosine features, with the weight that makes them unbiased.

For a direction w of a sampling q and a standard normal g in d dimensions, importance weighting
gives :math:`E_q[c(w)\, f(\langle w,x\rangle) f(\langle w,y\rangle)] = E_g[f(\langle g,x\rangle)
f(\langle g,y\rangle)]`. The rectifier is homogeneous, so c may be absorbed into w's length: the
rows returned are already scaled, and ``E[relu(w x) relu(w y)]`` is the Gaussian expectation for
every row w and every sampling. A step function sees the direction only.
"""

from __future__ import annotations

import jax
import numpy as np

from ntksketch.sketches.draws import generator

SAMPLINGS = ("gaussian", "leverage", "orthogonal")


def sample_directions(
    key: jax.Array,
    sampling: str,
    n_directions: int,
    dim: int,
    *,
    gaussian_lengths: bool = False,
) -> np.ndarray:
    r"""Draw directions for an activation.

    Parameters
    ----------
    key : jax.Array
        Random key.
    sampling : {"gaussian", "leverage", "orthogonal"}
        "gaussian" draws w from N(0, I). "leverage" draws from the density proportional to
        :math:`|w|^2 N(0, I)`, an upper bound of the leverage scores: its radius is chi with d + 2
        degrees of freedom, its direction uniform, and the weight
        :math:`\sqrt d/|w|` cancels the radius, so w is returned as :math:`\sqrt d` times a uniform
        unit vector. "orthogonal" takes those unit vectors in blocks of d orthonormal ones.
    n_directions, dim : int
        Numbers of rows and columns.
    gaussian_lengths : bool, default=False
        Give orthogonal directions independent lengths, chi variables with d degrees of freedom:
        each row is then N(0, I), as activations that are not homogeneous need.

    Returns
    -------
    ndarray of shape (n_directions, dim)
        Scaled directions, float64.

    References
    ----------
    Zandieh et al. (2021), arXiv:2106.07880 (leverage scores); Yu et al. (2016), "Orthogonal random
    features", arXiv:1610.09072 (blocks).
    """
    rng = generator(key)
    if sampling == "orthogonal":
        unit = uniform_directions(rng, n_directions, dim)
        if gaussian_lengths:
            return np.sqrt(rng.chisquare(dim, n_directions))[:, None] * unit
        return np.sqrt(dim) * unit
    normal = rng.standard_normal((n_directions, dim))
    if sampling == "gaussian":
        return normal
    return normal * (np.sqrt(dim) / np.linalg.norm(normal, axis=1, keepdims=True))


def uniform_directions(rng: np.random.Generator, n_directions: int, dim: int) -> np.ndarray:
    """Draw uniform unit vectors in orthonormal blocks: rows, of shape (n_directions, dim)."""
    blocks = [
        _orthonormal_rows(rng, min(dim, n_directions - start), dim)
        for start in range(0, n_directions, dim)
    ]
    return np.concatenate([np.empty((0, dim)), *blocks])


def structured_blocks(rng: np.random.Generator, n_directions: int, dim: int) -> np.ndarray:
    """Draw the signs of as many blocks (H D)^3 as n_directions need: (blocks, 3, dim)."""
    return rng.choice([-1.0, 1.0], size=(-(-n_directions // dim), 3, dim))


def _orthonormal_rows(rng: np.random.Generator, n_rows: int, dim: int) -> np.ndarray:
    """Return the first rows of a uniformly distributed orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((dim, n_rows)))
    return (q * np.sign(np.diag(r))).T
