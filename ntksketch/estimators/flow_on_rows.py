"""Rows of a gradient flow: drawn features and their sums, or the kernel of all pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, validate_data

from ntksketch.data.blocks import memory_budget
from ntksketch.data.open import open_source
from ntksketch.data.source import Source
from ntksketch.distributed.dask_collections import DaskSource, is_dask
from ntksketch.dynamics import KernelRows, SpectralFlow, as_kernel, flow_on_statistics
from ntksketch.estimators.features import NTKFeatures
from ntksketch.estimators.ridge_on_features import OnFeatures
from ntksketch.estimators.rows import as_source
from ntksketch.estimators.streaming_ridge import gather_array, gather_source
from ntksketch.estimators.targets import ShiftedTargets
from ntksketch.features import FeatureMap
from ntksketch.features.nystroem import NystroemMap
from ntksketch.features.statistics import gather
from ntksketch.kernels import resolve_target
from ntksketch.linear.gram import GramAccumulator
from ntksketch.linear.penalty import Penalty
from ntksketch.linear.rows import as_weights


class FeatureRows(NamedTuple):
    """What rows become: by a map, or by none; and the penalty that whitens that."""

    feature_map: FeatureMap | None
    penalty: Penalty | None = None


def takes_blocks(model: Any) -> bool:
    """Say whether rows may come in blocks: on features, of which sums are kept."""
    if isinstance(model.kernel, str):
        return model.kernel == "linear"
    return isinstance(model.kernel, NTKFeatures) or model.method is not None


class FlowOnRows(OnFeatures):
    """Base class of `GradientFlow`: what becomes of rows and targets before the solution."""

    kernel: Any
    method: Any
    n_components: int
    kind: str
    cutoff: float | None
    random_state: Any
    _rows: FeatureRows | KernelRows
    _flow: SpectralFlow | None
    _sums: GramAccumulator | None
    _rest: dict[str, NDArray]
    _single_target: bool

    def _sum_rows(
        self, X: Any, y: Any, sample_weight: Any, f0: Any
    ) -> tuple[FeatureRows, GramAccumulator, bool]:
        """Draw the features; return them, sums over all rows, and whether there is one target."""
        architecture, X = self._bind(X)
        source, sample_weight = as_source(self, X, y, sample_weight)
        if source is None:
            options: Any = {"multi_output": True, "y_numeric": True}
            if self.kernel == "linear":  # the sums look for NaN piece by piece
                options["ensure_all_finite"] = False
            X, y = self._validate_rows(X, y, **options)
            y = y - initial_outputs(f0, y.shape, "y")
        weight = None if sample_weight is None else as_weights(sample_weight, X.shape[0])
        features = self._draw_features(architecture, X, weight)
        if source is None and features.feature_map is None:
            return features, gather_array(X, y, weight, False), y.ndim == 1
        source = open_source(X, targets=y) if source is None else _less(source, f0)
        if features.feature_map is None:
            return features, *gather_source(source, weight, False)
        gathered = self._gather(
            features.feature_map, source, np.asarray, weight, None, fit_intercept=False
        )
        return features, *gathered

    def _draw_features(self, architecture: Any, X: Any, weight: NDArray | None) -> FeatureRows:
        """Return the features of rows, drawn now unless they are fitted, or the rows themselves."""
        given = self.kernel
        if given == "linear":
            return FeatureRows(None)
        if isinstance(given, NTKFeatures) and given.__sklearn_is_fitted__():
            features = given
            given._require_width(X)
        elif isinstance(given, NTKFeatures):
            features = cast(NTKFeatures, clone(given)).set_params(architecture=architecture)
            if features.random_state is None:
                features.random_state = self.random_state
            features._draw(X, weight)
        else:
            features = NTKFeatures(
                architecture,
                cast(Any, self.method),
                self.n_components,
                kind=cast(Any, self.kind),
                working_memory=self.working_memory,
                random_state=self.random_state,
            )
            features._draw(X, weight)
        self.features_ = features
        drawn = features.feature_map_
        if isinstance(drawn, NystroemMap) and not drawn.is_small:
            with memory_budget(self.working_memory):
                return FeatureRows(*drawn.before_whitening())
        return FeatureRows(drawn)

    def _add_rows(
        self, architecture: Any, X: Any, residual: NDArray, weight: NDArray | None
    ) -> tuple[FeatureRows, GramAccumulator]:
        """Return the features and the sums with a block of rows; the first has them drawn."""
        if not self.__sklearn_is_fitted__():
            rows = self._draw_features(architecture, X, weight)
            sums = GramAccumulator(fit_intercept=False)
        else:
            rows, sums = cast(FeatureRows, self._rows), self._current_sums()
        if rows.feature_map is None:
            sums.update(X, residual, weight)
        else:
            source = open_source(X, targets=residual)
            options: Any = {"sample_weight": weight, "working_memory": self.working_memory}
            block = GramAccumulator(fit_intercept=False)  # added if all of it can be used
            gather(rows.feature_map, source, block, **options)
            sums.merge(block)
        return rows, sums

    def _require_same_rows(self) -> None:
        """Raise ValueError if the rows before became something else than this kernel has them."""
        rows, linear = self._rows, self.kernel == "linear"
        if isinstance(rows, KernelRows):
            before = "the exact kernel of rows"
        elif linear != (rows.feature_map is None):
            before = "features drawn for rows" if linear else "rows as features"
        else:
            return
        raise ValueError(
            f"this model was fitted with another kernel, on {before}, to which no block can be "
            f"added with kernel={self.kernel!r}: call fit"
        )

    def _current_sums(self) -> GramAccumulator:
        """Return the sums over the rows so far; those of `fit` are made again from its solution."""
        if self._sums is not None:
            return self._sums
        sums, penalty = GramAccumulator(), cast(FeatureRows, self._rows).penalty
        total_weight = float(self._rest["numbers"][0])
        gram = cast(SpectralFlow, self._flow).gram(total_weight, penalty)
        sums.load_arrays({**self._rest, "gram": gram})
        return sums

    def _training(self) -> SpectralFlow:
        """Return the solution, which is computed now if rows came since the last."""
        check_is_fitted(self)
        if self._flow is None:
            sums, penalty = self._current_sums(), cast(FeatureRows, self._rows).penalty
            stats = replace(sums.finalise(), penalty=penalty)
            self._flow = flow_on_statistics(stats, cutoff=self.cutoff, overwrite=True)
        return self._flow

    def _solve_kernel(
        self, X: Any, y: Any, sample_weight: Any, f0: Any
    ) -> tuple[KernelRows, SpectralFlow, bool]:
        """Return training rows, the solution on them, and whether there is one target."""
        given = self.kernel == "precomputed"
        architecture, X = (None, X) if given else self._bind(X)
        X, y = self._validate_rows(X, y, multi_output=True, y_numeric=True)
        K, target, kind = X, None, self.kind
        if given:
            as_kernel(K, "the kernel X of the training rows")
        else:
            K, (target, kind) = None, resolve_target(cast(Any, architecture), self.kind)
        n = X.shape[0]
        residual = (y - initial_outputs(f0, y.shape, "y")).reshape(n, -1)
        weight = as_weights(1.0 if sample_weight is None else sample_weight, n)
        used = np.flatnonzero(weight)
        if not len(used):
            raise ValueError("sample_weight is zero for every row: weight some rows above zero")
        kept = None if given else X if len(used) == n else X[used]
        rows = KernelRows(target, kind, kept, used, None if sample_weight is None else weight[used])
        flow = rows.solve(residual[used], K, self.cutoff, self.working_memory)
        return rows, flow, y.ndim == 1

    def _arrange(self, values: Any, n_times: int, f0: Any) -> list[Any]:
        """Return the predictions at each time, in the shape of the targets."""
        width = values.shape[1] // n_times
        parts = [values[:, i * width : (i + 1) * width] for i in range(n_times)]
        if self._single_target:
            parts = [part[:, 0] for part in parts]
        if f0 is None:
            return parts
        if is_dask(values) and np.ndim(f0):
            raise TypeError("f0 must be a number for Dask's rows: add an array to the predictions")
        start = f0 if is_dask(values) else initial_outputs(f0, parts[0].shape, "the predictions")
        return [(part + start).astype(values.dtype) for part in parts]

    def _validate_rows(self, X: Any, y: Any = "no_validation", **options: Any) -> Any:
        if not isinstance(self.kernel, str) or isinstance(X, Source):
            return super()._validate_rows(X, y, **options)
        return validate_data(self, X, y, dtype=[np.float64, np.float32], **options)

    def _given_architecture(self) -> Any:
        if not isinstance(self.kernel, NTKFeatures):
            return None if isinstance(self.kernel, str) else self.kernel
        fitted = self.kernel.__sklearn_is_fitted__()
        return self.kernel.architecture_ if fitted else self.kernel.architecture

    def _fitted_architecture(self) -> Any:
        rows = self._rows
        return rows.target if isinstance(rows, KernelRows) else self.features_.architecture_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_rows")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.input_tags.sparse = not isinstance(self.kernel, str)
        return tags


def initial_outputs(f0: Any, shape: tuple[int, ...], of: str) -> NDArray[np.float64]:
    """Return outputs before training as an array to add to targets of a shape."""
    start = np.asarray(0.0 if f0 is None else f0)
    if start.dtype.kind not in "fiub":
        raise TypeError(f"f0 must hold real numbers, got dtype {start.dtype}")
    if start.ndim and start.shape != shape:
        raise ValueError(
            f"f0 has shape {start.shape}, expected a number or the shape of {of}, {shape}"
        )
    if not np.isfinite(start).all():
        raise ValueError("f0 contains NaN or infinity")
    return start.astype(np.float64)


def _less(source: Source, f0: Any) -> Source:
    """Return a source whose targets are less by the outputs before training."""
    if f0 is None:
        return source
    start = initial_outputs(f0, np.shape(f0), "the targets")
    if isinstance(source, DaskSource):
        if start.ndim:
            raise TypeError("f0 must be a number for Dask's rows: subtract an array from y")
        return source if source.y is None else source.with_targets(source.y - start)
    return ShiftedTargets(source, start)
