"""What must hold between the parts of a loaded value: shapes, ranges of indices, widths.

A type has a rule here, or in `map_checks`, where a wrong array would give wrong numbers or an error
later on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ntksketch.data.blocks import budget_bytes
from ntksketch.dynamics import KernelRows, SpectralFlow
from ntksketch.estimators import (
    ChannelStandardizer,
    ExactNTKRegressor,
    FlipAverage,
    GradientFlow,
    NTKClassifier,
    NTKFeatures,
    NTKRegressor,
    StreamingRidge,
    ZCAWhitening,
)
from ntksketch.estimators.flow_on_rows import FeatureRows, takes_blocks
from ntksketch.estimators.streaming_ridge import _Choice
from ntksketch.linear import GramAccumulator, RidgeSolution
from ntksketch.linear.penalty import Penalty
from ntksketch.solvers import ConvergenceStatus, KernelRidgeSolution
from ntksketch.storage.map_checks import check_kernel, check_map, check_value, require
from ntksketch.storage.schema import LARGEST

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
    value._validate_params()
    budget_bytes(value.working_memory)
    own = "n_features_in_", "feature_map_", "architecture_", "method_", "_n_features_out"
    found = [name in vars(value) for name in own]
    if not any(found):
        return
    require(all(found), "it is fitted in part")
    _check_names(value)
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


@check_value.register
def _(value: ChannelStandardizer) -> None:
    require(value.mean_.shape == value.scale_.shape, "means and scales differ in number")
    require((value.scale_ > 0).all(), "a scale is not above zero")
    require(value.shape is None or value.shape[-1] == len(value.mean_), "channels have no mean")


@check_value.register
def _(value: ZCAWhitening) -> None:
    d = value.n_features_in_
    require(value.mean_.shape == (d,), f"{d} columns have {len(value.mean_)} means")
    require(value.whitening_.shape == (d, d), "the whitening has another shape")
    require(value.regularization > 0, f"the regulariser is {value.regularization}")


@check_value.register
def _(value: FlipAverage) -> None:
    width = vars(value.transformer_).get("n_features_in_")
    require(width is not None, "its features are not fitted")
    given = value.shape
    require(given is None or math.prod(given) == width, f"the shape {given} is not of {width}")


@check_value.register
def _(value: ConvergenceStatus) -> None:
    require(value.residuals.shape == value.iterations.shape, "the systems differ in number")
    require(value.iterations.size and (value.iterations >= 0).all(), "there are no iterations")
    require(0 < value.tolerance < 1, f"the tolerance is {value.tolerance}")


@check_value.register
def _(value: KernelRidgeSolution) -> None:
    n, found = value.X.shape[0], value.dual_coef.shape
    require(found[0] == n, f"{n} rows have coefficients of shape {found}")
    require(np.shape(value.intercept) == found[1:], "intercepts are not one for each target")
    systems = 1, *(found[1:] or (1,))
    require(value.status.residuals.shape == systems, "systems are not one for each target")
    require(value.alphas > 0, f"the penalty is {value.alphas}")


@check_value.register
def _(value: ExactNTKRegressor) -> None:
    _check_parameters(value)
    solution = value.solution_
    check_kernel(
        solution.architecture, solution.kind, solution.X, vars(value)["n_features_in_"], "rows"
    )
    require(solution.architecture == value.architecture_, "the solution is of another network")
    for name in ("dual_coef", "intercept"):
        shown = getattr(value, f"{name}_")
        require(np.array_equal(shown, getattr(solution, name)), f"{name}_ is not the solution's")


@check_value.register
def _(value: SpectralFlow) -> None:
    p, (r, k) = len(value.spectrum), value.loadings.shape
    shapes = {"vectors": (p, p), "energies": (r,)}
    for name, shape in shapes.items():
        found = getattr(value, name).shape
        require(found == shape, f"{name} has shape {found}, expected {shape}")
    require(0 < p >= r, f"{r} of {p} eigenvalues are above zero")
    require((value.moving > 0).all(), "the rank is not that of the eigenvalues")
    require((np.diff(value.spectrum) >= 0).all(), "eigenvalues are not in their order")
    require(
        k and value.floor >= 0 and (value.energies >= 0).all(), "a part of the loss is negative"
    )


@check_value.register
def _(value: KernelRows) -> None:
    n = len(value)
    require(n and (np.diff(value.used) > 0).all() and value.used[0] >= 0, "rows are not in order")
    require((value.target is None) == (value.X is None), "there are rows or a kernel, and not both")
    require(value.X is None or value.X.shape[0] == n, "rows and their numbers differ")
    if value.weight is not None:
        good = value.weight.shape == (n,) and (value.weight > 0).all()
        require(good, "weights are not one for each row, all above zero")


@check_value.register
def _(value: GradientFlow) -> None:
    _check_parameters(value)
    rate = value._check_parameters()
    rows, flow, width = value._rows, value._flow, vars(value)["n_features_in_"]
    blocks = isinstance(rows, FeatureRows)
    require(blocks == takes_blocks(value), "the rows are of another kernel")
    require(blocks or flow is not None, "there is no solution")
    if isinstance(rows, KernelRows):
        p = len(rows)
        if rows.target is None:
            require(rows.used[-1] < width, "rows have numbers that the kernel has no column for")
        else:
            check_kernel(rows.target, rows.kind, rows.X, width, "rows")
    else:
        p = width if rows.feature_map is None else rows.feature_map.n_components
        drawn = None if rows.feature_map is None else value.features_
        if drawn is not None:
            check_map(rows.feature_map, width)
        require(rows.penalty is None or len(rows.penalty) == p, "the penalty has another size")
    shapes = [_shape_of_sums(value)] if blocks else []
    if flow is not None:
        shapes.append((len(flow.basis), flow.loadings.shape[1]))
        flow.require_rate(rate)
    k = shapes[0][1]
    require(set(shapes) == {(p, k)}, f"sums and solution of {p} columns have shapes {shapes}")
    require(k == 1 or not value._single_target, f"one target has a solution of {k}")


def _shape_of_sums(value: GradientFlow) -> tuple[int, int]:
    """Return the numbers of features and targets of a flow's sums, checked."""
    if value._sums is not None:
        require(not value._sums.fit_intercept, "the sums are about means")
        return value._sums._shape or (0, 0)
    rest = value._rest
    m, k = rest["moment"].shape
    shapes = {"moment": (m, k), "y_squares": (k,), "z_mean": (m,), "y_mean": (k,), "numbers": (4,)}
    found = {name: array.shape for name, array in rest.items()}
    require(found == shapes, f"sums have shapes {found}, expected {shapes}")
    total_weight, n_rows, epsilon, fit_intercept = rest["numbers"]
    good = total_weight > 0 and 0 <= n_rows < LARGEST and 0 < epsilon < 1 and not fit_intercept
    require(good, "a number of the sums is out of its range")
    return m, k


def _check_parameters(estimator: Any) -> None:
    estimator._validate_params()
    budget_bytes(estimator.working_memory)
    _check_names(estimator)


def _check_names(estimator: Any) -> None:
    names = getattr(estimator, "feature_names_in_", None)
    n = estimator.n_features_in_
    require(names is None or len(names) == n, f"{n} columns have other numbers of names")
