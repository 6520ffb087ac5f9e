"""Layers of recurrent networks on signals of (length, channels)."""

from __future__ import annotations

from dataclasses import dataclass

from ntksketch.architectures.activations import Activation, Relu, check_activation
from ntksketch.architectures.layers import Architecture, set_real

_RELU = Relu()


@dataclass(frozen=True, repr=False)
class Recurrent(Architecture):
    r"""Recurrent layer: states :math:`h_t = f(W h_{t-1} + U x_t + b)`, one for each step.

    The weights are the same at all steps. Between step t of one signal and step t' of another, with
    :math:`F` and :math:`G` the dual functions of the activation and its derivative, the
    pre-activations have the covariances

    .. math::

        S_{tt'} &= \sigma_w^2 F(S_{t-1,t'-1}) + \sigma_u^2 \Sigma_{tt'} + \sigma_b^2, \\
        T_{tt'} &= S_{tt'} + \sigma_w^2 T_{t-1,t'-1} G(S_{t-1,t'-1}) + \sigma_u^2 \Theta_{tt'}

    of NNGP and NTK, where :math:`\Sigma` and :math:`\Theta` are those of the inputs; the states
    have :math:`F(S_{tt'})` and :math:`T_{tt'} G(S_{tt'})`. The state before the first step is zero,
    or the same random one :math:`h_0` for all signals: two such states have the covariance
    :math:`\sigma_h^2`, and one of them none with a later state, since the weights between states
    have mean zero, nor any tangent kernel, since :math:`h_0` is not trained.

    Parameters
    ----------
    weight_std : float, default=1.0
        Standard deviation :math:`\sigma_w` of the weights between states.
    input_std : float, default=1.0
        Standard deviation :math:`\sigma_u` of the weights of the input; a first layer takes the
        inner product over channels as it is.
    bias_std : float, default=0.0
        Standard deviation :math:`\sigma_b` of the biases.
    state_std : float, default=0.0
        Standard deviation :math:`\sigma_h` of the state before the first step.
    activation : Activation, default=Relu()
        What is applied to every unit.

    References
    ----------
    Alemohammad, Wang, Balestriero, Baraniuk (2021), "The recurrent neural tangent kernel",
    arXiv:2006.10246. Yang (2019), arXiv:1910.12478.

    Examples
    --------
    >>> from ntksketch import Recurrent
    >>> Recurrent(bias_std=0.1)
    Recurrent(bias_std=0.1)
    """

    weight_std: float = 1.0
    input_std: float = 1.0
    bias_std: float = 0.0
    state_std: float = 0.0
    activation: Activation = _RELU

    def __post_init__(self) -> None:
        for name in ("weight_std", "input_std", "bias_std", "state_std"):
            set_real(self, name, getattr(self, name), 0)
        check_activation(self.activation)


@dataclass(frozen=True, repr=False)
class LastStep(Architecture):
    """The last step of a signal: what comes out is a vector.

    Signals of different lengths meet at their ends: step t of one of length T meets step
    t + T' - T of one of length T', and before the shorter one begins the state :math:`h_0`
    of :class:`Recurrent` stands for it.

    Examples
    --------
    >>> from ntksketch import LastStep
    >>> LastStep()
    LastStep()
    """


@dataclass(frozen=True, repr=False)
class Reverse(Architecture):
    """The same signal backwards in time, within its own length.

    Examples
    --------
    >>> from ntksketch import Reverse
    >>> Reverse()
    Reverse()
    """
