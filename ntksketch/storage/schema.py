"""What a field may hold: specifications of values, checked when a file is read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

LARGEST = 2**63 - 1  # of whole numbers in a file
_KINDS = {"f": "float32 or float64", "i": "signed whole numbers"}


class Spec:
    """Base class of the specifications that are more than a type."""

    def fits(self, value: Any) -> bool:
        """Say whether a value is as specified."""
        raise NotImplementedError


@dataclass(frozen=True)
class Array(Spec):
    """An array of floating (f) or whole (i) numbers, finite unless said otherwise.

    Attributes
    ----------
    kind : {"f", "i"}
    ndim : int
        Number of axes.
    finite : bool
        Whether infinity is refused as well as NaN.
    """

    kind: str
    ndim: int
    finite: bool = True

    def fits(self, value: Any) -> bool:
        """Say whether a value is such an array."""
        if not isinstance(value, np.ndarray) or value.ndim != self.ndim:
            return False
        if self.kind == "i":
            return value.dtype.kind == "i"
        if value.dtype not in (np.float32, np.float64):
            return False
        return bool((np.isfinite(value) if self.finite else ~np.isnan(value)).all())

    def __str__(self) -> str:
        return f"an array of {_KINDS[self.kind]} with {self.ndim} axes, without NaN or infinity"


@dataclass(frozen=True)
class Float64(Array):
    """An array of float64."""

    kind: str = "f"
    ndim: int = 1

    def fits(self, value: Any) -> bool:
        """Say whether a value is such an array."""
        return super().fits(value) and value.dtype == np.float64


class Rows(Spec):
    """A matrix of rows: a floating array or CSR."""

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a matrix."""
        if sp.issparse(value):
            return value.format == "csr" and Array("f", 1).fits(value.data)
        return Array("f", 2).fits(value)

    def __str__(self) -> str:
        return "a matrix of finite rows"


class Strings(Spec):
    """An array of strings with one axis."""

    def fits(self, value: Any) -> bool:
        """Say whether a value is such an array."""
        return (
            isinstance(value, np.ndarray)
            and value.ndim == 1
            and value.dtype.kind in "UO"
            and all(isinstance(item, str) for item in value)
        )

    def __str__(self) -> str:
        return "an array of strings"


class Labels(Spec):
    """Classes: sorted, all different."""

    def fits(self, value: Any) -> bool:
        """Say whether a value is an array of classes."""
        if not isinstance(value, np.ndarray) or value.ndim != 1 or len(value) < 2:
            return False
        if value.dtype.kind not in "biufUO":
            return False
        items = value.tolist()
        return all(a < b for a, b in itertools.pairwise(items))

    def __str__(self) -> str:
        return "an array of two or more classes, sorted and all different"


@dataclass(frozen=True)
class Each(Spec):
    """A tuple with items of one kind, from `least` to `most` of them."""

    item: Any
    least: int = 0
    most: int = LARGEST

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a tuple."""
        return (
            type(value) is tuple
            and self.least <= len(value) <= self.most
            and all(fits(item, self.item) for item in value)
        )

    def __str__(self) -> str:
        return f"{self.least} or more items, each {describe(self.item)}"


@dataclass(frozen=True)
class Pair(Spec):
    """A tuple of some items, each with its own specification."""

    items: tuple[Any, ...]

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a tuple."""
        return (
            type(value) is tuple
            and len(value) == len(self.items)
            and all(fits(item, spec) for item, spec in zip(value, self.items, strict=True))
        )

    def __str__(self) -> str:
        return f"items that are {', '.join(map(describe, self.items))}"


@dataclass(frozen=True)
class ListOf(Spec):
    """A list with items of one kind."""

    item: Any

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a list."""
        return type(value) is list and all(fits(item, self.item) for item in value)

    def __str__(self) -> str:
        return f"a list of {describe(self.item)}"


@dataclass(frozen=True)
class DictOf(Spec):
    """A dictionary with keys of one kind and values of another."""

    key: Any
    value: Any

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a dictionary."""
        return type(value) is dict and all(
            fits(key, self.key) and fits(item, self.value) for key, item in value.items()
        )

    def __str__(self) -> str:
        return f"a dictionary of {describe(self.key)} to {describe(self.value)}"


@dataclass(frozen=True)
class Whole(Spec):
    """A whole number of at least `least`."""

    least: int = 0

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a number."""
        return type(value) is int and self.least <= value <= LARGEST

    def __str__(self) -> str:
        return f"a whole number of at least {self.least}"


class Unbounded(Spec):
    """A number that may be infinity: a time, or a limit that is none."""

    def fits(self, value: Any) -> bool:
        """Say whether a value is such a number."""
        return type(value) is int or (type(value) is float and value > -math.inf)

    def __str__(self) -> str:
        return "a number, perhaps infinity"


@dataclass(frozen=True)
class OneOf(Spec):
    """One of some values."""

    values: tuple[Any, ...]

    def fits(self, value: Any) -> bool:
        """Say whether a value is one of them."""
        return any(type(value) is type(known) and value == known for known in self.values)

    def __str__(self) -> str:
        return f"one of {self.values}"


@dataclass(frozen=True)
class But(Spec):
    """An instance of a class, but not of another one."""

    wanted: type
    unwanted: type

    def fits(self, value: Any) -> bool:
        """Say whether a value is such an instance."""
        return isinstance(value, self.wanted) and not isinstance(value, self.unwanted)

    def __str__(self) -> str:
        return f"{self.wanted.__name__} and no {self.unwanted.__name__}"


@dataclass(frozen=True)
class Maybe(Spec):
    """An attribute that need not be there."""

    inner: Any

    def fits(self, value: Any) -> bool:
        """Say whether a value that is there is as specified."""
        return fits(value, self.inner)

    def __str__(self) -> str:
        return describe(self.inner)


@dataclass(frozen=True)
class Entry:
    """A type that a file may name.

    Attributes
    ----------
    cls : type
        The type.
    fields : mapping of str to specification
        All its fields, or attributes that make up an instance's state.
    """

    cls: type
    fields: Mapping[str, Any] = field(default_factory=dict)


def fits(value: Any, spec: Any) -> bool:
    """Say whether a value is as specified: by a type, None, a Spec or a tuple of alternatives."""
    if isinstance(spec, tuple):
        return any(fits(value, alternative) for alternative in spec)
    if spec is None:
        return value is None
    if isinstance(spec, Spec):
        return spec.fits(value)
    if spec is float:
        return type(value) is float and math.isfinite(value)
    if spec in (bool, int, str):
        return type(value) is spec
    return isinstance(value, spec)


def describe(spec: Any) -> str:
    """Return in words what a value should be."""
    if isinstance(spec, tuple):
        return " or ".join(map(describe, spec))
    return spec.__name__ if isinstance(spec, type) else str(spec)
