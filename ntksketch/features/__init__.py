"""The explicit view: feature maps whose inner products approximate the kernels."""

from ntksketch.features.methods import METHODS, resolve_method
from ntksketch.features.random_features import FeatureMap, RandomFeatures
from ntksketch.features.transform import transform_blocks

__all__ = ["METHODS", "FeatureMap", "RandomFeatures", "resolve_method", "transform_blocks"]
