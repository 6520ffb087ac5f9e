"""What a function of parameters and rows costs, and how large blocks of rows may be for it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ntksketch.data.blocks import budget_bytes, rows_per_block

JACOBIAN, PRODUCTS = "jacobian", "ntk-vector"
_COPIES = 3  # Jacobians of a block alive at a time: two, and what XLA makes of one on the way
_SIDE = 128  # rows of a tile at most
_MOVED = 32  # operations in the time in which a number goes to memory or back
_BACKWARD = 2  # operations of a vjp or jvp, in units of those of the function


@dataclass(frozen=True)
class Cost:
    """Cost of a function at one row.

    Attributes
    ----------
    n_outputs, n_params : int
        Its outputs and parameters.
    operations : float
        Additions and multiplications.
    entries : float
        Numbers that it computes on the way.
    constant : float
        Numbers that it computes of the parameters alone, once whatever the rows. Their derivatives
        are not once: each output of each row has its own.
    itemsize : int
        Bytes of a number.
    """

    n_outputs: int
    n_params: int
    operations: float
    entries: float
    constant: float
    itemsize: int


@dataclass(frozen=True)
class Blocks:
    """How an empirical NTK is computed.

    Attributes
    ----------
    strategy : {"jacobian", "ntk-vector"}
        The way.
    side : int
        Rows and columns of a tile.
    together : int
        Pairs of a row and an output whose vector products are taken together.
    n_bytes : float
        Bound on the bytes of temporaries.
    """

    strategy: str
    side: int
    together: int
    n_bytes: float


def cost_of(f: Callable[..., Any], params: Any, row: jax.ShapeDtypeStruct) -> Cost:
    """Trace a function at one row and at two; what it does beside the rows does not count.

    Parameters
    ----------
    f : callable
        Takes parameters and rows.
    params : pytree
        Its parameters.
    row : ShapeDtypeStruct of shape (1, ...)
        A row.
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), params)
    leaves, tree = jax.tree.flatten(shapes)
    return _cost(f, tree, tuple(leaves), row)


@functools.lru_cache(maxsize=16)
def _cost(f: Callable[..., Any], tree: Any, leaves: tuple[Any, ...], row: Any) -> Cost:
    params = jax.tree.unflatten(tree, leaves)
    rows = [jax.ShapeDtypeStruct((n, *row.shape[1:]), row.dtype) for n in (1, 2)]
    traced = [jax.make_jaxpr(f)(params, x).jaxpr for x in rows]
    n_outputs = _outputs(traced[1].outvars)
    (flops, entries), (flops_of_two, entries_of_two) = map(_count, traced)
    each = max(entries_of_two - entries, 1.0)
    return Cost(
        n_outputs,
        sum(math.prod(leaf.shape) for leaf in leaves),
        max(flops_of_two - flops, 1.0),
        each,
        max(entries - each, 0.0),
        max(np.dtype(leaf.dtype).itemsize for leaf in leaves),
    )


def _outputs(variables: list[Any]) -> int:
    shapes = [tuple(v.aval.shape) for v in variables]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != 2:
        raise ValueError(
            "f must return one array of shape (n, k) for n rows, got "
            f"{', '.join(map(str, shapes))} for 2 rows"
        )
    return int(shapes[0][1])


def _count(jaxpr: Any) -> tuple[float, float]:
    """Return the operations of a traced function and the entries of all its intermediate arrays."""
    operations = entries = 0.0
    for equation in jaxpr.eqns:
        sizes = sum(math.prod(v.aval.shape) for v in equation.outvars)
        inner = [_count(program) for program in _programs(equation.params)]
        if inner:
            times = equation.params.get("length", 1)  # of a scan
            operations += times * max(part[0] for part in inner)
            entries += times * max(part[1] for part in inner)
        else:
            operations += sizes * _depth(equation)
        entries += 0 if _is_scaling(equation) else sizes
    return operations, entries


def _programs(values: dict[str, Any]) -> Iterator[Any]:
    for value in values.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns"):
                yield item


def _is_scaling(equation: Any) -> bool:
    """Say whether an equation is a product with a number, which XLA makes a part of the next."""
    shapes = [v.aval.shape for v in equation.invars]
    return equation.primitive.name in ("mul", "div") and () in shapes


def _depth(equation: Any) -> float:
    """Return the operations for each entry that an equation without programs inside gives."""
    name, shapes = equation.primitive.name, [v.aval.shape for v in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * math.prod(shapes[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        channels = equation.params["dimension_numbers"].rhs_spec[0]
        return 2.0 * math.prod(shapes[1]) / shapes[1][channels]
    return 1.0


def jacobian_bytes(cost: Cost, side: int, trace: bool) -> float:
    """Return a bound on the bytes of temporaries of a tile by Jacobians."""
    k = cost.n_outputs
    row = k * (_COPIES * cost.n_params + 2 * cost.constant) + 2 * (k + 1) * cost.entries
    result = 2 * side**2 * (1 if trace else k**2)
    return cost.itemsize * (side * row + result + cost.constant)


def product_bytes(cost: Cost, side: int, together: int, trace: bool) -> float:
    """Return a bound on the bytes of temporaries of a tile by vector products."""
    k = cost.n_outputs
    each = 2 * cost.n_params + 3 * cost.constant + (side + 1) * cost.entries
    result = 2 * side**2 * (1 if trace else k**2)
    return cost.itemsize * (together * each + side * cost.entries + result + cost.constant)


def operations(cost: Cost, strategy: str, n: int, p: int | None, side: int, trace: bool) -> float:
    """Return the operations of a whole kernel of n rows and p columns; None is a symmetric one."""
    k, tall = cost.n_outputs, -(-n // side)
    tiles = tall * (tall + 1) // 2 if p is None else tall * -(-p // side)
    derivative = _BACKWARD * k * cost.operations
    gradients = float(k * cost.n_params)  # numbers in those of all outputs of a row
    if strategy == PRODUCTS:
        return tiles * side * ((side + 1) * derivative + 2 * _MOVED * gradients)
    contraction = 2 * gradients * (1 if trace else k)
    each = derivative + _MOVED * gradients
    return tiles * side * (side * contraction + each + 2 * _MOVED * gradients) + tall * side * each


def plan_blocks(
    cost: Cost,
    n: int,
    p: int | None,
    strategy: str,
    trace: bool,
    working_memory: float | None,
) -> Blocks:
    """Choose a strategy, unless it is given, and the sizes of blocks.

    Parameters
    ----------
    cost : Cost
        Of the function.
    n, p : int
        Rows and columns of the kernel; p is None where it is symmetric.
    strategy : {"auto", "jacobian", "ntk-vector"}
        The way, if it is given.
    trace : bool
        Whether outputs are averaged.
    working_memory : float or None
        Budget in MiB.

    Raises
    ------
    MemoryError
        If not even one row fits.
    """
    budget = budget_bytes(working_memory)
    most = min(_SIDE, 1 << max(max(n, p or 1) - 1, 0).bit_length())
    found: list[tuple[float, Blocks]] = []
    if strategy != PRODUCTS:
        side = _largest(lambda s: jacobian_bytes(cost, s, trace), budget, most)
        blocks = Blocks(JACOBIAN, side, 0, jacobian_bytes(cost, side, trace))
        found.append((operations(cost, JACOBIAN, n, p, side, trace), blocks))
    if strategy != JACOBIAN:
        side = _largest(lambda s: product_bytes(cost, s, 1, trace), budget, most)
        pairs = 1 << max(side * cost.n_outputs - 1, 0).bit_length()
        together = _largest(lambda c: product_bytes(cost, side, c, trace), budget, pairs)
        blocks = Blocks(PRODUCTS, side, together, product_bytes(cost, side, together, trace))
        found.append((operations(cost, PRODUCTS, n, p, side, trace), blocks))
    fitting = [item for item in found if item[1].n_bytes <= budget]
    if not fitting:
        least = min(item[1].n_bytes for item in found)
        rows_per_block(least, working_memory)  # says what it takes
    return min(fitting, key=lambda item: item[0])[1]


def _largest(need: Callable[[int], float], budget: float, most: int) -> int:
    """Return the largest power of two that fits a budget, at least 1."""
    size = most
    while size > 1 and need(size) > budget:
        size //= 2
    return size
