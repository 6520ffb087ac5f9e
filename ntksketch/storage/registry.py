"""All types that a file may name, and what their fields may hold: one table.

A name in a file is looked up here and nowhere else, so that loading imports nothing and runs no
code but the library's own. Names are those of the format: they stay when a class moves.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from ntksketch import architectures as layers
from ntksketch import sketches
from ntksketch.architectures import Activation, Architecture, Dense, Serial
from ntksketch.architectures.spatial import PADDINGS
from ntksketch.estimators import NTKClassifier, NTKFeatures, NTKRegressor, StreamingRidge
from ntksketch.estimators.streaming_ridge import _Choice
from ntksketch.features import (
    Auto,
    Gegenbauer,
    LayerwiseNystroem,
    Method,
    Nystroem,
    PolynomialSketch,
    RandomFeatures,
    Resampled,
    gegenbauer,
    layered_sketch,
    layerwise_map,
    layout,
    nystroem,
    powers,
    products,
    random_features,
    resampled,
    sketched_map,
)
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.zonal import LegendreSeries, NetworkKernel, Polynomial
from ntksketch.kernels.zonal.exponential import GammaExponential
from ntksketch.linear import GramAccumulator, RidgeSolution, SolveStatus
from ntksketch.linear.penalty import Penalty
from ntksketch.sketches.base import ProductSketch, VectorSketch
from ntksketch.storage.schema import (
    Array,
    But,
    DictOf,
    Each,
    Entry,
    Float64,
    Labels,
    ListOf,
    Maybe,
    OneOf,
    Pair,
    Rows,
    Strings,
    Whole,
)
from ntksketch.storage.unsaved import UnsavedFunction

KIND = OneOf(("ntk", "nngp"))
NUMBER = (int, float)
NUMBERS = Each(float, least=1)
SIZE, COUNT = Whole(1), Whole(0)
SIZES = SIZE, Each(SIZE, 1, 2)
MATRIX, VECTOR, INDICES = Array("f", 2), Array("f", 1), Array("i", 1)
FILTERS = tuple(Array("f", ndim) for ndim in (2, 3, 4))
MATRIX64, VECTOR64 = Float64(ndim=2), Float64(ndim=1)
KERNEL = Architecture, But(ZonalKernel, UnsavedFunction)
LINEAR = VectorSketch, products.Identity
PRODUCT = products.SketchedProduct, products.ExactProduct
COLUMNS = Each(Pair((SIZE, SIZE)))
SCALAR = bool, int, float, str

MAPS = (
    random_features.RandomFeatureMap,
    gegenbauer.GegenbauerMap,
    sketched_map.SketchedMap,
    resampled.ResampledMap,
    nystroem.NystroemMap,
    nystroem.AppliedNystroem,
    layerwise_map.LayerwiseMap,
)

FEATURE_PARAMETERS = {
    "architecture": (Architecture, ZonalKernel, None),
    "method": (str, Method),
    "n_components": int,
    "kind": str,
    "working_memory": (*NUMBER, None),
    "random_state": (int, None),
}
RIDGE_PARAMETERS = {
    "alphas": (
        str,
        *NUMBER,
        Array("f", 1),
        Array("i", 1),
        Array("f", 0),
        Array("i", 0),
        ListOf(NUMBER),
        Each(NUMBER),
    ),
    "fit_intercept": bool,
}
SEEN = {
    "n_features_in_": SIZE,
    "feature_names_in_": Maybe(Strings()),
}
PREDICTOR = {
    **FEATURE_PARAMETERS,
    **RIDGE_PARAMETERS,
    **SEEN,
    "features_": NTKFeatures,
    "ridge_": StreamingRidge,
    "_map": MAPS,
    "fit_seconds_": DictOf(str, float),
}

_TABLE: dict[str, tuple[type, dict[str, Any]]] = {
    # architectures
    "Dense": (Dense, {"weight_std": float, "bias_std": float}),
    "Serial": (Serial, {"layers": Each(Architecture, least=1)}),
    "Input": (layers.Input, {"shape": Each(SIZE, 2, 3), "lengths": bool}),
    "Conv": (
        layers.Conv,
        {
            "filter_size": SIZES,
            "stride": SIZES,
            "padding": OneOf(PADDINGS),
            "weight_std": float,
            "bias_std": float,
        },
    ),
    "AvgPool": (layers.AvgPool, {"window_size": SIZES, "stride": (*SIZES, None)}),
    "GlobalAvgPool": (layers.GlobalAvgPool, {}),
    "Flatten": (layers.Flatten, {}),
    "Recurrent": (
        layers.Recurrent,
        {
            "weight_std": float,
            "input_std": float,
            "bias_std": float,
            "state_std": float,
            "activation": Activation,
        },
    ),
    "LastStep": (layers.LastStep, {}),
    "Reverse": (layers.Reverse, {}),
    "Residual": (layers.Residual, {"branch": Serial, "shortcut": (Serial, None)}),
    "Relu": (layers.Relu, {}),
    "LeakyRelu": (layers.LeakyRelu, {"slope": float}),
    "Erf": (layers.Erf, {}),
    "Gelu": (layers.Gelu, {}),
    "Sin": (layers.Sin, {"amplitude": float, "frequency": float, "phase": float}),
    # zonal kernels
    "zonal.Network": (NetworkKernel, {"architecture": Architecture, "kind": KIND}),
    "zonal.GammaExponential": (GammaExponential, {"c": float, "gamma": float}),
    "zonal.Polynomial": (Polynomial, {"coefficients": NUMBERS}),
    "zonal.Legendre": (LegendreSeries, {"dim": SIZE, "coefficients": NUMBERS}),
    "zonal.Layered": (
        layered_sketch.LayeredPolynomial,
        {"architecture": Architecture, "kind": KIND, "value": NUMBERS, "slope": NUMBERS},
    ),
    "zonal.UnsavedFunction": (UnsavedFunction, {}),
    # methods
    "Auto": (Auto, {}),
    "Nystroem": (Nystroem, {"landmarks": (str, Rows()), "n_candidates": (SIZE, None)}),
    "LayerwiseNystroem": (
        LayerwiseNystroem,
        {"hidden_components": (SIZE, Each(SIZE), None)},
    ),
    "Gegenbauer": (
        Gegenbauer,
        {"max_degree": (SIZE, None), "linear": str, "directions": str},
    ),
    "PolynomialSketch": (
        PolynomialSketch,
        {
            "degree": SIZE,
            "variant": str,
            "coefficients": str,
            "base": str,
            "complex_to_real": bool,
            "hidden_components": (SIZE, None),
        },
    ),
    "RandomFeatures": (
        RandomFeatures,
        {
            "sampling": str,
            "product": str,
            "variance_reduction": bool,
            "relu_fraction": (float, None),
            "n_steps": (SIZE, None),
            "hidden_components": (SIZE, None),
        },
    ),
    "Resampled": (
        Resampled,
        {
            "method": (str, Method),
            "n_candidates": (SIZE, None),
            "scheme": str,
            "ridge": (*NUMBER, None),
        },
    ),
    # sketches
    "CountSketch": (sketches.CountSketch, {"signs": VECTOR, "columns": Array("i", 2)}),
    "OSNAP": (sketches.OSNAP, {"buckets": Array("i", 2), "scales": VECTOR}),
    "SRHT": (sketches.SRHT, {"signs": VECTOR, "indices": INDICES}),
    "TensorSketch": (
        sketches.TensorSketch,
        {"factors": Each(sketches.CountSketch, least=1)},
    ),
    "TensorSRHT": (sketches.TensorSRHT, {"factors": Each(sketches.SRHT, least=1)}),
    "ComplexTensorSRHT": (
        sketches.ComplexTensorSRHT,
        {"units": Each(MATRIX, least=1), "indices": Each(INDICES, least=1)},
    ),
    "TreeSketch": (
        sketches.TreeSketch,
        {
            "leaves": Each((VectorSketch, None), least=1),
            "nodes": DictOf(Pair((COUNT, SIZE)), ProductSketch),
        },
    ),
    # random features
    "random-features.Layout": (
        layout.ActivationLayout,
        dict.fromkeys(("rectified", "linear", "constant", "signed", "steps"), COUNT),
    ),
    "random-features.Plan": (
        layout.Plan,
        {
            "method": RandomFeatures,
            "architecture": Architecture,
            "kind": KIND,
            "layouts": Each(layout.ActivationLayout, least=1),
            "width": SIZE,
            "n_components": SIZE,
            "row_entries": SIZE,
        },
    ),
    "random-features.Activation": (
        random_features.ActivationParams,
        {
            "relu": MATRIX,
            "linear": (*LINEAR, None),
            "steps": (MATRIX, None),
            "constant": (*LINEAR, None),
            "product": (*PRODUCT, None),
        },
    ),
    "random-features.Map": (
        random_features.RandomFeatureMap,
        {
            "plan": layout.Plan,
            "params": Each((random_features.ActivationParams, sketches.CountSketch, None), least=2),
        },
    ),
    "SketchedProduct": (
        products.SketchedProduct,
        {"sketch": (sketches.TensorSRHT, sketches.TensorSketch)},
    ),
    "ExactProduct": (products.ExactProduct, {}),
    "Identity": (products.Identity, {}),
    # Gegenbauer features
    "gegenbauer.Layout": (
        gegenbauer.Layout,
        dict.fromkeys(("constant", "principal", "projected", "random"), COUNT),
    ),
    "gegenbauer.Plan": (
        gegenbauer.GegenbauerPlan,
        {
            "method": Gegenbauer,
            "first": (Dense, None),
            "dim": SIZE,
            "coefficients": Each(float, least=2, most=65),  # whose signs are searched
            "layout": gegenbauer.Layout,
            "n_components": SIZE,
        },
    ),
    "gegenbauer.Params": (
        gegenbauer.GegenbauerParams,
        {"columns": MATRIX, "signs": Array("f", 3)},
    ),
    "gegenbauer.Map": (
        gegenbauer.GegenbauerMap,
        {"plan": gegenbauer.GegenbauerPlan, "params": gegenbauer.GegenbauerParams},
    ),
    # polynomial sketches
    "powers.Plan": (
        powers.Plan,
        {
            "first": (Dense, None),
            "coefficients": NUMBERS,
            "exact": Each(SIZE),
            "powers": COLUMNS,
            "n_hidden": SIZE,
            "n_components": SIZE,
            "row_entries": SIZE,
        },
    ),
    "powers.Monomials": (powers.Monomials, {"columns": Array("i", 2), "weights": VECTOR}),
    "powers.Params": (
        powers.Params,
        {
            "exact": DictOf(SIZE, powers.Monomials),
            "linear": (VectorSketch, None),
            "tree": (sketches.TreeSketch, None),
        },
    ),
    "layered.Plan": (
        layered_sketch.Plan,
        {
            "architecture": Architecture,
            "kind": KIND,
            "value": NUMBERS,
            "slope": NUMBERS,
            "value_columns": COLUMNS,
            "slope_columns": COLUMNS,
            "n_hidden": SIZE,
            "n_components": SIZE,
            "row_entries": SIZE,
        },
    ),
    "layered.Mixture": (
        layered_sketch.Mixture,
        {"tree": (sketches.TreeSketch, None), "mix": sketches.SRHT},
    ),
    "layered.Relu": (
        layered_sketch.ReluParams,
        {
            "value": layered_sketch.Mixture,
            "slope": (layered_sketch.Mixture, None),
            "product": (sketches.TensorSRHT, None),
        },
    ),
    "SketchedMap": (
        sketched_map.SketchedMap,
        {
            "plan": (powers.Plan, layered_sketch.Plan),
            "params": (
                powers.Params,
                Pair((LINEAR, Each((layered_sketch.ReluParams, sketches.SRHT)), MATRIX)),
            ),
        },
    ),
    # Nystroem features layer by layer
    "layerwise.Readout": (
        layerwise_map.Readout,
        dict.fromkeys(("value", "tangent", "constant"), float),
    ),
    "layerwise.Plan": (
        layerwise_map.LayerwisePlan,
        {
            "architecture": Architecture,
            "kind": KIND,
            "n_components": SIZE,
            "row_entries": SIZE,
            "readout": layerwise_map.Readout,
        },
    ),
    "layerwise.Landmarks": (
        layerwise_map.Landmarks,
        {
            "phi": FILTERS,
            "psi": (*FILTERS, None),
            "squares": VECTOR,
            "value": MATRIX,
            "slope": (MATRIX, None),
        },
    ),
    "layerwise.Map": (
        layerwise_map.LayerwiseMap,
        {
            "plan": layerwise_map.LayerwisePlan,
            "params": Each(layerwise_map.Landmarks, least=1),
        },
    ),
    # Nystroem features
    "nystroem.Plan": (
        nystroem.NystroemPlan,
        {"target": KERNEL, "kind": KIND, "n_components": SIZE},
    ),
    "nystroem.Params": (
        nystroem.NystroemParams,
        {"landmarks": Rows(), "squares": VECTOR, "linear": Each(MATRIX, least=1)},
    ),
    "nystroem.Map": (
        nystroem.NystroemMap,
        {
            "plan": nystroem.NystroemPlan,
            "landmarks": Rows(),
            "_whitening": Maybe(Pair((MATRIX, float, COUNT))),  # so that none computes it again
        },
    ),
    "nystroem.Applied": (
        nystroem.AppliedNystroem,
        {"plan": nystroem.NystroemPlan, "params": nystroem.NystroemParams},
    ),
    # resampled features
    "resampled.Map": (
        resampled.ResampledMap,
        {"inner": MAPS, "params": Pair((object, INDICES, VECTOR))},
    ),
    # ridge regression
    "Penalty": (Penalty, {"packed": MATRIX64, "diagonal": VECTOR64}),
    "GramAccumulator": (
        GramAccumulator,
        {
            "fit_intercept": bool,
            "total_weight": float,
            "n_rows": COUNT,
            "_shape": Pair((SIZE, SIZE)),
            "_epsilon": float,
            "_gram": MATRIX64,
            "_moment": MATRIX64,
            "_y_squares": VECTOR64,
            "_z_mean": VECTOR64,
            "_y_mean": VECTOR64,
        },
    ),
    "SolveStatus": (
        SolveStatus,
        {
            "kind": OneOf(("ok", "ill-conditioned", "singular")),
            "cause": str,
            "remedy": str,
        },
    ),
    "RidgeSolution": (
        RidgeSolution,
        {
            "alphas": VECTOR64,
            "coef": Float64(ndim=3),
            "intercept": MATRIX64,
            "residual_squares": MATRIX64,
            "degrees_of_freedom": (VECTOR64, None),
            "rank": (COUNT, None),
            "largest_eigenvalue": float,
            "status": SolveStatus,
        },
    ),
    "ridge.Choice": (
        _Choice,
        {
            "requested": (VECTOR64, None),
            "solution": RidgeSolution,
            "gcv": (Float64(finite=False), None),  # infinite where no degree of freedom is left
            "holdout": (VECTOR64, None),
        },
    ),
    # estimators
    "StreamingRidge": (
        StreamingRidge,
        {
            **RIDGE_PARAMETERS,
            **SEEN,
            "_accumulator": GramAccumulator,
            "_single_target": bool,
            "_choice": (_Choice, None),
            "_penalty": Maybe((Penalty, None)),
        },
    ),
    "NTKFeatures": (
        NTKFeatures,
        {
            **FEATURE_PARAMETERS,
            **SEEN,
            "feature_map_": MAPS,
            "architecture_": (Architecture, ZonalKernel),
            "method_": Method,
            "_n_features_out": SIZE,
            "_sklearn_output_config": Maybe(
                DictOf(OneOf(("transform",)), OneOf(("default", "pandas", "polars", None)))
            ),
        },
    ),
    "NTKRegressor": (NTKRegressor, PREDICTOR),
    "NTKClassifier": (
        NTKClassifier,
        {
            **PREDICTOR,
            "class_weight": (DictOf(SCALAR, NUMBER), str, None),
            "classes_": Labels(),
        },
    ),
}

ENTRIES = {name: Entry(cls, fields) for name, (cls, fields) in _TABLE.items()}
NAMES = {entry.cls: name for name, entry in ENTRIES.items()}
MODELS: tuple[type[BaseEstimator], ...] = NTKFeatures, NTKRegressor, NTKClassifier, StreamingRidge
