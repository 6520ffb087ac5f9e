"""The explicit view: feature maps whose inner products approximate the kernels."""

from ntksketch.features.auto import Auto
from ntksketch.features.base import FeatureMap, Method
from ntksketch.features.gegenbauer import Gegenbauer
from ntksketch.features.gradient import GradientFeatures
from ntksketch.features.layerwise import LayerwiseNystroem
from ntksketch.features.methods import METHODS, resolve_method
from ntksketch.features.nystroem import Nystroem
from ntksketch.features.polynomial_sketch import PolynomialSketch
from ntksketch.features.random_features import RandomFeatures
from ntksketch.features.resampled import Resampled
from ntksketch.features.transform import transform_blocks

__all__ = [
    "METHODS",
    "Auto",
    "FeatureMap",
    "Gegenbauer",
    "GradientFeatures",
    "LayerwiseNystroem",
    "Method",
    "Nystroem",
    "PolynomialSketch",
    "RandomFeatures",
    "Resampled",
    "resolve_method",
    "transform_blocks",
]
