"""How far features are from the exact kernel, and how many a wanted error needs."""

from ntksketch.diagnostics.check import check_features
from ntksketch.diagnostics.exact import ExactRidge, exact_ridge
from ntksketch.diagnostics.report import Estimate, KernelErrorReport, RidgeError
from ntksketch.diagnostics.suggest import ComponentsSuggestion, suggest_n_components

__all__ = [
    "ComponentsSuggestion",
    "Estimate",
    "ExactRidge",
    "KernelErrorReport",
    "RidgeError",
    "check_features",
    "exact_ridge",
    "suggest_n_components",
]
