"""Which parameters a network of some width has, and how large they are.

Weights are scaled so that inner products of units become the covariances of the exact view: those
of a layer are divided by what it takes, those of the input by nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ntksketch.architectures import (
    Activation,
    Architecture,
    Conv,
    Dense,
    Flatten,
    Input,
    Recurrent,
    Residual,
)
from ntksketch.architectures.layers import as_layers, serial
from ntksketch.architectures.shapes import Shape, check_shapes, input_shape, output_shape, windows
from ntksketch.architectures.spatial import has_lengths, is_spatial


@dataclass(frozen=True)
class Parameter:
    """An array of parameters.

    Attributes
    ----------
    shape : tuple of int
        Its shape. Weights end with the numbers of units that they take and give.
    scale : float
        Standard deviation of its entries, by which standard normal ones are multiplied.
    """

    shape: tuple[int, ...]
    scale: float

    @property
    def is_matrix(self) -> bool:
        """Whether these are weights, which can be orthogonal, and no biases or states."""
        return len(self.shape) > 1


@dataclass(frozen=True)
class Units:
    """What a layer takes.

    Attributes
    ----------
    shape : tuple of int
        Spatial axes.
    count : int
        Units of each pixel.
    divisor : int
        What inner products over units are divided by to be covariances: 1 for the input.
    law : {"input", "gaussian", "other"}
        Whether units are the input's columns, are normal in a wide network, or neither.
    """

    shape: Shape
    count: int
    divisor: int
    law: str


Plan = tuple[dict[str, Any], ...]  # one dictionary a layer: of Parameter, or of a branch's Plan

Planned = tuple[dict[str, Any], Units]

_WEIGHTED = (Dense, Conv, Recurrent, Residual)


def network_plan(
    architecture: Architecture, row: tuple[int, ...], width: int, n_outputs: int
) -> Plan:
    """Return the parameters of a network.

    Parameters
    ----------
    architecture : Architecture
        The network.
    row : tuple of int
        Shape of a row: (d,) or spatial axes and channels.
    width, n_outputs : int
        Units of hidden layers and of the last layer with weights.

    Raises
    ------
    ValueError
        If there is no network of the architecture that has its kernels in the limit.
    """
    return _planned(architecture, row, width, n_outputs)[0]


def units_behind(
    architecture: Architecture, row: tuple[int, ...], width: int, n_outputs: int
) -> Units:
    """Return what comes out of a network; arguments and errors of :func:`network_plan`."""
    return _planned(architecture, row, width, n_outputs)[1]


def _planned(
    architecture: Architecture, row: tuple[int, ...], width: int, n_outputs: int
) -> tuple[Plan, Units]:
    layers = as_layers(architecture)
    if not any(isinstance(layer, _WEIGHTED) for layer in layers):
        raise ValueError(f"{architecture} has no layer with weights: add Dense()")
    start = Units(row[:-1], row[-1], 1, "input")
    return _walk(layers, start, width, n_outputs)


def _walk(
    layers: Sequence[Architecture], units: Units, width: int, wanted: int | None
) -> tuple[Plan, Units]:
    """Plan layers; how many units the last one with weights gives can be wanted."""
    final = max(i for i, layer in enumerate(layers) if isinstance(layer, _WEIGHTED))
    found: list[dict[str, Any]] = []
    for i, layer in enumerate(layers):
        own, units = plan_layer(layer, units, width, wanted if i == final else None)
        found.append(own)
    return tuple(found), units


@functools.singledispatch
def plan_layer(layer: Architecture, units: Units, width: int, wanted: int | None) -> Planned:
    """Return a layer's parameters and what it gives.

    Parameters
    ----------
    layer : Architecture
        Layers without weights, that move or average units, are the default.
    units : Units
        What it takes.
    width : int
        Units of hidden layers.
    wanted : int or None
        Units that come out if the layer has weights; None leaves them to the layer, which gives
        `width` or, in a sum, as many as are added to.
    """
    return {}, replace(units, shape=output_shape(layer, units.shape))


@plan_layer.register
def _(layer: Input, units: Units, width: int, wanted: int | None) -> Planned:
    return {}, units  # rows come in its shape


@plan_layer.register
def _(layer: Activation, units: Units, width: int, wanted: int | None) -> Planned:
    if units.law != "gaussian":
        what = "the input" if units.law == "input" else "units that are not normal"
        raise ValueError(
            f"{layer} takes {what}, and the exact kernel takes them for normal, which no finite "
            "network follows: put Dense() or Conv() right before it"
        )
    return {}, replace(units, law="other")


@plan_layer.register
def _(layer: Flatten, units: Units, width: int, wanted: int | None) -> Planned:
    shape = output_shape(layer, units.shape)
    pixels = math.prod(units.shape)
    law = "other" if units.law == "gaussian" and pixels > 1 else units.law
    return {}, Units(shape, pixels * units.count, pixels * units.divisor, law)


def _weights(
    layer: Dense | Conv, units: Units, sizes: tuple[int, ...], given: int
) -> dict[str, Any]:
    fan_in = math.prod(sizes) * units.divisor
    scale = layer.weight_std / math.sqrt(fan_in)
    found = {"weight": Parameter((*sizes, units.count, given), scale)}
    if layer.bias_std:
        found["bias"] = Parameter((given,), layer.bias_std)
    return found


@plan_layer.register
def _(layer: Dense, units: Units, width: int, wanted: int | None) -> Planned:
    given = width if wanted is None else wanted
    return _weights(layer, units, (), given), Units(units.shape, given, given, "gaussian")


@plan_layer.register
def _(layer: Conv, units: Units, width: int, wanted: int | None) -> Planned:
    sizes = tuple(window.size for window in windows(layer, units.shape))
    shape = output_shape(layer, units.shape)
    given = width if wanted is None else wanted
    return _weights(layer, units, sizes, given), Units(shape, given, given, "gaussian")


@plan_layer.register
def _(layer: Recurrent, units: Units, width: int, wanted: int | None) -> Planned:
    shape = output_shape(layer, units.shape)
    if wanted not in (None, width):
        raise ValueError(
            f"{layer} is the last layer with weights, so that its {width} states are the outputs, "
            f"not {wanted}: put Dense() behind it, or take n_outputs={width}"
        )
    found = {
        "weight": Parameter((width, width), layer.weight_std / math.sqrt(width)),
        "input": Parameter((units.count, width), layer.input_std / math.sqrt(units.divisor)),
    }
    if layer.bias_std:
        found["bias"] = Parameter((width,), layer.bias_std)
    if layer.state_std:
        found["state"] = Parameter((width,), layer.state_std)
    return found, Units(shape, width, width, "other")


@plan_layer.register
def _(layer: Residual, units: Units, width: int, wanted: int | None) -> Planned:
    if layer.shortcut is None:
        if units.law == "input":
            raise ValueError(
                f"{layer} adds to the input itself, whose columns no wide layer matches: give it a "
                "shortcut with weights, or put Dense() or Conv() before it"
            )
        if wanted not in (None, units.count):
            raise ValueError(
                f"{layer} is the last layer with weights, so that it gives the {units.count} units "
                f"that it takes, not {wanted}: put Dense() behind it, or take "
                f"n_outputs={units.count}"
            )
        wanted = units.count
    branch, behind = _walk(layer.branch.layers, units, width, wanted)
    plan: dict[str, Any] = {"branch": branch}
    other = units
    if layer.shortcut is not None:
        plan["shortcut"], other = _walk(layer.shortcut.layers, units, width, wanted)
    output_shape(layer, units.shape)
    if (behind.count, behind.divisor) != (other.count, other.divisor):
        raise ValueError(
            f"the branches of {layer} give {behind.count} and {other.count} units, which cannot be "
            "added"
        )
    law = "gaussian" if behind.law == other.law == "gaussian" else "other"
    return plan, replace(behind, law=law)


def row_shape(architecture: Architecture, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which the network takes its rows.

    Parameters
    ----------
    architecture : Architecture
        The network.
    shape : tuple of int
        That of a row as it comes: (d,), (length, channels) or (height, width, channels).

    Raises
    ------
    ValueError
        If the network takes no such rows.
    """
    if has_lengths(architecture):
        raise ValueError(
            f"{architecture} takes sequences of different lengths, and finite networks take those "
            "of one length: apply one to the sequences of each length"
        )
    if not is_spatial(architecture):
        if len(shape) != 1:
            raise ValueError(
                f"rows have shape {shape}, expected one axis of numbers: {architecture} has no "
                "layers for images or signals"
            )
        return shape
    if len(shape) not in (1, 2, 3):
        raise ValueError(
            f"rows have shape {shape}, expected (height, width, channels), (length, channels) or "
            "one axis of numbers"
        )
    known = shape
    if isinstance(as_layers(architecture)[0], Input) or len(shape) == 1:
        known = input_shape(architecture)
    if shape not in (known, (math.prod(known),)):
        raise ValueError(f"rows have shape {shape}, expected {known} or as many numbers, flat")
    named = isinstance(as_layers(architecture)[0], Input)
    check_shapes(architecture if named else serial(Input(known), architecture))
    return known
