"""The default: a method chosen by what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import jax
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.spatial import is_spatial
from ntksketch.features.base import FeatureMap, Method
from ntksketch.features.layerwise import LayerwiseNystroem, goes_by_layer
from ntksketch.features.nystroem import Nystroem
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.pixels import mixes_pixels

_WIDE = 10_000  # columns of sparse rows above which a search for landmarks gains nothing


@dataclass(frozen=True, repr=False)
class Auto(Method):
    """Nystroem features: k-means landmarks, or random rows where rows are wide and sparse.

    ``method="auto"`` stands for it. The rules come from the benchmarks `frontier` and
    `sparse_quality`, whose tables are on the page "Which method?":

    * Rows with structure lie near few landmarks. Nystroem features have the least kernel error of
      all methods on every data set, and the best test scores of all features of the NTK on most;
      centroids of k-means are the best landmarks for prediction on the larger ones.
    * Networks on images that average over pixels have kernels of all pairs of pixels: features
      layer by layer cost one term for each pixel.
    * Sparse rows of more than 10,000 columns have random rows as landmarks, which stay sparse;
      those that k-means finds score as they do, and take a search. In the table
      "Sparse rows: error and score" landmarks have far better scores than sketches and random
      features, and a kernel error off the diagonal that is five times less, in less time. With
      many columns polynomial sketches are closer on the diagonal, which no score shows.
    """

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Take every kernel: Nystroem features do."""

    def _sample_size(self, n_components: int) -> int:
        return Nystroem("kmeans").sample_size(n_components)

    def choose(self, target: Architecture | ZonalKernel, X: Any) -> Method:
        """Return the method for these rows."""
        if is_spatial(target):
            mixed = mixes_pixels(as_layers(cast(Architecture, target)))
            return LayerwiseNystroem() if mixed and goes_by_layer(target) else Nystroem("kmeans")
        wide = sp.issparse(X) and X.shape[1] > _WIDE
        return Nystroem("uniform" if wide else "kmeans")

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> FeatureMap:
        return self.choose(target, X)._draw(key, target, kind, X, n_components, sample_weight)
