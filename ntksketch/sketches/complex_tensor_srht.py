"""Complex-to-real TensorSRHT: complex signs, real and imaginary parts as real columns."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .checks import Rows, check_factors, check_sizes, check_some_factor
from .draws import generator, sample_coordinates
from .srht import SRHT, padded_size

Parts: TypeAlias = tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]


class ComplexTensorSRHT(NamedTuple):
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
    def n_features(self) -> tuple[int, ...]:
        """Number of columns of each matrix that `apply` expects."""
        return tuple(units.shape[1] for units in self.units)

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.indices[0].shape[0]

    @classmethod
    def init(
        cls,
        key: jax.Array,
        n_features: Sequence[int],
        n_components: int,
        dtype: DTypeLike = jnp.float32,
        *,
        balanced: bool = True,
    ) -> "ComplexTensorSRHT":
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
        ComplexTensorSRHT

        Raises
        ------
        ValueError
            If a size is below 1 or there is no factor.
        """
        check_some_factor("ComplexTensorSRHT.init", n_features)
        units, indices, n_draws = [], [], -(-n_components // 2)
        for width, keys in zip(
            n_features, jax.random.split(key, (len(n_features), 2)), strict=True
        ):
            check_sizes("ComplexTensorSRHT.init", width, n_components)
            quarters = generator(keys[0]).integers(4, size=width)
            units.append(np.array([[1, 0, -1, 0], [0, 1, 0, -1]], dtype)[:, quarters])
            drawn = sample_coordinates(keys[1], padded_size(width), n_draws, balanced)
            indices.append(np.resize(drawn, n_components))
        return cls(tuple(units), tuple(indices))

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
        check_factors("ComplexTensorSRHT.apply", factors, self.n_features)
        sketched = [
            (SRHT(units[0], drawn).apply(X), SRHT(units[1], drawn).apply(X))
            for units, drawn, X in zip(self.units, self._drawn(), factors, strict=True)
        ]
        return self._combine(sketched)

    def _drawn(self) -> list[jax.Array | np.ndarray]:
        """Return each factor's coordinates once."""
        return [indices[: -(-self.n_components // 2)] for indices in self.indices]

    def _combine(self, sketched: Sequence[Parts]) -> jax.Array | np.ndarray:
        """Multiply the factors' complex sketches, given by parts, and stack the parts."""
        on_host = all(isinstance(part, np.ndarray) for parts in sketched for part in parts)
        if not on_host:
            # each part is read twice: compute it once
            sketched = jax.lax.optimization_barrier(sketched)
        (real, imaginary), *others = sketched
        for a, b in others:
            real, imaginary = real * a - imaginary * b, real * b + imaginary * a
        m, n_draws = self.n_components, real.shape[1]
        # Each SRHT brings a factor n_draws^(-1/2); the columns are to have (2/m)^(1/2).
        scale = n_draws ** (len(sketched) / 2) * (2 / m) ** 0.5
        stack = np.concatenate if on_host else jnp.concatenate
        return stack([real, imaginary[:, : m - n_draws]], axis=1) * np.asarray(scale, real.dtype)
