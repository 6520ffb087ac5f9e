"""What arrays are to a network: images, signals and sequences become flat rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ntksketch.architectures import Architecture
from ntksketch.architectures.layers import as_layers, serial
from ntksketch.architectures.shapes import check_shapes, input_layer
from ntksketch.architectures.spatial import Input, has_lengths, is_spatial, takes_lengths
from ntksketch.kernels.sequences import are_sequences, check_lengths, pad_sequences

_LEAST_SIDE = 8  # of arrays that are rather grey images than signals with as many channels


def are_images(architecture: Any, X: Any) -> bool:
    """Say whether rows in memory come as images, signals or a list of sequences, for a network."""
    if not is_spatial(architecture):
        return False
    if are_sequences(X):
        return True
    return len(_shape(X)) in (3, 4)


def _warn_of_grey_images(shape: tuple[int, ...], name: str) -> None:
    """Warn where signals look like images without an axis of channels."""
    if len(shape) == 3 and shape[1] == shape[2] >= _LEAST_SIDE:
        warnings.warn(
            f"{name} has shape {shape}, which is taken for {shape[0]} signals of {shape[1]} steps "
            f"and {shape[2]} channels: of grey images give {name}[..., None]; shape={shape[1:]} "
            "in the network says that signals are meant",
            stacklevel=3,
        )


def with_input(architecture: Any, X: Any, name: str = "X") -> tuple[Any, Any]:
    """Return an architecture that knows the shape of its rows, and the rows, flat.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        What the rows are for.
    X : array-like
        Rows, images of shape (n, height, width, channels), signals of shape (n, length, channels)
        or a list of sequences, arrays of shape (steps, channels).
    name : str
        What messages call them.

    Raises
    ------
    ValueError
        If the shape of the rows is not that of the architecture.
    """
    if not is_spatial(architecture):
        return architecture, X
    first = as_layers(architecture)[0]
    known = first if isinstance(first, Input) else None
    if are_sequences(X):
        known, X = _stacked(known, architecture, X, name)
    shape = _shape(X)
    if len(shape) in (3, 4):
        if len(shape) == 3:
            _require_no_padding(X, name)
        if known is None:
            _warn_of_grey_images(shape, name)
            known = Input(shape[1:])
        if known.lengths:
            X = _padded(known, X, name)
        elif known.shape != shape[1:]:
            raise ValueError(f"{name} has rows of shape {shape[1:]}, expected {known.shape}")
        else:
            X = np.reshape(X, (shape[0], known.n_features))
    elif len(shape) != 2:
        raise ValueError(
            f"{name} has shape {shape}, expected flat rows (n, d), images (n, height, width, "
            "channels) or signals (n, length, channels)"
        )
    if known is None:
        known = input_layer(architecture)  # raises: flat rows do not say what they are
    elif known is not first:
        architecture = serial(known, architecture)
    width = _shape(X)[1]
    if width != known.n_features:
        what = "sequences, with their lengths, of at most" if known.lengths else "images of shape"
        raise ValueError(
            f"{name} has rows of {width} numbers, expected {known.n_features} for {what} "
            f"{known.shape}"
        )
    check_shapes(architecture)
    return architecture, X


def with_inputs(architecture: Any, X: Any, Y: Any) -> tuple[Any, Any, Any]:
    """Return the same for two sets of rows, of which the second may be None."""
    if Y is not None and are_sequences(X) and are_sequences(Y) and is_spatial(architecture):
        first = as_layers(architecture)[0]
        if not isinstance(first, Input) and takes_lengths(architecture):
            rows = pad_sequences([*X, *Y])  # to the longest of both
            n, channels = len(X), np.shape(X[0])[1]
            shape = (rows.shape[1] - 1) // channels, channels
            return serial(Input(shape, lengths=True), architecture), rows[:n], rows[n:]
    architecture, X = with_input(architecture, X)
    return architecture, X, None if Y is None else with_input(architecture, Y, "Y")[1]


def check_sequences(architecture: Any, X: Any, name: str = "X", start: int = 0) -> None:
    """Raise ValueError unless flat rows are sequences, for an architecture with their lengths."""
    if has_lengths(architecture):
        check_lengths(X, input_layer(architecture).shape, name, start)


def _shape(X: Any) -> tuple[int, ...]:
    shape = getattr(X, "shape", None)
    return np.shape(X) if shape is None else tuple(shape)


def _stacked(known: Input | None, architecture: Architecture, X: Any, name: str) -> Any:
    """Return what a row is, and a list of sequences as rows, or as an array if of one length."""
    if known is not None and known.lengths:
        return known, _padded(known, X, name)
    steps = [len(sequence) for sequence in X]
    if known is not None and min(steps) != max(steps):
        raise ValueError(
            f"{name} has sequences of {min(steps)} to {max(steps)} steps, expected {known.shape}: "
            f"for different lengths begin the architecture with Input({known.shape}, lengths=True)"
        )
    rows = pad_sequences(X)
    shape = max(steps), (rows.shape[1] - 1) // max(steps)
    if known is None and (takes_lengths(architecture) or min(steps) != max(steps)):
        return Input(shape, lengths=True), rows
    return known, rows[:, 1:].reshape(-1, *shape)


def _padded(known: Input, X: Any, name: str) -> Any:
    """Return sequences as rows of an input with lengths."""
    length, channels = known.shape
    for i, sequence in enumerate(X):
        found = np.shape(sequence)
        if len(found) == 2 and (found[0] > length or found[1] != channels):
            raise ValueError(
                f"{name} has a sequence, number {i}, of shape {found}, expected at most {length} "
                f"steps of {channels} channels: for longer ones, Input((length, {channels}), "
                "lengths=True) in front of the architecture says how long"
            )
    return pad_sequences(X, length)


def _require_no_padding(X: Any, name: str) -> None:
    """Raise ValueError if signals hold NaN, which often stand for steps that are not there."""
    array = np.asarray(X)
    if array.dtype.kind == "f" and np.isnan(array).any():
        i = int(np.argmax(np.isnan(array).any(axis=(1, 2))))
        raise ValueError(
            f"{name} has NaN in signal {i}; if they pad sequences of different lengths, give a "
            "list of arrays (steps, channels) without them, or pad_sequences of that list"
        )
