"""Gradient features: the derivatives of a finite network by its weights, sketched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Dense, Input
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.spatial import is_recurrent, is_spatial, whole
from ntksketch.data.precision import precision
from ntksketch.features.base import Method, check_lengths
from ntksketch.features.sketched_map import SketchedMap
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.gram import dense_rows
from ntksketch.kernels.zonal import is_homogeneous
from ntksketch.networks.cost import cost_of
from ntksketch.networks.forward import biased, walk
from ntksketch.networks.network import INITS, init_network
from ntksketch.networks.observed import Observed, given
from ntksketch.networks.plan import Parameter, Plan, network_plan, units_behind
from ntksketch.sketches import SRHT, TensorSRHT
from ntksketch.sketches.draws import random_signs

_UNITS, _CHANNELS = 1024, 128
PRODUCTS = ("tensor-srht", "exact")


@dataclass(frozen=True, repr=False)
class GradientFeatures(Method):
    r"""Gradient features: the derivatives of a random finite network by all its weights, sketched.

    .. math:: z(x) = \sum_l S_l \, \mathrm{vec}\, \nabla_{W_l} f(x; \theta),
        \qquad \mathbb{E}_S \langle z(x), z(y) \rangle = \Theta_\theta(x, y),

    the empirical NTK of the network, which itself tends to the exact NTK with the width. The
    gradient by a layer's weights is a sum, over pixels or steps, of products of what the layer
    takes and the derivative by what it gives: a :class:`~ntksketch.sketches.TensorSRHT` makes
    `n_components` columns of it, so that time and memory grow with the network's forward pass and
    not with its number of weights. All layers that finite networks have, recurrent ones too.

    Parameters
    ----------
    width : int, default=None
        Units or channels of the hidden layers. The relative error that more columns do not take
        away falls with its square root. None takes 1,024 units, also of recurrent layers, and 128
        channels of convolutions; with ``product="exact"`` the most for which the gradient has
        `n_components` entries.
    product : {"tensor-srht", "exact"}, default="tensor-srht"
        The sketches, or the gradient itself, followed by zeros.
    initialization : {"orthogonal", "gaussian"}, default="orthogonal"
        Distribution of the weights, as of :func:`~ntksketch.init_network`. Orthogonal ones keep
        the norms of what they take, so that narrower networks are as close to the limit.

    Notes
    -----
    A network whose last weights have an activation behind them has as many outputs as units, which
    random signs add up. ``kind="nngp"`` has features, too: the outputs of a network with
    `n_components` of them, over the square root of their number.

    Errors of recurrent networks with rectifiers grow with the steps, and their distribution over
    draws has a heavy tail: the same weights act at every step. A few hundred units can be off by
    more than the kernel itself.

    References
    ----------
    Arora, Du, Hu, Li, Salakhutdinov, Wang (2019), "On exact computation with an infinitely wide
    neural net", arXiv:1904.11955. Zandieh et al. (2021), arXiv:2106.07880, where the gradient
    itself, of a network with as many weights as features, is the baseline "GradRF".

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.GradientFeatures(width=512)
    GradientFeatures(width=512)
    """

    width: int | None = None
    product: str = "tensor-srht"
    initialization: str = "orthogonal"

    def __post_init__(self) -> None:
        if self.width is not None:
            whole("width", self.width)
        self._check_choices(product=PRODUCTS, initialization=INITS)

    @classmethod
    def published(cls) -> GradientFeatures:
        """Return the published baseline (GradRF): the gradient of a network of as many weights."""
        return cls(product="exact", initialization="gaussian")

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Raise ValueError for kernels of no network, and for sequences of different lengths."""
        if isinstance(target, ZonalKernel):
            raise ValueError(
                f"{self} needs the layers of a network, got {target}: take method='gegenbauer' or "
                "method='nystroem'"
            )
        check_lengths(self, target)

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> SketchedMap:
        architecture = cast(Architecture, target)
        row = _row(architecture, X.shape[1])
        width = self._width(architecture, row, n_components)
        if kind == "ntk":
            n_outputs = _outputs_of_interest(architecture, row, width)
        else:
            n_outputs = n_components
        n_found = units_behind(architecture, row, width, n_outputs).count
        if kind == "nngp" and n_found != n_components:
            raise ValueError(
                f"{self} gives one output a column, and {architecture} {n_found}: end it with "
                "Dense()"
            )
        plan = GradientPlan(
            architecture, kind, row, width, n_outputs, self.product, n_components, 0
        )
        network_key, sketch_key, readout_key = jax.random.split(key, 3)
        params = init_network(
            architecture,
            network_key,
            width,
            input_shape=row,
            init=self.initialization,
            n_outputs=n_outputs,
            dtype=X.dtype,
        )
        weights = tuple(np.asarray(array) for array in jax.tree.leaves(params))
        readout = random_signs(readout_key, n_found, X.dtype) / np.sqrt(n_found, dtype=X.dtype)
        sketches: tuple[Any, ...] = ()
        if kind == "ntk" and self.product != "exact":
            keys = jax.random.split(sketch_key, len(weights))
            sketches = tuple(
                None if frozen else _sketch(k, parameter, n_components, X.dtype)
                for k, (frozen, parameter) in zip(keys, plan.parameters, strict=True)
            )
        drawn = GradientParams(weights, readout, sketches)
        return SketchedMap(plan._replace(row_entries=_row_entries(plan, drawn, X)), drawn)

    def _width(self, architecture: Architecture, row: tuple[int, ...], n_components: int) -> int:
        """Return how many units hidden layers have."""
        if self.product != "exact":
            narrow = is_spatial(architecture) and not is_recurrent(architecture)
            return self.width or (_CHANNELS if narrow else _UNITS)
        width = self.width or 1
        least = _entries(architecture, row, width)
        if least > n_components:
            raise ValueError(
                f"n_components={n_components} is less than the {least:,} weights of {architecture} "
                f"with width={width}: take more, or product='tensor-srht'"
            )
        if self.width is None:
            while _entries(architecture, row, 2 * width) <= n_components:
                width *= 2
            for step in (width >> i for i in range(1, width.bit_length())):
                width += step * (_entries(architecture, row, width + step) <= n_components)
        return width


class GradientPlan(NamedTuple):
    """What is fixed before anything is drawn: hashable, so that compiled code is shared.

    Attributes
    ----------
    architecture : Architecture
    kind : {"ntk", "nngp"}
        Whether the columns come from gradients or are outputs.
    row : tuple of int
        Shape of a row: (d,) or spatial axes and channels.
    width, n_outputs : int
        Units of hidden layers and of the last one with weights.
    product : {"tensor-srht", "exact"}
        Whether the gradient is sketched.
    n_components : int
        Number of columns that come out.
    row_entries : int
        Bound on the entries that a row takes while its features are computed, with them.
    """

    architecture: Architecture
    kind: str
    row: tuple[int, ...]
    width: int
    n_outputs: int
    product: str
    n_components: int
    row_entries: int

    @property
    def first(self) -> Input | None:
        """The layer that makes pixels of rows."""
        first = as_layers(self.architecture)[0]
        return first if isinstance(first, Input) else None

    @property
    def expected(self) -> None:
        """None: nothing is cut off."""
        return None

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return is_homogeneous(self.architecture)

    @property
    def network(self) -> Plan:
        """Parameters of the network, layer by layer."""
        return network_plan(self.architecture, self.row, self.width, self.n_outputs)

    @property
    def parameters(self) -> list[tuple[bool, Parameter]]:
        """All parameters in their order, with whether they are not trained."""
        return _parameters(self.network)

    def project(self, params: GradientParams, rows: Any) -> Any:
        """Return what the first layer and its sketch make of rows, or pixels as they are."""
        if self.first is not None:
            return rows
        weights, _, sketches = params
        position = self._position
        scale = self.parameters[position][1].scale
        weight = weights[position] * np.asarray(scale, rows.dtype)
        products = rows @ weight if sp.issparse(rows) else _product(rows, weight)
        if self.kind == "nngp":
            return products, None
        if self.product == "exact":
            return products, dense_rows(rows)
        return products, sketches[position].sketch.factors[0].apply(rows)

    def finish(self, params: GradientParams, projected: Any, squares: jax.Array) -> jax.Array:
        """Return the features."""
        parameters, layers = self.parameters, as_layers(self.architecture)
        dtype = params.weights[0].dtype
        scales = [np.asarray(parameter.scale, dtype) for _, parameter in parameters]
        values = [scale * w for scale, w in zip(scales, params.weights, strict=True)]

        def outputs(observed: list[Any]) -> jax.Array:
            network = jax.tree.unflatten(jax.tree.structure(self.network), observed)
            if self.first is not None:
                return walk(layers, network, projected)
            own = network[0]
            units = biased(given(own["weight"], None, projected[0]), own)
            return walk(layers[1:], network[1:], units)

        if self.kind == "nngp":
            return outputs(values) * np.asarray(self.n_components**-0.5, dtype)
        observers = self._observers(params, projected)

        def observed_outputs(probes: list[Any]) -> jax.Array:
            leaves = [
                value if observer is None else Observed(value, observer, probe)
                for value, observer, probe in zip(values, observers, probes, strict=True)
            ]
            return jnp.sum(outputs(leaves) * params.readout)

        full = self.product == "exact"
        probes = [
            None
            if observer is None
            else jnp.zeros((len(squares), math.prod(p.shape) if full else self.n_components), dtype)
            for observer, (_, p) in zip(observers, parameters, strict=True)
        ]
        gradients = jax.grad(observed_outputs)(probes)
        parts = [g * scale for g, scale in zip(gradients, scales, strict=True) if g is not None]
        if not full:
            return sum(parts[1:], parts[0])
        found = jnp.concatenate(parts, axis=1)
        return jnp.pad(found, ((0, 0), (0, self.n_components - found.shape[1])))

    @property
    def _position(self) -> int:
        """The place of the first layer's weights among all parameters."""
        return sorted(self.network[0]).index("weight")

    def _observers(self, params: GradientParams, projected: Any) -> list[Any]:
        """Return what takes up each gradient; None where nothing is trained."""
        first = None if self.first is not None else self._position
        found: list[Any] = []
        for i, (frozen, _) in enumerate(self.parameters):
            if frozen:
                found.append(None)
            elif self.product == "exact":
                found.append(FullGradient(projected[1] if i == first else None))
            elif i == first:
                found.append(FirstGradient(params.sketches[i], projected[1]))
            else:
                found.append(params.sketches[i])
        return found


class GradientParams(NamedTuple):
    """Arrays of gradient features.

    Attributes
    ----------
    weights : tuple of arrays
        All parameters of the network in their order, in the NTK parameterization.
    readout : array of shape (k,)
        Signs of the outputs, over the root of their number; one output unless the last weights
        have an activation behind them.
    sketches : tuple of SketchedGradient or None
        Of the gradient by each: weights, biases, states that are not trained. Empty where the
        gradient itself, or the outputs, are wanted.
    """

    weights: tuple[Any, ...]
    readout: Any
    sketches: tuple[Any, ...]


class SketchedGradient(NamedTuple):
    """Sketches the gradient of weights or of a bias.

    Attributes
    ----------
    sketch : TensorSRHT or SRHT
    signs : array of shape (m,)
        Of the columns. The first row of every Hadamard matrix is constant: without them it would
        meet that of other layers in all columns alike.
    """

    sketch: Any
    signs: Any

    def observe(self, taken: Any, derivative: jax.Array) -> jax.Array:
        """Return the sketch of the sum of tensor products."""
        if taken is None:
            return self.signs * self.sketch.apply(derivative.sum(1))
        return self.signs * self.sketch.apply_sum(taken, derivative)


class FirstGradient(NamedTuple):
    """Sketches the gradient of the first layer, which takes rows that are sketched already."""

    inner: SketchedGradient
    projected: Any

    def observe(self, taken: Any, derivative: jax.Array) -> jax.Array:
        """Return the sketch of the tensor products."""
        sketch, signs = self.inner
        other = sketch.factors[1].apply(derivative[:, 0])
        return signs * sketch.combine(self.projected, other)


class FullGradient(NamedTuple):
    """Takes the gradient itself; the rows are those of the first layer, or None."""

    rows: Any

    def observe(self, taken: Any, derivative: jax.Array) -> jax.Array:
        """Return the sum of tensor products, flat."""
        if taken is None and self.rows is None:
            return derivative.sum(1)
        taken = self.rows[:, None] if taken is None else taken
        highest = jax.lax.Precision.HIGHEST
        products = jnp.einsum("npa,npb->nab", taken, derivative, precision=highest)
        return products.reshape(len(derivative), -1)


def _product(rows: Any, weight: Any) -> jax.Array:
    return jnp.matmul(rows, weight, precision=jax.lax.Precision.HIGHEST)


def _parameters(network: Plan) -> list[tuple[bool, Parameter]]:
    """Return all parameters of a plan in the order of their arrays, with who is not trained."""
    leaves = jax.tree_util.tree_leaves_with_path(network)
    return [(getattr(path[-1], "key", None) == "state", leaf) for path, leaf in leaves]


def _sketch(
    key: jax.Array, parameter: Parameter, n_components: int, dtype: Any
) -> SketchedGradient:
    """Draw the sketch of a gradient."""
    key, sign_key = jax.random.split(key)
    signs = random_signs(sign_key, n_components, dtype)
    if not parameter.is_matrix:
        sketch = SRHT.init(key, parameter.shape[0], n_components, dtype)
        return SketchedGradient(sketch, signs)
    widths = math.prod(parameter.shape[:-1]), parameter.shape[-1]
    return SketchedGradient(TensorSRHT.init(key, widths, n_components, dtype), signs)


def _entries(architecture: Architecture, row: tuple[int, ...], width: int) -> int:
    """Return how many trained numbers a network of some width has."""
    n_outputs = _outputs_of_interest(architecture, row, width)
    parameters = _parameters(network_plan(architecture, row, width, n_outputs))
    return sum(math.prod(p.shape) for frozen, p in parameters if not frozen)


def _row(architecture: Architecture, n_columns: int) -> tuple[int, ...]:
    first = as_layers(architecture)[0]
    if isinstance(first, Input):
        return first.shape
    if not isinstance(first, Dense):
        raise ValueError(f"gradient features need Dense or Input first, got {architecture}")
    return (n_columns,)


def _outputs_of_interest(architecture: Architecture, row: tuple[int, ...], width: int) -> int:
    """Return how many units the last weights give: one where the network is linear in them."""
    linear = units_behind(architecture, row, width, width).law == "gaussian"
    return 1 if linear else width


@dataclass(frozen=True)
class _Apply:
    """The features as a function of parameters and rows that compares by value."""

    plan: GradientPlan

    def __call__(self, params: GradientParams, X: Any) -> Any:
        return SketchedMap(self.plan, params).apply(X)


def _row_entries(plan: GradientPlan, params: GradientParams, X: Any) -> int:
    """Return a bound on the entries of a row: what the traced program has on its way."""
    row = jax.ShapeDtypeStruct((1, X.shape[1]), X.dtype)
    with precision(X.dtype):
        return math.ceil(cost_of(_Apply(plan), params, row).entries)
