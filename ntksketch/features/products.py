r"""Sketches of the product of NTK features with step features.

The NTK of a rectifier layer is :math:`T \kappa_0`, a product of kernels, so its features are the
tensor product :math:`\psi \otimes s` of the incoming NTK features with step features s of
:math:`\kappa_0`. Each class here maps a pair (psi, s) to a chosen number of columns. `project` is
the part that is linear in psi alone and also takes CSR rows; `combine` does the rest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ntksketch.sketches import SRHT, CountSketch, TensorSketch, TensorSRHT
from ntksketch.sketches.base import densify

PRODUCTS = ("tensor-srht", "tensor-sketch", "exact")


class SketchedProduct(NamedTuple):
    """Product by a tensor sketch with two factors."""

    sketch: TensorSRHT | TensorSketch

    def project(self, psi: Any) -> Any:
        """Apply the first factor to psi."""
        return self.sketch.factors[0].apply(psi)

    def combine(self, projected: jax.Array, steps: jax.Array) -> Any:
        """Return the sketch of the tensor product."""
        return self.sketch.combine(projected, self.sketch.factors[1].apply(steps))


class ExactProduct(NamedTuple):
    """The tensor product itself: as many columns as psi has times the number of steps."""

    def project(self, psi: Any) -> Any:
        """Return psi as a dense array (the product is dense and larger)."""
        return densify(psi)

    def combine(self, projected: jax.Array, steps: jax.Array) -> jax.Array:
        """Return all products of a column of psi with a step."""
        return (steps[:, :, None] * projected[:, None, :]).reshape(len(steps), -1)


class Identity(NamedTuple):
    """The linear map that leaves rows as they are."""

    def apply(self, X: Any) -> Any:
        """Return the rows as a dense array."""
        return densify(X)


def init_product(
    key: jax.Array,
    product: str,
    widths: tuple[int, int],
    n_components: int,
    dtype: Any,
    *,
    balanced: bool,
) -> SketchedProduct | ExactProduct:
    """Draw the sketch of a tensor product of `widths` columns to `n_components` columns."""
    if product == "exact":
        return ExactProduct()
    if product == "tensor-sketch":
        return SketchedProduct(TensorSketch.init(key, widths, n_components, dtype))
    return SketchedProduct(TensorSRHT.init(key, widths, n_components, dtype, balanced=balanced))


def init_linear(
    key: jax.Array, product: str, width: int, n_components: int, dtype: Any
) -> Identity | SRHT | CountSketch:
    """Draw the linear sketch that goes with a product; the identity where it costs no more."""
    if n_components == width:
        return Identity()
    sketch = SRHT if product == "tensor-srht" else CountSketch
    return sketch.init(key, width, n_components, dtype=dtype)
