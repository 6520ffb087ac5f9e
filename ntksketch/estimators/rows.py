"""Rows as every estimator on features or kernels takes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from ntksketch.architectures import mlp
from ntksketch.data.blocks import block_slices
from ntksketch.data.prefetch import prefetch
from ntksketch.data.source import Source, SourceError
from ntksketch.distributed.dask_collections import DaskSource, is_dask
from ntksketch.kernels.inputs import are_images, with_input


def open_rows(estimator: Any, source: Source, y: Any = None, sample_weight: Any = None) -> Source:
    """Return a source with its targets, and give an estimator its width as that of the rows."""
    if source.shape[0] is None and sample_weight is not None:
        raise SourceError(f"{source.name}: weights need a known number of rows; say n_rows=")
    if source.shape[0] == 0:
        raise SourceError(f"{source.name}: there are no rows")
    estimator.n_features_in_ = source.shape[1]
    vars(estimator).pop("feature_names_in_", None)
    return source if y is None else source.with_targets(y)


def as_source(
    estimator: Any, X: Any, y: Any = None, sample_weight: Any = None
) -> tuple[Source | None, Any]:
    """Return a source and its weights if rows come from one, or from Dask; else None.

    An estimator gets the width of the source as that of the rows, and the names of columns.
    """
    if is_dask(X):
        source = DaskSource(X, y, sample_weight)
        weight = source.sample_weight
        names = np.asarray(getattr(X, "columns", ()), object)
        open_rows(estimator, source)
        if len(names) and all(isinstance(name, str) for name in names):
            estimator.feature_names_in_ = names
        return source, None if weight is None else np.asarray(weight.compute())
    if isinstance(X, Source):
        return open_rows(estimator, X, y, sample_weight), sample_weight
    return None, sample_weight


def _are_images(architecture: Any, X: Any) -> bool:
    """Say whether rows in memory come as images or signals, for a network on these."""
    return not (isinstance(X, Source) or is_dask(X)) and are_images(architecture, X)


class RowsMixin:
    """Dense or CSR rows in float32 or float64, checked as scikit-learn does.

    For networks on images and signals arrays of these will do, and for networks on sequences of
    different lengths a list of arrays; they become flat rows.
    """

    def _bind(self, X: Any) -> tuple[Any, Any]:
        """Return the network for rows, which says what images are if they came as such, and rows.

        Images, signals and sequences become flat rows; everything else stays as it is.
        """
        given = self._given_architecture()
        architecture = mlp(1) if given is None else given
        return with_input(architecture, X) if _are_images(architecture, X) else (architecture, X)

    def _given_architecture(self) -> Any:
        """Return the network that a parameter names, or None for the default."""
        return vars(self)["architecture"]

    def _fitted_architecture(self) -> Any:
        """Return the network of a fitted estimator."""
        return vars(self)["architecture_"]

    def _require_width(self, X: Any) -> None:
        """Raise an error if rows that come lazily are not as wide as those of `fit`."""
        width = vars(self)["n_features_in_"]
        found = math.prod(X.shape[1:])
        if found != width:
            raise ValueError(
                f"X has {found} features, but {type(self).__name__} is expecting {width} "
                "features as input"
            )

    def _chunks(self, X: Any, n_rows: int) -> Iterator[Any]:
        """Yield blocks of checked rows, or of a source as wide as they must be."""
        if not isinstance(X, Source):
            yield from (X[rows] for rows in block_slices(X.shape[0], n_rows))
            return
        self._require_width(X)
        with closing(prefetch(X.blocks(n_rows))) as blocks:
            yield from (block.X for block in blocks)

    def _validate_rows(self, X: Any, y: Any = "no_validation", **options: Any) -> Any:
        """Return checked rows, and targets unless there are none to check."""
        if isinstance(X, Source):
            raise TypeError(
                f"{type(self).__name__} takes rows in memory here, got {X!r}; read them, or see "
                "ntksketch.data.featurise"
            )
        if not options.get("reset", True) and _are_images(self._fitted_architecture(), X):
            X = with_input(self._fitted_architecture(), X)[1]
        return validate_data(
            cast(BaseEstimator, self),
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            **options,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        tags.input_tags.sparse = True
        return tags
