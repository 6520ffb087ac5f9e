"""Iterative solvers of kernel ridge regression that go on to the exact answer."""

from ntksketch.solvers.checkpoint import Checkpoint
from ntksketch.solvers.exact import KernelRidgeSolution, solve_kernel_ridge
from ntksketch.solvers.nystroem import solve_nystroem_ridge
from ntksketch.solvers.status import ConvergenceStatus

__all__ = [
    "Checkpoint",
    "ConvergenceStatus",
    "KernelRidgeSolution",
    "solve_kernel_ridge",
    "solve_nystroem_ridge",
]
