"""What must hold between the parts of a loaded value: shapes, ranges of indices, widths.

A type has a rule here where a wrong array would give wrong numbers or an error later on. Feature
maps are also traced without computing anything, which finds every shape that does not fit.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ntksketch import sketches
from ntksketch.architectures import Activation, Dense
from ntksketch.architectures.shapes import check_shapes, input_shape
from ntksketch.architectures.spatial import all_layers
from ntksketch.data.blocks import budget_bytes
from ntksketch.estimators import NTKClassifier, NTKFeatures, NTKRegressor, StreamingRidge
from ntksketch.estimators.streaming_ridge import _Choice
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
from ntksketch.linear import GramAccumulator, RidgeSolution
from ntksketch.linear.penalty import Penalty
from ntksketch.sketches.base import FactorwiseSketch
from ntksketch.sketches.srht import padded_size
from ntksketch.storage.errors import ModelFileError
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
    require(resolve_target(plan.target, plan.kind) == plan[:2], "it is no kernel")
    params = feature_map if isinstance(feature_map, NystroemMap) else feature_map.params
    landmarks = params.landmarks
    _, given = with_input(plan.target, landmarks, "landmarks")
    check_sequences(plan.target, given, "landmarks")
    n, columns = landmarks.shape
    require(columns == width, f"landmarks have {columns} columns, and rows {width}")
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


# ---------------------------------------------------------------------------------------------
# Ridge regression and estimators
# ---------------------------------------------------------------------------------------------


@check_value.register
def _(value: GramAccumulator) -> None:
    m, k = value._shape or (0, 0)
    shapes = {"_gram": (m, m), "_moment": (m, k), "_y_squares": (k,), "_z_mean": (m,)}
    for name, shape in {**shapes, "_y_mean": (k,)}.items():
        found = getattr(value, name).shape
        require(found == shape, f"{name} has shape {found}, expected {shape}")
    require(value._gram.flags.f_contiguous, "_gram is in another order")
    require(value.total_weight >= 0 and 0 < value._epsilon < 1, "a number is out of its range")


@check_value.register
def _(value: RidgeSolution) -> None:
    a, _, k = value.coef.shape
    shapes = {"alphas": (a,), "intercept": (a, k), "residual_squares": (a, k)}
    if value.degrees_of_freedom is not None:
        shapes["degrees_of_freedom"] = (a,)
    for name, shape in shapes.items():
        found = getattr(value, name).shape
        require(found == shape, f"{name} has shape {found}, expected {shape}")
    require(a > 0, "there is no penalty")


@check_value.register
def _(value: _Choice) -> None:
    shape = value.solution.alphas.shape
    for scores in (value.gcv, value.holdout):
        require(scores is None or scores.shape == shape, "scores and penalties differ in number")
    several = value.gcv is not None or value.holdout is not None
    require(several or (len(shape) == 1 and shape[0] == 1), "penalties have no scores")
    _ = value.index


@check_value.register
def _(value: Penalty) -> None:
    shape = value.packed.shape
    require(shape == (len(value), len(value)) and len(value), f"the penalty has shape {shape}")
    require((value.packed.diagonal() > 0).all(), "the penalty's factor is singular")


@check_value.register
def _(value: StreamingRidge) -> None:
    value._check_parameters()
    _check_names(value)
    m, k = value._accumulator._shape or (0, 0)
    width = vars(value)["n_features_in_"]
    require(width == m, f"{width} features have statistics of {m}")
    require(k == 1 or not value._single_target, f"one target has statistics of {k}")
    if value._choice is not None:
        shape = value._choice.solution.coef.shape[1:]
        require(shape == (m, k), f"coefficients have shape {shape}, expected {(m, k)}")
    if value._penalty is not None:
        shape = value._penalty.packed.shape
        require(shape == (m, m), f"the penalty has shape {shape}, expected {(m, m)}")


@check_value.register
def _(value: NTKFeatures) -> None:
    _check_parameters(value)
    n, found = value._n_features_out, value.feature_map_.n_components
    require(n == found, f"{n} features come from a map of {found}")
    check_map(value.feature_map_, vars(value)["n_features_in_"])


@check_value.register(NTKRegressor)
@check_value.register(NTKClassifier)
def _(value: Any) -> None:
    _check_parameters(value)
    width, m = value.n_features_in_, value.ridge_.n_features_in_
    found = value.features_.n_features_in_
    require(width == found, f"rows of {width} columns have features of {found}")
    if value._map is not value.features_.feature_map_:
        check_map(value._map, width)
    found = value._map.n_components
    require(m == found, f"a ridge of {m} features has a map of {found}")
    if isinstance(value, NTKClassifier):
        n, k = len(value.classes_), value.ridge_._accumulator._moment.shape[1]
        require(k == (1 if n == 2 else n), f"{n} classes have {k} targets")
        require(value.ridge_._single_target == (n == 2), f"{n} classes have one target")


def _check_parameters(estimator: Any) -> None:
    estimator._validate_params()
    budget_bytes(estimator.working_memory)
    _check_names(estimator)


def _check_names(estimator: Any) -> None:
    names = getattr(estimator, "feature_names_in_", None)
    n = estimator.n_features_in_
    require(names is None or len(names) == n, f"{n} columns have other numbers of names")
