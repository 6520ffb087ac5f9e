"""Rows as every estimator on features or kernels takes them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data


class RowsMixin:
    """Dense or CSR rows in float32 or float64, checked as scikit-learn does."""

    def _validate_rows(self, X: Any, y: Any = "no_validation", **options: Any) -> Any:
        """Return checked rows, and targets unless there are none to check."""
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
