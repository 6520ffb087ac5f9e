"""Real networks of an architecture: their parameters at initialisation and their outputs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Input
from ntksketch.architectures.layers import as_layers
from ntksketch.architectures.spatial import whole
from ntksketch.data.precision import precision
from ntksketch.networks.forward import walk
from ntksketch.networks.plan import Parameter, Plan, network_plan, row_shape
from ntksketch.sketches.draws import generator

INITS = ("gaussian", "orthogonal")
PARAMETERIZATIONS = ("ntk", "standard")


def init_network(
    architecture: Architecture,
    key: jax.Array,
    width: int,
    *,
    input_shape: int | Sequence[int] | None = None,
    init: str = "gaussian",
    parameterization: str = "ntk",
    n_outputs: int = 1,
    dtype: Any = np.float32,
) -> tuple[dict[str, Any], ...]:
    r"""Draw the parameters of a network of finite width.

    In the NTK parameterization they are standard normal, and :func:`apply_network` multiplies them:
    weights by :math:`\sigma_w / \sqrt{q\,a}` for q pixels of a filter and a units of the layer
    below, or :math:`\sigma_w / \sqrt{q}` on the input; biases by :math:`\sigma_b`. In the standard
    parameterization they have these sizes themselves. Both give the same functions at
    initialisation, and the same ones for the same key.

    Parameters
    ----------
    architecture : Architecture
        The network.
    key : JAX key
        Decides the draw, which is the same in float32 and float64. It is made on the host.
    width : int
        Units, or channels, of every hidden layer.
    input_shape : int or sequence of int, default=None
        Columns of a row, or (height, width, channels), or (length, channels). Not needed if the
        architecture begins with :class:`Input`.
    init : {"gaussian", "orthogonal"}, default="gaussian"
        Weights with independent normal entries, or random (semi-)orthogonal matrices of the same
        second moments: uniform over orthogonal matrices, one for each pixel of a filter. Biases are
        normal.
    parameterization : {"ntk", "standard"}, default="ntk"
        Where the scale is. In the standard parameterization each layer's share of the empirical
        NTK is larger by the factor :math:`q\,a/\sigma_w^2` (biases: :math:`1/\sigma_b^2`), so that
        it grows with the width and does not tend to :func:`kernel`.
    n_outputs : int, default=1
        Units of the last layer with weights.
    dtype : {float32, float64}, default=float32
        Of the parameters. float64 needs no flag of JAX here; to train, compute in
        ``jax.enable_x64(True)``.

    Returns
    -------
    tuple of dict
        One dictionary a layer: "weight" of shape (*filter, a, b), "bias", of recurrent layers
        "input" and "state", of residual sums "branch" and "shortcut". The state before the first
        step has no gradient: the limit does not train it. A layer with ``bias_std=0`` has no bias.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or no finite network tends to the kernel: where an
        activation takes the input or units that are not normal.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), arXiv:1806.07572. Huang, Du, Xu (2021), "On the neural tangent
    kernel of deep networks with orthogonal initialization", arXiv:2004.05867.

    Examples
    --------
    >>> import jax
    >>> import ntksketch as ntk
    >>> params = ntk.init_network(ntk.mlp(depth=1), jax.random.key(0), 64, input_shape=3)
    >>> [{name: array.shape for name, array in layer.items()} for layer in params]
    [{'weight': (3, 64)}, {}, {'weight': (64, 1)}]
    """
    row = row_shape(architecture, _given_shape(architecture, input_shape))
    sizes = whole("width", width), whole("n_outputs", n_outputs)
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}, got {init!r}")
    check_parameterization(parameterization)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    _check_key(key)
    plan = network_plan(architecture, row, *sizes)
    rng = generator(key)

    def draw(parameter: Parameter) -> jax.Array:
        array = _draw(parameter, init, rng)
        if parameterization == "standard":
            array *= parameter.scale
        return jnp.asarray(array.astype(dtype))

    with precision(dtype):
        return jax.tree.map(draw, plan)


def _given_shape(architecture: Architecture, shape: Any) -> tuple[int, ...]:
    first = as_layers(architecture)[0]
    if shape is None:
        if isinstance(first, Input):
            return first.shape
        raise ValueError(
            "input_shape is missing: give the number of columns, (height, width, channels) or "
            "(length, channels), or begin the architecture with Input(shape)"
        )
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    return tuple(whole("input_shape", size) for size in sizes)


def _check_key(key: Any) -> None:
    if not isinstance(key, jax.Array):
        raise TypeError(f"key must be a JAX key, such as jax.random.key(0), got {key!r}")


def check_parameterization(parameterization: str) -> None:
    """Raise ValueError if there is no such parameterization."""
    if parameterization not in PARAMETERIZATIONS:
        raise ValueError(
            f"parameterization must be one of {PARAMETERIZATIONS}, got {parameterization!r}"
        )


def _draw(parameter: Parameter, init: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw an array of parameters in the NTK parameterization."""
    normal = rng.standard_normal(parameter.shape)
    if init == "gaussian" or not parameter.is_matrix:
        return normal
    taken, given = parameter.shape[-2:]
    tall = normal if taken >= given else normal.swapaxes(-1, -2)
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]  # makes the law uniform
    q *= max(taken, given) ** 0.5  # and the second moment 1
    return q if taken >= given else q.swapaxes(-1, -2)


def apply_network(
    architecture: Architecture, params: Any, X: Any, *, parameterization: str = "ntk"
) -> jax.Array:
    """Return the outputs of a network of finite width: a pure function of parameters and rows.

    Parameters
    ----------
    architecture : Architecture
        The network.
    params : tuple of dict
        Its parameters, as :func:`init_network` draws them.
    X : array-like of shape (n, d), (n, height, width, channels) or (n, length, channels)
        Rows, flat or not; they are computed in the dtype of the parameters.
    parameterization : {"ntk", "standard"}, default="ntk"
        That of the parameters.

    Returns
    -------
    jax.Array of shape (n, k)
        The outputs: k is ``n_outputs``, times the pixels if the network ends with ``Flatten``.

    Raises
    ------
    TypeError, ValueError
        If the rows or the parameters do not fit the architecture.

    Notes
    -----
    ``functools.partial(apply_network, architecture)`` is a function of parameters and rows, for
    :func:`jax.grad`, optimisers, :func:`empirical_ntk` and :func:`linearize`. It is compiled once
    for each shape of the rows.

    Examples
    --------
    >>> import jax, numpy as np
    >>> import ntksketch as ntk
    >>> arch = ntk.mlp(depth=1)
    >>> params = ntk.init_network(arch, jax.random.key(0), 64, input_shape=3, n_outputs=2)
    >>> ntk.apply_network(arch, params, np.ones((5, 3))).shape
    (5, 2)
    """
    check_parameterization(parameterization)
    X = as_rows(X)
    row = row_shape(architecture, X.shape[1:])
    scales = _scales(_plan_of(architecture, row, params))
    dtype = np.result_type(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    with precision(dtype):
        X = jnp.asarray(X, dtype).reshape(len(X), *row)
        return _apply(architecture, parameterization, scales, params, X)


def as_rows(X: Any, name: str = "X") -> Any:
    """Return an array of real numbers whose first axis are rows, or say what came."""
    if not isinstance(X, jax.Array):
        X = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    if X.dtype.kind not in "fiub" and not jnp.issubdtype(X.dtype, jnp.floating):
        raise TypeError(f"{name} must be an array of real numbers, got one of {X.dtype}")
    if X.ndim < 2:
        raise ValueError(f"{name} must have rows and columns, got an array of shape {X.shape}")
    return X


def _scales(plan: Plan) -> tuple[float, ...]:
    return tuple(parameter.scale for parameter in jax.tree.leaves(plan))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _apply(
    architecture: Architecture,
    parameterization: str,
    scales: tuple[float, ...],
    params: Any,
    X: jax.Array,
) -> jax.Array:
    if parameterization == "ntk":
        leaves, tree = jax.tree.flatten(params)
        leaves = [scale * leaf for scale, leaf in zip(scales, leaves, strict=True)]
        params = jax.tree.unflatten(tree, leaves)
    return walk(as_layers(architecture), params, X)


def _plan_of(architecture: Architecture, row: tuple[int, ...], params: Any) -> Plan:
    """Return the plan of a network from the widths of its parameters, which must fit it."""
    try:
        widths = [np.shape(weight)[-1] for weight in _weights(params)]
        # the first layer is hidden, except in a sum of one layer and several
        plans = [network_plan(architecture, row, w, widths[-1]) for w in dict.fromkeys(widths)]
        known = jax.tree.structure(params) == jax.tree.structure(plans[0])
    except (IndexError, KeyError, TypeError, AttributeError):
        plans, known = [], False
    if not known:
        raise ValueError(
            f"params are not those of {architecture}, one dictionary a layer as init_network draws "
            f"them, got {jax.tree.structure(params)}"
        )
    given = jax.tree_util.tree_leaves_with_path(params)
    shapes = [np.shape(array) for _, array in given]
    for plan in plans:
        if shapes == [parameter.shape for parameter in jax.tree.leaves(plan)]:
            return plan
    path, shape, expected = next(
        (path, shape, parameter.shape)
        for (path, _), shape, parameter in zip(
            given, shapes, jax.tree.leaves(plans[0]), strict=True
        )
        if shape != parameter.shape
    )
    raise ValueError(
        f"params{jax.tree_util.keystr(path)} has shape {shape}, expected {expected} in "
        f"{architecture} for rows of shape {row}"
    )


def _weights(params: Any) -> Iterator[Any]:
    """Yield the weights of all layers in their order."""
    for layer in params:
        if "weight" in layer:
            yield layer["weight"]
        for name in ("branch", "shortcut"):
            yield from _weights(layer.get(name, ()))


@dataclass(frozen=True)
class NetworkFunction:
    """The outputs of a network as a function of parameters and rows that compares by value."""

    architecture: Architecture

    def __call__(self, params: Any, X: Any) -> jax.Array:
        """Return the outputs of shape (n, k)."""
        return apply_network(self.architecture, params, X)
