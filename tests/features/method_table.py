"""One table of all feature methods: a line here gives a method every test of the ladder."""

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
    """

    method: Method
    mean: str | None
    layered: bool
    zonal: bool
    slope: float = -0.4
    least: int = 1


CASES = [
    Case(ntk.RandomFeatures(), "exact", True, False),
    Case(ntk.Gegenbauer(), "expected", False, True),
    Case(ntk.Gegenbauer(linear="random"), "expected", False, True),
    Case(ntk.Gegenbauer(directions="structured"), None, False, True),
    Case(ntk.PolynomialSketch(), "expected", False, True, least=5),
    Case(ntk.PolynomialSketch.published(degree=2), None, False, False, -0.2),
    Case(ntk.Resampled(), "exact", True, False),
    Case(ntk.Resampled("gegenbauer"), "expected", False, True, -0.3),
    Case(ntk.Nystroem("kmeans"), "below", True, True),
    Case(ntk.Nystroem("uniform"), "below", True, True),
    Case(ntk.Nystroem("leverage"), "below", True, True),
    Case(ntk.Nystroem("rpcholesky"), "below", True, True),
]
