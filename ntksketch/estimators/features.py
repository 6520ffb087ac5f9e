"""The scikit-learn transformer."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import memory_budget
from ntksketch.data.reservoir import look, sample_indices
from ntksketch.distributed.dask_collections import dask_dtype, is_dask, map_rows
from ntksketch.estimators.rows import RowsMixin, as_source
from ntksketch.features import Auto, FeatureMap, Method, resolve_method, transform_blocks
from ntksketch.kernels import ZonalKernel, resolve_target
from ntksketch.linear.rows import as_weights

# Types only, for scikit-learn's own message; `fit` checks the values and knows the remedies.
FEATURE_CONSTRAINTS: dict[str, list[Any]] = {
    "architecture": [Architecture, ZonalKernel, None],
    "method": [str, Method],
    "n_components": [Integral],
    "kind": [str],
    "working_memory": [Real, None],
    "random_state": ["random_state"],
}

_SAMPLE = 1  # names the stream of random numbers that chooses the rows to look at


class NTKFeatures(RowsMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Explicit features whose inner products approximate a network's NTK.

    .. math:: \langle z(x), z(y)\rangle \approx \mathrm{NTK}(x, y)

    Parameters
    ----------
    architecture : Architecture or ZonalKernel, default=None
        The network, such as ``ntksketch.mlp(depth=2)``; None means ``mlp(depth=1)``. A zonal kernel
        such as ``ntksketch.zonal.laplace(1.0)`` stands for itself.
    method : str or method, default="auto"
        How the kernel is approximated: "nystroem", "gegenbauer", "polynomial-sketch",
        "random-features", or an instance such as ``ntksketch.Nystroem(landmarks="uniform")``.
        "auto" takes Nystroem features with k-means landmarks, and with random rows as landmarks
        for sparse rows of more than 10,000 columns.
    n_components : int, default=1024
        Number of columns of the features.
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel of a network the features are for.
    working_memory : float, default=None
        Budget in MiB for the temporaries of a block of rows; None reads scikit-learn's setting
        of the same name.
    random_state : int, RandomState instance or None, default=None
        Decides the draw.

    Attributes
    ----------
    architecture_ : Architecture or ZonalKernel
        The network or kernel used.
    method_ : Method
        The method used.
    feature_map_ : FeatureMap
        The drawn map: a static plan and NumPy arrays.
    n_features_in_ : int
        Number of columns of the rows.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if all of them are strings.

    See Also
    --------
    ntksketch.kernel : The exact kernel.
    ntksketch.check_features : How far the features are from it.

    References
    ----------
    Zandieh, Han, Avron, Shoham, Kim, Shin (2021), arXiv:2106.07880.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> fm = ntk.NTKFeatures(ntk.mlp(depth=1), n_components=512, random_state=0).fit(X)
    >>> fm.transform(X).shape
    (1797, 512)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = FEATURE_CONSTRAINTS

    def __init__(
        self,
        architecture: Architecture | ZonalKernel | None = None,
        method: str | Method = "auto",
        n_components: int = 1024,
        *,
        kind: Literal["ntk", "nngp"] = "ntk",
        working_memory: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.architecture = architecture
        self.method = method
        self.n_components = n_components
        self.kind = kind
        self.working_memory = working_memory
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NTKFeatures:
        """Draw the map for these rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), Source or Dask collection
            Rows, or images, signals or sequences as :func:`kernel` takes them; only their width and
            dtype matter to methods that do not look at data. Of a source, a sample is in memory.
        y : ignored
            There for pipelines.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, which count as repetitions of a row.

        Returns
        -------
        NTKFeatures
            The fitted transformer.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the rows cannot be used; the message says what came and what to do.
        """
        self._draw(X, sample_weight)
        with memory_budget(self.working_memory):
            _ = self.feature_map_.params  # what a map computes once is part of fit
        return self

    def _draw(self, X: Any, sample_weight: ArrayLike | None) -> None:
        """Choose and draw the map, without what only `transform` needs."""
        self._validate_params()
        architecture, X = self._bind(X)
        architecture, kind = resolve_target(architecture, self.kind)
        method = resolve_method(self.method)
        n_components = self.n_components
        if isinstance(n_components, bool):
            raise TypeError(f"n_components must be a whole number, got {n_components!r}")
        if n_components < 1:
            raise ValueError(f"n_components must be at least 1, got {n_components}")
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        source, sample_weight = as_source(self, X, None, sample_weight)
        X = self._validate_rows(X, reset=True) if source is None else source
        if sample_weight is not None:
            sample_weight = as_weights(sample_weight, X.shape[0])
            if not sample_weight.any():
                raise ValueError("sample_weight is zero for every row: weight some rows above zero")
        size = method.sample_size(int(n_components))
        rng = np.random.default_rng((seed, _SAMPLE))
        if source is not None:
            X, sample_weight = look(source, size, rng, sample_weight)
        elif X.shape[0] > size:
            X, sample_weight = X[sample_indices(X.shape[0], size, rng, sample_weight)], None
        if isinstance(method, Auto):
            method = method.choose(architecture, X)
        with memory_budget(self.working_memory):
            self.feature_map_ = method.init(
                jax.random.key(seed),
                architecture,
                X,
                kind=kind,
                n_components=int(n_components),
                sample_weight=sample_weight,
            )
        self.architecture_, self.method_ = architecture, method
        self._n_features_out = int(n_components)

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or Dask collection
            Rows. Sparse rows are never densified.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Features: float32 if the rows are, else float64. Lazy, as a Dask array, if the rows are.

        Raises
        ------
        MemoryError
            Before the start, if the features cannot fit in memory.
        ValueError
            If the rows are not as wide as those of `fit`, or not finite.
        """
        check_is_fitted(self)
        if is_dask(X):
            self._require_width(X)
            state = self.feature_map_, self.working_memory
            return map_rows(_transform_chunk, X, state, self.n_components, dask_dtype(X))
        X = self._validate_rows(X, reset=False)
        return transform_blocks(self.feature_map_, X, self.working_memory)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "feature_map_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _transform_chunk(X: Any, state: tuple[FeatureMap, float | None]) -> np.ndarray:
    feature_map, working_memory = state
    return transform_blocks(feature_map, X, working_memory)
