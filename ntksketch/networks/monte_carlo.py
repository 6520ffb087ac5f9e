"""Kernels of finite networks, averaged over draws of their parameters."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from ntksketch.architectures import Architecture
from ntksketch.architectures.layers import check_architecture
from ntksketch.architectures.spatial import whole
from ntksketch.data.blocks import block_slices, pad_rows, padded_rows, rows_per_block
from ntksketch.data.precision import precision
from ntksketch.networks.cost import cost_of
from ntksketch.networks.empirical import check_finite, empirical_ntk
from ntksketch.networks.network import NetworkFunction, as_rows, init_network
from ntksketch.networks.plan import row_shape


@dataclass(frozen=True)
class MonteCarloKernel:
    """A kernel of finite networks as a mean over draws; made by :func:`monte_carlo_kernel`.

    Attributes
    ----------
    mean : ndarray of shape (n, p)
        The mean.
    standard_error : ndarray of shape (n, p)
        Standard errors of its entries, from the spread of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> found = ntk.monte_carlo_kernel(ntk.mlp(depth=1), np.eye(2), width=64, n_draws=5)
    >>> found.mean.shape, bool((found.standard_error > 0).all())
    ((2, 2), True)
    """

    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]


def monte_carlo_kernel(
    architecture: Architecture,
    X: Any,
    Y: Any = None,
    *,
    width: int,
    n_draws: int,
    kind: str = "ntk",
    init: str = "gaussian",
    n_outputs: int = 1,
    random_state: int | np.random.RandomState | None = None,
    working_memory: float | None = None,
) -> MonteCarloKernel:
    """Kernel of networks of finite width, the mean over draws with its standard error.

    It tends to :func:`kernel` as the width grows, its bias falling as 1/width and the spread of
    one draw as its root.

    Parameters
    ----------
    architecture : Architecture
        The network.
    X : array-like of shape (n, d), (n, height, width, channels) or (n, length, channels)
        Rows. float32 is computed in float32, everything else in float64.
    Y : array-like, default=None
        Other rows; None means X.
    width : int
        Units, or channels, of every hidden layer.
    n_draws : int
        Number of networks, at least 2.
    kind : {"ntk", "nngp"}, default="ntk"
        Empirical NTK in the NTK parameterization, or products of outputs.
    init : {"gaussian", "orthogonal"}, default="gaussian"
        How weights are drawn, as in :func:`init_network`.
    n_outputs : int, default=1
        Outputs of each network, over which its kernel is averaged: they share its hidden layers,
        and lessen the spread of the NNGP at little cost.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.
    working_memory : float, default=None
        Budget in MiB, as in :func:`empirical_ntk`.

    Returns
    -------
    MonteCarloKernel
        ``mean`` and ``standard_error``, float64 arrays of shape (n, p).

    Raises
    ------
    MemoryError, TypeError, ValueError
        As :func:`init_network` and :func:`empirical_ntk` do.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> arch, X = ntk.mlp(depth=1), np.eye(2)
    >>> found = ntk.monte_carlo_kernel(arch, X, width=256, n_draws=20, random_state=0)
    >>> bool((abs(found.mean - ntk.kernel(arch, X)) < 4 * found.standard_error + 0.01).all())
    True
    """
    architecture = check_architecture(architecture)
    n_draws = whole("n_draws", n_draws, least=2)
    if kind not in ("ntk", "nngp"):
        raise ValueError(f"kind must be one of ('ntk', 'nngp'), got {kind!r}")
    X = as_rows(X)
    Y = None if Y is None else as_rows(Y, "Y")
    single = X.dtype == np.float32 and (Y is None or Y.dtype == np.float32)
    dtype = np.dtype(np.float32 if single else np.float64)
    draw = functools.partial(
        init_network,
        architecture,
        width=width,
        input_shape=row_shape(architecture, X.shape[1:]),
        init=init,
        n_outputs=n_outputs,
        dtype=dtype,
    )
    f = NetworkFunction(architecture)
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    mean = squares = 0.0
    for count, key in enumerate(jax.random.split(jax.random.key(seed), n_draws), start=1):
        params = draw(key)
        if kind == "ntk":
            found = empirical_ntk(f, params, X, Y, working_memory=working_memory)
        else:
            left = _outputs(f, params, X, working_memory)
            right = left if Y is None else _outputs(f, params, Y, working_memory)
            found = left @ right.T / left.shape[1]
            check_finite(found, "a product of outputs")
        change = found.astype(np.float64) - mean
        mean = mean + change / count
        squares = squares + change * (found - mean)
    error = np.sqrt(np.asarray(squares) / (n_draws - 1) / n_draws)
    return MonteCarloKernel(np.asarray(mean, np.float64), np.asarray(error, np.float64))


def _outputs(
    f: NetworkFunction, params: Any, X: Any, working_memory: float | None
) -> NDArray[np.float64]:
    """Return the outputs of rows, in blocks that fit a budget."""
    dtype = jax.tree.leaves(params)[0].dtype
    X = np.asarray(X, dtype)
    with precision(dtype):
        cost = cost_of(f, params, jax.ShapeDtypeStruct((1, *X.shape[1:]), dtype))
    block = rows_per_block(cost.entries * dtype.itemsize, working_memory)
    size = padded_rows(len(X), block)
    parts = [
        np.asarray(f(params, pad_rows(X[part], size)))[: part.stop - part.start]
        for part in block_slices(len(X), block)
    ]
    return np.concatenate(parts).astype(np.float64)
