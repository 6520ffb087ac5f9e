"""The Neural Tangent Kernel at scale.

Exact kernels of infinitely wide networks, explicit features that approximate them in one pass over
the data, ridge regression on the features, and checks of the error against the exact kernel.
"""

from ntksketch.architectures import Architecture, Dense, Relu, Serial, mlp, serial
from ntksketch.diagnostics import (
    KernelErrorReport,
    check_features,
    suggest_n_components,
)
from ntksketch.estimators import NTKClassifier, NTKFeatures, NTKRegressor, StreamingRidge
from ntksketch.features import PolynomialSketch, RandomFeatures
from ntksketch.kernels import kernel, kernel_diag, zonal

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Dense",
    "KernelErrorReport",
    "NTKClassifier",
    "NTKFeatures",
    "NTKRegressor",
    "PolynomialSketch",
    "RandomFeatures",
    "Relu",
    "Serial",
    "StreamingRidge",
    "check_features",
    "kernel",
    "kernel_diag",
    "mlp",
    "serial",
    "suggest_n_components",
    "zonal",
]
