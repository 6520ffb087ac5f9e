"""Builders of standard architectures."""

from __future__ import annotations

from numbers import Integral

from ntksketch.architectures.activations import Activation, Relu, check_activation
from ntksketch.architectures.layers import Dense, Serial, serial

_RELU = Relu()


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
    if isinstance(depth, bool) or not isinstance(depth, Integral):
        raise TypeError(f"depth must be a whole number of hidden layers, got {depth!r}")
    if depth < 1:
        raise ValueError(
            f"depth must be at least 1 hidden layer, got {depth}; for a linear model use Dense()"
        )
    dense, nonlinear = Dense(weight_std, bias_std), check_activation(activation)
    first = dense if input_bias_std is None else Dense(weight_std, input_bias_std)
    return serial(first, nonlinear, *(dense, nonlinear) * (int(depth) - 1), dense)
