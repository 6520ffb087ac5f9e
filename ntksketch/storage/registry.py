"""All types that a file may name, and what their fields may hold: one table.

A name in a file is looked up here and nowhere else, so that loading imports nothing and runs no
code but the library's own. Names are those of the format: they stay when a class moves.
"""

from __future__ import annotations

from typing import Any, get_args

from sklearn.base import BaseEstimator

from ntksketch import architectures as layers
from ntksketch.architectures import Activation, Architecture, Dense, Serial
from ntksketch.architectures.spatial import PADDINGS
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
from ntksketch.estimators.flow_on_rows import FeatureRows
from ntksketch.estimators.streaming_ridge import _Choice
from ntksketch.features import (
    Auto,
    Gegenbauer,
    GradientFeatures,
    LayerwiseNystroem,
    Method,
    Nystroem,
    PolynomialSketch,
    RandomFeatures,
    Resampled,
    layered_sketch,
)
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.zonal import LegendreSeries, NetworkKernel, Polynomial
from ntksketch.kernels.zonal.exponential import GammaExponential
from ntksketch.linear import GramAccumulator, RidgeSolution, SolveStatus
from ntksketch.linear.penalty import Penalty
from ntksketch.solvers import Checkpoint, ConvergenceStatus, KernelRidgeSolution
from ntksketch.solvers.status import Kind
from ntksketch.storage.maps import COUNT, KIND, MAP_TYPES, MAPS, NUMBERS, SIZE
from ntksketch.storage.schema import (
    Array,
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
    Unbounded,
)
from ntksketch.storage.unsaved import UnsavedFunction

NUMBER = (int, float)
SIZES = SIZE, Each(SIZE, 1, 2)
MATRIX64, VECTOR64 = Float64(ndim=2), Float64(ndim=1)
SCALAR = bool, int, float, str
PIXELS = Each(SIZE, 2, 3), ListOf(SIZE), None  # a shape of images, if it was given

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
    "GradientFeatures": (
        GradientFeatures,
        {"width": (SIZE, None), "product": str, "initialization": str},
    ),
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
    **MAP_TYPES,
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
    # exact kernel ridge regression
    "Checkpoint": (
        Checkpoint,
        {"path": str, "seconds": (*NUMBER, None), "iterations": (SIZE, None)},
    ),
    "ConvergenceStatus": (
        ConvergenceStatus,
        {
            "kind": OneOf(get_args(Kind)),
            "cause": str,
            "remedy": str,
            "tolerance": float,
            "residuals": Float64(ndim=2, finite=False),
            "iterations": Array("i", 2),
            "rank": COUNT,
        },
    ),
    "KernelRidgeSolution": (
        KernelRidgeSolution,
        {
            "architecture": (Architecture, ZonalKernel),
            "kind": KIND,
            "X": Rows(),
            "alphas": float,
            "dual_coef": (VECTOR64, MATRIX64),
            "intercept": (float, VECTOR64),
            "status": ConvergenceStatus,
        },
    ),
    # training in closed form
    "dynamics.SpectralFlow": (
        SpectralFlow,
        {
            "spectrum": VECTOR64,
            "vectors": MATRIX64,
            "loadings": MATRIX64,
            "energies": VECTOR64,
            "floor": float,
        },
    ),
    "dynamics.KernelRows": (
        KernelRows,
        {
            "target": (Architecture, ZonalKernel, None),
            "kind": KIND,
            "X": (Rows(), None),
            "used": Array("i", 1),
            "weight": (VECTOR64, None),
        },
    ),
    "dynamics.FeatureRows": (
        FeatureRows,
        {"feature_map": (*MAPS, None), "penalty": (Penalty, None)},
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
            # all of these, or none: a parameter of another estimator need not be fitted
            "n_features_in_": Maybe(SIZE),
            "feature_names_in_": Maybe(Strings()),
            "feature_map_": Maybe(MAPS),
            "architecture_": Maybe((Architecture, ZonalKernel)),
            "method_": Maybe(Method),
            "_n_features_out": Maybe(SIZE),
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
    # transformers of images
    "ChannelStandardizer": (
        ChannelStandardizer,
        {"shape": PIXELS, "mean_": VECTOR64, "scale_": VECTOR64},
    ),
    "ZCAWhitening": (
        ZCAWhitening,
        {
            "regularization": NUMBER,
            "n_features_in_": SIZE,
            "mean_": VECTOR64,
            "whitening_": MATRIX64,
        },
    ),
    "FlipAverage": (
        FlipAverage,
        {"transformer": NTKFeatures, "shape": PIXELS, "transformer_": NTKFeatures},
    ),
    "ExactNTKRegressor": (
        ExactNTKRegressor,
        {
            "architecture": (Architecture, ZonalKernel, None),
            "alpha": NUMBER,
            "kind": str,
            "fit_intercept": bool,
            "tolerance": NUMBER,
            "max_iter": SIZE,
            "rank": (COUNT, None),
            "checkpoint": (Checkpoint, str, None),
            "working_memory": (*NUMBER, None),
            "random_state": (int, None),
            "max_seconds": Unbounded(),
            **SEEN,
            "architecture_": (Architecture, ZonalKernel),
            "solution_": KernelRidgeSolution,
            "dual_coef_": (VECTOR64, MATRIX64),
            "intercept_": (float, VECTOR64),
            "status_": ConvergenceStatus,
            "n_iter_": SIZE,
        },
    ),
    "GradientFlow": (
        GradientFlow,
        {
            "kernel": (Architecture, ZonalKernel, NTKFeatures, str, None),
            "method": (str, Method, None),
            "n_components": int,
            "kind": str,
            "t": Unbounded(),
            "learning_rate": (*NUMBER, None),
            "cutoff": (*NUMBER, None),
            "working_memory": (*NUMBER, None),
            "random_state": (int, None),
            **SEEN,
            "features_": Maybe(NTKFeatures),
            "_rows": (FeatureRows, KernelRows),
            "_flow": (SpectralFlow, None),
            "_sums": (GramAccumulator, None),
            "_rest": Maybe(DictOf(str, (VECTOR64, MATRIX64))),
            "_single_target": bool,
            "_started": bool,
        },
    ),
}

ENTRIES = {name: Entry(cls, fields) for name, (cls, fields) in _TABLE.items()}
NAMES = {entry.cls: name for name, entry in ENTRIES.items()}
COMPUTING = *MAPS, KernelRows, KernelRidgeSolution  # what evaluates kernels for predictions
MODELS: tuple[type[BaseEstimator], ...] = (
    NTKFeatures,
    NTKRegressor,
    NTKClassifier,
    StreamingRidge,
    ExactNTKRegressor,
    GradientFlow,
    ChannelStandardizer,
    ZCAWhitening,
    FlipAverage,
)
