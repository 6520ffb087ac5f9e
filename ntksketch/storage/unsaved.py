"""What stands for a user's function in a loaded model."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

from ntksketch.kernels import ZonalKernel


@dataclass(frozen=True)
class UnsavedFunction(ZonalKernel):
    """The kernel of a function that was not saved: the map that was drawn from it does without."""

    def evaluate(self, t: NDArray) -> NDArray:
        """Raise a ValueError that says what to do."""
        raise ValueError(
            "the function of this kernel was not saved with the model, which transforms and "
            "predicts without it: set the parameter architecture to zonal.from_function(function) "
            "to fit again, and to check errors pass it to check_features"
        )
