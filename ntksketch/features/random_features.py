"""Random features of a network's NTK: random units and sketched products."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from ntksketch.architectures import Activation, Architecture, Input, Rectifier
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.shapes import Shape, fold
from ntksketch.architectures.spatial import is_spatial
from ntksketch.features.activations import pair_shares, slopes, values
from ntksketch.features.base import Method, check_layers
from ntksketch.features.directions import SAMPLINGS, sample_directions
from ntksketch.features.layout import ActivationLayout, Plan, in_pairs, make_plan
from ntksketch.features.pixels import (
    Tracked,
    as_pixels,
    as_rows,
    both,
    join_tracked,
    join_widths,
    pixels_of,
    start_tracked,
)
from ntksketch.features.products import PRODUCTS, init_linear, init_product
from ntksketch.features.state import Explicit, Widths, linear, linear_widths
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.gram import dense_rows, squared_norms
from ntksketch.kernels.propagate import Variance
from ntksketch.kernels.zonal import is_homogeneous
from ntksketch.sketches import CountSketch


@dataclass(frozen=True, repr=False)
class RandomFeatures(Method):
    r"""NTK random features: arc-cosine random features and tensor sketches, layer by layer.

    With the incoming features phi of :math:`S_{h-1}` and psi of :math:`T_{h-1}`, a rectifier layer
    of unit-norm rows gives

    .. math::

        \phi' = \sqrt{2/a}\,\mathrm{relu}(W\phi), \qquad
        \psi' = Q\big(\psi \otimes \sqrt{2/s}\,\mathrm{step}(V\phi)\big),

    where Q sketches the tensor product, and a :class:`~ntksketch.Dense` layer appends phi to psi.
    Other activations take the place of the rectifier and their derivatives that of its step. The
    method as published is :meth:`published`; the defaults improve it as described below. Of images
    and signals each pixel is a row; convolutions join the features of windows, pools average them.

    Parameters
    ----------
    sampling : {"orthogonal", "leverage", "gaussian"}, default="orthogonal"
        Distribution of the directions. "gaussian" and "leverage" (the exact density proportional
        to :math:`|w|^2 N(0, I)`) are the published ones; "orthogonal" takes the leverage density's
        directions in orthonormal blocks. For activations that are not homogeneous the length
        matters: "orthogonal" then gives each direction a length of its own, as a Gaussian vector
        has, and "leverage" raises an error.
    product : {"tensor-srht", "tensor-sketch", "exact"}, default="tensor-srht"
        The sketch Q; "exact" forms the tensor product itself, with few steps.
    variance_reduction : bool, default=True
        Three changes to the published method, none of which touches the mean at depth 1. Every
        direction w stands for itself and its opposite -w. Since :math:`\mathrm{relu}(u) =
        (u + |u|)/2` and :math:`\mathrm{step} = (1 + \mathrm{sign})/2`, one half of each is linear
        in phi or psi; it is sketched by itself, and the directions are spent on absolute values and
        signs; so it goes for every slope of :class:`~ntksketch.LeakyRelu`, and other activations do
        without pairs. The sketch samples its coordinates without replacement. Features of hidden
        layers are scaled, row by row, to the norms that the exact kernel gives.
    relu_fraction : float, default=None
        Part of a layer's columns that goes to phi', in (0, 1); None takes 1/2.
    n_steps : int, default=None
        Number of directions v of the step features; None takes a third of the columns of the
        sketched product. Ignored by ``product="exact"``, which uses as many as fit.
    hidden_components : int, default=None
        Number of columns of phi' and psi' together after a hidden activation; None takes 3/8 of
        `n_components` but at least 1024, and `n_components` itself without variance reduction; for
        images a quarter of `n_components` but at least 256. Hidden columns cost time and do not
        come out.

    References
    ----------
    Zandieh, Han, Avron, Shoham, Kim, Shin (2021), "Scaling Neural Tangent Kernels via Sketching
    and Random Features", arXiv:2106.07880, Algorithm 2. Han, Avron, Shoham, Kim, Shin (2021),
    "Random features for the Neural Tangent Kernel", arXiv:2104.01351.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.RandomFeatures(sampling="leverage", product="tensor-sketch")
    RandomFeatures(sampling='leverage', product='tensor-sketch')
    """

    sampling: str = "orthogonal"
    product: str = "tensor-srht"
    variance_reduction: bool = True
    relu_fraction: float | None = None
    n_steps: int | None = None
    hidden_components: int | None = None

    def __post_init__(self) -> None:
        self._check_choices(sampling=SAMPLINGS, product=PRODUCTS)
        if not isinstance(self.variance_reduction, bool | np.bool_):
            raise ValueError(
                f"variance_reduction must be True or False, got {self.variance_reduction!r}"
            )
        fraction = self.relu_fraction
        if fraction is not None and not (isinstance(fraction, Real) and 0 < fraction < 1):
            raise ValueError(f"relu_fraction must be in (0, 1) or None, got {fraction!r}")
        for name in ("n_steps", "hidden_components"):
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if value is not None and not (whole and int(value) >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")

    @classmethod
    def published(cls, *, relu_fraction: float = 0.25) -> RandomFeatures:
        """Return the published configuration (NTKRF): leverage, TensorSRHT, none of ours.

        Parameters
        ----------
        relu_fraction : float, default=0.25
            Part of the columns for the rectifier.
        """
        return cls("leverage", "tensor-srht", False, relu_fraction)

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Raise ValueError for recurrent networks, and for images where products grow."""
        check_layers(self, target)
        if is_spatial(target) and self.product == "exact":
            raise ValueError(
                f"{self} multiplies the columns of windows without end: take "
                "product='tensor-srht' or 'tensor-sketch' for images and signals"
            )

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: Any,
    ) -> RandomFeatureMap:
        if isinstance(target, ZonalKernel):
            raise ValueError(
                f"method='random-features' needs the layers of a network, got {target}; take "
                "method='gegenbauer' or method='nystroem'"
            )
        plan = make_plan(self, target, kind, X.shape[1], n_components)
        key, last_key = jax.random.split(key)
        params: list[ActivationParams] = []

        def draw(layer: Architecture, widths: Widths, shape: Shape) -> Widths:
            nonlocal key
            if not isinstance(layer, Activation):
                return linear_widths(layer, widths, shape)
            layout = plan.layouts[len(params)]
            key, subkey = jax.random.split(key)
            params.append(_init_activation(subkey, self, layer, layout, widths, X.dtype))
            return layout.widths

        fold(as_layers(target), Widths(X.shape[1], 0), draw, join_widths)
        last = None
        if plan.width != n_components:
            last = CountSketch.init(last_key, plan.width, n_components, X.dtype)
        return RandomFeatureMap(plan, (*params, last))


class ActivationParams(NamedTuple):
    """Random parameters of one activation's features.

    Attributes
    ----------
    relu : array of shape (a, k)
        Directions of the activation as columns.
    linear : sketch or None
        Sketch of phi alone, for the linear part of a rectifier.
    steps : array of shape (a, s) or None
        Directions of the derivative's features as columns.
    constant, product : sketch or None
        Sketches of psi alone and of its product with the steps.
    """

    relu: Any
    linear: Any
    steps: Any
    constant: Any
    product: Any


class Projections(NamedTuple):
    """What an activation's features need from the incoming ones, linear in them."""

    relu: Any
    linear: Any
    steps: Any
    constant: Any
    product: Any


class RandomFeatureMap(NamedTuple):
    """A drawn feature map: a static plan and arrays.

    Attributes
    ----------
    plan : Plan
    params : tuple
        A :class:`ActivationParams` for each activation, then the fold (a CountSketch) or None: a
        pytree of arrays.
    """

    plan: Plan
    params: Any

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.plan.n_components

    @property
    def expected(self) -> None:
        """None: nothing is cut off."""
        return None

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        return self.plan.row_entries

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return is_homogeneous(self.plan.architecture)

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of rows, shape (n, n_components), in its dtype.

        Dense rows go through one compiled function. Of CSR rows the first layer's products are
        taken on the host, without densifying them, unless they are images.
        """
        if not sp.issparse(X) or is_spatial(self.plan.architecture):
            return _apply_dense(self.plan, self.params, dense_rows(X))
        projections = _project(self.params[0], _input_state(self.plan, X))
        return _apply_projected(self.plan, self.params, projections, squared_norms(X))


def _init_activation(
    key: jax.Array,
    method: RandomFeatures,
    layer: Activation,
    layout: ActivationLayout,
    widths: Widths,
    dtype: Any,
) -> ActivationParams:
    homogeneous = isinstance(layer, Rectifier)
    if method.sampling == "leverage" and not homogeneous:
        raise ValueError(
            f"sampling='leverage' draws directions without a length, which {layer} needs; take "
            "sampling='orthogonal' or 'gaussian'"
        )
    relu_key, linear_key, step_key, constant_key, product_key = jax.random.split(key, 5)

    def directions(key: jax.Array, n: int) -> np.ndarray:
        rows = sample_directions(
            key, method.sampling, n, widths.phi, gaussian_lengths=not homogeneous
        )
        return np.asarray(rows.T, dtype)

    def sketch(key: jax.Array, width: int, n: int) -> Any:
        return init_linear(key, method.product, width, n, dtype) if n else None

    relu = directions(relu_key, layout.rectified)
    linear = sketch(linear_key, widths.phi, layout.linear)
    if not layout.signed:
        return ActivationParams(relu, linear, None, None, None)
    constant = sketch(constant_key, widths.psi, layout.constant)
    product = init_product(
        product_key,
        method.product,
        (widths.psi, layout.steps),
        layout.signed,
        dtype,
        balanced=method.variance_reduction,
    )
    return ActivationParams(relu, linear, directions(step_key, layout.steps), constant, product)


def _input_state(plan: Plan, X: Any) -> Explicit:
    """Carry rows through the linear layers before the first activation."""
    state = Explicit(X, None)
    for layer in as_layers(plan.architecture):
        if isinstance(layer, Activation):
            break
        state = linear(layer, state)
    return state


def _project(params: ActivationParams, state: Explicit) -> Projections:
    def matmul(directions: Any) -> Any:
        if sp.issparse(state.phi):
            return state.phi @ np.asarray(directions)
        return jnp.matmul(state.phi, directions, precision=jax.lax.Precision.HIGHEST)

    linear = None if params.linear is None else params.linear.apply(state.phi)
    if params.steps is None:
        return Projections(matmul(params.relu), linear, None, None, None)
    return Projections(
        matmul(params.relu),
        linear,
        matmul(params.steps),
        None if params.constant is None else params.constant.apply(state.psi),
        params.product.project(state.psi),
    )


def _activate(
    method: RandomFeatures,
    layer: Activation,
    layout: ActivationLayout,
    params: ActivationParams,
    projections: Projections,
) -> Explicit:
    """Return the features after an activation."""
    if isinstance(layer, Rectifier) and in_pairs(method, layer):
        return _activate_pairs(layer, layout, params, projections)
    phi = values(layer, projections.relu)
    if params.steps is None:
        return Explicit(phi, None)
    steps = slopes(layer, projections.steps)
    return Explicit(phi, params.product.combine(projections.product, steps))


def _activate_pairs(
    layer: Rectifier, layout: ActivationLayout, params: ActivationParams, projections: Projections
) -> Explicit:
    """Return the features after a rectifier whose directions come with their opposites."""
    z = projections.relu
    odd, even = (np.asarray(share, z.dtype) for share in pair_shares(layer))

    def join(linear: Any, random: Any) -> Any:
        if odd == even:
            return even * jnp.concatenate([linear, random], axis=1)
        return jnp.concatenate([odd * linear, even * random], axis=1)

    absolute = jnp.abs(z) * np.asarray(np.sqrt(1 / layout.rectified), z.dtype)
    phi = join(projections.linear, absolute)
    if params.steps is None:
        return Explicit(phi, None)
    scale = np.sqrt(1 / layout.steps)
    signs = jnp.where(projections.steps >= 0, scale, -scale).astype(z.dtype)
    product = params.product.combine(projections.product, signs)
    return Explicit(phi, join(projections.constant, product))


def _rescale(state: Explicit, variance: Variance) -> Explicit:
    """Scale hidden features row by row to the norms of the exact kernels."""

    def scaled(features: Any, target: jax.Array) -> Any:
        if features is None:
            return None
        norms = jnp.einsum("...j,...j->...", features, features)
        positive = norms > 0
        factor = jnp.where(positive, jnp.sqrt(target / jnp.where(positive, norms, 1)), 0)
        return features * factor[..., None]

    return Explicit(scaled(state.phi, variance.nngp), scaled(state.psi, variance.ntk))


@functools.partial(jax.jit, static_argnums=0)
def _apply_dense(plan: Plan, params: Any, X: jax.Array) -> jax.Array:
    layers = as_layers(plan.architecture)
    shape = pixels_of(layers[0])
    if isinstance(layers[0], Input):
        X, layers = linear(layers[0], Explicit(X, None)).phi, layers[1:]
    return _finish(plan, params, layers, start_tracked(X), shape)


@functools.partial(jax.jit, static_argnums=0)
def _apply_projected(
    plan: Plan, params: Any, projections: Projections, norms: jax.Array
) -> jax.Array:
    start = Tracked(projections, Variance(norms, jnp.zeros_like(norms)))
    return _finish(plan, params, as_layers(plan.architecture), start, ())


def _finish(plan: Plan, params: Any, layers: Any, start: Tracked, shape: Shape) -> jax.Array:
    """Go through the layers, from rows or from the first activation's projections of them."""
    position = 0

    def behind(layer: Architecture, state: Tracked, shape: Shape) -> Tracked:
        nonlocal position
        features = state.features
        if not isinstance(layer, Activation):
            projected = isinstance(features, Projections)
            return state.behind(layer, features if projected else linear(layer, features))
        drawn, layout = params[position], plan.layouts[position]
        position += 1
        projections = features
        if isinstance(features, Explicit):
            projections = _project(drawn, both(as_rows, features))
        found = _activate(plan.method, layer, layout, drawn, projections)
        if isinstance(features, Explicit):
            found = both(functools.partial(as_pixels, like=features.phi), found)
        state = state.behind(layer, found)
        rescaled = plan.method.variance_reduction and position < len(plan.layouts)
        if rescaled and state.variance is not None:
            state = state._replace(features=_rescale(found, state.variance))
        return state

    phi, psi = fold(layers, start, behind, join_tracked, shape).features
    features = phi if plan.kind == "nngp" else psi
    return features if params[-1] is None else params[-1].apply(features)
