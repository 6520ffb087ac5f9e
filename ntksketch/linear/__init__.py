"""Ridge regression from sufficient statistics: accumulate, solve, select."""

from ntksketch.linear.gram import GramAccumulator, GramStatistics
from ntksketch.linear.ridge import RidgeSolution, SolveStatus, ridge_path, solve_ridge
from ntksketch.linear.selection import (
    default_alphas,
    gcv_scores,
    holdout_scores,
    search_by_gcv,
)

__all__ = [
    "GramAccumulator",
    "GramStatistics",
    "RidgeSolution",
    "SolveStatus",
    "default_alphas",
    "gcv_scores",
    "holdout_scores",
    "ridge_path",
    "search_by_gcv",
    "solve_ridge",
]
