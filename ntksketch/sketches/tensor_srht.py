"""TensorSRHT: the sketch of a tensor product from an SRHT of each factor."""

import functools
import math
import operator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from .base import FactorwiseSketch
from .hadamard import sampled_hadamard_transform
from .srht import SRHT, padded_size


@register_dataclass
@dataclass(frozen=True)
class TensorSRHT(FactorwiseSketch):
    r"""Sketch of the row-wise tensor product of p matrices, never forming it.

    .. math:: S(x_1 \otimes \dots \otimes x_p)
        = m^{-1/2} \prod_k P_k H \mathrm{diag}(s_k) x_k \quad \text{(entrywise product)}

    Each factor has signs and a balanced sample of coordinates of its own, as in `SRHT`, so
    :math:`\langle S(\otimes x_k), S(\otimes y_k) \rangle` has mean
    :math:`\prod_k \langle x_k, y_k \rangle`. With independent samples its variance is

    .. math::
        \frac1m \Bigl( \prod_k \bigl(|x_k|^2 |y_k|^2 + 2 \langle x_k, y_k \rangle^2
        - 2 \textstyle\sum_i x_{ki}^2 y_{ki}^2 \bigr) - \prod_k \langle x_k, y_k \rangle^2 \Bigr),

    at most (3^p - 1)/m for unit vectors. Balanced samples lower it wherever the inner products
    matter; at worst, with two or more orthogonal factors, they raise it by a share of about m/D^2.

    Attributes
    ----------
    factors : tuple of SRHT
        One for each factor of the product, all of the same n_components m.

    Other Parameters
    ----------------
    balanced : bool, default=True
        Whether each factor's coordinates are sampled without replacement; if not,
        independently, as published.

    References
    ----------
    T. D. Ahle, M. Kapralov, J. B. T. Knudsen, R. Pagh, A. Velingker, D. P. Woodruff, A. Zandieh
    (2020). Oblivious sketching of high-degree polynomial kernels. arXiv:1909.01410

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> sketch = TensorSRHT.init(jax.random.key(0), n_features=(3, 2), n_components=16)
    >>> sketch.apply(jnp.ones((5, 3)), jnp.ones((5, 2))).shape
    (5, 16)
    """

    _factor = SRHT

    def combine(self, *sketched: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Multiply the factors' sketches entry by entry."""
        # Each SRHT brings a factor m^(-1/2); the product keeps one of them.
        scale = self.n_components ** ((len(sketched) - 1) / 2)
        return scale * functools.reduce(operator.mul, sketched)

    def apply_sum(self, X: jax.Array, Y: jax.Array) -> jax.Array:
        r"""Sketch sums of tensor products of two factors, :math:`\sum_p x_p \otimes y_p`.

        Parameters
        ----------
        X, Y : arrays of shapes (n, p, n_features[0]) and (n, p, n_features[1]), floating
            The factors of the p terms of each row.

        Returns
        -------
        jax.Array of shape (n, n_components), dtype of the factors

        Notes
        -----
        Many terms are summed first, as the matrix :math:`\sum_p x_p y_p^\top`, few in the end.
        """
        n, terms, _ = X.shape
        sizes = [padded_size(width) for width in self.n_features]
        if terms * self.n_components <= math.prod(sizes):
            flat = (Z.reshape(n * terms, Z.shape[-1]) for Z in (X, Y))
            return self.apply(*flat).reshape(n, terms, -1).sum(1)
        signs = [jnp.asarray(factor.signs, X.dtype) for factor in self.factors]
        highest = jax.lax.Precision.HIGHEST
        matrices = jnp.einsum("npa,npb->nab", X * signs[0], Y * signs[1], precision=highest)
        widths = [(0, size - width) for size, width in zip(sizes, self.n_features, strict=True)]
        padded = jnp.pad(matrices, [(0, 0), *widths]).reshape(n, -1)
        # the Hadamard matrix of a product of sizes is the Kronecker product of the factors'
        indices = self.factors[0].indices * sizes[1] + self.factors[1].indices
        return sampled_hadamard_transform(padded, indices) * self.n_components**-0.5
