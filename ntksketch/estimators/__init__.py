"""The scikit-learn faces."""

from ntksketch.estimators.exact import ExactNTKRegressor
from ntksketch.estimators.features import NTKFeatures
from ntksketch.estimators.kernel import NTKKernel
from ntksketch.estimators.predictors import NTKClassifier, NTKRegressor
from ntksketch.estimators.streaming_ridge import StreamingRidge

__all__ = [
    "ExactNTKRegressor",
    "NTKClassifier",
    "NTKFeatures",
    "NTKKernel",
    "NTKRegressor",
    "StreamingRidge",
]
