"""The Neural Tangent Kernel at scale.

Exact kernels of infinitely wide networks, explicit features that approximate them in one pass over
the data, ridge regression on the features, and checks of the error against the exact kernel.
"""

from ntksketch import data, distributed
from ntksketch.architectures import (
    Activation,
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Elementwise,
    Erf,
    Flatten,
    Gelu,
    GlobalAvgPool,
    Input,
    LastStep,
    LeakyRelu,
    Recurrent,
    Relu,
    Residual,
    Reverse,
    Serial,
    Sin,
    cnn,
    mlp,
    myrtle,
    residual,
    resnet,
    rnn,
    serial,
)
from ntksketch.diagnostics import (
    KernelErrorReport,
    check_features,
    suggest_n_components,
)
from ntksketch.estimators import (
    ExactNTKRegressor,
    NTKClassifier,
    NTKFeatures,
    NTKKernel,
    NTKRegressor,
    StreamingRidge,
)
from ntksketch.features import (
    Gegenbauer,
    LayerwiseNystroem,
    Nystroem,
    PolynomialSketch,
    RandomFeatures,
    Resampled,
)
from ntksketch.kernels import kernel, kernel_diag, zonal
from ntksketch.solvers import KernelRidgeSolution, solve_kernel_ridge, solve_nystroem_ridge
from ntksketch.storage import ModelFileError, load, save

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Architecture",
    "AvgPool",
    "Conv",
    "Dense",
    "Elementwise",
    "Erf",
    "ExactNTKRegressor",
    "Flatten",
    "Gegenbauer",
    "Gelu",
    "GlobalAvgPool",
    "Input",
    "KernelErrorReport",
    "KernelRidgeSolution",
    "LastStep",
    "LayerwiseNystroem",
    "LeakyRelu",
    "ModelFileError",
    "NTKClassifier",
    "NTKFeatures",
    "NTKKernel",
    "NTKRegressor",
    "Nystroem",
    "PolynomialSketch",
    "RandomFeatures",
    "Recurrent",
    "Relu",
    "Resampled",
    "Residual",
    "Reverse",
    "Serial",
    "Sin",
    "StreamingRidge",
    "check_features",
    "cnn",
    "data",
    "distributed",
    "kernel",
    "kernel_diag",
    "load",
    "mlp",
    "myrtle",
    "residual",
    "resnet",
    "rnn",
    "save",
    "serial",
    "solve_kernel_ridge",
    "solve_nystroem_ridge",
    "suggest_n_components",
    "zonal",
]
