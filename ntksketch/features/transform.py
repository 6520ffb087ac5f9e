"""Features of many rows, in blocks of one compiled shape."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp

from ntksketch.data.blocks import (
    BLOCK_ROWS,
    block_slices,
    memory_budget,
    pad_rows,
    padded_rows,
    require_memory,
    rows_per_block,
    store_behind,
)
from ntksketch.features.base import FeatureMap
from ntksketch.kernels.gram import precision, stretched
from ntksketch.kernels.inputs import check_sequences

_IN_FLIGHT = 2  # blocks at a time: one computed while the one before is read back

_MOST_ROWS = 8192  # of a block on an accelerator, which small ones leave idle
_CACHED = 72 * 2**20  # bytes that a block of twice the usual rows may count, to be the faster one


def transform_blocks(
    feature_map: FeatureMap,
    X: Any,
    working_memory: float | None = None,
    *,
    out: np.ndarray | None = None,
    start: int = 0,
) -> np.ndarray:
    """Apply a feature map to all rows, block by block.

    Parameters
    ----------
    feature_map : FeatureMap
        The map.
    X : ndarray or CSR of shape (n, d)
        Validated rows, float32 or float64.
    working_memory : float, default=None
        Budget in MiB for temporaries, beside the result and a copy of the map's arrays; None reads
        scikit-learn's setting.
    out : ndarray of shape (n, n_components), default=None
        Takes the features; None makes an array.
    start : int
        Number of the first row, for messages.

    Returns
    -------
    ndarray of shape (n, n_components)
        Features in the rows' dtype.

    Raises
    ------
    ValueError
        If the map is for sequences, and a row is none, or if a row is so long that its features
        overflow.

    Notes
    -----
    Rows so short that their squares underflow are multiplied by a power of two, and their features
    divided by it, where the features of scaled rows are the rows' features, scaled.
    """
    check_block(feature_map, X, start)
    n, n_components = X.shape[0], feature_map.n_components
    itemsize = X.dtype.itemsize
    if out is None:
        require_memory(
            float(n) * n_components * itemsize,
            f"the feature matrix of {n:,} x {n_components:,} {X.dtype} entries",
            "transform and use the rows in blocks, or take fewer components",
        )
    row_bytes = itemsize * feature_map.row_entries
    rows = rows_per_block(_IN_FLIGHT * row_bytes, working_memory, most=_most_rows(row_bytes))
    height = padded_rows(n, rows)
    Z = np.empty((n, n_components), X.dtype) if out is None else out
    with precision(X.dtype):
        with memory_budget(working_memory):  # a map may compute them when they are first needed
            params = feature_map.params
        params = jax.tree.map(lambda a: place(a, X.dtype), params)
        on_device = feature_map._replace(params=params)

        def computed(part: slice) -> tuple[slice, Any, jax.Array]:
            block, scales = within_range(feature_map, X[part])
            return part, scales, on_device.apply(pad_rows(block, height))

        blocks = map(computed, block_slices(n, rows))
        store_behind(blocks, functools.partial(_store, Z, start))
    return Z


def _most_rows(row_bytes: float) -> int:
    """Return the largest number of rows of a block: those of which each takes the least time."""
    if jax.default_backend() != "cpu":
        return _MOST_ROWS
    twice = 2 * BLOCK_ROWS
    return twice if twice * row_bytes <= _CACHED else BLOCK_ROWS


def check_block(feature_map: FeatureMap, X: Any, start: int = 0) -> None:
    """Raise ValueError if a map is for sequences with their lengths, and a row is none."""
    while hasattr(feature_map, "inner"):  # columns of another map
        feature_map = feature_map.inner  # pyright: ignore[reportAttributeAccessIssue]
    plan: Any = getattr(feature_map, "plan", None)
    check_sequences(getattr(plan, "target", None), X, start=start)


def within_range(feature_map: FeatureMap, X: Any) -> tuple[Any, np.ndarray | None]:
    """Return rows whose squares do not underflow, and what their features are to be multiplied by.

    None is for features that are those of the rows given, which are all of them where a map does
    not scale with its rows.
    """
    return stretched(X) if feature_map.is_homogeneous else (X, None)


def _store(
    Z: np.ndarray, start: int, part: slice, scales: np.ndarray | None, features: jax.Array
) -> None:
    values = np.asarray(features)[: part.stop - part.start]
    finite = np.isfinite(values)
    if not finite.all():
        row = start + part.start + int(finite.all(axis=1).argmin())
        raise ValueError(
            f"X has rows so long that their features overflow {Z.dtype}, such as row {row}; scale "
            "the rows or the standard deviations down"
        )
    Z[part] = values if scales is None else values * scales[:, None]


def place(array: Any, dtype: Any, device: Any = None) -> Any:
    """Put an array on a device, floating ones in the rows' dtype; CSR stays on the host."""
    if sp.issparse(array):
        return array.astype(dtype, copy=False)
    array = np.asarray(array)
    floating = np.issubdtype(array.dtype, np.floating)
    return jax.device_put(array.astype(dtype, copy=False) if floating else array, device)
