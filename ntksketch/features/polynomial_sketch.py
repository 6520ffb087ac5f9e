"""Polynomial sketches: zonal kernels as polynomials of the cosine, powers by tree sketches."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import jax
import numpy as np

from ntksketch.architectures import Architecture
from ntksketch.architectures.spatial import is_spatial
from ntksketch.features.base import FeatureMap, Method, check_layers
from ntksketch.features.layered_sketch import check_layered, draw_layered
from ntksketch.features.polynomials import FITS, fit_polynomial
from ntksketch.features.powers import draw_powers, make_plan
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.zonal import zonal_form
from ntksketch.sketches.tree_sketch import BASES

VARIANTS = ("one-shot", "layered")


@dataclass(frozen=True, repr=False)
class PolynomialSketch(Method):
    r"""Sketches of a polynomial of the cosine: NTKSketch and its one-shot variant.

    The kernel is :math:`|x||y| f(\cos(x, y))`. With a polynomial :math:`f(t) \approx \sum_j a_j
    t^j` without negative coefficients and sketches :math:`S_j` of the tensor powers,

    .. math:: z(x) = |x| \bigoplus_j \sqrt{a_j}\, S_j u^{\otimes j}, \qquad u = x/|x| .

    One tree (:class:`~ntksketch.sketches.TreeSketch`) gives all powers, with columns divided such
    that the total variance is least. The constant is one exact column, the linear part is exact
    where that pays. Rows may be sparse with millions of columns: the time grows with their
    entries. Takes every zonal kernel. The mean of :math:`\langle z(x), z(y) \rangle` is the
    polynomial kernel, ``feature_map_.expected``;  :func:`~ntksketch.check_features` reports its
    distance from the exact kernel as the truncation error.

    With ``variant="layered"`` it also takes networks of rectifiers on images and signals, each
    pixel a row; convolutions join the features of windows, pools average them. That is CNTKSketch,
    of the network's own kernel: Algorithm 3 below.

    Parameters
    ----------
    degree : int, default=8
        Largest power.
    variant : {"one-shot", "layered"}, default="one-shot"
        "one-shot" takes one polynomial for the whole network; "layered" follows the layers with
        polynomials of the arc-cosine functions, as published, and needs a ReLU network.
    coefficients : {"nnls", "taylor"}, default="nnls"
        Non-negative least-squares fit of the polynomial on [-1, 1], or the power series, cut off.
        Both fall short at t = 1, the fit by less.
    base : {"osnap", "countsketch", "srht"}, default="osnap"
        Kind of the tree's leaves, which rows of more than 4,096 columns have.
    complex_to_real : bool, default=True
        Whether the tree's nodes have complex signs, with the real and the imaginary part a column
        each: less variance in the same number of columns.
    hidden_components : int, default=None
        Number of columns of hidden nodes; None takes a quarter of `n_components`, but between 1,024
        and 2,048; for images, at least 256. Hidden columns cost time and do not come out.

    References
    ----------
    Zandieh, Han, Avron, Shoham, Kim, Shin (2021), "Scaling Neural Tangent Kernels via Sketching
    and Random Features", arXiv:2106.07880, Algorithms 1 and 3. Ahle, Kapralov, Knudsen, Pagh,
    Velingker, Woodruff, Zandieh (2020), "Oblivious sketching of high-degree polynomial kernels",
    arXiv:1909.01410. Wacker, Ohana, Filippone (2022), "Complex-to-real sketches for tensor products
    with applications to the polynomial kernel", arXiv:2202.02031.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:300] / 16
    >>> fm = ntk.NTKFeatures(ntk.mlp(depth=2), ntk.PolynomialSketch(degree=8), random_state=0)
    >>> fm.fit_transform(X).shape
    (300, 1024)
    """

    degree: int = 8
    variant: str = "one-shot"
    coefficients: str = "nnls"
    base: str = "osnap"
    complex_to_real: bool = True
    hidden_components: int | None = None

    def __post_init__(self) -> None:
        self._check_choices(variant=VARIANTS, coefficients=FITS, base=tuple(BASES))
        if not isinstance(self.complex_to_real, bool | np.bool_):
            raise ValueError(f"complex_to_real must be True or False, got {self.complex_to_real!r}")
        for name in ("degree", "hidden_components"):
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
            if not whole and (name == "degree" or value is not None):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")

    @classmethod
    def published(cls, *, degree: int = 8) -> PolynomialSketch:
        """Return the published configuration (NTKSketch and, on images, CNTKSketch).

        It goes layer by layer, with power series and real signs.

        Parameters
        ----------
        degree : int, default=8
            Largest power of kappa1's polynomial, even: 2p + 2; that of kappa0 has one less.
        """
        return cls(degree, "layered", "taylor", "osnap", False)

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Raise ValueError for images unless they are taken layer by layer."""
        check_layers(self, target)
        if self.variant == "one-shot" and is_spatial(target):
            raise ValueError(
                f"variant='one-shot' takes kernels of the cosine, and {target} works on images or "
                "signals: take variant='layered'"
            )
        if self.variant == "layered":
            check_layered(target)

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: Any,
    ) -> FeatureMap:
        if self.variant == "layered":
            return draw_layered(key, self, target, kind, X, n_components)
        first, kernel = zonal_form(target, kind)
        coefficients = fit_polynomial(kernel, int(self.degree), self.coefficients)
        n_inputs = X.shape[1] + bool(first is not None and first.bias_std)
        plan = make_plan(self, first, coefficients, n_inputs, n_components)
        return draw_powers(key, self, plan, n_inputs, X.dtype)
