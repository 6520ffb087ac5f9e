"""Exact kernel matrices, tile by tile."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import require_memory, tile_side
from ntksketch.kernels.cost import DEFAULT_SECONDS, require_time
from ntksketch.kernels.gram import (
    check_expansions,
    check_rows,
    entry_bytes,
    fill,
    kernel_block,
    kernel_diagonal,
    precision,
    prepare_rows,
    resolve_target,
    squared_norms,
)
from ntksketch.kernels.inputs import with_input, with_inputs
from ntksketch.kernels.zonal import ZonalKernel


def kernel(
    architecture: Architecture | ZonalKernel,
    X: Any,
    Y: Any = None,
    *,
    kind: str = "ntk",
    working_memory: float | None = None,
    max_seconds: float = DEFAULT_SECONDS,
) -> np.ndarray:
    r"""Exact infinite-width kernel matrix between rows.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        The network; a :class:`~ntksketch.kernels.zonal.ZonalKernel` f gives
        :math:`|x||y| f(\cos(x, y))` and carries its own `kind`.
    X : array-like or sparse matrix of shape (n, d)
        Rows. float32 is computed in float32, everything else in float64. Networks on images take
        arrays of shape (n, height, width, channels), those on signals (n, length, channels) or a
        list of n sequences (steps, channels) of different lengths, see :func:`pad_sequences`.
    Y : array-like or sparse matrix of shape (p, d), default=None
        Other rows; None means X, of which only one triangle is then computed.
    kind : {"ntk", "nngp"}, default="ntk"
        Neural Tangent Kernel, or the covariance of the network at initialisation.
    working_memory : float, default=None
        Budget in MiB for temporaries beside the result; None reads scikit-learn's setting of the
        same name.
    max_seconds : float, default=3600
        How long the kernel of a network on images or signals may take, as :func:`kernel_cost`
        estimates it; ``math.inf`` sets no limit. Other kernels are not timed.

    Returns
    -------
    ndarray of shape (n, p)
        The kernel, in the dtype of the rows. Its diagonal (for Y = None) is that of
        :func:`kernel_diag`, without rounding from the matrix product, and it is exactly symmetric.
        A row of zeros has the kernel that its biases give it, zero without biases.

    Raises
    ------
    MemoryError
        Before the start, if the result cannot fit, or if one pair of rows takes more than the
        budget; the message has the size.
    TypeError, ValueError
        If the architecture, the kind or the rows are not as described, or if the rows are so long
        that their kernel overflows. Before the start, if it would take more than `max_seconds`.

    Notes
    -----
    The arc-cosine functions are exact in float64. In float32 they are short polynomials in
    :math:`\sqrt{1-|t|}` with errors at float32's rounding; near t = 1 and t = -1 the kernel itself
    turns the rounding of t into an error of the order of its square root. Cosines within 8 rounding
    errors of 1 and -1 therefore count as those of parallel rows, whose kernel is then exact.

    The kernel of rows so short that their squares underflow is that of longer ones, scaled, where
    it is homogeneous: without biases. Beside a bias such rows are as good as zeros.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), arXiv:1806.07572; Cho & Saul (2009), "Kernel methods for deep
    learning"; Zandieh et al. (2021), arXiv:2106.07880.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.eye(2)
    >>> ntk.kernel(ntk.mlp(depth=1), X).round(4)
    array([[2.    , 0.3183],
           [0.3183, 2.    ]])
    """
    architecture, kind = resolve_target(architecture, kind)
    symmetric = Y is None
    architecture, X, Y = with_inputs(architecture, X, Y)
    X = check_rows(X)
    Y = X if symmetric else check_rows(Y, "Y")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X and Y must have the same number of columns, got {X.shape[1]} and {Y.shape[1]}"
        )
    dtype = np.result_type(X.dtype, Y.dtype)
    n, p = X.shape[0], Y.shape[0]
    require_memory(
        float(n) * p * dtype.itemsize,
        f"the exact kernel matrix of {n:,} x {p:,} {dtype} entries",
        "give fewer rows, ask for blocks of rows (Y=...), or use NTKFeatures, which never forms it",
    )
    tile = tile_side(entry_bytes(architecture, dtype), working_memory)
    require_time(
        architecture, n, None if symmetric else p, kind, dtype, working_memory, max_seconds
    )
    prepare = functools.partial(prepare_rows, architecture, kind, working_memory=working_memory)
    left = prepare(X, dtype, "X")
    right = left if symmetric else prepare(Y, dtype, "Y")
    norms = left.squares if symmetric else np.concatenate([left.squares, right.squares])
    check_expansions(architecture, norms)
    K = np.empty((n, p), dtype)
    with precision(dtype):
        block = functools.partial(kernel_block, architecture, kind)
        fill(K, block, left.X, right.X, left.squares, right.squares, tile, symmetric)
    K[left.short] *= left.scales[left.short, None]
    K[:, right.short] *= right.scales[right.short]
    if symmetric:
        np.fill_diagonal(K, left.diagonal)
    return K


def kernel_diag(
    architecture: Architecture | ZonalKernel,
    X: Any,
    *,
    kind: str = "ntk",
    working_memory: float | None = None,
) -> np.ndarray:
    """Kernel of every row with itself, exact and in O(n d), or in O(n) pairs of images.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        The network.
    X : array-like or sparse matrix of shape (n, d)
        Rows, or images, signals or sequences as :func:`kernel` takes them.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    working_memory : float, default=None
        Budget in MiB for the temporaries of images and signals; None reads scikit-learn's setting
        of the same name.

    Returns
    -------
    ndarray of shape (n,)
        The diagonal of ``kernel(architecture, X)``, in the dtype of the rows.

    Raises
    ------
    MemoryError
        If one image takes more than the budget.
    TypeError, ValueError
        As in :func:`kernel`.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> ntk.kernel_diag(ntk.mlp(depth=3), 2 * np.eye(2))
    array([16., 16.])
    """
    architecture, kind = resolve_target(architecture, kind)
    architecture, X = with_input(architecture, X)
    X = check_rows(X)
    return kernel_diagonal(architecture, kind, X, squared_norms(X), "X", working_memory)
