"""What exact kernels cost, told before they are computed."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import jax
import numpy as np
from numpy.typing import DTypeLike

from ntksketch.architectures import Architecture
from ntksketch.architectures.shapes import check_shapes, input_layer
from ntksketch.architectures.spatial import all_layers, is_spatial, whole
from ntksketch.data.blocks import format_bytes, format_seconds, tile_side
from ntksketch.kernels.gram import (
    entry_bytes,
    kernel_block,
    precision,
    resolve_target,
    squared_norms,
)
from ntksketch.kernels.pixels import pairs_of_pixels
from ntksketch.kernels.zonal import ZonalKernel

DEFAULT_SECONDS = 3600.0
_MOST_PAIRS = 2**22  # of pixels in the tile that is timed: a second or so
_SLOWEST = 5e-7  # seconds for a pair of pixels and a layer: slow machines take a third


@dataclass(frozen=True)
class KernelCost:
    """An estimate for an exact kernel matrix; made by :func:`kernel_cost`.

    Attributes
    ----------
    entries : int
        Entries that are computed: one triangle where both sets of rows are the same.
    pixel_pairs : int
        Pairs of pixels, or of steps, that an entry takes at the first layer; 1 for other networks.
    memory : float
        Bytes of the matrix.
    seconds : float
        Wall time, from how long a tile takes on this machine.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> print(ntk.KernelCost(5_000_000_000, 1024**2, 8e10, 9e8))
    5,000,000,000 entries of 1,048,576 pairs of pixels; 74.5 GiB; about 10,417 days
    """

    entries: int
    pixel_pairs: int
    memory: float
    seconds: float

    def __str__(self) -> str:
        pairs = "" if self.pixel_pairs == 1 else f" of {self.pixel_pairs:,} pairs of pixels"
        size, duration = format_bytes(self.memory), format_seconds(self.seconds)
        return f"{self.entries:,} entries{pairs}; {size}; about {duration}"


def kernel_cost(
    architecture: Architecture | ZonalKernel,
    n_rows: int,
    n_columns: int | None = None,
    *,
    n_features: int | None = None,
    kind: str = "ntk",
    dtype: DTypeLike = np.float64,
    working_memory: float | None = None,
) -> KernelCost:
    """Estimate what :func:`kernel` takes, without any rows: a tile of random ones is timed.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        What has the kernel. Networks on images say what a row is: ``shape=`` or :class:`Input`.
    n_rows : int
        Number of rows X.
    n_columns : int, default=None
        Number of other rows Y; None for the kernel of X with itself.
    n_features : int, default=None
        Number of columns of the rows. Networks on images say it themselves.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    dtype : {float32, float64}, default=float64
        Type of the rows.
    working_memory : float, default=None
        Budget in MiB for temporaries; None reads scikit-learn's setting of the same name.

    Returns
    -------
    KernelCost
        Prints as a short text. The first call for a kernel compiles, which takes some seconds.

    Raises
    ------
    MemoryError
        If the temporaries of not even one entry fit.
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> cost = ntk.kernel_cost(ntk.cnn(depth=1, shape=(4, 4, 1)), 1000)
    >>> cost.entries, cost.pixel_pairs, cost.memory
    (500500, 256, 8000000.0)
    """
    architecture, kind = resolve_target(architecture, kind)
    n = whole("n_rows", n_rows)
    p = n if n_columns is None else whole("n_columns", n_columns)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    if is_spatial(architecture):
        width = input_layer(cast(Architecture, architecture)).n_features
        check_shapes(cast(Architecture, architecture))
        if n_features not in (None, width):
            raise ValueError(f"n_features must be {width} for {architecture}, got {n_features!r}")
    elif n_features is None:
        raise ValueError(f"n_features must say how many columns the rows of {architecture} have")
    else:
        width = whole("n_features", n_features)
    pairs = _pixel_pairs(architecture)
    entries = n * p if n_columns is not None else n * (n + 1) // 2
    most = max(math.isqrt(_MOST_PAIRS // pairs), 1)
    side = tile_side(entry_bytes(architecture, dtype), working_memory, most=min(most, 1024))
    seconds = entries * _entry_seconds(architecture, kind, width, dtype, side)
    return KernelCost(entries, pairs, float(n) * p * dtype.itemsize, seconds)


def require_time(
    architecture: Architecture | ZonalKernel,
    n_rows: int,
    n_columns: int | None,
    kind: str,
    dtype: Any,
    working_memory: float | None,
    max_seconds: float,
) -> None:
    """Raise ValueError if a kernel of a network on images takes too long, by estimate.

    Nothing is timed where that cannot be, however slow the machine.
    """
    if isinstance(max_seconds, bool) or not isinstance(max_seconds, Real) or not max_seconds > 0:
        raise ValueError(
            f"max_seconds must be a positive number, math.inf for no limit; got {max_seconds!r}"
        )
    if not is_spatial(architecture) or max_seconds == math.inf:
        return
    network = cast(Architecture, architecture)
    pairs = n_rows * (n_rows if n_columns is None else n_columns) * _pixel_pairs(network)
    if pairs * len(all_layers(network)) * _SLOWEST <= max_seconds:
        return
    cost = kernel_cost(
        network, n_rows, n_columns, kind=kind, dtype=dtype, working_memory=working_memory
    )
    if cost.seconds > max_seconds:
        raise ValueError(
            f"the exact kernel of {network} takes {cost}, by a tile timed on this machine, more "
            f"than max_seconds={max_seconds:g}: give fewer rows or smaller images, take "
            "NTKFeatures, whose cost is linear in the rows, or set max_seconds=math.inf"
        )


def _pixel_pairs(target: Architecture | ZonalKernel) -> int:
    return pairs_of_pixels(cast(Architecture, target)) if is_spatial(target) else 1


@functools.lru_cache(maxsize=64)
def _entry_seconds(
    target: Architecture | ZonalKernel, kind: str, width: int, dtype: np.dtype, side: int
) -> float:
    """Return the seconds that an entry of a tile takes once it is compiled."""
    X = np.random.default_rng(0).standard_normal((side, width)).astype(dtype)
    squares = squared_norms(X)
    best = math.inf
    with precision(dtype):
        for _ in range(3):  # the first compiles
            start = time.perf_counter()
            jax.block_until_ready(kernel_block(target, kind, X, X, squares, squares))
            best = min(best, time.perf_counter() - start)
    return best / side**2
