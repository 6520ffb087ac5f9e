"""Feature maps that compute some of their columns."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Activation, Dense
from ntksketch.architectures.layers import as_layers
from ntksketch.features.base import FeatureMap
from ntksketch.features.gegenbauer import GegenbauerMap
from ntksketch.features.products import SketchedProduct
from ntksketch.features.random_features import RandomFeatureMap
from ntksketch.sketches import SRHT, TensorSRHT

_STEPS = 16  # numbers of columns to which a part may be cut: few shapes are compiled


class Restriction(NamedTuple):
    """A map that computes some columns of another one, and where they are in it.

    Attributes
    ----------
    feature_map : FeatureMap
        It may compute more columns than are wanted.
    positions : ndarray of shape (m,)
        The columns wanted.
    factors : ndarray of shape (m,)
        What they are to be multiplied by.
    """

    feature_map: FeatureMap
    positions: NDArray[np.intp]
    factors: NDArray[np.float64]


class _Part(NamedTuple):
    """Consecutive columns of which some are kept.

    Attributes
    ----------
    width : int
        Their number.
    kept : ndarray
        Indices of those that are computed, rising.
    """

    width: int
    kept: NDArray[np.intp]

    @property
    def factor(self) -> float:
        """What makes up for an average over those kept in place of all."""
        return float(np.sqrt(len(self.kept) / self.width)) if self.width else 1.0


@functools.singledispatch
def restrict(feature_map: Any, columns: NDArray[np.intp]) -> Restriction:
    """Return a map that computes the columns and as few others as it can.

    Parameters
    ----------
    feature_map : FeatureMap
        Any map; one that cannot do without some columns is returned as it is.
    columns : ndarray of shape (m,)
        Different columns, rising.

    Returns
    -------
    Restriction
        The map, positions and factors.
    """
    return Restriction(feature_map, columns, np.ones(len(columns)))


@restrict.register
def _(feature_map: GegenbauerMap, columns: NDArray[np.intp]) -> Restriction:
    plan, params = feature_map
    layout = plan.layout
    if plan.method.directions == "structured":
        return Restriction(feature_map, columns, np.ones(len(columns)))
    straight = layout.principal + layout.projected
    padding = plan.n_components - sum(layout)
    widths = straight, layout.constant, layout.random, padding
    parts = _parts(widths, (True, False, True, True), columns)
    linear, _, random, _ = parts
    n_principal = int((linear.kept < layout.principal).sum())
    smaller = plan._replace(
        layout=layout._replace(
            principal=n_principal,
            projected=len(linear.kept) - n_principal,
            random=len(random.kept),
        ),
        n_components=sum(len(part.kept) for part in parts),
    )
    arrays = params._replace(columns=params.columns[:, _kept(parts)])
    return _restriction(
        GegenbauerMap(smaller, arrays), parts, (1.0, 1.0, random.factor, 1.0), columns
    )


@restrict.register
def _(feature_map: RandomFeatureMap, columns: NDArray[np.intp]) -> Restriction:
    plan, (*others, last, fold) = feature_map
    layer, dense = (None, *as_layers(plan.architecture))[-2:]
    if fold is not None or not isinstance(layer, Activation) or not isinstance(dense, Dense):
        return Restriction(feature_map, columns, np.ones(len(columns)))
    layout = plan.layouts[-1]
    product = last.product
    sampled = isinstance(product, SketchedProduct) and isinstance(product.sketch, TensorSRHT)
    widths = layout.linear, layout.rectified, int(dense.bias_std > 0), layout.constant
    cut = isinstance(last.linear, SRHT), True, False, isinstance(last.constant, SRHT), sampled
    parts = _parts((*widths, layout.signed), cut, columns)
    linear, rectified, _, constant, signed = parts
    smaller = last._replace(
        relu=last.relu[:, rectified.kept],
        linear=_coordinates(last.linear, linear),
        constant=_coordinates(last.constant, constant),
        product=SketchedProduct(
            TensorSRHT(tuple(_coordinates(factor, signed) for factor in product.sketch.factors))
        )
        if sampled
        else product,
    )
    narrower = layout._replace(
        rectified=len(rectified.kept),
        linear=len(linear.kept),
        constant=len(constant.kept),
        signed=len(signed.kept),
    )
    width = sum(len(part.kept) for part in parts)
    plan = plan._replace(layouts=(*plan.layouts[:-1], narrower), width=width, n_components=width)
    factors = tuple(part.factor for part in parts)
    return _restriction(RandomFeatureMap(plan, (*others, smaller, fold)), parts, factors, columns)


def _coordinates(sketch: Any, part: _Part) -> Any:
    """Return an SRHT of fewer coordinates, and other sketches as they are."""
    if not isinstance(sketch, SRHT):
        return sketch
    return dataclasses.replace(sketch, indices=sketch.indices[part.kept])


def _parts(
    widths: tuple[int, ...], cut: tuple[bool, ...], columns: NDArray[np.intp]
) -> tuple[_Part, ...]:
    """Divide columns among the parts; those that cannot be cut, or not so far, keep others too."""
    starts = np.concatenate([[0], np.cumsum(widths)])
    parts = []
    for start, width, can_be_cut in zip(starts[:-1], widths, cut, strict=True):
        wanted = columns[(columns >= start) & (columns < start + width)] - start
        step = -(-width // _STEPS) or 1
        size = min(width, max(-(-len(wanted) // step), 1) * step) if can_be_cut else width
        unwanted = np.setdiff1d(np.arange(width), wanted)
        kept = np.concatenate([wanted, unwanted[: size - len(wanted)]])
        parts.append(_Part(width, np.sort(kept)))
    return tuple(parts)


def _restriction(
    feature_map: FeatureMap,
    parts: tuple[_Part, ...],
    factors: tuple[float, ...],
    columns: NDArray[np.intp],
) -> Restriction:
    """Find the columns in the smaller map."""
    scales = np.repeat(factors, [len(part.kept) for part in parts])
    positions = np.searchsorted(_kept(parts), columns)
    return Restriction(feature_map, positions, scales[positions])


def _kept(parts: tuple[_Part, ...]) -> NDArray[np.intp]:
    """Return which of all columns are computed."""
    starts = np.concatenate([[0], np.cumsum([part.width for part in parts])[:-1]])
    return np.concatenate([start + part.kept for start, part in zip(starts, parts, strict=True)])
