"""The scikit-learn faces."""

from ntksketch.estimators.exact import ExactNTKRegressor
from ntksketch.estimators.features import NTKFeatures
from ntksketch.estimators.gradient_flow import GradientFlow
from ntksketch.estimators.images import ChannelStandardizer, FlipAverage, ZCAWhitening
from ntksketch.estimators.kernel import NTKKernel
from ntksketch.estimators.predictors import NTKClassifier, NTKRegressor
from ntksketch.estimators.streaming_ridge import StreamingRidge

__all__ = [
    "ChannelStandardizer",
    "ExactNTKRegressor",
    "FlipAverage",
    "GradientFlow",
    "NTKClassifier",
    "NTKFeatures",
    "NTKKernel",
    "NTKRegressor",
    "StreamingRidge",
    "ZCAWhitening",
]
