"""TensorSketch: CountSketches of the factors, convolved by the fast Fourier transform."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax.typing import DTypeLike

from .checks import Rows, check_factors, check_some_factor
from .count_sketch import CountSketch


class TensorSketch(NamedTuple):
    r"""CountSketch of the row-wise tensor product of p matrices, never forming it.

    .. math:: S(x_1 \otimes \dots \otimes x_p) = S_1 x_1 * \dots * S_p x_p

    a circular convolution of CountSketches, computed as a product of Fourier transforms. It is the
    CountSketch with bucket :math:`\sum_k h_k(i_k) \bmod m` and sign :math:`\prod_k s_k(i_k)` for
    coordinate :math:`(i_1, \dots, i_p)`, so it keeps inner products in expectation. With the
    balanced buckets of `CountSketch` two coordinates meet with probability at most 1/(m-1), hence

    .. math::
        \mathrm{Var} \langle S(\otimes x_k), S(\otimes y_k) \rangle
            \le \frac{3^p}{m - 1} \prod_k |x_k|^2 |y_k|^2

    (Avron et al. give (2 + 3^p)/m for independent buckets). Any m works; the transform is fastest
    if m has small prime factors only.

    Attributes
    ----------
    factors : tuple of CountSketch
        One for each factor of the product, all of the same n_components m.

    References
    ----------
    N. Pham and R. Pagh (2013). Fast and scalable polynomial kernels via explicit feature maps.
    doi:10.1145/2487575.2487591

    H. Avron, H. L. Nguyen, D. P. Woodruff (2014). Subspace embeddings for the polynomial kernel.
    Advances in Neural Information Processing Systems 27.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> sketch = TensorSketch.init(jax.random.key(0), n_features=(3, 2), n_components=16)
    >>> sketch.apply(jnp.ones((5, 3)), jnp.ones((5, 2))).shape
    (5, 16)
    """

    factors: tuple[CountSketch, ...]

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
    ) -> "TensorSketch":
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

        Returns
        -------
        TensorSketch

        Raises
        ------
        ValueError
            If a size is below 1 or there is no factor.
        """
        check_some_factor("TensorSketch.init", n_features)
        keys = jax.random.split(key, len(n_features))
        return cls(
            tuple(
                CountSketch.init(factor_key, width, n_components, dtype)
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
        check_factors("TensorSketch.apply", factors, self.n_features)
        return self.combine(
            *(sketch.apply(X) for sketch, X in zip(self.factors, factors, strict=True))
        )

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
        on_host = all(isinstance(Z, np.ndarray) for Z in sketched)
        fft: Any = scipy.fft if on_host else jnp.fft
        spectrum = functools.reduce(operator.mul, [fft.rfft(Z) for Z in sketched])
        return fft.irfft(spectrum, n=self.n_components)
