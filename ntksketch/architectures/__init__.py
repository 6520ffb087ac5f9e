"""Descriptions of networks: layers and builders, no arithmetic."""

from ntksketch.architectures.activations import (
    Activation,
    Elementwise,
    Erf,
    Gelu,
    LeakyRelu,
    Rectifier,
    Relu,
    Sin,
)
from ntksketch.architectures.builders import cnn, mlp, myrtle, resnet, rnn
from ntksketch.architectures.layers import Architecture, Dense, Serial, serial
from ntksketch.architectures.recurrent import LastStep, Recurrent, Reverse
from ntksketch.architectures.spatial import (
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    Input,
    Residual,
    residual,
)

__all__ = [
    "Activation",
    "Architecture",
    "AvgPool",
    "Conv",
    "Dense",
    "Elementwise",
    "Erf",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "Input",
    "LastStep",
    "LeakyRelu",
    "Rectifier",
    "Recurrent",
    "Relu",
    "Residual",
    "Reverse",
    "Serial",
    "Sin",
    "cnn",
    "mlp",
    "myrtle",
    "residual",
    "resnet",
    "rnn",
    "serial",
]
