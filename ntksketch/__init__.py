"""The Neural Tangent Kernel at scale.

Exact kernels of infinitely wide networks, explicit features that approximate them in one pass over
the data, ridge regression on the features, and checks of the error against the exact kernel.
"""

from ntksketch.architectures import (
    Activation,
    Architecture,
    Dense,
    Elementwise,
    Erf,
    Gelu,
    LeakyRelu,
    Relu,
    Serial,
    Sin,
    mlp,
    serial,
)
from ntksketch.diagnostics import (
    KernelErrorReport,
    check_features,
    suggest_n_components,
)
from ntksketch.estimators import (
    NTKClassifier,
    NTKFeatures,
    NTKKernel,
    NTKRegressor,
    StreamingRidge,
)
from ntksketch.features import (
    Gegenbauer,
    Nystroem,
    PolynomialSketch,
    RandomFeatures,
    Resampled,
)
from ntksketch.kernels import kernel, kernel_diag, zonal
from ntksketch.storage import ModelFileError, load, save

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Architecture",
    "Dense",
    "Elementwise",
    "Erf",
    "Gegenbauer",
    "Gelu",
    "KernelErrorReport",
    "LeakyRelu",
    "ModelFileError",
    "NTKClassifier",
    "NTKFeatures",
    "NTKKernel",
    "NTKRegressor",
    "Nystroem",
    "PolynomialSketch",
    "RandomFeatures",
    "Relu",
    "Resampled",
    "Serial",
    "Sin",
    "StreamingRidge",
    "check_features",
    "kernel",
    "kernel_diag",
    "load",
    "mlp",
    "save",
    "serial",
    "suggest_n_components",
    "zonal",
]
