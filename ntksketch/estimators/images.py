"""What images go through before and around features: transformers of arrays and of flat rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from ntksketch.data.blocks import block_slices, require_memory
from ntksketch.data.source import Source
from ntksketch.distributed.dask_collections import is_dask

_BLOCK = 1024  # images at a time
_MATRICES = 3  # as large as a covariance, at a time while it is whitened


def _checked(X: Any, name: str) -> NDArray:
    """Return images or rows as a floating array of their shape, finite."""
    if isinstance(X, Source) or is_dask(X):
        raise TypeError(
            f"{name} takes images in memory, got {type(X).__name__}: give arrays, block by block "
            "after a fit to some of them"
        )
    options: dict[str, Any] = {"dtype": [np.float64, np.float32], "allow_nd": True}
    X = check_array(X, input_name="X", **options)
    if X.ndim > 4:
        raise ValueError(f"{name}: X has {X.ndim} axes, expected images, signals or flat rows")
    return X


def _images(X: NDArray, shape: Sequence[int] | None, name: str) -> NDArray:
    """Return what `_checked` gave as images of shape (n, ..., channels)."""
    if X.ndim > 2:
        if shape is not None and X.shape[1:] != tuple(shape):
            raise ValueError(f"{name}: X has images of shape {X.shape[1:]}, expected {shape}")
        return X
    if shape is None:
        raise ValueError(
            f"{name}: flat rows do not say where their pixels are: give shape=, such as (32, 32, 3)"
        )
    if X.shape[1] != math.prod(shape):
        raise ValueError(
            f"{name}: X has rows of {X.shape[1]} numbers, expected {math.prod(shape)} for images "
            f"of shape {tuple(shape)}"
        )
    return X.reshape(len(X), *shape)


class ChannelStandardizer(TransformerMixin, BaseEstimator):
    """Standardise each channel of images over all their pixels.

    Parameters
    ----------
    shape : sequence of int, default=None
        (height, width, channels) or (length, channels) of flat rows; arrays of images need none.

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (channels,)
        Mean and standard deviation of each channel; a constant channel has scale 1.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch import ChannelStandardizer
    >>> images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    >>> Z = ChannelStandardizer().fit_transform(images)
    >>> Z.shape, bool(abs(Z.mean()) < 1e-12)
    ((5, 8, 8, 3), True)
    """

    def __init__(self, shape: Sequence[int] | None = None) -> None:
        self.shape = shape

    def fit(self, X: Any, y: Any = None) -> ChannelStandardizer:
        """Take mean and standard deviation of each channel.

        Parameters
        ----------
        X : array-like of shape (n, height, width, channels), (n, length, channels) or (n, d)
            Images, signals, or flat rows of them.
        y : ignored
            There for pipelines.

        Returns
        -------
        ChannelStandardizer
            The fitted transformer.

        Raises
        ------
        ValueError
            If the rows are not of the shape, or not finite.
        """
        images = _images(_checked(X, "ChannelStandardizer"), self.shape, "ChannelStandardizer")
        axes = tuple(range(images.ndim - 1))
        self.mean_ = images.mean(axes, dtype=np.float64)
        deviation = images.std(axes, dtype=np.float64)
        constant = images.min(axes) == images.max(axes)  # their deviation is rounding
        self.scale_ = np.where(constant, 1.0, deviation)
        return self

    def transform(self, X: Any) -> NDArray:
        """Standardise images.

        Parameters
        ----------
        X : array-like
            Images as in `fit`.

        Returns
        -------
        ndarray of the shape of X
            float32 if X is, else float64.
        """
        check_is_fitted(self)
        X = _checked(X, "ChannelStandardizer")
        images = _images(X, self.shape, "ChannelStandardizer")
        if images.shape[-1] != len(self.mean_):
            raise ValueError(
                f"ChannelStandardizer: X has {images.shape[-1]} channels, expected "
                f"{len(self.mean_)}"
            )
        mean, scale = self.mean_.astype(X.dtype), self.scale_.astype(X.dtype)
        return ((images - mean) / scale).reshape(X.shape)


class ZCAWhitening(TransformerMixin, BaseEstimator):
    r"""Whiten images, and turn them back to look like images.

    With the eigenvalues :math:`e_i` and eigenvectors V of the covariance of the rows of `fit`, rows
    x become :math:`V \operatorname{diag}(e_i + r \bar e)^{-1/2} V^\top (x - \bar x)`.

    Parameters
    ----------
    regularization : float, default=0.1
        The r, relative to the mean eigenvalue, above 0.

    Attributes
    ----------
    mean_ : ndarray of shape (d,)
        Mean row.
    whitening_ : ndarray of shape (d, d)
        The symmetric matrix.

    References
    ----------
    Bell, Sejnowski (1997), "The 'independent components' of natural scenes are edge filters",
    doi:10.1016/S0042-6989(97)00121-1. Krizhevsky (2009), "Learning multiple layers of features from
    tiny images"; Shankar et al. (2020), arXiv:2003.02237.

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch import ZCAWhitening
    >>> images = np.random.default_rng(0).standard_normal((50, 4, 4, 1)).astype(np.float32)
    >>> ZCAWhitening().fit_transform(images).shape
    (50, 4, 4, 1)
    """

    def __init__(self, regularization: float = 0.1) -> None:
        self.regularization = regularization

    def fit(self, X: Any, y: Any = None) -> ZCAWhitening:
        """Take the covariance of rows and its eigendecomposition, in float64.

        Parameters
        ----------
        X : array-like of shape (n, height, width, channels), (n, length, channels) or (n, d)
            Images, signals, or flat rows.
        y : ignored
            There for pipelines.

        Returns
        -------
        ZCAWhitening
            The fitted transformer.

        Raises
        ------
        MemoryError
            Before the start, if the covariance and its eigenvectors cannot fit.
        TypeError, ValueError
            If the regulariser is no positive number, or the rows are all equal or not finite.
        """
        given = self.regularization
        if isinstance(given, bool) or not isinstance(given, Real):
            raise TypeError(f"regularization must be a number, got {given!r}")
        if not 0 < float(given) < math.inf:
            raise ValueError(f"regularization must be positive and finite, got {given!r}")
        rows = _checked(X, "ZCAWhitening")
        rows = rows.reshape(len(rows), -1)
        if (rows == rows[0]).all():  # their covariance is rounding
            raise ValueError("ZCAWhitening: all rows are equal, there is nothing to whiten")
        self.n_features_in_ = rows.shape[1]
        self.mean_ = rows.mean(0, dtype=np.float64)
        width = rows.shape[1]
        require_memory(
            _MATRICES * 8.0 * width**2,
            f"the covariance of rows of {width:,} numbers and its eigenvectors",
            "take smaller images, or pool their pixels first",
        )
        covariance = np.zeros((width, width))
        for part in block_slices(len(rows), _BLOCK):
            centred = rows[part] - self.mean_
            covariance += centred.T @ centred
        values, vectors = scipy.linalg.eigh(covariance / len(rows), overwrite_a=True)
        values = np.maximum(values, 0)
        scaled = vectors / np.sqrt(values + float(given) * values.mean())
        self.whitening_ = scaled @ vectors.T
        return self

    def transform(self, X: Any) -> NDArray:
        """Whiten images.

        Parameters
        ----------
        X : array-like
            Images of the size of those of `fit`.

        Returns
        -------
        ndarray of the shape of X
            float32 if X is, else float64.
        """
        check_is_fitted(self)
        X = _checked(X, "ZCAWhitening")
        rows = X.reshape(len(X), -1)
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"ZCAWhitening: X has rows of {rows.shape[1]} numbers, expected "
                f"{self.n_features_in_}"
            )
        centred = rows - self.mean_.astype(X.dtype)
        return (centred @ self.whitening_.astype(X.dtype)).reshape(X.shape)


class FlipAverage(TransformerMixin, BaseEstimator):
    """Average the features of an image and of its mirror image.

    Their kernel is the mean over both of both images: that of a model that is the same for an
    image and its mirror image. Where features tell no pair of images from their mirror images it is
    the model of all images and their mirror images.

    Parameters
    ----------
    transformer : transformer
        What makes features, such as :class:`NTKFeatures`; a clone of it is fitted.
    shape : sequence of int, default=None
        (height, width, channels) of flat rows; arrays of images need none.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> images = np.random.default_rng(0).standard_normal((20, 8, 8, 3))
    >>> features = ntk.NTKFeatures(ntk.cnn(1), n_components=16, random_state=0)
    >>> Z = ntk.FlipAverage(features).fit_transform(images)
    >>> bool(np.allclose(Z, ntk.FlipAverage(features).fit(images).transform(images[:, :, ::-1])))
    True
    """

    def __init__(self, transformer: Any, shape: Sequence[int] | None = None) -> None:
        self.transformer = transformer
        self.shape = shape

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlipAverage:
        """Fit the transformer to the images as they are.

        Parameters
        ----------
        X : array-like of shape (n, height, width, channels) or (n, d)
            Images, or flat rows of them.
        y, sample_weight : array-like, default=None
            Passed on.

        Returns
        -------
        FlipAverage
            The fitted transformer.

        Raises
        ------
        ValueError
            If the rows are not of the shape, or not finite.
        """
        X = _checked(X, "FlipAverage")
        self._mirrored(X)
        transformer: Any = clone(self.transformer)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.transformer_ = transformer.fit(X, y, **weights)
        return self

    def transform(self, X: Any) -> NDArray:
        """Return the mean of the features of images and of their mirror images.

        Parameters
        ----------
        X : array-like
            Images as in `fit`.

        Returns
        -------
        ndarray of shape (n, n_components)
            Features.
        """
        check_is_fitted(self)
        X = _checked(X, "FlipAverage")
        features = self.transformer_.transform(X)
        features = features + self.transformer_.transform(self._mirrored(X))
        return features / 2

    def _mirrored(self, X: NDArray) -> NDArray:
        images = _images(X, self.shape, "FlipAverage")
        if images.ndim != 4:
            raise ValueError(
                f"FlipAverage: X has shape {X.shape}, expected images with a width to mirror"
            )
        return np.ascontiguousarray(images[:, :, ::-1]).reshape(X.shape)
