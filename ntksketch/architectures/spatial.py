"""Layers of networks on images, (height, width, channels), and on signals, (length, channels).

They take two spatial axes or one; how many there are, the input says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from ntksketch.architectures.activations import Activation
from ntksketch.architectures.layers import Architecture, Dense, Serial, as_layers, serial, set_real
from ntksketch.architectures.recurrent import LastStep, Recurrent, Reverse

PADDINGS = ("same", "valid", "circular")


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number of at least 1, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return int(value)


def _sizes(name: str, value: Any) -> int | tuple[int, ...]:
    """Return one size for every spatial axis, or a tuple of one each."""
    if not isinstance(value, tuple | list):
        return whole(name, value)
    if len(value) not in (1, 2):
        raise ValueError(f"{name} must be a number or one number each spatial axis, got {value!r}")
    return tuple(whole(name, item) for item in value)


def _set_sizes(layer: Architecture, *names: str) -> None:
    for name in names:
        object.__setattr__(layer, name, _sizes(name, getattr(layer, name)))


def _check_padding(padding: Any) -> None:
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")


@dataclass(frozen=True, repr=False)
class Input(Architecture):
    """What a row is: an image of (height, width, channels) or a signal of (length, channels).

    The rows themselves stay flat, so that sources, files and estimators take them as they take
    all others. Arrays that come in this shape need no such layer.

    Parameters
    ----------
    shape : tuple of int
        The spatial axes, one or two, then the channels.
    lengths : bool, default=False
        Whether rows are sequences of different lengths, of at most as many steps as `shape` says. A
        row then has one column more, the first: its number of steps. The steps follow, aligned at
        the end, behind zeros. :func:`pad_sequences` makes such rows from a list of arrays.

    Raises
    ------
    TypeError, ValueError
        If these are not two or three positive whole numbers, or images have lengths.

    Examples
    --------
    >>> from ntksketch import Input
    >>> Input((32, 32, 3))
    Input(shape=(32, 32, 3))
    >>> Input((100, 8), lengths=True).n_features
    801
    """

    shape: tuple[int, ...]
    lengths: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple | list) or len(self.shape) not in (2, 3):
            raise ValueError(
                f"shape must be (height, width, channels) or (length, channels), got {self.shape!r}"
            )
        object.__setattr__(self, "shape", tuple(whole("shape", size) for size in self.shape))
        if not isinstance(self.lengths, bool):
            raise TypeError(f"lengths must be True or False, got {self.lengths!r}")
        if self.lengths and len(self.shape) != 2:
            raise ValueError(
                f"lengths=True is for sequences of shape (length, channels), got {self.shape}"
            )

    @property
    def n_features(self) -> int:
        """Number of columns of a flat row."""
        return math.prod(self.shape) + self.lengths


@dataclass(frozen=True, repr=False)
class Conv(Architecture):
    r"""Convolution with independent Gaussian weights and biases.

    Between pixels i and j of two images it maps the covariances to

    .. math:: S'_{ij} = \frac{\sigma_w^2}{q} \sum_a S_{si+a,\, sj+a} + \sigma_b^2, \qquad
        T'_{ij} = \frac{\sigma_w^2}{q} \sum_a T_{si+a,\, sj+a} + S'_{ij},

    where a runs over the q offsets of the filter and s is the stride; what lies outside counts as
    zero, and q does not change with it. As of :class:`Dense`, a first layer takes the inner
    product over channels as it is, not divided by their number.

    Parameters
    ----------
    filter_size : int or tuple of int, default=3
        Extent of the filter along each spatial axis.
    stride : int or tuple of int, default=1
        Steps between pixels that are kept.
    padding : {"same", "valid", "circular"}, default="same"
        "same": zeros around, so that stride 1 keeps the size; "valid": none; "circular": the other
        side of the image.
    weight_std : float, default=1.0
        Standard deviation :math:`\sigma_w` of the weights, at least 0.
    bias_std : float, default=0.0
        Standard deviation :math:`\sigma_b` of the biases, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang (2019), "On exact computation with an infinitely wide
    neural net", arXiv:1904.11955.

    Examples
    --------
    >>> from ntksketch import Conv
    >>> Conv(5, stride=2)
    Conv(filter_size=5, stride=2)
    """

    filter_size: int | tuple[int, ...] = 3
    stride: int | tuple[int, ...] = 1
    padding: str = "same"
    weight_std: float = 1.0
    bias_std: float = 0.0

    def __post_init__(self) -> None:
        _set_sizes(self, "filter_size", "stride")
        _check_padding(self.padding)
        set_real(self, "weight_std", self.weight_std, 0)
        set_real(self, "bias_std", self.bias_std, 0)


@dataclass(frozen=True, repr=False)
class AvgPool(Architecture):
    """Average over windows of pixels.

    Parameters
    ----------
    window_size : int or tuple of int, default=2
        Extent of a window along each spatial axis.
    stride : int or tuple of int, default=None
        Steps between windows; None takes the windows' size, so that they tile the image. What is
        left over at the end is left out.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> from ntksketch import AvgPool
    >>> AvgPool(2)
    AvgPool()
    """

    window_size: int | tuple[int, ...] = 2
    stride: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _set_sizes(self, "window_size", *(() if self.stride is None else ("stride",)))


@dataclass(frozen=True, repr=False)
class GlobalAvgPool(Architecture):
    """Average over all pixels: what comes out is a vector.

    Of sequences of different lengths, over the steps that each one has.

    Examples
    --------
    >>> from ntksketch import GlobalAvgPool
    >>> GlobalAvgPool()
    GlobalAvgPool()
    """


@dataclass(frozen=True, repr=False)
class Flatten(Architecture):
    """All pixels as one vector: a layer behind it has weights of its own for each pixel.

    Covariances of pixel i with pixel i are averaged, since the weights' variance is divided by the
    number of pixels as well; pairs of different pixels do not count.

    Examples
    --------
    >>> from ntksketch import Flatten
    >>> Flatten()
    Flatten()
    """


@dataclass(frozen=True, repr=False)
class Residual(Architecture):
    """The sum of two branches on the same input; made by :func:`residual`.

    Parameters
    ----------
    branch : Serial
        One branch.
    shortcut : Serial or None
        The other; None is the input itself.

    Raises
    ------
    ValueError
        If a branch does not end with weights of its own.

    Examples
    --------
    >>> from ntksketch import Conv, Relu, residual
    >>> residual(Relu(), Conv(), shortcut=Conv(1)).shortcut
    serial(Conv(filter_size=1))
    """

    branch: Serial
    shortcut: Serial | None = None

    def __post_init__(self) -> None:
        for name, layers in (("branch", self.branch), ("shortcut", self.shortcut)):
            if layers is None:
                continue
            weighted = [i for i, x in enumerate(layers) if isinstance(x, Dense | Conv | Residual)]
            behind = layers.layers[weighted[-1] :] if weighted else layers.layers
            if not weighted or any(isinstance(layer, Activation | Recurrent) for layer in behind):
                raise ValueError(
                    f"the {name} of a residual sum must end with Dense or Conv, with pools behind "
                    f"it at most, so that what is added is independent; got {layers}"
                )

    def __repr__(self) -> str:
        inner = list(map(repr, self.branch))
        if self.shortcut is not None:
            inner.append(f"shortcut={self.shortcut!r}")
        return f"residual({', '.join(inner)})"


def residual(*layers: Architecture, shortcut: Architecture | None = None) -> Residual:
    """Return a layer that adds what some layers make of its input to the input itself.

    Parameters
    ----------
    *layers : Architecture
        The branch. Its last layer with weights, behind which there may be pools but no activation,
        makes it independent of the shortcut, so that covariances add up.
    shortcut : Architecture, default=None
        Layers in place of the input itself, for example a Conv with a stride.

    Returns
    -------
    Residual
        The sum.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a layer, or a branch ends with an activation.

    References
    ----------
    Yang (2019), "Scaling limits of wide neural networks with weight sharing", arXiv:1902.04760.

    Examples
    --------
    >>> from ntksketch import Conv, Relu, residual
    >>> residual(Relu(), Conv(3))
    residual(Relu(), Conv())
    """
    other = None if shortcut is None else serial(shortcut)
    return Residual(serial(*layers), other)


def all_layers(architecture: Architecture) -> tuple[Architecture, ...]:
    """Return the layers of an architecture, those inside residual sums as well."""
    found: list[Architecture] = []
    for layer in as_layers(architecture):
        found.append(layer)
        if isinstance(layer, Residual):
            found += all_layers(layer.branch)
            found += () if layer.shortcut is None else all_layers(layer.shortcut)
    return tuple(found)


def is_spatial(architecture: Any) -> bool:
    """Say whether a value is an architecture whose rows are images or signals."""
    kinds = (Input, Conv, AvgPool, GlobalAvgPool, Flatten, Recurrent, LastStep, Reverse)
    if not isinstance(architecture, Architecture):
        return False
    return any(isinstance(layer, kinds) for layer in all_layers(architecture))


def is_recurrent(architecture: Any) -> bool:
    """Say whether a value is an architecture with recurrent layers."""
    if not isinstance(architecture, Architecture):
        return False
    return any(isinstance(layer, Recurrent) for layer in all_layers(architecture))


def has_lengths(architecture: Any) -> bool:
    """Say whether a value is an architecture whose rows say how many steps they have."""
    if not isinstance(architecture, Architecture):
        return False
    first = as_layers(architecture)[0]
    return isinstance(first, Input) and first.lengths


def takes_lengths(architecture: Architecture) -> bool:
    """Say whether all layers are defined on sequences of different lengths."""
    return not any(isinstance(x, Conv | AvgPool | Flatten) for x in all_layers(architecture))
