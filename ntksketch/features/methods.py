"""The feature methods by name."""

from __future__ import annotations

from ntksketch.features.auto import Auto
from ntksketch.features.base import Method
from ntksketch.features.gegenbauer import Gegenbauer
from ntksketch.features.gradient import GradientFeatures
from ntksketch.features.layerwise import LayerwiseNystroem
from ntksketch.features.nystroem import Nystroem
from ntksketch.features.polynomial_sketch import PolynomialSketch
from ntksketch.features.random_features import RandomFeatures

METHODS: dict[str, type[Method]] = {
    "nystroem": Nystroem,
    "layerwise-nystroem": LayerwiseNystroem,
    "gegenbauer": Gegenbauer,
    "polynomial-sketch": PolynomialSketch,
    "random-features": RandomFeatures,
    "gradient": GradientFeatures,
}


def resolve_method(method: str | Method) -> Method:
    """Return the method that a name or an instance stands for.

    Raises
    ------
    ValueError, TypeError
        If there is none of that name, or the object is not a method.
    """
    if isinstance(method, str):
        if method == "auto":
            return Auto()
        if method not in METHODS:
            names = ", ".join(repr(name) for name in ("auto", *METHODS))
            raise ValueError(f"method must be one of {names} or an instance, got {method!r}")
        return METHODS[method]()
    if isinstance(method, Method):
        return method
    hint = f"; did you mean {method.__name__}()?" if isinstance(method, type) else ""
    raise TypeError(
        f"method must be a name such as 'random-features' or an instance such as "
        f"RandomFeatures(), got {method!r}{hint}"
    )
