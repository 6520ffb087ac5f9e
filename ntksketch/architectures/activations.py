"""Activations: descriptions of the functions that a network applies to every unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from ntksketch.architectures.layers import Architecture, set_real


class Activation(Architecture):
    """Base class of the functions applied to every unit.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> isinstance(ntk.Gelu(), ntk.Activation), isinstance(ntk.Dense(), ntk.Activation)
    (True, False)
    """


class Rectifier(Activation):
    r"""Base class of the functions with one slope for each sign.

    :math:`z \mapsto \sqrt{2/(1+a^2)}\, (\max(z, 0) + a \min(z, 0))`, a the attribute `slope`. They
    are homogeneous and keep the variance.
    """

    slope: float


@dataclass(frozen=True, repr=False)
class Relu(Rectifier):
    r"""The rectifier :math:`z \mapsto \sqrt 2 \max(z, 0)`.

    The factor :math:`\sqrt 2` keeps the variance: the diagonal of the NNGP kernel passes unchanged.

    Examples
    --------
    >>> from ntksketch import Relu
    >>> Relu()
    Relu()
    """

    slope: ClassVar[float] = 0.0  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclass(frozen=True, repr=False)
class LeakyRelu(Rectifier):
    r"""The leaky rectifier :math:`z \mapsto \sqrt{2/(1+a^2)}\, (\max(z, 0) + a \min(z, 0))`.

    The factor keeps the variance, as that of :class:`Relu` does, which is the case a = 0. With
    a = -1 it is the absolute value, with a = 1 the identity.

    Parameters
    ----------
    slope : float, default=0.01
        The slope a of the negative side.

    Raises
    ------
    TypeError, ValueError
        If the slope is no finite number.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.mlp(depth=1, activation=ntk.LeakyRelu(0.2))
    serial(Dense(), LeakyRelu(slope=0.2), Dense())
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        set_real(self, "slope", self.slope)


@dataclass(frozen=True, repr=False)
class Erf(Activation):
    r"""The error function :math:`z \mapsto \mathrm{erf}(z)`.

    References
    ----------
    Williams (1997), "Computing with infinite networks", NeurIPS 9.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> float(ntk.kernel_diag(ntk.serial(ntk.Dense(), ntk.Erf()), [[1.0]], kind="nngp")[0].round(4))
    0.4646
    """


@dataclass(frozen=True, repr=False)
class Gelu(Activation):
    r"""The Gaussian error linear unit :math:`z \mapsto z\, \Phi(z)`, :math:`\Phi` the normal law.

    References
    ----------
    Tsuchida, Pearce, van der Heide, Roosta, Gallagher (2021), "Avoiding kernel fixed points:
    computing with ELU and GELU infinite networks", AAAI, arXiv:2002.08517.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.mlp(depth=1, activation=ntk.Gelu())
    serial(Dense(), Gelu(), Dense())
    """


@dataclass(frozen=True, repr=False)
class Sin(Activation):
    r"""The sine :math:`z \mapsto a \sin(b z + c)`.

    Parameters
    ----------
    amplitude, frequency : float, default=1.0
        The factors a and b.
    phase : float, default=0.0
        The shift c; :math:`\pi/2` makes a cosine.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no finite number.

    References
    ----------
    Pearce, Tsuchida, Zaki, Brintrup, Neely (2020), "Expressive priors in Bayesian neural networks:
    kernel combinations and periodic functions", arXiv:1905.06076.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.mlp(depth=1, activation=ntk.Sin(frequency=2.0))
    serial(Dense(), Sin(frequency=2.0), Dense())
    """

    amplitude: float = 1.0
    frequency: float = 1.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "frequency", "phase"):
            set_real(self, name, getattr(self, name))


@dataclass(frozen=True, repr=False)
class Elementwise(Activation):
    r"""Any function of a unit, in the exact view through its Hermite expansion.

    For pre-activations of standard deviation :math:`\sigma` the function is expanded in the
    normalised Hermite polynomials, :math:`f(\sigma z) = \sum_k a_k(\sigma) h_k(z)`, with
    coefficients for every row. Then
    :math:`E f(u) f(v) = \sum_k a_k(\sigma_u)\, a_k(\sigma_v)\, t^k` at the correlation t, and the
    same with the derivative. What the variance has beyond `degree` goes into the next even and the
    next odd power, so that the kernel is exact at t = 1 and t = -1.

    Parameters
    ----------
    function : callable
        Function of an array to an array of the same shape, written with :mod:`jax.numpy`. To be
        pickled, it must be a plain function defined at the top of a module.
    derivative : callable, default=None
        Its derivative; None differentiates the function by JAX.
    degree : int, default=64
        Degree of the expansion, in 1 to 200. Smooth functions need few. The coefficients of
        functions with a kink fall slowly; if more than a hundredth of the mean square of the
        function or of its derivative is beyond the degree, :func:`~ntksketch.kernel` warns.

    Raises
    ------
    TypeError, ValueError
        If a function is not callable or the degree no whole number in its range.

    Notes
    -----
    The coefficients are integrals over [-12, 12] by 200 Gauss-Legendre nodes on each side of zero:
    a kink at zero costs nothing there, one elsewhere an error of the order of the nodes' distance.

    References
    ----------
    Han, Zandieh, Lee, Novak, Xiao, Karbasi (2022), "Fast Neural Kernel Embeddings for General
    Activations", arXiv:2209.04121.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import ntksketch as ntk
    >>> arch = ntk.mlp(depth=1, activation=ntk.Elementwise(jnp.tanh))
    >>> ntk.kernel(arch, [[1.0, 0.0], [0.0, 2.0]]).round(4)
    array([[0.8587, 0.    ],
           [0.    , 1.6591]])
    """

    function: Callable[[Any], Any]
    derivative: Callable[[Any], Any] | None = None
    degree: int = 64

    def __post_init__(self) -> None:
        for name, value in (("function", self.function), ("derivative", self.derivative)):
            if not callable(value) and (name == "function" or value is not None):
                raise TypeError(f"{name} must be callable, got {value!r}")
        if isinstance(self.degree, bool) or not isinstance(self.degree, Integral):
            raise TypeError(f"degree must be a whole number, got {self.degree!r}")
        if not 1 <= self.degree <= 200:
            raise ValueError(f"degree must be in 1 to 200, got {self.degree}")
        object.__setattr__(self, "degree", int(self.degree))

    def __repr__(self) -> str:
        parts = [getattr(self.function, "__name__", repr(self.function))]
        if self.derivative is not None:
            parts.append(getattr(self.derivative, "__name__", repr(self.derivative)))
        if self.degree != type(self).degree:
            parts.append(f"degree={self.degree}")
        return f"Elementwise({', '.join(parts)})"


def check_activation(value: object) -> Activation:
    """Return `value` if it describes an activation, else raise a TypeError that says what came."""
    if isinstance(value, Activation):
        return value
    hint = ": a class came, call it first" if isinstance(value, type) else ""
    raise TypeError(
        "activation must be an ntksketch activation such as ntksketch.Relu() or "
        f"ntksketch.Elementwise(function), got {value!r}{hint}"
    )


def check_shape_kept(before: tuple[int, ...], after: tuple[int, ...], name: str) -> None:
    """Raise ValueError if a function that is applied to every unit changes the arrays' shape."""
    if before != after:
        raise ValueError(f"{name} must keep the shape {before} of its array, got {after}")
