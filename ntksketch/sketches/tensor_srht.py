"""TensorSRHT: the sketch of a tensor product from an SRHT of each factor."""

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .checks import Rows, check_factors, check_some_factor
from .srht import SRHT


class TensorSRHT(NamedTuple):
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

    factors: tuple[SRHT, ...]

    @property
    def n_features(self) -> tuple[int, ...]:
        """Number of columns of each matrix that `apply` expects."""
        return tuple(factor.n_features for factor in self.factors)

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.factors[0].n_components

    @classmethod
    def init(
        cls,
        key: jax.Array,
        n_features: Sequence[int],
        n_components: int,
        dtype: DTypeLike = jnp.float32,
        *,
        balanced: bool = True,
    ) -> "TensorSRHT":
        """Draw a sketch.

        Parameters
        ----------
        key : jax.random key
            Decides the draw, together with the sizes.
        n_features : sequence of int
            Width of each factor, at least 1; one factor or more.
        n_components : int
            Width of the sketch, at least 1.
        dtype : dtype
            Of the stored signs: the dtype the rows will have. The draw does not depend on it.

        balanced : bool
            Whether each factor's coordinates are sampled without replacement; if not,
            independently, as published.

        Returns
        -------
        TensorSRHT

        Raises
        ------
        ValueError
            If a size is below 1 or there is no factor.
        """
        check_some_factor("TensorSRHT.init", n_features)
        keys = jax.random.split(key, len(n_features))
        return cls(
            tuple(
                SRHT.init(factor_key, width, n_components, dtype, balanced=balanced)
                for factor_key, width in zip(keys, n_features, strict=True)
            )
        )

    def apply(self, *factors: Rows) -> jax.Array | np.ndarray:
        """Sketch the tensor product of row i of every factor, for every i.

        Parameters
        ----------
        *factors : arrays or SciPy CSR matrices of shapes (n, n_features[k]), floating
            Dense factors are handled by JAX, also under ``jax.jit``; sparse ones on the host.

        Returns
        -------
        jax.Array or ndarray (all factors sparse) of shape (n, n_components), dtype of the factors

        Raises
        ------
        ValueError
            If the factors do not match n_features or differ in their number of rows.
        """
        check_factors("TensorSRHT.apply", factors, self.n_features)
        return self.combine(*(srht.apply(X) for srht, X in zip(self.factors, factors, strict=True)))

    def combine(self, *sketched: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Sketch the tensor product given each factor's own sketch, ``factors[k].apply(X_k)``.

        Parameters
        ----------
        *sketched : arrays of shape (n, n_components)
            One a factor.

        Returns
        -------
        array of shape (n, n_components)
        """
        # Each SRHT brings a factor m^(-1/2); the product keeps one of them.
        scale = self.n_components ** ((len(sketched) - 1) / 2)
        return scale * functools.reduce(operator.mul, sketched)
