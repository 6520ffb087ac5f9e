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
from ntksketch.architectures.builders import mlp
from ntksketch.architectures.layers import Architecture, Dense, Serial, serial

__all__ = [
    "Activation",
    "Architecture",
    "Dense",
    "Elementwise",
    "Erf",
    "Gelu",
    "LeakyRelu",
    "Rectifier",
    "Relu",
    "Serial",
    "Sin",
    "mlp",
    "serial",
]
