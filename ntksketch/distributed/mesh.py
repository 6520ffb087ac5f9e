"""The pass over the rows on a mesh of devices: each takes its share and sums where it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from ntksketch.data.blocks import budget_bytes, format_bytes, pad_rows, rows_per_block
from ntksketch.data.source import Source
from ntksketch.features.base import FeatureMap
from ntksketch.features.statistics import weighted_blocks
from ntksketch.features.transform import check_block, place, within_range
from ntksketch.kernels.gram import precision
from ntksketch.linear import GramAccumulator
from ntksketch.linear.rows import PIECE_ROWS
from ntksketch.linear.sums import GramSums

_AXIS = "rows"
_COPIES = 3  # a block's features, with what makes them, and the block's before
_TILES = 8  # along a side of the Gram matrix, of which one triangle is computed
_IN_FLIGHT = 2  # blocks that wait on the devices
_SHARE = 0.5  # of a device's free memory that a pass may take


def row_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Lay out devices along one axis, over which rows are shared out.

    Parameters
    ----------
    devices : sequence of jax.Device, default=None
        The devices; None takes all of this process.

    Returns
    -------
    jax.sharding.Mesh
        A mesh with the axis "rows".

    Examples
    --------
    >>> from ntksketch.distributed import row_mesh
    >>> row_mesh().axis_names
    ('rows',)
    """
    return Mesh(np.array(jax.local_devices() if devices is None else devices), (_AXIS,))


def gather_on_mesh(
    feature_map: FeatureMap,
    source: Source,
    accumulator: GramAccumulator,
    *,
    sample_weight: NDArray | None = None,
    working_memory: float | None = None,
    progress: Callable[[int], object] | None = None,
    mesh: Mesh | None = None,
) -> GramAccumulator:
    """Add the features of all rows to statistics, in place, computed on a mesh of devices.

    Each device has a copy of the map, computes the features of its share of a block and adds them
    to sums of its own, in float64; they meet once, at the end. Products run in the rows' dtype at
    full precision, one triangle of the Gram matrix alone. The sums are taken about the means
    of the first block, which makes up for the means that the host's sums subtract block by block.

    Parameters
    ----------
    feature_map : FeatureMap
        The map.
    source : Source
        Rows with targets.
    accumulator : GramAccumulator
        Takes the sums.
    sample_weight : ndarray of shape (n,), default=None
        Weights, which count as repetitions.
    working_memory : float, default=None
        Budget in MiB for a block on devices that do not tell their memory; None reads
        scikit-learn's setting.
    progress : callable, default=None
        Called with the number of rows of each block that is on its way.
    mesh : jax.sharding.Mesh, default=None
        Devices of one axis; None takes all devices of this process.

    Returns
    -------
    GramAccumulator
        The accumulator itself.

    Raises
    ------
    MemoryError
        If the sums do not fit on a device.
    ValueError
        If features are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> features = ntk.NTKFeatures(n_components=16, random_state=0).fit(X)
    >>> source = ntk.data.open_source(X, targets=X[:, 0])
    >>> sums = ntk.distributed.gather_on_mesh(
    ...     features.feature_map_, source, ntk.linear.GramAccumulator()
    ... )
    >>> sums.finalise().gram.shape
    (16, 16)
    """
    mesh = row_mesh() if mesh is None else mesh
    share = block_rows(feature_map, source.dtype, mesh, working_memory)
    maps = _copies(feature_map, mesh, source.dtype)
    sums = shift = None
    waiting, begun = [], 0
    for X, y, weight in weighted_blocks(source, share * mesh.size, sample_weight):
        check_block(feature_map, X, begun)
        begun += X.shape[0]
        Z = _features(maps, X, share, mesh, source.dtype)
        Y, weights = _beside(X.shape[0], y, weight, share, mesh)
        with jax.enable_x64(True):
            if sums is None:
                shift = _means(mesh, accumulator.fit_intercept, Z, Y, weights)
                sums = _zeros(mesh, Z.shape[1], Y.shape[1])
            sums, done = _add(mesh, sums, Z, Y, weights, *shift)
        waiting.append(done)
        if len(waiting) > _IN_FLIGHT:
            jax.block_until_ready(waiting.pop(0))
        if progress is not None:
            progress(X.shape[0])
    if sums is None or shift is None:
        return accumulator
    with jax.enable_x64(True):
        total = [np.asarray(value) for value in _meet(mesh, sums)]
        shift = [np.asarray(value, np.float64) for value in shift]
    found = GramSums(*total)
    if found.n_rows == 0:
        return accumulator
    # an upper triangle in C's order is the lower one in Fortran's, which is how the host adds
    epsilon = float(np.finfo(source.dtype).eps)
    return accumulator.add_sums(found._replace(gram=found.gram.T), *shift, epsilon=epsilon)


def fits(n_components: int, dtype: Any, mesh: Mesh) -> bool:
    """Return whether the sums of so many components have room on each device."""
    return all(_budget(d) > _sums_bytes(n_components, dtype) for d in mesh.devices.flat)


def block_rows(
    feature_map: FeatureMap, dtype: Any, mesh: Mesh, working_memory: float | None
) -> int:
    """Return how many rows of a block a device takes: a power of two.

    Raises
    ------
    MemoryError
        If the sums leave no room for a row on a device.
    """
    row_bytes = _COPIES * feature_map.row_entries * np.dtype(dtype).itemsize
    room = min(_budget(device) for device in mesh.devices.flat)
    if np.isinf(room):
        share = budget_bytes(working_memory) / mesh.size / 2**20
        return rows_per_block(row_bytes, share, most=PIECE_ROWS)
    n_components = feature_map.n_components
    left = room - _sums_bytes(n_components, dtype)
    if left < row_bytes:
        raise MemoryError(
            f"the sums of {n_components:,} components need "
            f"{format_bytes(_sums_bytes(n_components, dtype))} on each device, and a pass may take "
            f"{format_bytes(room)} there; take fewer components"
        )
    return rows_per_block(row_bytes, left / 2**20, most=PIECE_ROWS)


def _budget(device: Any) -> float:
    """Return the bytes that a pass may take on a device; infinity if it does not tell."""
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return np.inf
    return _SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def _sums_bytes(n_components: int, dtype: Any) -> float:
    """Return the bytes of the Gram matrix in float64 and of its tiles' products."""
    return float(n_components) ** 2 * 8 * (1 + 4 / _TILES**2)


def _copies(feature_map: FeatureMap, mesh: Mesh, dtype: Any) -> list[FeatureMap]:
    """Return the map once for each device, with its arrays there."""
    params = feature_map.params
    with precision(dtype):
        return [
            feature_map._replace(params=jax.tree.map(lambda a, d=d: place(a, dtype, d), params))
            for d in mesh.devices.flat
        ]


def _features(maps: list[FeatureMap], X: Any, share: int, mesh: Mesh, dtype: Any) -> jax.Array:
    """Return the features of a block, rows shared out over the devices, before they are there."""
    X, scales = within_range(maps[0], X)
    height = share * mesh.size
    X = pad_rows(X, height)
    if scales is not None:
        scales = np.pad(scales, (0, height - len(scales)), constant_values=1)[:, None]
    parts = []
    with precision(dtype):
        for i, (copy, device) in enumerate(zip(maps, mesh.devices.flat, strict=True)):
            part = slice(i * share, (i + 1) * share)
            Z = jax.device_put(copy.apply(X[part]), device)
            parts.append(Z if scales is None else Z * jax.device_put(scales[part], device))
        shape = (height, parts[0].shape[1])
        return jax.make_array_from_single_device_arrays(shape, _rows(mesh), parts)


def _beside(
    n: int, y: NDArray, weight: NDArray | None, share: int, mesh: Mesh
) -> tuple[jax.Array, jax.Array]:
    """Return targets and weights of a block on the devices; the rows that pad it weigh nothing."""
    height = share * mesh.size
    Y = np.zeros((height, 1 if y.ndim == 1 else y.shape[1]))
    Y[:n] = y[:, None] if y.ndim == 1 else y
    weights = np.zeros(height)
    weights[:n] = 1.0 if weight is None else weight
    with jax.enable_x64(True):
        return jax.device_put(Y, _rows(mesh)), jax.device_put(weights, _rows(mesh))


def _rows(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(_AXIS))


def _zeros(mesh: Mesh, m: int, k: int) -> GramSums:
    """Return sums of nothing, on each device its own: with an axis along which they lie."""
    shapes = GramSums((), (), (m,), (k,), (m, m), (m, k), (k,))
    n = mesh.size
    return GramSums(*(jnp.zeros((n, *s), jnp.float64, device=_rows(mesh)) for s in shapes))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _means(
    mesh: Mesh, centre: bool, Z: jax.Array, Y: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the weighted means of a block, the features' in their dtype; zeros if not wanted."""

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=PartitionSpec(_AXIS),
        out_specs=PartitionSpec(),
    )
    def means(Z, Y, weights):
        total = jax.lax.psum(weights.sum(), _AXIS)
        scale = jnp.where(total > 0, weights / jnp.where(total > 0, total, 1.0), 0.0)
        z_mean = jax.lax.psum(_dot(scale.astype(Z.dtype), Z), _AXIS)
        return z_mean, jax.lax.psum(_dot(scale, Y), _AXIS)

    z_mean, y_mean = means(Z, Y, weights)
    return (z_mean, y_mean) if centre else (jnp.zeros_like(z_mean), jnp.zeros_like(y_mean))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _add(
    mesh: Mesh,
    sums: GramSums,
    Z: jax.Array,
    Y: jax.Array,
    weights: jax.Array,
    z_shift: jax.Array,
    y_shift: jax.Array,
) -> tuple[GramSums, jax.Array]:
    """Add a block to the sums of each device; the second result is there when they are."""
    shared, everywhere = PartitionSpec(_AXIS), PartitionSpec()

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(shared, shared, shared, shared, everywhere, everywhere),
        out_specs=(shared, shared),
    )
    def add(sums, Z, Y, weights, z_shift, y_shift):
        root = jnp.sqrt(weights)[:, None]
        z, y = (Z - z_shift) * root.astype(Z.dtype), (Y - y_shift) * root
        gram = _add_upper_triangle(sums.gram[0], z)
        positive = (weights > 0).sum()
        added = GramSums(
            n_rows=sums.n_rows + positive,
            weight=sums.weight + weights.sum(),
            z=sums.z + _dot(root.astype(z.dtype).T, z),
            y=sums.y + _dot(root.T, y),
            gram=gram[None],
            moment=sums.moment + _dot(z.T, y.astype(z.dtype)),
            y_squares=sums.y_squares + (y * y).sum(axis=0),
        )
        return added, positive[None]

    return add(sums, Z, Y, weights, z_shift, y_shift)


def _add_upper_triangle(gram: jax.Array, z: jax.Array) -> jax.Array:
    """Add the products of columns, tile by tile, and all of one shape: each shape compiles."""
    m = len(gram)
    side = -(-m // min(_TILES, m))
    # the last tiles begin where they still fit; what they share with others is added once
    starts = np.minimum(side * np.arange(-(-m // side)), m - side)
    rows, columns = np.triu_indices(len(starts))
    fresh = side * np.arange(len(starts)) - starts  # rows of a tile that an earlier one has
    inner = jnp.arange(side)

    def add(i: Any, gram: jax.Array) -> jax.Array:
        at = jnp.asarray(starts)[jnp.asarray(rows)[i]], jnp.asarray(starts)[jnp.asarray(columns)[i]]
        left, right = (jax.lax.dynamic_slice_in_dim(z, start, side, 1) for start in at)
        skip = [jnp.asarray(fresh)[jnp.asarray(part)[i]] for part in (rows, columns)]
        new = (inner >= skip[0])[:, None] & (inner >= skip[1])
        product = jnp.where(new, _dot(left.T, right), 0).astype(gram.dtype)
        old = jax.lax.dynamic_slice(gram, at, (side, side))
        return jax.lax.dynamic_update_slice(gram, old + product, at)

    return jax.lax.fori_loop(0, len(rows), add, gram)


@functools.partial(jax.jit, static_argnums=0)
def _meet(mesh: Mesh, sums: GramSums) -> GramSums:
    """Return the sums over all devices."""

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=PartitionSpec(_AXIS), out_specs=PartitionSpec()
    )
    def meet(sums):
        return jax.tree.map(lambda value: jax.lax.psum(value[0], _AXIS), sums)

    return meet(sums)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
