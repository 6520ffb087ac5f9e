"""Builders of standard architectures."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from numbers import Integral

from ntksketch.architectures.activations import Activation, Relu, check_activation
from ntksketch.architectures.layers import Architecture, Dense, Serial, serial
from ntksketch.architectures.recurrent import LastStep, Recurrent, Reverse
from ntksketch.architectures.spatial import AvgPool, Conv, Flatten, GlobalAvgPool, Input, residual

_RELU = Relu()
_STEPS = {"last": LastStep, "mean": GlobalAvgPool}
_READOUTS = {"gap": GlobalAvgPool, "flatten": Flatten}
_MYRTLE = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}  # convolutions before each pool


def mlp(
    depth: int,
    *,
    activation: Activation = _RELU,
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    input_bias_std: float | None = None,
) -> Serial:
    r"""Multilayer perceptron with `depth` hidden layers and a linear readout.

    With rectifiers and without bias its kernels obey, with :math:`S_0 = T_0 = \langle x, y\rangle`,

    .. math::

        S_h = |x||y|\, \kappa_1\!\left(\frac{S_{h-1}}{|x||y|}\right), \qquad
        T_h = T_{h-1}\, \kappa_0\!\left(\frac{S_{h-1}}{|x||y|}\right) + S_h,

    and :math:`\mathrm{NNGP} = S_L`, :math:`\mathrm{NTK} = T_L`, so that
    :math:`\mathrm{NTK}(x, x) = (L + 1)|x|^2`.

    Parameters
    ----------
    depth : int
        Number :math:`L` of hidden layers, at least 1.
    activation : Activation, default=Relu()
        What the hidden layers apply to every unit: :class:`Relu`, :class:`LeakyRelu`,
        :class:`Erf`, :class:`Gelu`, :class:`Sin` or any function, :class:`Elementwise`.
    weight_std, bias_std : float
        Standard deviations of every :class:`Dense` layer.
    input_bias_std : float, default=None
        Standard deviation of the first layer's bias, in place of `bias_std`. Without any bias the
        kernel of rectifiers is homogeneous, :math:`K(ax, y) = a K(x, y)` for :math:`a > 0`: a bias
        at the input, of the size of the rows' norms, lets their length count as well.

    Returns
    -------
    Serial
        ``(Dense, activation) * depth, Dense``.

    Raises
    ------
    TypeError, ValueError
        If `depth` is not a whole number of at least 1, `activation` is none, or a standard
        deviation is negative.

    References
    ----------
    Zandieh, Han, Avron, Shoham, Kim, Shin (2021), "Scaling Neural Tangent Kernels via Sketching
    and Random Features", arXiv:2106.07880.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.mlp(depth=1)
    serial(Dense(), Relu(), Dense())
    >>> ntk.mlp(depth=1, input_bias_std=2.0)
    serial(Dense(bias_std=2.0), Relu(), Dense())
    """
    check_depth(depth)
    dense, nonlinear = Dense(weight_std, bias_std), check_activation(activation)
    first = dense if input_bias_std is None else Dense(weight_std, input_bias_std)
    return serial(first, nonlinear, *(dense, nonlinear) * (int(depth) - 1), dense)


def check_depth(depth: object) -> int:
    """Return a number of hidden layers, or say what is wrong with it."""
    if isinstance(depth, bool) or not isinstance(depth, Integral):
        raise TypeError(f"depth must be a whole number of hidden layers, got {depth!r}")
    if depth < 1:
        raise ValueError(
            f"depth must be at least 1 hidden layer, got {depth}; for a linear model use Dense()"
        )
    return int(depth)


def cnn(
    depth: int,
    filter_size: int | tuple[int, ...] = 3,
    readout: str | AvgPool = "gap",
    *,
    pooling: int | None = None,
    padding: str = "same",
    activation: Activation = _RELU,
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    shape: Sequence[int] | None = None,
) -> Serial:
    """Convolutional network with `depth` hidden layers and a linear readout.

    Parameters
    ----------
    depth : int
        Number of convolutions, each with an activation behind it.
    filter_size : int or tuple of int, default=3
        Extent of the filters along each spatial axis.
    readout : {"gap", "flatten"} or AvgPool, default="gap"
        What turns pixels into a vector: their average, whose kernel takes all pairs of pixels; all
        of them, whose kernel takes each pixel with itself; or all averages of a pool, which keep
        where in the image something is, as the four quadrants of 8 x 8 pixels, ``AvgPool(4)``.
    pooling : int, default=None
        Size of the average pools between the hidden layers; None has none.
    padding : {"same", "valid", "circular"}, default="same"
        What the convolutions take for pixels outside.
    activation : Activation, default=Relu()
        What the hidden layers apply to every unit.
    weight_std, bias_std : float
        Standard deviations of every layer with weights.
    shape : sequence of int, default=None
        Shape of an image, (height, width, channels), or of a signal, (length, channels), if rows
        come flat.

    Returns
    -------
    Serial
        ``(Conv, activation) * depth``, with pools in between, the readout, ``Dense``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Arora et al. (2019), arXiv:1904.11955; Zandieh et al. (2021), arXiv:2106.07880.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.cnn(depth=2, readout="flatten")
    serial(Conv(), Relu(), Conv(), Relu(), Flatten(), Dense())
    >>> ntk.cnn(depth=1, readout=ntk.AvgPool(16), shape=(32, 32, 3))
    serial(Input(shape=(32, 32, 3)), Conv(), Relu(), AvgPool(window_size=16), Flatten(), Dense())
    """
    depth = check_depth(depth)
    if not isinstance(readout, AvgPool) and readout not in _READOUTS:
        raise ValueError(f"readout must be one of {tuple(_READOUTS)} or AvgPool, got {readout!r}")
    last = [readout, Flatten()] if isinstance(readout, AvgPool) else [_READOUTS[readout]()]
    conv = Conv(filter_size, padding=padding, weight_std=weight_std, bias_std=bias_std)
    hidden: list[Architecture] = []
    for i in range(depth):
        if i and pooling is not None:
            hidden.append(AvgPool(pooling))
        hidden += [conv, check_activation(activation)]
    return _on(shape, *hidden, *last, Dense(weight_std, bias_std))


def myrtle(
    depth: int,
    *,
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    shape: Sequence[int] | None = None,
) -> Serial:
    """Myrtle network: convolutions of size 3 and average pools down to a vector.

    Parameters
    ----------
    depth : {5, 7, 10}
        Number of layers with weights.
    weight_std, bias_std : float
        Standard deviations of every layer with weights.
    shape : sequence of int, default=None
        (height, width, channels) if rows come flat. Images of 32 x 32 are averaged to one pixel.

    Returns
    -------
    Serial
        The network.

    Raises
    ------
    ValueError
        If there is no such network.

    References
    ----------
    Shankar, Fang, Guo, Fridovich-Keil, Ragan-Kelley, Schmidt, Recht (2020), "Neural kernels without
    tangents", arXiv:2003.02237.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> len(ntk.myrtle(5))
    15
    """
    if depth not in _MYRTLE:
        raise ValueError(f"depth must be one of {tuple(_MYRTLE)}, got {depth!r}")
    layers: list[Architecture] = []
    for count in _MYRTLE[depth]:
        layers += [Conv(3, weight_std=weight_std, bias_std=bias_std), _RELU] * count
        layers.append(AvgPool(2))
    layers += [AvgPool(2), AvgPool(2), Flatten(), Dense(weight_std, bias_std)]
    return _on(shape, *layers)


def resnet(
    n_blocks: int = 2,
    *,
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    shape: Sequence[int] | None = None,
) -> Serial:
    """Small residual network: blocks of two convolutions, halved in size from block to block.

    Parameters
    ----------
    n_blocks : int, default=2
        Number of residual blocks. The first keeps the size of the image.
    weight_std, bias_std : float
        Standard deviations of every layer with weights.
    shape : sequence of int, default=None
        (height, width, channels) if rows come flat.

    Returns
    -------
    Serial
        ``Conv``, the blocks, an activation, ``GlobalAvgPool``, ``Dense``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    He, Zhang, Ren, Sun (2016), "Identity mappings in deep residual networks", arXiv:1603.05027.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.resnet(1)
    serial(Conv(), residual(Relu(), Conv(), Relu(), Conv()), Relu(), GlobalAvgPool(), Dense())
    """
    check_depth(n_blocks)
    conv = functools.partial(Conv, weight_std=weight_std, bias_std=bias_std)
    layers: list[Architecture] = [conv(3)]
    for i in range(n_blocks):
        first = conv(3, stride=2) if i else conv(3)
        shortcut = conv(1, stride=2) if i else None
        layers.append(residual(_RELU, first, _RELU, conv(3), shortcut=shortcut))
    return _on(shape, *layers, _RELU, GlobalAvgPool(), Dense(weight_std, bias_std))


def rnn(
    depth: int = 1,
    readout: str = "last",
    *,
    weight_std: float = 1.0,
    input_std: float = 1.0,
    bias_std: float = 0.0,
    state_std: float = 0.0,
    activation: Activation = _RELU,
    bidirectional: bool = False,
    shape: Sequence[int] | None = None,
    lengths: bool = False,
) -> Serial:
    """Recurrent network with `depth` layers and a linear readout.

    Parameters
    ----------
    depth : int, default=1
        Number of recurrent layers; each takes the states of the one below as its input.
    readout : {"last", "mean"}, default="last"
        What turns states into a vector: the last one, or their mean over all steps.
    weight_std, input_std, bias_std, state_std : float
        Standard deviations of every :class:`Recurrent` layer.
    activation : Activation, default=Relu()
        What the layers apply to every unit.
    bidirectional : bool, default=False
        Take the mean of the kernels of two such networks, one of which reads backwards.
    shape : sequence of int, default=None
        (length, channels) if rows come flat.
    lengths : bool, default=False
        With `shape`: rows are sequences of different lengths, see :class:`Input`.

    Returns
    -------
    Serial
        ``Recurrent * depth``, the readout, ``Dense``; for `bidirectional` a residual sum of two.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Alemohammad, Wang, Balestriero, Baraniuk (2021), arXiv:2006.10246.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.rnn()
    serial(Recurrent(), LastStep(), Dense())
    """
    depth = check_depth(depth)
    if readout not in _STEPS:
        raise ValueError(f"readout must be one of {tuple(_STEPS)}, got {readout!r}")
    layer = Recurrent(weight_std, input_std, bias_std, state_std, check_activation(activation))
    core = (layer,) * depth + (_STEPS[readout](),)
    if lengths and shape is None:
        raise ValueError("lengths=True needs shape=(length, channels), of the longest sequence")
    half = Dense(math.sqrt(0.5))
    if bidirectional:
        layers = (residual(Reverse(), *core, half, shortcut=serial(*core, half)),)
    else:
        layers = (*core, Dense())
    return _on(shape, *layers, lengths=lengths)


def _on(shape: Sequence[int] | None, *layers: Architecture, lengths: bool = False) -> Serial:
    """Compose layers, behind an input of a shape if there is one."""
    return serial(*layers) if shape is None else serial(Input(tuple(shape), lengths), *layers)
