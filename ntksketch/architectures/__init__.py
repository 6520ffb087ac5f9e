"""Descriptions of networks: layers and builders, no arithmetic."""

from ntksketch.architectures.builders import mlp
from ntksketch.architectures.layers import Architecture, Dense, Relu, Serial, serial

__all__ = ["Architecture", "Dense", "Relu", "Serial", "mlp", "serial"]
