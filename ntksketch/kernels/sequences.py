"""Sequences of different lengths as rows of one width, which begin with their number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ntksketch.architectures.spatial import whole

_DTYPES = np.dtype(np.float32), np.dtype(np.float64)


def pad_sequences(
    sequences: Sequence[ArrayLike], length: int | None = None, dtype: DTypeLike | None = None
) -> NDArray:
    """Turn sequences of different lengths into rows, as ``Input(shape, lengths=True)`` has them.

    A row is the number of steps, then zeros up to `length` steps, then the steps: sequences are
    aligned at their ends.

    Parameters
    ----------
    sequences : sequence of n array-likes of shape (steps, channels)
        Finite numbers, at least one step each.
    length : int, default=None
        Number of steps of a row; None takes that of the longest sequence. Kernels do not depend on
        it.
    dtype : {float32, float64}, default=None
        Type of the rows; None takes float32 if all sequences are, else float64.

    Returns
    -------
    ndarray of shape (n, 1 + length * channels)
        The rows.

    Raises
    ------
    TypeError, ValueError
        If there is no sequence, or one is empty, has another shape, is not finite or longer than
        `length`; the message says which.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> rows = ntk.pad_sequences([np.ones((1, 2)), 2 * np.ones((3, 2))])
    >>> rows
    array([[1., 0., 0., 0., 0., 1., 1.],
           [3., 2., 2., 2., 2., 2., 2.]])
    >>> architecture = ntk.rnn(shape=(3, 2), lengths=True)
    >>> ntk.kernel(architecture, rows).shape
    (2, 2)
    """
    if len(sequences) == 0:
        raise ValueError("there are no sequences: expected a list of arrays (steps, channels)")
    arrays = [_checked(sequence, i) for i, sequence in enumerate(sequences)]
    channels = arrays[0].shape[1]
    for i, array in enumerate(arrays):
        if array.shape[1] != channels:
            raise ValueError(
                f"sequence {i} has {array.shape[1]} channels, expected {channels} as sequence 0 has"
            )
    steps = np.array([len(array) for array in arrays])
    most = int(steps.max()) if length is None else whole("length", length)
    if steps.max() > most:
        i = int(np.argmax(steps > most))
        raise ValueError(f"sequence {i} has {steps[i]} steps, more than length={most}")
    if dtype is None:
        dtype = np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64
    elif np.dtype(dtype) not in _DTYPES:
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    rows = np.zeros((len(arrays), 1 + most * channels), dtype)
    rows[:, 0] = steps
    for row, array in zip(rows, arrays, strict=True):
        row[row.size - array.size :] = array.ravel()
    return rows


def _checked(sequence: Any, i: int) -> NDArray:
    """Return a sequence as an array of real numbers, or say what is wrong with it."""
    array = np.asarray(sequence)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"sequence {i} must have real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(
            f"sequence {i} has shape {array.shape}, expected (steps, channels); "
            "reshape(-1, 1) gives numbers one channel"
        )
    if not array.size:
        raise ValueError(f"sequence {i} is empty, it has shape {array.shape}: leave it out")
    if not np.isfinite(array).all():
        step = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise ValueError(f"sequence {i} has NaN or infinity at step {step}; fill or drop it")
    return array


def are_sequences(X: Any) -> bool:
    """Say whether a value is a list of sequences: of arrays of two axes, with lengths of any kind.

    An array of objects is a list as well.
    """
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and len(X) > 0 and all(np.ndim(x) == 2 for x in X)
    if not isinstance(X, list | tuple) or not X:
        return False
    try:
        return all(np.ndim(x) == 2 for x in X)
    except ValueError:  # something in it is ragged itself
        return False


def check_lengths(X: Any, shape: tuple[int, ...], name: str, start: int = 0) -> None:
    """Raise ValueError unless rows begin with their number of steps, and with zeros before these.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, 1 + length * channels)
        Finite rows.
    shape : tuple of int
        Largest length, and channels.
    name : str
        What messages call the rows.
    start : int
        Number of the first row.
    """
    X = X.toarray() if sp.issparse(X) else X
    length, channels = shape
    steps, numbers = X[:, 0], X[:, 1:].reshape(len(X), length, channels)
    good = (steps == np.floor(steps)) & (steps >= 1) & (steps <= length)
    if not good.all():
        i = int(np.argmin(good))
        raise ValueError(
            f"{name} has a row, number {start + i}, of {steps[i]:g} steps, expected a whole number "
            f"from 1 to {length} in the first column; pad_sequences makes such rows"
        )
    before = np.arange(length) < length - steps[:, None]
    good = ~(before & numbers.any(axis=2)).any(axis=1)
    if not good.all():
        i = int(np.argmin(good))
        raise ValueError(
            f"{name} has a row, number {start + i}, of {steps[i]:g} steps with numbers before "
            "these: sequences are aligned at the end of a row, behind zeros; pad_sequences does it"
        )
