"""Complex-to-real TensorSRHT: complex signs, real and imaginary parts as real columns."""

from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from .base import ProductSketch, Rows
from .draws import generator, sample_coordinates
from .srht import SRHT, padded_size


@register_dataclass
@dataclass(frozen=True)
class ComplexTensorSRHT(ProductSketch):
    r"""Sketch of the row-wise tensor product of p real matrices with complex signs.

    .. math:: S(x_1 \otimes \dots \otimes x_p) = \sqrt{2/m}\, (\mathrm{Re}\, z, \mathrm{Im}\, z),
        \qquad z = \prod_k P_k H \mathrm{diag}(s_k) x_k \quad \text{(entrywise product)}

    as `TensorSRHT` with signs drawn from 1, i, -1, -i and half as many coordinates, of which
    the real and the imaginary part are a column each. With odd m the last coordinate has no
    imaginary part. Inner products keep their mean; with independent samples, an even m and unit
    vectors with cosines :math:`t_k` their variance is

    .. math::
        \frac1m \Bigl( \prod_k \bigl(1 + t_k^2 - \textstyle\sum_i x_{ki}^2 y_{ki}^2 \bigr)
        + \prod_k \bigl(2 t_k^2 - \textstyle\sum_i x_{ki}^2 y_{ki}^2 \bigr)
        - 2 \prod_k t_k^2 \Bigr),

    at most :math:`(2^{p+1} - 2)/m`, where real signs have :math:`(3^p - 1)/m`.

    Attributes
    ----------
    units : tuple of arrays of shape (2, n_features[k])
        Real and imaginary parts of each factor's complex signs.
    indices : tuple of integer arrays of shape (n_components,)
        The coordinate that each column takes of a factor: for the real parts, then for the
        imaginary parts the same ones again.

    Other Parameters
    ----------------
    balanced : bool, default=True
        Whether each factor's coordinates are sampled without replacement; if not,
        independently, as published.

    References
    ----------
    J. Wacker, R. Ohana, M. Filippone (2022). Complex-to-real sketches for tensor products with
    applications to the polynomial kernel. arXiv:2202.02031

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> sketch = ComplexTensorSRHT.init(jax.random.key(0), n_features=(3, 2), n_components=16)
    >>> sketch.apply(jnp.ones((5, 3)), jnp.ones((5, 2))).shape
    (5, 16)
    """

    units: tuple[jax.Array | np.ndarray, ...]
    indices: tuple[jax.Array | np.ndarray, ...]

    @property
    def _shape(self) -> tuple[tuple[int, ...], int]:
        return tuple(units.shape[1] for units in self.units), self.indices[0].shape[0]

    @classmethod
    def _draw(cls, key, n_features, n_components, dtype, *, balanced: bool = True) -> Self:
        units, indices, n_draws = [], [], -(-n_components // 2)
        keys = jax.random.split(key, (len(n_features), 2))
        for width, (units_key, indices_key) in zip(n_features, keys, strict=True):
            quarters = generator(units_key).integers(4, size=width)
            units.append(np.array([[1, 0, -1, 0], [0, 1, 0, -1]], dtype)[:, quarters])
            drawn = sample_coordinates(indices_key, padded_size(width), n_draws, balanced)
            indices.append(np.resize(drawn, n_components))
        return cls(tuple(units), tuple(indices))

    def _apply(self, *factors: Rows) -> jax.Array | np.ndarray:
        m, n_draws = self.n_components, -(-self.n_components // 2)
        parts = [
            [SRHT(part, indices[:n_draws]).apply(X) for part in units]
            for units, indices, X in zip(self.units, self.indices, factors, strict=True)
        ]
        on_host = all(isinstance(part, np.ndarray) for pair in parts for part in pair)
        if not on_host:
            # each part is read twice: compute it once
            parts = jax.lax.optimization_barrier(parts)
        (real, imaginary), *others = parts
        for a, b in others:
            real, imaginary = real * a - imaginary * b, real * b + imaginary * a
        # Each SRHT brings a factor n_draws^(-1/2); the columns are to have (2/m)^(1/2).
        scale = n_draws ** (len(parts) / 2) * (2 / m) ** 0.5
        stack = np.concatenate if on_host else jnp.concatenate
        return stack([real, imaginary[:, : m - n_draws]], axis=1) * np.asarray(scale, real.dtype)
