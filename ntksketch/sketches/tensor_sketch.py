"""TensorSketch: CountSketches of the factors, convolved by the fast Fourier transform."""

import functools
import operator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax.tree_util import register_dataclass

from .base import FactorwiseSketch
from .count_sketch import CountSketch


@register_dataclass
@dataclass(frozen=True)
class TensorSketch(FactorwiseSketch):
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

    _factor = CountSketch

    def combine(self, *sketched: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Convolve the factors' sketches."""
        on_host = all(isinstance(Z, np.ndarray) for Z in sketched)
        fft: Any = scipy.fft if on_host else jnp.fft
        spectrum = functools.reduce(operator.mul, [fft.rfft(Z) for Z in sketched])
        return fft.irfft(spectrum, n=self.n_components)
