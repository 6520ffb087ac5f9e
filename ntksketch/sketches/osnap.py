"""OSNAP: every input coordinate is added, with random signs, to a few random buckets."""

from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from scipy import sparse

from .base import VectorSketch
from .count_sketch import add_runs
from .draws import random_signs, sample_coordinates


@register_dataclass
@dataclass(frozen=True)
class OSNAP(VectorSketch):
    r"""Sparse embedding with s nonzeros for each coordinate: s CountSketches side by side.

    .. math:: (Sx)_b = s^{-1/2} \sum_{i : h_k(i) = b} \sigma_{ki} x_i
        \quad \text{for the buckets } b \text{ of block } k

    The m buckets are cut into s blocks of nearly equal sizes :math:`m_k`, and every coordinate has
    one bucket :math:`h_k(i)` and one fair sign in each of them. The buckets of a block are
    balanced as those of `CountSketch`: each run of :math:`m_k` successive coordinates is dealt to
    the buckets by a random permutation of its own. So

    .. math::
        \mathbb{E} \langle Sx, Sy \rangle = \langle x, y \rangle, \qquad
        \mathrm{Var} \langle Sx, Sy \rangle = \frac{1}{s^2} \sum_k \frac{1}{m_k}
            \sum_{i < j \text{ in different runs of block } k} (x_i y_j + x_j y_i)^2 .

    That is at most :math:`(|x|^2 |y|^2 + \langle x, y \rangle^2)/m` for s that divides m: the
    variance of a CountSketch, with lighter tails. Sparse rows take
    O(nnz n_nonzeros + n n_components), whatever n_features is.

    Attributes
    ----------
    buckets : integer array of shape (n_nonzeros, n_features)
        The bucket b of each coordinate in each block, as b under a positive sign and as -1 - b
        under a negative one.
    scales : array of shape (n_components,)
        The factor :math:`s^{-1/2}` of each bucket.

    Other Parameters
    ----------------
    n_nonzeros : int, default=4
        Number s of buckets of each coordinate, at least 1; no more than there are columns.

    References
    ----------
    J. Nelson and H. L. Nguyen (2013). OSNAP: faster numerical linear algebra algorithms via sparser
    subspace embeddings. arXiv:1211.1002

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> sketch = OSNAP.init(jax.random.key(0), n_features=3, n_components=12)
    >>> X = jnp.array([[1.0, 2.0, 3.0]])
    >>> Z = sketch.apply(X)
    >>> Z.shape, (Z @ Z.T).item()
    ((1, 12), 14.0)
    """

    buckets: jax.Array | np.ndarray
    scales: jax.Array | np.ndarray

    @property
    def _shape(self) -> tuple[int, int]:
        return self.buckets.shape[1], self.scales.shape[0]

    @classmethod
    def _draw(cls, key, n_features, n_components, dtype, *, n_nonzeros: int = 4) -> Self:
        if n_nonzeros < 1:
            raise ValueError(f"OSNAP.init: n_nonzeros = {n_nonzeros}, expected at least 1.")
        starts = _block_starts(n_components, min(n_nonzeros, n_components))
        buckets = np.empty((len(starts) - 1, n_features), np.int32)
        keys = jax.random.split(key, (len(buckets), 2))
        for k, (signs_key, buckets_key) in enumerate(keys):
            width = starts[k + 1] - starts[k]
            dealt = starts[k] + sample_coordinates(buckets_key, width, n_features, balanced=True)
            negative = random_signs(signs_key, n_features, np.int8) < 0
            buckets[k] = np.where(negative, -1 - dealt, dealt)
        return cls(buckets, np.full(n_components, len(buckets) ** -0.5, dtype))

    def _apply_dense(self, X: jax.Array) -> jax.Array:
        """Take the columns of each run in bucket order and add the runs up, block by block."""
        n_blocks, d = self.buckets.shape
        starts = _block_starts(self.n_components, n_blocks)
        coordinates, blocks = jnp.arange(d), []
        for k, codes in enumerate(jnp.asarray(self.buckets)):
            width = starts[k + 1] - starts[k]
            n_runs = -(-d // width)
            dealt = jnp.where(codes < 0, -1 - codes, codes) - starts[k]
            # the inverse of `dealt` in every run; places that nobody takes have the sign zero
            places = coordinates // width * width + dealt
            columns = jnp.zeros(n_runs * width, places.dtype).at[places].set(coordinates)
            signs = jnp.zeros(n_runs * width, X.dtype).at[places].set(jnp.where(codes < 0, -1, 1))
            blocks.append(add_runs(X, columns.reshape(-1, width), signs.reshape(-1, width)))
        return jnp.concatenate(blocks, axis=1) * jnp.asarray(self.scales, X.dtype)

    def _apply_sparse(self, X: sparse.csr_array) -> np.ndarray:
        """Put every stored entry into its buckets; `toarray` adds those that meet."""
        codes = np.asarray(self.buckets)[:, X.indices].T
        signs = np.where(codes < 0, -1, 1).astype(X.dtype)
        entries = (np.asarray(X.data)[:, None] * signs).reshape(-1)
        columns = np.where(codes < 0, -1 - codes, codes).reshape(-1)
        shape = (len(X.indptr) - 1, self.n_components)
        sketched = sparse.csr_array((entries, columns, X.indptr * codes.shape[1]), shape=shape)
        return sketched.toarray() * np.asarray(self.scales, X.dtype)


def _block_starts(n_components: int, n_blocks: int) -> list[int]:
    """Return the first bucket of each block, and the number of buckets."""
    return [k * n_components // n_blocks for k in range(n_blocks + 1)]
