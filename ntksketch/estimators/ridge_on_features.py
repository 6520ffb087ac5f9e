"""What the regressor and the classifier share: features, one pass, and a streaming ridge."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, cast

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import memory_budget
from ntksketch.data.source import Source, SourceError
from ntksketch.distributed.dask_collections import (
    DaskSource,
    dask_dtype,
    gather_by_tasks,
    is_dask,
    map_rows,
)
from ntksketch.distributed.mesh import fits, gather_on_mesh, row_mesh
from ntksketch.estimators.features import FEATURE_CONSTRAINTS, NTKFeatures
from ntksketch.estimators.rows import RowsMixin
from ntksketch.estimators.streaming_ridge import RIDGE_CONSTRAINTS, StreamingRidge
from ntksketch.estimators.targets import EncodedTargets
from ntksketch.features import FeatureMap, Method
from ntksketch.features.nystroem import NystroemMap
from ntksketch.features.pass_state import PassState
from ntksketch.features.statistics import chunk_rows, gather, transform_chunk
from ntksketch.kernels import ZonalKernel
from ntksketch.linear.gram import GramAccumulator
from ntksketch.linear.ridge import linear_predictions
from ntksketch.linear.rows import PIECE_ROWS


class Fitted(NamedTuple):
    """What predictions need: a map (None: rows are features), coefficients, and any classes."""

    feature_map: FeatureMap | None
    coef: np.ndarray
    intercept: Any
    classes: np.ndarray | None
    working_memory: float | None

    def chunk_rows(self, dtype: Any, row_bytes: float = 0.0) -> int:
        """Return how many rows have their features in memory at a time."""
        if self.feature_map is None:
            return PIECE_ROWS
        return chunk_rows(self.feature_map, dtype, self.working_memory, row_bytes)

    def predict(self, X: Any, start: int = 0) -> np.ndarray:
        """Return the predictions of a chunk of rows, of which `start` is the first one's number."""
        Z = X
        if self.feature_map is not None:
            Z = transform_chunk(self.feature_map, X, self.working_memory, start=start)
        scores = linear_predictions(Z, self.coef, self.intercept)
        if self.classes is None:
            return scores
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes[chosen]


def _predict(X: Any, fitted: Fitted) -> np.ndarray:
    """Return the predictions of a chunk of Dask's, which may be larger than the budget's."""
    n_rows = fitted.chunk_rows(X.dtype)
    starts = range(0, max(X.shape[0], 1), n_rows)
    return np.concatenate([fitted.predict(X[i : i + n_rows], i) for i in starts])


class OnFeatures(RowsMixin, BaseEstimator):
    """Base class of estimators that are linear in features: sums and predictions over rows."""

    working_memory: float | None

    def _gather(
        self,
        feature_map: FeatureMap,
        source: Source,
        encode: Callable[[np.ndarray], np.ndarray],
        sample_weight: np.ndarray | None,
        progress: Callable[[int], object] | None,
        state: PassState | None = None,
        fit_intercept: bool = True,
    ) -> tuple[GramAccumulator, bool]:
        """Return the statistics, and whether there is a single target.

        Dask's workers sum what is Dask's. Other rows are summed on the devices where JAX has any
        beside the processor and the sums fit there.
        """
        if isinstance(source, DaskSource):
            if state is not None:
                raise ValueError("checkpoint is for rows that are not Dask's: persist what it has")
            source = source.with_weight(sample_weight)
            memory = self.working_memory
            return gather_by_tasks(feature_map, source, encode, fit_intercept, memory)
        accumulator = GramAccumulator(fit_intercept)
        options: dict[str, Any] = {
            "sample_weight": sample_weight,
            "working_memory": self.working_memory,
            "progress": progress,
        }
        encoded = EncodedTargets(source, encode)
        accelerated = len(jax.local_devices()) > 1 or jax.default_backend() != "cpu"
        if accelerated and state is None:  # sums on devices are not on the way to a disk
            mesh = row_mesh()
            if fits(feature_map.n_components, source.dtype, mesh):
                gather_on_mesh(feature_map, encoded, accumulator, mesh=mesh, **options)
                return accumulator, bool(encoded.single_target)
        gather(feature_map, encoded, accumulator, **options, state=state)
        return accumulator, bool(encoded.single_target)

    def _predict_chunks(
        self, X: Any, fitted: Fitted, progress: Callable[[int], object] | None = None
    ) -> Any:
        """Return predictions in the rows' dtype, or classes, chunk by chunk; Dask's lazily."""
        lazy = is_dask(X)
        if not (lazy or isinstance(X, Source)):
            X = self._validate_rows(X, reset=False)
        dtype = dask_dtype(X) if lazy else X.dtype
        coef, classes = fitted.coef, fitted.classes
        if lazy:
            self._require_width(X)
            width = None if coef.ndim == 1 or classes is not None else len(coef)
            return map_rows(_predict, X, fitted, width, dtype if classes is None else classes.dtype)
        predictions, done = [], 0
        row_bytes = X.row_bytes if isinstance(X, Source) else 0.0
        for rows in self._chunks(X, fitted.chunk_rows(dtype, row_bytes)):
            predictions.append(fitted.predict(rows, done))
            done += rows.shape[0]
            if progress is not None:
                progress(rows.shape[0])
        if not predictions:
            raise SourceError(f"{X.name}: there are no rows")
        return np.concatenate(predictions)


class RidgeOnFeatures(OnFeatures):
    """Base class of estimators that fit a streaming ridge on features."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **FEATURE_CONSTRAINTS,
        **RIDGE_CONSTRAINTS,
    }

    def __init__(
        self,
        architecture: Architecture | ZonalKernel | None = None,
        method: str | Method = "auto",
        n_components: int = 1024,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        alphas: str | float | ArrayLike = "auto",
        fit_intercept: bool = True,
        working_memory: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.architecture = architecture
        self.method = method
        self.n_components = n_components
        self.kind = kind
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.working_memory = working_memory
        self.random_state = random_state

    @property
    def alpha_(self) -> float:
        """The penalty chosen."""
        check_is_fitted(self)
        return self.ridge_.alpha_

    def _fit_rows(
        self,
        architecture: Architecture | ZonalKernel,
        X: Any,
        source: Source,
        encode: Callable[[np.ndarray], np.ndarray],
        sample_weight: np.ndarray | None,
        progress: Callable[[int], object] | None,
        checkpoint: str | os.PathLike[str] | None,
    ) -> None:
        """Draw the features for rows, gather their statistics from a source, then solve."""
        ridge = StreamingRidge(self.alphas, fit_intercept=self.fit_intercept)
        ridge._check_parameters()
        features = NTKFeatures(
            architecture,
            self.method,
            self.n_components,
            kind=cast(Any, self.kind),
            working_memory=self.working_memory,
            random_state=self.random_state,
        )
        state = None if checkpoint is None else PassState(checkpoint)
        start = time.perf_counter()
        features._draw(X, sample_weight)
        feature_map = features.feature_map_
        if isinstance(feature_map, NystroemMap) and not feature_map.is_small:
            with memory_budget(self.working_memory):
                feature_map, ridge._penalty = feature_map.before_whitening()
        drawn = time.perf_counter()
        intercept = bool(self.fit_intercept)
        ridge._take(
            *self._gather(feature_map, source, encode, sample_weight, progress, state, intercept)
        )
        passed = time.perf_counter()
        _ = ridge.coef_  # solve now, so that warnings come from fit
        solved = time.perf_counter()
        self.fit_seconds_ = {
            "set-up": drawn - start,
            "pass": passed - drawn,
            "solve": solved - passed,
        }
        self.features_, self.ridge_, self._map = features, ridge, feature_map
        if state is not None:
            state.remove()

    def _fitted_architecture(self) -> Any:
        return self.features_.architecture_

    def _predict_rows(
        self,
        X: Any,
        progress: Callable[[int], object] | None,
        classes: np.ndarray | None = None,
    ) -> Any:
        """Return the ridge's predictions in the rows' dtype, or classes; of Dask's rows lazily."""
        check_is_fitted(self)
        coef, intercept = self.ridge_.coef_, self.ridge_.intercept_
        fitted = Fitted(self._map, coef, intercept, classes, self.working_memory)
        return self._predict_chunks(X, fitted, progress)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "ridge_")
