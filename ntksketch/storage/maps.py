"""Sketches and feature maps that a file may name, and what their fields may hold."""

from __future__ import annotations

from typing import Any

from ntksketch import sketches
from ntksketch.architectures import Architecture, Dense
from ntksketch.features import (
    Gegenbauer,
    RandomFeatures,
    gegenbauer,
    gradient,
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
from ntksketch.sketches.base import ProductSketch, VectorSketch
from ntksketch.storage.schema import (
    Array,
    But,
    DictOf,
    Each,
    Maybe,
    OneOf,
    Pair,
    Rows,
    Whole,
)
from ntksketch.storage.unsaved import UnsavedFunction

KIND = OneOf(("ntk", "nngp"))
NUMBERS = Each(float, least=1)
SIZE, COUNT = Whole(1), Whole(0)
MATRIX, VECTOR, INDICES = Array("f", 2), Array("f", 1), Array("i", 1)
ARRAYS = tuple(Array("f", ndim) for ndim in (1, 2, 3, 4))
FILTERS = tuple(Array("f", ndim) for ndim in (2, 3, 4))
KERNEL = Architecture, But(ZonalKernel, UnsavedFunction)
LINEAR = VectorSketch, products.Identity
PRODUCT = products.SketchedProduct, products.ExactProduct
COLUMNS = Each(Pair((SIZE, SIZE)))

MAPS = (
    random_features.RandomFeatureMap,
    gegenbauer.GegenbauerMap,
    sketched_map.SketchedMap,
    resampled.ResampledMap,
    nystroem.NystroemMap,
    nystroem.AppliedNystroem,
    layerwise_map.LayerwiseMap,
)

MAP_TYPES: dict[str, tuple[type, dict[str, Any]]] = {
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
        {"columns": MATRIX, "signs": Array("f", 3), "projection": Maybe((sketches.SRHT, None))},
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
    # gradient features
    "gradient.Plan": (
        gradient.GradientPlan,
        {
            "architecture": Architecture,
            "kind": KIND,
            "row": Each(SIZE, 1, 3),
            "width": SIZE,
            "n_outputs": SIZE,
            "product": OneOf(gradient.PRODUCTS),
            "n_components": SIZE,
            "row_entries": SIZE,
        },
    ),
    "gradient.Sketch": (
        gradient.SketchedGradient,
        {"sketch": (sketches.TensorSRHT, sketches.SRHT), "signs": VECTOR},
    ),
    "gradient.Params": (
        gradient.GradientParams,
        {
            "weights": Each(ARRAYS, least=1),
            "readout": VECTOR,
            "sketches": Each((gradient.SketchedGradient, None)),
        },
    ),
    # maps in two stages
    "SketchedMap": (
        sketched_map.SketchedMap,
        {
            "plan": (powers.Plan, layered_sketch.Plan, gradient.GradientPlan),
            "params": (
                powers.Params,
                gradient.GradientParams,
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
}
