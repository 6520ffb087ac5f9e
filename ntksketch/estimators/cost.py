"""What a fit will take, told before it starts."""

from __future__ import annotations

import time
from typing import NamedTuple

import jax
import numpy as np

from ntksketch.data.blocks import available_memory, budget_bytes, format_bytes, format_seconds
from ntksketch.data.source import Source
from ntksketch.features.statistics import READ_SHARE

_MATRICES = 6  # of float64 that the statistics and their solve take at most
_SIDE = 2048  # of the product that tells how fast this machine is: smaller ones are slower
_ROUNDS = 3
# in units of float32 products, from what the stages multiply: landmarks are centroids of eight
# times as many rows; penalties are tried by some eight factorisations of m^3 / 3, in float64
_LANDMARK_PRODUCTS = 16
_FACTORISATIONS = 8
# beside products: for a row to be read, checked and moved, and for the kernel's function and the
# mean of each of its features; measured on 3 x 10^5 to 4 x 10^6 rows
_ROW_SECONDS, _ENTRY_SECONDS = 7e-6, 7e-9


class FitCost(NamedTuple):
    """An estimate for a ridge regression on features.

    Attributes
    ----------
    memory : float
        Bytes that the statistics, their solve and blocks of rows may take.
    seconds : float or None
        Wall time, from how fast a product of matrices is on this machine; None where the number of
        rows is not known, or an accelerator takes the sums.
    """

    memory: float
    seconds: float | None

    def __str__(self) -> str:
        text = f"up to {format_bytes(self.memory)} of memory, of {format_bytes(available_memory())}"
        return text if self.seconds is None else f"{text}; about {format_seconds(self.seconds)}"


def fit_cost(source: Source, n_components: int, working_memory: float | None = None) -> FitCost:
    """Estimate memory and time of a fit with the default method.

    Parameters
    ----------
    source : Source
        The rows.
    n_components : int
        Number of features, m.
    working_memory : float, default=None
        Budget in MiB for blocks; None reads scikit-learn's setting.

    Returns
    -------
    FitCost
        Prints as a short text.
    """
    m = n_components
    memory = 8.0 * _MATRICES * m**2 + READ_SHARE * budget_bytes(working_memory)
    n = source.shape[0]
    if n is None or jax.default_backend() != "cpu":
        return FitCost(memory, None)
    width = source.row_bytes / source.dtype.itemsize
    single = source.dtype == np.float32
    products = n * m * (m + 2 * width) * (1 if single else 2)
    products += _LANDMARK_PRODUCTS * m**2 * width + _FACTORISATIONS * 2 * m**3 / 3
    rest = n * (_ROW_SECONDS + _ENTRY_SECONDS * m)
    return FitCost(memory, products * product_seconds() + rest)


def product_seconds() -> float:
    """Return the seconds that an addition or multiplication takes in a large float32 product."""
    A = np.ones((_SIDE, _SIDE), np.float32)
    best = np.inf
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        _ = A @ A
        best = min(best, time.perf_counter() - start)
    return best / (2 * _SIDE**3)
