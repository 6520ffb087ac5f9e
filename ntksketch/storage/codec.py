"""Models as trees of plain values with arrays beside them, and back.

A tree is what JSON has: null, booleans, numbers, strings; an array of JSON stands for a tuple. All
else is an object with one key that says what it is: a registered type, an array by its name, CSR
rows, strings, a list, a dictionary, infinity.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import jax
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.architectures import Elementwise
from ntksketch.kernels.zonal import FunctionKernel
from ntksketch.storage.checks import check_value
from ntksketch.storage.errors import ModelFileError
from ntksketch.storage.registry import COMPUTING, ENTRIES, NAMES
from ntksketch.storage.schema import LARGEST, Entry, Maybe, Unbounded, describe, fits
from ntksketch.storage.unsaved import UnsavedFunction

Arrays = dict[str, NDArray[Any]]

_DEEPEST = 100  # values inside each other
_MOST_CHARACTERS = 2**28  # of an array of strings, in memory
_INFINITY = {"number": ["infinity"]}
_CSR = {"array": sp.csr_array, "matrix": sp.csr_matrix}


def encode(model: Any) -> tuple[Any, Arrays]:
    """Return a model as a tree and the arrays that it names.

    Raises
    ------
    TypeError
        If there is something in it that cannot be saved; the message says where, why, and what to
        do.
    """
    encoder = _Encoder()
    return encoder.encode(model, type(model).__name__, False), encoder.arrays


def decode(tree: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return what a tree and its arrays stand for, checked.

    Raises
    ------
    ModelFileError
        If a value is not what its place in the structure asks for.
    """
    decoder = _Decoder(arrays)
    value = decoder.decode(tree, "model", 0)
    surplus = sorted(set(arrays) - decoder.used)
    if surplus:
        raise ModelFileError(f"it has arrays that belong to nothing: {', '.join(surplus[:5])}")
    return value


class _Encoder:
    """Turns values into trees; an array that occurs twice is stored once."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self._nodes: dict[int, tuple[Any, Any]] = {}  # by id, with the array to keep it alive

    def encode(self, value: Any, where: str, computing: bool) -> Any:
        """Return the tree of a value; `computing`: it is part of a map, which works with it."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | str):
            return value
        if type(value) is int and abs(value) <= LARGEST:
            return value
        if type(value) is float and math.isfinite(value):
            return value
        if isinstance(value, np.ndarray | jax.Array):
            return self._array(value, where)
        if isinstance(value, sp.csr_array | sp.csr_matrix):
            return self._csr(value, where)
        if type(value) is tuple or type(value) is list:
            items = [self.encode(v, f"{where}[{i}]", computing) for i, v in enumerate(value)]
            return items if type(value) is tuple else {"list": items}
        if type(value) is dict:
            pairs = [
                [self.encode(part, f"{where}[{key!r}]", computing) for part in (key, item)]
                for key, item in value.items()
            ]
            return {"dict": pairs}
        return self._instance(value, where, computing)

    def _instance(self, value: Any, where: str, computing: bool) -> Any:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, np.random.RandomState):
            return None  # `fit` has moved it on, so that no fit could repeat the draw
        if isinstance(value, FunctionKernel):
            if computing:
                raise TypeError(
                    f"{where} is a user's function, which this map evaluates for every row, and a "
                    "file holds no code: take method='gegenbauer' or 'polynomial-sketch', which "
                    "keep its coefficients, or zonal.polynomial(coefficients)"
                )
            value = UnsavedFunction()
        name = NAMES.get(type(value))
        if name is None:
            raise TypeError(f"{where} {_reason(value)}")
        computing = computing or isinstance(value, COMPUTING)
        fields, state = ENTRIES[name].fields, _state(value, ENTRIES[name])
        extra = sorted(set(state) - set(fields))
        if extra:
            raise TypeError(
                f"{where} has the attribute {extra[0]}, which is none of {type(value).__name__}'s "
                "own and not saved: delete it first"
            )
        content = {
            key: _INFINITY
            if isinstance(spec, Unbounded) and state[key] == math.inf
            else self.encode(state[key], f"{where}.{key}", computing)
            for key, spec in fields.items()  # in their order: equal models have equal texts
            if key in state
        }
        return {"type": name, "fields": content}

    def _csr(self, rows: Any, where: str) -> Any:
        kind = "array" if isinstance(rows, sp.csr_array) else "matrix"
        parts = [self._array(part, where) for part in (rows.data, rows.indices, rows.indptr)]
        return {"csr": [kind, list(map(int, cast(Any, rows.shape))), *parts]}

    def _array(self, array: Any, where: str) -> Any:
        known = self._nodes.get(id(array))
        if known is not None:
            return known[1]
        host = np.asarray(array)
        if host.dtype.kind in "UO":
            node = _strings(host, where)
        elif host.dtype.kind in "biuf" and host.dtype.itemsize <= 8:
            # the order in memory decides which product BLAS takes, and so the last bits
            axes = sorted(range(host.ndim), key=lambda axis: -host.strides[axis])
            if host.flags.c_contiguous:
                axes = list(range(host.ndim))
            native = host.dtype.newbyteorder("=")
            name = f"array{len(self.arrays)}"
            self.arrays[name] = np.asarray(host.transpose(axes), native, order="C")
            node = {"array": [name, axes]}
        else:
            raise TypeError(f"{where} is an array of {host.dtype}, which cannot be saved")
        self._nodes[id(array)] = array, node
        return node


def _strings(array: NDArray[Any], where: str) -> Any:
    items = array.tolist()
    if array.ndim != 1 or not all(isinstance(item, str) for item in items):
        raise TypeError(f"{where} is an array of {array.dtype}: only strings can be saved")
    width = None if array.dtype.kind == "O" else array.dtype.itemsize // 4
    return {"strings": [width, items]}


def _state(value: Any, entry: Entry) -> dict[str, Any]:
    """Return what makes up an instance, by name."""
    if isinstance(value, tuple):
        return dict(zip(entry.fields, value, strict=True))
    if not dataclasses.is_dataclass(value):
        return dict(vars(value))
    state = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    kept = (name for name, spec in entry.fields.items() if isinstance(spec, Maybe))
    return state | {name: vars(value)[name] for name in kept if name in vars(value)}


def _reason(value: Any) -> str:
    """Say why an object cannot be saved, and what to do."""
    if isinstance(value, int | float):
        return f"is {value!r}: only finite numbers below 2^63 can be saved"
    if isinstance(value, Elementwise):
        return (
            "is a user's function, and a file holds no code: take an activation of the library's "
            "own (Relu, LeakyRelu, Erf, Gelu, Sin), or pickle the model"
        )
    if callable(getattr(value, "__array__", None)):
        return f"is a {type(value).__name__}: set the parameter to a NumPy array or a list first"
    return (
        f"is of {type(value).__module__}.{type(value).__name__}, which is none of the library's "
        "own types: only those can be saved"
    )


class _Decoder:
    """Turns trees into values, and remembers which arrays were used."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.used: set[str] = set()
        self._arrays = arrays
        self._views: dict[tuple[str, tuple[int, ...]], NDArray[Any]] = {}

    def decode(self, node: Any, where: str, depth: int) -> Any:
        """Return the value of a tree."""
        if depth > _DEEPEST:
            raise ModelFileError(f"{where[:80]}... is nested too deeply")
        if node is None or isinstance(node, bool | str):
            return node
        if isinstance(node, int | float):
            if abs(node) > LARGEST if isinstance(node, int) else not math.isfinite(node):
                raise ModelFileError(f"{where} is a number that is too large")
            return node
        if isinstance(node, list):
            return tuple(self._items(node, where, depth))
        if isinstance(node, dict) and set(node) == {"type", "fields"}:
            return self._instance(node, where, depth)
        if isinstance(node, dict) and len(node) == 1:
            ((kind, content),) = node.items()
            rule = self._rules.get(kind)
            if rule is not None and isinstance(content, list):
                return rule(self, content, where, depth)
        raise ModelFileError(f"{where} is nothing that a model is made of")

    def _items(self, content: list[Any], where: str, depth: int) -> list[Any]:
        return [self.decode(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(content)]

    def _dict(self, content: list[Any], where: str, depth: int) -> dict[Any, Any]:
        result = {}
        for i, pair in enumerate(content):
            place = f"{where}[{i}]"
            if not isinstance(pair, list) or len(pair) != 2:
                raise ModelFileError(f"{place} is no pair of a key and a value")
            key, value = self._items(pair, place, depth)
            if not fits(key, (bool, int, float, str)) and type(key) is not tuple:
                raise ModelFileError(f"{place} has a key that is no number, string or tuple")
            if type(key) is tuple and not all(fits(item, (int, str)) for item in key):
                raise ModelFileError(f"{place} has a key that is no tuple of numbers")
            if key in result:
                raise ModelFileError(f"{place} has a key that occurs twice")
            result[key] = value
        return result

    def _array(self, content: list[Any], where: str, depth: int) -> NDArray[Any]:
        name, axes = content if len(content) == 2 else (None, None)
        if not isinstance(name, str) or name not in self._arrays:
            raise ModelFileError(f"{where} is an array that the file does not hold")
        stored = self._arrays[name]
        if (
            not isinstance(axes, list)
            or not all(type(axis) is int for axis in axes)
            or sorted(axes) != list(range(stored.ndim))
        ):
            raise ModelFileError(f"{where} has {stored.ndim} axes, in no order that there is")
        self.used.add(name)
        key = name, tuple(axes)
        if key not in self._views:
            self._views[key] = stored.transpose(np.argsort(axes))
        return self._views[key]

    def _csr(self, content: list[Any], where: str, depth: int) -> Any:
        if len(content) != 5 or content[0] not in ("array", "matrix"):
            raise ModelFileError(f"{where} is no matrix of rows")
        shape, data, indices, indptr = self._items(content[1:], where, depth)
        flat = (isinstance(part, np.ndarray) and part.ndim == 1 for part in (data, indices, indptr))
        sizes = isinstance(shape, tuple) and len(shape) == 2
        if not all(flat) or not sizes or not all(type(n) is int and n >= 0 for n in shape):
            raise ModelFileError(f"{where} is no matrix of rows")
        if not all(part.dtype in (np.int32, np.int64) for part in (indices, indptr)):
            raise ModelFileError(f"{where} has indices that are not int32 or int64")
        n_rows, n_columns = shape
        good = len(indptr) == n_rows + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
        good = good and indptr[-1] == len(indices) == len(data)
        if not good or (len(indices) and not 0 <= indices.min() <= indices.max() < n_columns):
            raise ModelFileError(f"{where} has indices that are outside of its shape")
        return _CSR[content[0]]((data, indices, indptr), shape=shape)

    def _strings(self, content: list[Any], where: str, depth: int) -> NDArray[Any]:
        width, items = content if len(content) == 2 else (None, None)
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ModelFileError(f"{where} is no array of strings")
        if width is None:
            return np.array(items, dtype=object)
        longest = max(map(len, items), default=0)
        if type(width) is not int or not longest <= width <= _MOST_CHARACTERS // (len(items) + 1):
            raise ModelFileError(f"{where} is an array of strings of {width} characters")
        return np.array(items, dtype=f"U{width}")

    def _instance(self, node: dict[str, Any], where: str, depth: int) -> Any:
        name, content = node["type"], node["fields"]
        entry = ENTRIES.get(name) if isinstance(name, str) else None
        if entry is None:
            raise ModelFileError(f"{where} is of the unknown type {str(name)[:80]!r}")
        if not isinstance(content, dict):
            raise ModelFileError(f"{where} has no fields")
        needed = {key for key, spec in entry.fields.items() if not isinstance(spec, Maybe)}
        if not needed <= set(content) <= set(entry.fields):
            other = (needed - set(content)) | (set(content) - set(entry.fields))
            names = ", ".join(key[:40] for key in sorted(other)[:5])
            raise ModelFileError(f"{where}, a {name}, lacks a field or has another: {names}")
        fields = {}
        for key, spec in entry.fields.items():  # in their order, whatever that of the file
            if key in content:
                fields[key] = self.decode(content[key], f"{where}.{key}", depth + 1)
                if not fits(fields[key], spec):
                    raise ModelFileError(f"{where}.{key} is not {describe(spec)}")
        try:
            value = _construct(entry.cls, fields)
            check_value(value)
        except ModelFileError as error:
            raise ModelFileError(f"{where}: {error}") from None
        except Exception as error:
            raise ModelFileError(f"{where} cannot be: {error}") from error
        return value

    def _number(self, content: list[Any], where: str, depth: int) -> float:
        if content != ["infinity"]:
            raise ModelFileError(f"{where} is no number")
        return math.inf

    _rules: ClassVar[dict[str, Callable[..., Any]]] = {
        "list": _items,
        "dict": _dict,
        "array": _array,
        "csr": _csr,
        "strings": _strings,
        "number": _number,
    }


def _construct(cls: type, fields: dict[str, Any]) -> Any:
    """Make an instance, by its constructor if that takes its fields."""
    if issubclass(cls, tuple):
        return cls(**fields)
    if not dataclasses.is_dataclass(cls):
        value = object.__new__(cls)
        vars(value).update(fields)
        return value
    own = {field.name for field in dataclasses.fields(cls)}
    value = cls(**{name: item for name, item in fields.items() if name in own})
    vars(value).update({name: item for name, item in fields.items() if name not in own})
    return value
