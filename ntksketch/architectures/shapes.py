"""What becomes of the spatial axes of an image or a signal from layer to layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ntksketch.architectures.activations import Activation
from ntksketch.architectures.layers import Architecture, Dense, Serial, as_layers
from ntksketch.architectures.recurrent import LastStep, Recurrent, Reverse
from ntksketch.architectures.spatial import (
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    Input,
    Residual,
    has_lengths,
    takes_lengths,
)

Shape = tuple[int, ...]  # spatial axes: two, one, or none of a vector


class Window(NamedTuple):
    """How windows lie along one axis.

    Attributes
    ----------
    size, stride : int
        Extent of a window and steps between windows.
    before, after : int
        Pixels that are added to the axis.
    n_windows : int
        How many there are.
    """

    size: int
    stride: int
    before: int
    after: int
    n_windows: int


def input_layer(architecture: Architecture) -> Input:
    """Return the layer that says what a row is; raise ValueError if the architecture has none."""
    first = as_layers(architecture)[0]
    if not isinstance(first, Input):
        raise ValueError(
            f"{architecture} works on images or signals, and flat rows do not say which: give "
            "arrays of shape (n, height, width, channels) or (n, length, channels), or begin the "
            "architecture with Input(shape)"
        )
    return first


def input_shape(architecture: Architecture) -> tuple[int, ...]:
    """Return the shape of a row, channels last; raise ValueError if the architecture has none."""
    return input_layer(architecture).shape


def per_axis(layer: Architecture, name: str, n_axes: int) -> tuple[int, ...]:
    """Return a layer's sizes, one for each spatial axis."""
    value = getattr(layer, name)
    if isinstance(value, int):
        return (value,) * n_axes
    if len(value) != n_axes:
        raise ValueError(
            f"{layer} has {len(value)} numbers for its {name}, and its input has {n_axes} "
            "spatial axes"
        )
    return value


def windows(layer: Conv | AvgPool, shape: Shape) -> tuple[Window, ...]:
    """Return how a layer's windows lie along each spatial axis.

    Raises
    ------
    ValueError
        If the input is no image or signal, or smaller than a window.
    """
    if not shape:
        raise ValueError(f"{layer} needs pixels, and the layers before it leave a vector")
    name = "filter_size" if isinstance(layer, Conv) else "window_size"
    sizes = per_axis(layer, name, len(shape))
    strides = sizes if layer.stride is None else per_axis(layer, "stride", len(shape))
    padding = layer.padding if isinstance(layer, Conv) else "valid"
    return tuple(
        _window(layer, padding, *numbers, shape)
        for numbers in zip(sizes, strides, shape, strict=True)
    )


def _window(
    layer: Architecture, padding: str, size: int, stride: int, length: int, shape: Shape
) -> Window:
    if padding == "valid":
        if size > length:
            raise ValueError(f"{layer} needs {size} pixels, and its input has shape {shape}")
        return Window(size, stride, 0, 0, (length - size) // stride + 1)
    count = -(-length // stride)
    if padding == "circular":
        if size - 1 > length:
            raise ValueError(f"{layer} goes around more than once, with input of shape {shape}")
        return Window(size, stride, (size - 1) // 2, size // 2, count)
    added = max((count - 1) * stride + size - length, 0)
    return Window(size, stride, added // 2, added - added // 2, count)


@functools.singledispatch
def output_shape(layer: Architecture, shape: Shape) -> Shape:
    """Return the spatial axes behind a layer.

    Raises
    ------
    ValueError
        If the layer cannot follow.
    """
    raise NotImplementedError(f"there is no rule for the shape behind {type(layer).__name__}")


@output_shape.register
def _(layer: Serial, shape: Shape) -> Shape:
    for inner in layer.layers:
        shape = output_shape(inner, shape)
    return shape


@output_shape.register(Dense)
@output_shape.register(Activation)
def _(layer: Any, shape: Shape) -> Shape:
    return shape


@output_shape.register
def _(layer: Input, shape: Shape) -> Shape:
    if shape:
        raise ValueError(f"{layer} can only be the first layer")
    return layer.shape[:-1]


@output_shape.register(Conv)
@output_shape.register(AvgPool)
def _(layer: Conv | AvgPool, shape: Shape) -> Shape:
    return tuple(window.n_windows for window in windows(layer, shape))


@output_shape.register(GlobalAvgPool)
@output_shape.register(Flatten)
def _(layer: Any, shape: Shape) -> Shape:
    if not shape:
        raise ValueError(f"{layer} needs pixels, and the layers before it leave a vector")
    return ()


@output_shape.register(Recurrent)
@output_shape.register(Reverse)
@output_shape.register(LastStep)
def _(layer: Any, shape: Shape) -> Shape:
    if len(shape) != 1:
        raise ValueError(f"{layer} needs signals, with one axis of steps; its input has {shape}")
    return () if isinstance(layer, LastStep) else shape


@output_shape.register
def _(layer: Residual, shape: Shape) -> Shape:
    branch = output_shape(layer.branch, shape)
    other = shape if layer.shortcut is None else output_shape(layer.shortcut, shape)
    if branch != other:
        raise ValueError(
            f"the branches of {layer} leave shapes {branch} and {other}, which cannot be added"
        )
    return branch


def fold(
    layers: Sequence[Architecture],
    state: Any,
    rule: Callable[[Any, Any, Shape], Any],
    add: Callable[[list[Any]], Any],
    shape: Shape = (),
) -> Any:
    """Carry a state through layers, those inside residual sums as well.

    Parameters
    ----------
    layers : sequence of Architecture
        The layers, in the order in which they are applied.
    state : object
        What the first takes.
    rule : callable
        Takes a layer that is no sum, the state in front of it and its spatial axes there; returns
        the state behind it.
    add : callable
        Takes the states behind the branches of a residual sum; returns that of the sum.
    shape : tuple of int, default=()
        Spatial axes in front.

    Returns
    -------
    object
        The state behind the last layer.
    """
    for layer in layers:
        if isinstance(layer, Residual):
            shortcut = () if layer.shortcut is None else layer.shortcut.layers
            branches = (layer.branch.layers, shortcut)
            state = add([fold(branch, state, rule, add, shape) for branch in branches])
        else:
            state = rule(layer, state, shape)
        shape = output_shape(layer, shape)
    return state


def check_shapes(architecture: Architecture) -> None:
    """Raise ValueError unless a network on images ends with a vector, and all its layers fit."""
    if has_lengths(architecture) and not takes_lengths(architecture):
        raise ValueError(
            f"{architecture} has layers that are not defined for sequences of different lengths, "
            "Conv, AvgPool or Flatten: take Recurrent, Dense and activations, behind them "
            "LastStep() or GlobalAvgPool(), or give sequences of one length"
        )
    shape = output_shape(architecture, ())
    if shape:
        raise ValueError(
            f"{architecture} ends with pixels, of shape {shape}: put GlobalAvgPool() or Flatten() "
            "before its last Dense()"
        )
