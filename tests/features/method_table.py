"""One table of all feature methods: a line here gives a method every test of the ladder."""

from dataclasses import replace
from typing import NamedTuple

import ntksketch as ntk
from ntksketch.features import Method


class Case(NamedTuple):
    """A method and what holds for it.

    Attributes
    ----------
    method : Method
    mean : str
        What the mean of ZZ' over keys is: "exact" the kernel, "expected" the map's `expected`,
        "below" at most the kernel, None something else.
    layered : bool
        Whether it goes layer by layer and takes biases everywhere.
    zonal : bool
        Whether it takes zonal kernels that are no network's.
    slope : float
        Bound on the power of the number of components with which the error falls.
    least : int
        Least number of components that always works.
    spread : float
        What the bounds on errors at a given number of components are multiplied by.
    slow : bool
        Whether its tests run with the slow ones: it shares most of its code with another case.
    """

    method: Method
    mean: str | None
    layered: bool
    zonal: bool
    slope: float = -0.4
    least: int = 1
    spread: float = 1.0
    slow: bool = False


CASES = [
    Case(ntk.RandomFeatures(), "exact", True, False),
    Case(ntk.RandomFeatures.published(), "exact", True, False, -0.3, spread=2.5),
    Case(ntk.Gegenbauer(), "expected", False, True),
    Case(ntk.Gegenbauer(linear="random"), "expected", False, True, slow=True),
    Case(ntk.Gegenbauer(directions="structured"), None, False, True, slow=True),
    Case(ntk.PolynomialSketch(), "expected", False, True, least=5),
    Case(ntk.PolynomialSketch.published(degree=2), None, False, False, -0.2),
    Case(ntk.GradientFeatures(), "exact", True, False, -0.3),
    Case(ntk.Resampled(), "exact", True, False),
    Case(ntk.Resampled("gegenbauer"), "expected", False, True, -0.3, slow=True),
    Case(ntk.Nystroem("kmeans"), "below", True, True),
    Case(ntk.Nystroem("uniform"), "below", True, True, slow=True),
    Case(ntk.Nystroem("leverage"), "below", True, True, slow=True),
    Case(ntk.Nystroem("rpcholesky"), "below", True, True, slow=True),
]


class ImageCase(NamedTuple):
    """A method on images, and what holds for it.

    Attributes
    ----------
    method : Method
    error : float
        Bound on the relative error of the kernel of six images with 1,024 components.
    mean : str
        As of `Case`, with one activation.
    slope : float or None
        Bound on the power of the number of components, hidden ones with them, with which the error
        of the centred kernel falls; None where the error is that of a short series.
    recurrent, lengths : bool
        Whether it takes recurrent networks, and sequences of different lengths.
    """

    method: Method
    error: float
    mean: str | None = None
    slope: float | None = -0.4
    recurrent: bool = False
    lengths: bool = False

    def with_hidden(self, n: int) -> Method:
        """Return the method with as many hidden components, or an eighth of it in units."""
        if hasattr(self.method, "hidden_components"):
            return replace(self.method, hidden_components=n)
        if hasattr(self.method, "width"):
            return replace(self.method, width=max(n // 8, 1))
        return self.method


IMAGE_CASES = [
    ImageCase(ntk.RandomFeatures(), 0.15, "exact"),
    ImageCase(ntk.RandomFeatures("gaussian", "tensor-sketch"), 0.2, "exact"),
    ImageCase(ntk.RandomFeatures.published(), 0.4, "exact", -0.3),
    ImageCase(ntk.PolynomialSketch(variant="layered"), 0.2, slope=None),
    ImageCase(ntk.PolynomialSketch.published(degree=2), 0.25, slope=None),
    ImageCase(ntk.GradientFeatures(), 0.3, "exact", recurrent=True),
    ImageCase(ntk.Resampled(), 0.2, "exact"),
    ImageCase(ntk.LayerwiseNystroem(), 1e-6),
    ImageCase(ntk.Nystroem("uniform"), 1e-6, recurrent=True, lengths=True),
    ImageCase(ntk.Nystroem("kmeans"), 1e-6, recurrent=True, lengths=True),
]
