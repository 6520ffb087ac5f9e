"""Layers: frozen descriptions that the three views (exact, explicit, finite) interpret.

A layer holds hyper-parameters and nothing else. Each view is a function dispatched on the
layer's type, so a new layer is one class here and one rule in each view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any


def short_repr(instance: Any) -> str:
    """Return a dataclass instance as the call that makes it, without arguments left at defaults."""
    parts = [
        f"{field.name}={getattr(instance, field.name)!r}"
        for field in fields(instance)
        if getattr(instance, field.name) != field.default
    ]
    return f"{type(instance).__name__}({', '.join(parts)})"


class Architecture:
    """Base class of everything that describes a network: a layer or a composition of layers.

    Instances are frozen, hashable and compare by value.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> network = ntk.mlp(depth=1)
    >>> isinstance(network, ntk.Architecture), isinstance(ntk.Relu(), ntk.Architecture)
    (True, True)
    >>> network == ntk.serial(ntk.Dense(), ntk.Relu(), ntk.Dense())
    True
    """

    def __repr__(self) -> str:
        return short_repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Architecture:
        # frozen: and a copied function inside would compare unequal and compile again
        return self


def set_real(layer: Architecture, name: str, value: Any, least: float = -math.inf) -> None:
    """Store a number on a frozen layer as a float, or say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    if not math.isfinite(value) or value < least:
        limit = "" if least == -math.inf else f" and at least {least:g}"
        raise ValueError(f"{name} must be finite{limit}, got {value!r}")
    object.__setattr__(layer, name, float(value))


@dataclass(frozen=True, repr=False)
class Dense(Architecture):
    r"""Fully connected layer with independent Gaussian weights and biases.

    In the infinite-width limit it maps the covariances :math:`S` (NNGP) and :math:`T` (NTK) to
    :math:`S' = \sigma_w^2 S + \sigma_b^2` and :math:`T' = \sigma_w^2 T + S'`. Weights have variance
    :math:`\sigma_w^2 / \text{width}`, except for a first layer, which takes
    :math:`\sigma_w^2 \langle x, y\rangle` without dividing by the number of columns.

    Parameters
    ----------
    weight_std : float, default=1.0
        Standard deviation :math:`\sigma_w` of the weights, at least 0.
    bias_std : float, default=0.0
        Standard deviation :math:`\sigma_b` of the biases, at least 0.

    Raises
    ------
    TypeError, ValueError
        If a standard deviation is not a finite number at least 0.

    Examples
    --------
    >>> from ntksketch import Dense
    >>> Dense(bias_std=0.1)
    Dense(bias_std=0.1)
    >>> Dense() == Dense(weight_std=1.0)
    True
    """

    weight_std: float = 1.0
    bias_std: float = 0.0

    def __post_init__(self) -> None:
        set_real(self, "weight_std", self.weight_std, 0)
        set_real(self, "bias_std", self.bias_std, 0)


@dataclass(frozen=True, repr=False)
class Serial(Architecture):
    """Layers applied one after the other; made by :func:`serial`.

    Parameters
    ----------
    layers : tuple of Architecture
        At least one layer; compositions inside are flattened.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> network = ntk.mlp(depth=1)
    >>> len(network), [type(layer).__name__ for layer in network]
    (3, ['Dense', 'Relu', 'Dense'])
    """

    layers: tuple[Architecture, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple):
            raise TypeError(f"layers must be a tuple of layers, got {self.layers!r}")
        if not self.layers:
            raise ValueError("layers must hold at least one layer, got none")
        flat = tuple(inner for layer in self.layers for inner in as_layers(layer))
        object.__setattr__(self, "layers", flat)

    def __iter__(self) -> Iterator[Architecture]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"serial({', '.join(map(repr, self.layers))})"


def check_architecture(value: object) -> Architecture:
    """Return `value` if it describes a network, else raise a TypeError that says what came."""
    if isinstance(value, Architecture):
        return value
    hint = ": a layer class came, call it first" if isinstance(value, type) else ""
    raise TypeError(
        f"architecture must be made of ntksketch layers, such as ntksketch.mlp(depth=2) or "
        f"ntksketch.serial(Dense(), Relu(), Dense()), got {value!r}{hint}"
    )


def as_layers(architecture: Architecture) -> tuple[Architecture, ...]:
    """Return the sequence of layers of an architecture (one layer stands for itself)."""
    architecture = check_architecture(architecture)
    return architecture.layers if isinstance(architecture, Serial) else (architecture,)


def serial(*layers: Architecture) -> Serial:
    """Compose layers one after the other; compositions inside are flattened.

    Parameters
    ----------
    *layers : Architecture
        At least one layer or composition.

    Returns
    -------
    Serial
        The composition.

    Raises
    ------
    TypeError
        If an argument is not a layer.
    ValueError
        If there is none.

    Examples
    --------
    >>> from ntksketch import Dense, Relu, serial
    >>> serial(Dense(), Relu(), serial(Dense(weight_std=1.5)))
    serial(Dense(), Relu(), Dense(weight_std=1.5))
    """
    return Serial(layers)
