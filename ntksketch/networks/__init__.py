"""The finite view: real networks of chosen width, their empirical NTK and linearisation."""

from ntksketch.networks.empirical import empirical_ntk
from ntksketch.networks.linearization import linearize
from ntksketch.networks.monte_carlo import MonteCarloKernel, monte_carlo_kernel
from ntksketch.networks.network import apply_network, init_network

__all__ = [
    "MonteCarloKernel",
    "apply_network",
    "empirical_ntk",
    "init_network",
    "linearize",
    "monte_carlo_kernel",
]
