"""Architectures as text: calls of builders and layers with literal arguments."""

from __future__ import annotations

import ast
import inspect
import math
from typing import Any

import ntksketch as ntk
from ntksketch import architectures
from ntksketch.architectures import Architecture
from ntksketch.cli.errors import InputError

_FUNCTIONS = ("mlp", "cnn", "myrtle", "resnet", "rnn", "serial", "residual")
_ABSTRACT = ("Activation", "Architecture", "Elementwise", "Rectifier", "Residual", "Serial")


def network(text: str | None, depth: int, bias: float) -> Architecture:
    """Return the network of the options.

    Parameters
    ----------
    text : str or None
        A call such as ``cnn(3, pooling=2, shape=(32, 32, 3))`` or ``serial(Dense(), Relu(),
        Dense())``; None stands for a multilayer perceptron.
    depth : int
        Its hidden layers.
    bias : float
        Standard deviation of its biases.

    Raises
    ------
    InputError
        If the text is no such call, if a layer refuses its arguments, or if the other options
        speak of a network as well.
    """
    if text is None:
        if not 0 <= bias < math.inf:
            raise InputError(f"--bias must be at least 0 and finite, got {bias:g}")
        return ntk.mlp(depth, bias_std=bias)
    if depth != 1 or bias:
        raise InputError("--network says all about the network: leave out --depth and --bias")
    try:
        found = _built(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(f"--network {text}: {_reason(error)}") from None
    if not isinstance(found, Architecture):
        raise InputError(f"--network {text}: it is no network, see --help")
    return found


def _built(node: ast.expr) -> Any:
    """Return the value of a literal, or of a call of a name that is known, and of nothing else."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    known = _known()
    if not isinstance(node.func, ast.Name) or node.func.id not in known:
        raise ValueError(f"it may call {', '.join(known)} only")
    if any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("it may not hold **")
    arguments = [_built(argument) for argument in node.args]
    named = {str(keyword.arg): _built(keyword.value) for keyword in node.keywords}
    return known[node.func.id](*arguments, **named)


def _known() -> dict[str, Any]:
    layers = [
        name
        for name, value in vars(architectures).items()
        if inspect.isclass(value) and issubclass(value, Architecture) and name not in _ABSTRACT
    ]
    return {name: getattr(architectures, name) for name in (*_FUNCTIONS, *sorted(layers))}


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"it cannot be read: {error.msg}"
    if isinstance(error, (RecursionError, MemoryError)):
        return "it is nested too deeply"
    return str(error)
