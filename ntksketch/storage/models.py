"""Fitted models on disk."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ntksketch.storage import container
from ntksketch.storage.codec import decode, encode
from ntksketch.storage.errors import ModelFileError
from ntksketch.storage.registry import MODELS

_RECORDED = ("numpy", "scipy", "jax", "scikit-learn")  # versions, for whoever reads the file


def save(model: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save a fitted model to one file, from which `load` makes it again.

    The file is a safetensors file: arrays, and the rest as JSON in its metadata. It holds no code.
    It is written beside its place first and then put there, so that a failure leaves the old
    file.

    Parameters
    ----------
    model : fitted estimator
        NTKFeatures, NTKRegressor, NTKClassifier, StreamingRidge, ExactNTKRegressor, GradientFlow,
        ChannelStandardizer, ZCAWhitening, or FlipAverage of NTKFeatures.
    path : path-like
        Where to; a file that is there is replaced. The name's usual end is ``.safetensors``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    TypeError, ValueError
        Before anything is written, if the model holds something that cannot be saved, such as a
        user's function that predictions need; the message says what to do.
    ModuleNotFoundError
        If the package safetensors is not installed: ``python -m pip install 'ntksketch[io]'``.
    OSError
        If the file cannot be written.

    See Also
    --------
    ntksketch.load : Make the model again.

    Notes
    -----
    A `random_state` that is a RandomState instance is saved as None: `fit` has moved it on, so that
    no later fit could repeat the draw. The function of ``zonal.from_function`` is not saved where
    features do without it (Gegenbauer features and polynomial sketches have its coefficients): the
    loaded model then transforms and predicts, and says what it lacks if it is to fit again.

    Examples
    --------
    >>> import tempfile
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ntk.NTKRegressor(n_components=64, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ntk.save(model, f"{folder}/diabetes.safetensors")
    ...     copy = ntk.load(f"{folder}/diabetes.safetensors")
    >>> bool((copy.predict(X) == model.predict(X)).all())
    True
    """
    if type(model) not in MODELS:
        names = ", ".join(cls.__name__ for cls in MODELS)
        raise TypeError(f"model must be one of {names}, got {type(model).__name__}")
    check_is_fitted(model)
    tree, arrays = encode(model)
    try:
        decode(tree, arrays)  # what cannot be loaded is not saved
    except ModelFileError as error:
        raise ValueError(f"the model cannot be saved: {error}") from error
    versions = {name: version(name) for name in _RECORDED}
    text = json.dumps({"model": tree, "versions": versions}, allow_nan=False)
    container.write(Path(path), text, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Load a model that `save` has written.

    Loading runs no code of the file's: it holds numbers and the names of the library's own types,
    and all that is read is checked.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    fitted estimator
        The fitted model. Its predictions are those of the saved one, bit for bit with the same
        versions of the libraries on the same kind of machine.

    Raises
    ------
    ntksketch.ModelFileError
        If the file holds no such model, is damaged, or was written by a later version of the
        library in a format that this one does not know; the message says which.
    ModuleNotFoundError
        If the package safetensors is not installed: ``python -m pip install 'ntksketch[io]'``.
    OSError, MemoryError
        If the file cannot be read, or the model does not fit in memory.

    See Also
    --------
    ntksketch.save : Write the file.

    Examples
    --------
    >>> import tempfile
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ntk.NTKClassifier(n_components=64, random_state=0).fit(X / 16, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ntk.save(model, f"{folder}/digits.safetensors")
    ...     copy = ntk.load(f"{folder}/digits.safetensors")
    >>> copy.classes_
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    place = Path(path)
    try:
        text, arrays = container.read(place)
        return _model(container.parse(text), arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{place} is no model file: {error}") from error


def _model(document: Any, arrays: dict[str, Any]) -> BaseEstimator:
    if not isinstance(document, dict) or set(document) != {"model", "versions"}:
        raise ModelFileError("it has no model")
    model = decode(document["model"], arrays)
    if type(model) not in MODELS:
        raise ModelFileError(f"it holds a {type(model).__name__}, which is no fitted model")
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ModelFileError(f"it holds a {type(model).__name__} that is not fitted") from None
    return model
