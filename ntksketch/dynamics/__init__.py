"""Training dynamics in closed form: the squared loss, an infinitely wide or linearised network."""

from ntksketch.dynamics.ensemble import EnsembleMoments, ensemble_covariance, ensemble_moments
from ntksketch.dynamics.filters import as_times, learned_share
from ntksketch.dynamics.flow import (
    SpectralFlow,
    as_kernel,
    flow_on_kernel,
    flow_on_statistics,
)
from ntksketch.dynamics.kernel_rows import KernelRows

__all__ = [
    "EnsembleMoments",
    "KernelRows",
    "SpectralFlow",
    "as_kernel",
    "as_times",
    "ensemble_covariance",
    "ensemble_moments",
    "flow_on_kernel",
    "flow_on_statistics",
    "learned_share",
]
