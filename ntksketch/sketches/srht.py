"""SRHT: the subsampled randomised Hadamard transform."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from scipy import sparse

from .checks import Rows, check_sizes, check_width
from .draws import random_signs, sample_coordinates
from .hadamard import hadamard_entries, hadamard_transform

_CHUNK_ENTRIES = 1 << 22  # entries of H held at a time for sparse rows


class SRHT(NamedTuple):
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
    of D it is 0: every draw is an exact isometry.

    Attributes
    ----------
    signs : array of shape (n_features,)
        The signs s.
    indices : integer array of shape (n_components,)
        The coordinates that P takes, in the natural order of H.

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
    def n_features(self) -> int:
        """Number of columns that `apply` expects."""
        return self.signs.shape[0]

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.indices.shape[0]

    @classmethod
    def init(
        cls,
        key: jax.Array,
        n_features: int,
        n_components: int,
        dtype: DTypeLike = jnp.float32,
        *,
        balanced: bool = True,
    ) -> "SRHT":
        """Draw a sketch.

        Parameters
        ----------
        key : jax.random key
            Decides the draw, together with the sizes.
        n_features, n_components : int
            Width of the input and of the sketch, at least 1.
        dtype : dtype
            Of the stored signs: the dtype the rows will have. The draw does not depend on it.

        balanced : bool
            Whether coordinates are sampled without replacement; if not, independently.

        Returns
        -------
        SRHT

        Raises
        ------
        ValueError
            If a size is below 1.
        """
        check_sizes("SRHT.init", n_features, n_components)
        signs_key, indices_key = jax.random.split(key)
        return cls(
            signs=random_signs(signs_key, n_features, dtype),
            indices=sample_coordinates(
                indices_key, padded_size(n_features), n_components, balanced
            ),
        )

    def apply(self, X: Rows) -> jax.Array | np.ndarray:
        """Sketch every row.

        Parameters
        ----------
        X : array or SciPy CSR matrix of shape (n, n_features), floating
            Dense rows are handled by JAX, also under ``jax.jit``; sparse ones on the host in
            O((nnz + number of non-empty columns) n_components), without densifying them
            (other sparse formats are converted).

        Returns
        -------
        jax.Array or ndarray (sparse input) of shape (n, n_components), dtype of `X`

        Raises
        ------
        ValueError
            If `X` is not a matrix with n_features columns.
        """
        check_width("SRHT.apply", X, self.n_features)
        if sparse.issparse(X):
            return _apply_sparse(self, sparse.csr_array(X))
        return _apply_dense(self, jnp.asarray(X))


@jax.jit
def _apply_dense(sketch: SRHT, X: jax.Array) -> jax.Array:
    """Transform the signed, padded rows and take the sampled coordinates."""
    signed = X * jnp.asarray(sketch.signs, X.dtype)
    n_padding = padded_size(sketch.n_features) - sketch.n_features
    padded = jnp.pad(signed, ((0, 0), (0, n_padding)))
    return hadamard_transform(padded)[:, sketch.indices] * sketch.n_components**-0.5


def _apply_sparse(sketch: SRHT, X: sparse.csr_array) -> np.ndarray:
    """Multiply by the rows of the sketch matrix that non-empty columns need, chunk by chunk."""
    signs = np.asarray(sketch.signs, X.dtype) * sketch.n_components**-0.5
    indices = np.asarray(sketch.indices)
    columns = X.tocsc()
    active = np.flatnonzero(np.diff(columns.indptr))
    step = max(1, _CHUNK_ENTRIES // sketch.n_components)
    Z = np.zeros((len(X.indptr) - 1, sketch.n_components), X.dtype)
    for start in range(0, len(active), step):
        chunk = active[start : start + step]
        entries = hadamard_entries(chunk, indices, padded_size(sketch.n_features))
        Z += columns[:, chunk] @ (signs[chunk, None] * entries)
    return Z


def padded_size(n_features: int) -> int:
    """Return the smallest power of two that is at least `n_features`."""
    return 1 << (n_features - 1).bit_length()
