"""The Walsh-Hadamard transform as a few small matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.linalg import hadamard

_FACTOR_BITS = 7  # factors of 128 x 128: large enough for the GEMM, small enough for its cost


@jax.jit
def hadamard_transform(X: ArrayLike) -> jax.Array:
    r"""Multiply rows by the Hadamard matrix of their width, ``X @ H``, without forming H.

    H is Sylvester's matrix, symmetric, unnormalised and in natural order:
    :math:`H_{ij} = (-1)^{\langle i, j \rangle}`, the inner product of the binary digits of i and j;
    :math:`H H^\top = D I`. It is a Kronecker product of small Hadamard matrices, so the transform
    is one matrix product for each factor, with a transpose in between. On a CPU that is about
    twice as fast as the butterfly of log2 D additions, which is bound by memory.

    Parameters
    ----------
    X : array of shape (n, D), floating
        Rows; D is a power of two.

    Returns
    -------
    jax.Array of shape (n, D), dtype of `X`
        The product ``X @ H``.

    Raises
    ------
    ValueError
        If `X` is not a matrix, or D is not a power of two.

    References
    ----------
    B. J. Fino and V. R. Algazi (1976). Unified matrix treatment of the fast Walsh-Hadamard
    transform. doi:10.1109/TC.1976.1674569

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> hadamard_transform(jnp.array([[1.0, 2.0, 3.0, 4.0]])).tolist()
    [[10.0, -2.0, -4.0, 0.0]]
    """
    Z = _transformed_digits(X)
    return Z.transpose(0, 2, 1).reshape(len(Z), Z.shape[1] * Z.shape[2])


@jax.jit
def sampled_hadamard_transform(X: ArrayLike, indices: ArrayLike) -> jax.Array:
    """Return some coordinates of the transform, ``(X @ H)[:, indices]``, without the others' moves.

    Parameters
    ----------
    X : array of shape (n, D), floating
        Rows; D is a power of two.
    indices : integer array of shape (m,)
        Coordinates below D.

    Returns
    -------
    jax.Array of shape (n, m), dtype of `X`
        The coordinates.

    Raises
    ------
    ValueError
        If `X` is not a matrix, or D is not a power of two.
    """
    Z, indices = _transformed_digits(X), jnp.asarray(indices)
    n, low, high = Z.shape
    return Z.reshape(n, low * high)[:, indices % low * high + indices // low]


def _transformed_digits(X: ArrayLike) -> jax.Array:
    """Return the transform with its leading digits last, of shape (n, low, high)."""
    X = jnp.asarray(X)
    if X.ndim != 2 or X.shape[1].bit_count() != 1:
        raise ValueError(
            f"hadamard_transform: X has shape {X.shape}, expected (n, D) with D a power of two."
        )
    n, D = X.shape
    Z = X
    for size in _factor_sizes(D):
        # the digits transformed before move to the front, the next ones to the end
        digits = Z.transpose(0, 2, 1) if Z.ndim == 3 else Z
        rows = digits.reshape(n * D // size, size)
        factor = jnp.asarray(hadamard(size), X.dtype)
        Z = jnp.matmul(rows, factor, precision=jax.lax.Precision.HIGHEST)
        Z = Z.reshape(n, D // size, size)
    return Z


def hadamard_entries(rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    """Entries ``H[rows][:, columns]`` of the Hadamard matrix of order `size`, on the host.

    Parameters
    ----------
    rows, columns : integer arrays of shape (r,) and (c,)
        Indices below `size`, a power of two.
    size : int
        Order of H. Memory beyond the result is O(sqrt(size) (sqrt(size) + c)) bytes.

    Returns
    -------
    ndarray of shape (r, c), int8
        Values -1 and +1.
    """
    low = 1 << (size.bit_length() // 2)
    high = size // low
    high_table = hadamard(high).astype(np.int8)[:, columns // low]
    low_table = hadamard(low).astype(np.int8)[:, columns % low]
    return high_table[rows // low] * low_table[rows % low]


def _factor_sizes(D: int) -> list[int]:
    """Split D, a power of two, into near-equal powers of two of at most 2**_FACTOR_BITS."""
    bits = D.bit_length() - 1
    n_factors = max(1, -(-bits // _FACTOR_BITS))
    return [1 << (bits + i) // n_factors for i in range(n_factors)]
