"""The exact view: kernels of infinitely wide networks."""

from ntksketch.kernels import recurrent, zonal  # noqa: F401  (the first registers its rules)
from ntksketch.kernels.cost import KernelCost, kernel_cost
from ntksketch.kernels.gram import check_kind, resolve_target
from ntksketch.kernels.matrix import kernel, kernel_diag
from ntksketch.kernels.sequences import pad_sequences
from ntksketch.kernels.zonal import ZonalKernel

__all__ = [
    "KernelCost",
    "ZonalKernel",
    "check_kind",
    "kernel",
    "kernel_cost",
    "kernel_diag",
    "pad_sequences",
    "resolve_target",
    "zonal",
]
