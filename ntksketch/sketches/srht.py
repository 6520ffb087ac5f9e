"""SRHT: the subsampled randomised Hadamard transform."""

from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from scipy import sparse

from .base import VectorSketch
from .draws import random_signs, sample_coordinates
from .hadamard import hadamard_entries, sampled_hadamard_transform

_CHUNK_ENTRIES = 1 << 22  # entries of H held at a time for sparse rows


@register_dataclass
@dataclass(frozen=True)
class SRHT(VectorSketch):
    r"""Subsampled randomised Hadamard transform with balanced sampling.

    .. math:: Sx = m^{-1/2} P H \mathrm{diag}(s) x

    Rows are padded with zeros to a power of two D; s are independent fair signs, H is the Hadamard
    matrix with entries -1 and +1, and P takes m coordinates. We sample them balanced: a
    concatenation of independent random permutations of all D, cut after m. Each sample is uniform,
    so :math:`\mathbb{E} \langle Sx, Sy \rangle = \langle x, y \rangle`, and with r = m mod D

    .. math::
        \mathrm{Var} \langle Sx, Sy \rangle
            = \frac{r (D - r)}{m (D - 1)} \cdot \frac1m
              \Bigl(|x|^2 |y|^2 + \langle x, y \rangle^2 - 2 \sum_i x_i^2 y_i^2\Bigr).

    The first factor, at most 1, is what balancing gains over independent samples. For m a multiple
    of D it is 0: every draw is an exact isometry. Sparse rows take
    O((nnz + number of non-empty columns) n_components).

    Attributes
    ----------
    signs : array of shape (n_features,)
        The signs s.
    indices : integer array of shape (n_components,)
        The coordinates that P takes, in the natural order of H.

    Other Parameters
    ----------------
    balanced : bool, default=True
        Whether coordinates are sampled without replacement; if not, independently.

    References
    ----------
    N. Ailon and B. Chazelle (2009). The fast Johnson-Lindenstrauss transform and approximate
    nearest neighbors. doi:10.1137/060673096

    J. A. Tropp (2011). Improved analysis of the subsampled randomized Hadamard transform.
    arXiv:1011.1595

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> sketch = SRHT.init(jax.random.key(0), n_features=3, n_components=4)
    >>> X = jnp.array([[1.0, 2.0, 3.0]])
    >>> Z = sketch.apply(X)
    >>> Z.shape, (Z @ Z.T).item()
    ((1, 4), 14.0)
    """

    signs: jax.Array | np.ndarray
    indices: jax.Array | np.ndarray

    @property
    def _shape(self) -> tuple[int, int]:
        return self.signs.shape[0], self.indices.shape[0]

    @classmethod
    def _draw(cls, key, n_features, n_components, dtype, *, balanced: bool = True) -> Self:
        signs_key, indices_key = jax.random.split(key)
        size = padded_size(n_features)
        return cls(
            signs=random_signs(signs_key, n_features, dtype),
            indices=sample_coordinates(indices_key, size, n_components, balanced),
        )

    def _apply_dense(self, X: jax.Array) -> jax.Array:
        """Transform the signed, padded rows and take the sampled coordinates."""
        signed = X * jnp.asarray(self.signs, X.dtype)
        n_padding = padded_size(self.n_features) - self.n_features
        padded = jnp.pad(signed, ((0, 0), (0, n_padding)))
        return sampled_hadamard_transform(padded, self.indices) * self.n_components**-0.5

    def _apply_sparse(self, X: sparse.csr_array) -> np.ndarray:
        """Multiply by the rows of the sketch matrix that non-empty columns need, by chunks."""
        signs = np.asarray(self.signs, X.dtype) * self.n_components**-0.5
        indices = np.asarray(self.indices)
        columns = X.tocsc()
        active = np.flatnonzero(np.diff(columns.indptr))
        step = max(1, _CHUNK_ENTRIES // self.n_components)
        Z = np.zeros((len(X.indptr) - 1, self.n_components), X.dtype)
        for start in range(0, len(active), step):
            chunk = active[start : start + step]
            entries = hadamard_entries(chunk, indices, padded_size(self.n_features))
            Z += columns[:, chunk] @ (signs[chunk, None] * entries)
        return Z


def padded_size(n_features: int) -> int:
    """Return the smallest power of two that is at least `n_features`."""
    return 1 << (n_features - 1).bit_length()
