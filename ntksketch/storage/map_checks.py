"""What must hold between the parts of loaded sketches, kernels and maps.

Feature maps are also traced without computing anything, which finds every shape that does not fit.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ntksketch import sketches
from ntksketch.architectures import Activation, Dense, Input, Serial
from ntksketch.architectures.shapes import check_shapes, input_shape
from ntksketch.architectures.spatial import all_layers
from ntksketch.features.gegenbauer import GegenbauerMap
from ntksketch.features.gradient import GradientParams, GradientPlan
from ntksketch.features.layered_sketch import LayeredPolynomial
from ntksketch.features.layered_sketch import Plan as LayeredPlan
from ntksketch.features.layerwise import goes_by_layer
from ntksketch.features.layerwise_map import LayerwiseMap
from ntksketch.features.nystroem import AppliedNystroem, NystroemMap
from ntksketch.features.powers import Monomials
from ntksketch.features.powers import Params as PowersParams
from ntksketch.features.random_features import RandomFeatureMap
from ntksketch.features.resampled import ResampledMap
from ntksketch.features.sketched_map import SketchedMap
from ntksketch.kernels import ZonalKernel, resolve_target
from ntksketch.kernels.gram import precision
from ntksketch.kernels.inputs import check_sequences, with_input
from ntksketch.kernels.zonal import NetworkKernel, is_zonal
from ntksketch.sketches.base import FactorwiseSketch
from ntksketch.sketches.srht import padded_size
from ntksketch.storage.errors import ModelFileError
from ntksketch.storage.schema import LARGEST
from ntksketch.storage.unsaved import UnsavedFunction

_ROUNDING = 1e-6
_ROWS = 2  # of the block that maps are traced with


def require(condition: Any, message: str) -> None:
    """Raise a ModelFileError unless a condition holds."""
    if not condition:
        raise ModelFileError(message)


def require_range(indices: NDArray[Any], stop: int, name: str) -> None:
    """Raise a ModelFileError unless all indices are at least 0 and below `stop`."""
    inside = not indices.size or 0 <= int(indices.min()) <= int(indices.max()) < stop
    require(inside, f"{name} has numbers outside of 0 to {stop - 1}")


@functools.singledispatch
def check_value(value: Any) -> None:
    """Raise an error if the parts of a value do not fit each other.

    Parameters
    ----------
    value : object
        An instance of a registered type, each field of which is as the registry has it.
    """


# ---------------------------------------------------------------------------------------------
# Sketches
# ---------------------------------------------------------------------------------------------


@check_value.register
def _(value: sketches.SRHT) -> None:
    require(value.signs.size and value.indices.size, "a sketch has no columns")
    require_range(np.asarray(value.indices), padded_size(len(value.signs)), "indices")


@check_value.register
def _(value: sketches.CountSketch) -> None:
    columns = np.asarray(value.columns)
    require(columns.size >= value.signs.size > 0, "columns are fewer than signs")
    require_range(columns, columns.size, "columns")


@check_value.register
def _(value: sketches.OSNAP) -> None:
    buckets = np.asarray(value.buckets)
    require(buckets.size and value.scales.size, "a sketch has no columns")
    require_range(np.where(buckets < 0, -1 - buckets, buckets), len(value.scales), "buckets")


@check_value.register
def _(value: FactorwiseSketch) -> None:
    widths = {factor.n_components for factor in value.factors}
    require(len(widths) == 1, "factors differ in their numbers of columns")


@check_value.register
def _(value: sketches.ComplexTensorSRHT) -> None:
    require(len(value.units) == len(value.indices), "units and indices differ in number")
    require(len({len(indices) for indices in value.indices}) == 1, "indices differ in length")
    for units, indices in zip(value.units, value.indices, strict=True):
        require(len(units) == 2 and units.size and indices.size, "units have not two rows")
        require_range(np.asarray(indices), padded_size(units.shape[1]), "indices")


@check_value.register
def _(value: Monomials) -> None:
    require(value.columns.shape[1:] == value.weights.shape, "columns and weights differ in shape")


# ---------------------------------------------------------------------------------------------
# Kernels
# ---------------------------------------------------------------------------------------------


@check_value.register
def _(value: Serial) -> None:
    """Refuse windows far larger than the image: what traces them takes as many steps."""
    first = value.layers[0]
    most = 2 * max(first.shape[:-1]) + 3 if isinstance(first, Input) else LARGEST
    for layer in all_layers(value):
        size = getattr(layer, "filter_size", 1)
        largest = max(size) if isinstance(size, tuple) else size
        require(largest <= most, f"a filter of {largest} is far larger than its image")


@check_value.register
def _(value: ZonalKernel) -> None:
    if isinstance(value, UnsavedFunction):
        return
    if isinstance(value, NetworkKernel | LayeredPolynomial):
        require(is_zonal(value.architecture), "it is no zonal kernel")
    with np.errstate(all="ignore"):
        values = value(np.array([-1.0, 0.0, 1.0]))
    require(np.isfinite(values).all(), "it has values that are infinite")
    most = values[-1] * (1 + _ROUNDING)
    require((np.abs(values) <= most).all(), "its value at a cosine of 1 is not the largest")


# ---------------------------------------------------------------------------------------------
# Feature maps
# ---------------------------------------------------------------------------------------------


def check_map(feature_map: Any, width: int) -> None:
    """Raise an error if a map does not take rows of `width` columns or its parts do not fit."""
    if isinstance(feature_map, NystroemMap | AppliedNystroem):
        _check_nystroem(feature_map, width)
        return
    if isinstance(feature_map, ResampledMap):
        params, kept, weights = feature_map.params
        check_map(feature_map.inner._replace(params=params), width)
        require(len(kept) == len(weights) > 0, "columns kept and weights differ in number")
        require_range(kept, feature_map.inner.n_components, "the columns kept")
        return
    if isinstance(feature_map, GegenbauerMap):
        _check_gegenbauer(feature_map, width)
    elif isinstance(feature_map, RandomFeatureMap):
        _check_random_features(feature_map)
    elif isinstance(feature_map, SketchedMap):
        _check_sketched(feature_map, width)
    elif isinstance(feature_map, LayerwiseMap):
        _check_layerwise(feature_map, width)
    dtypes = {a.dtype for a in jax.tree.leaves(feature_map.params) if a.dtype.kind == "f"}
    require(len(dtypes) <= 1, "its arrays differ in dtype")
    rows = jax.ShapeDtypeStruct((_ROWS, width), np.float32)

    def apply(params: Any, X: Any) -> Any:
        return feature_map._replace(params=params).apply(X)

    try:
        with precision(np.float32):
            params = jax.tree.map(_placed, feature_map.params)
            features = jax.eval_shape(apply, params, rows)
    except Exception as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelFileError(f"its arrays do not fit rows of {width} columns: {cause}") from error
    expected = _ROWS, feature_map.n_components
    fits = features.shape == expected and features.dtype == np.float32
    require(fits, f"its arrays give {features.shape[1:]} features, expected {expected[1:]}")


def _placed(array: Any) -> jax.ShapeDtypeStruct:
    dtype = np.float32 if array.dtype.kind == "f" else array.dtype
    return jax.ShapeDtypeStruct(array.shape, dtype)


def _behind(first: Dense | None, width: int) -> int:
    """Return the number of columns behind a first layer."""
    return width + bool(first is not None and first.bias_std)


def _check_gegenbauer(feature_map: GegenbauerMap, width: int) -> None:
    plan = feature_map.plan
    inputs = _behind(plan.first, width)
    structured = plan.method.directions == "structured"
    expected = 1 << (inputs - 1).bit_length() if structured else inputs
    require(plan.dim == expected, f"directions have dimension {plan.dim}, expected {expected}")
    require(min(plan.coefficients) >= 0, "a coefficient is negative")
    require(plan.layout.constant <= 1, "there is more than one constant")
    require(sum(plan.layout) <= plan.n_components, "the parts have more columns than all")
    projection = feature_map.params.projection
    if projection is not None:
        require(structured and plan.coefficients[1] > 0, "a projection has no part in the kernel")
        shape = len(projection.signs), len(projection.indices)
        expected = inputs, plan.layout.projected
        require(shape == expected, f"the projection has shape {shape}, expected {expected}")
        k = feature_map.params.columns.shape[1]
        require(k == plan.layout.principal, f"there are {k} principal columns, not as in the plan")


def _check_random_features(feature_map: RandomFeatureMap) -> None:
    plan, params = feature_map
    require(len(params) == len(plan.layouts) + 1, "layouts and arrays differ in number")
    sites = [x for x in all_layers(plan.architecture) if isinstance(x, Activation)]
    require(len(plan.layouts) == len(sites), "activations and layouts differ in number")
    for layout, drawn in zip(plan.layouts, params[:-1], strict=True):
        steps = 0 if drawn.steps is None else drawn.steps.shape[1]
        expected, found = (layout.rectified, layout.steps), (drawn.relu.shape[1], steps)
        require(found == expected, f"numbers of directions are {found}, expected {expected}")
        require(layout.rectified > 0, "there is no direction")


def _check_gradient(plan: GradientPlan, params: Any, width: int) -> None:
    require(isinstance(params, GradientParams), "plan and arrays are of two methods")
    columns = math.prod(plan.row)
    require(columns == width, f"the network takes {columns} numbers, and rows have {width}")
    found = [array.shape for array in params.weights]
    expected = [parameter.shape for _, parameter in plan.parameters]
    require(found == expected, "the weights have other shapes than the network's")
    given = len(params.sketches)
    wanted = len(expected) if plan.kind == "ntk" and plan.product != "exact" else 0
    require(given == wanted, f"there are {given} sketches, expected {wanted}")


def _check_sketched(feature_map: SketchedMap, width: int) -> None:
    plan, params = feature_map
    if isinstance(plan, GradientPlan):
        _check_gradient(plan, params, width)
    elif isinstance(plan, LayeredPlan):
        require(min(*plan.value, *plan.slope) >= 0, "a coefficient is negative")
    else:
        require(isinstance(params, PowersParams), "plan and arrays are of two methods")
        width = _behind(plan.first, width)
        require(min(plan.coefficients) >= 0, "a coefficient is negative")
        for power, monomials in params.exact.items():
            require(len(monomials.columns) == power, "monomials are of another power")
            require_range(monomials.columns, width, "the columns of monomials")


def _check_layerwise(feature_map: LayerwiseMap, width: int) -> None:
    plan, params = feature_map
    resolve_target(plan.architecture, plan.kind)
    require(goes_by_layer(plan.architecture), "it has no features layer by layer")
    check_shapes(plan.architecture)
    columns = math.prod(input_shape(plan.architecture))
    require(columns == width, f"images have {columns} numbers, and rows {width}")
    require(min(plan.readout) >= 0, "a factor of the readout is negative")
    sites = [x for x in all_layers(plan.architecture) if isinstance(x, Activation)]
    require(len(params) == len(sites), "activations and landmarks differ in number")


def _check_nystroem(feature_map: NystroemMap | AppliedNystroem, width: int) -> None:
    plan = feature_map.plan
    params = feature_map if isinstance(feature_map, NystroemMap) else feature_map.params
    landmarks, n = params.landmarks, params.landmarks.shape[0]
    check_kernel(plan.target, plan.kind, landmarks, width, "landmarks")
    require(0 < n <= plan.n_components, "landmarks are more than components, or none")
    if isinstance(feature_map, NystroemMap):
        whitening = vars(feature_map).get("_whitening")
        if whitening is not None:
            require(whitening[0].shape == (n, n), "the whitening has another shape")
            require(whitening[0].dtype == landmarks.dtype, "the whitening has another dtype")
        return
    squares, linear = feature_map.params.squares, feature_map.params.linear
    require(squares.shape == (n,), "squares have another shape")
    dtypes = {array.dtype for array in (landmarks, squares, *linear)}
    require(len(dtypes) == 1, "its arrays differ in dtype")
    shapes = [matrix.shape for matrix in linear]
    if len(shapes) == 1:
        require(shapes == [(n, n)], "the whitening has another shape")
        return
    rank = shapes[0][1]
    require(shapes == [(n, rank), (rank, n)], "the deflation has another shape")
    require(plan.n_components == n, "the columns are not one for each landmark")


def check_kernel(target: Any, kind: str, X: Any, width: int, name: str) -> None:
    """Raise an error if there is no kernel of rows X with rows of `width` columns."""
    require(resolve_target(target, kind) == (target, kind), "it is no kernel")
    columns = X.shape[1]
    require(columns == width, f"{name} have {columns} columns, and rows {width}")
    _, given = with_input(target, X, name)
    check_sequences(target, given, name)
