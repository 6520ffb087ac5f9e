"""The table of types is complete, and says of each what it is made of."""

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import saved
from features.method_table import CASES

import ntksketch
from ntksketch.architectures import Activation, Architecture, Elementwise
from ntksketch.features import METHODS, Method
from ntksketch.features.layout import ActivationLayout
from ntksketch.kernels import ZonalKernel
from ntksketch.kernels.zonal import FunctionKernel
from ntksketch.sketches.base import FactorwiseSketch, ProductSketch, VectorSketch
from ntksketch.storage import schema
from ntksketch.storage.codec import decode, encode
from ntksketch.storage.registry import ENTRIES, MAPS, MODELS, NAMES
from ntksketch.storage.schema import Entry, Maybe

# what is never part of a fitted model, or handled apart
ABSTRACT = {FactorwiseSketch}
FUNCTIONS = {Elementwise, FunctionKernel}
PASSING = {
    "Explicit",  # states and widths that live within a call
    "Widths",
    "Pending",
    "Site",
    "Tracked",
    "Projections",
    "Restriction",
    "_Part",
    "FirstGradient",
    "FullGradient",
    "_Apply",
}


def modules(package):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def test_every_module_is_seen():
    assert len(list(modules(ntksketch.features))) > 15


def subclasses(cls):
    """Return the library's own concrete subclasses, at any depth."""
    found = set()
    for child in cls.__subclasses__():
        found |= subclasses(child)
        if dataclasses.is_dataclass(child) and child.__module__.startswith("ntksketch."):
            found.add(child)
    return found


@pytest.mark.parametrize("base", [Architecture, ZonalKernel, Method, VectorSketch, ProductSketch])
def test_every_description_and_sketch_is_registered(base):
    list(modules(ntksketch.features))
    wanted = subclasses(base) - ABSTRACT - FUNCTIONS
    assert wanted
    assert wanted <= set(NAMES)


def test_every_method_of_the_tables_is_registered():
    assert set(METHODS.values()) | {type(case.method) for case in CASES} <= set(NAMES)


def records(module):
    """Return the dataclasses and named tuples that a module defines."""
    return {
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and cls.__module__ == module.__name__
        and (dataclasses.is_dataclass(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields")))
    }


def test_every_record_of_the_feature_maps_is_registered():
    found = set().union(*(records(module) for module in modules(ntksketch.features)))
    assert ActivationLayout in found
    assert {cls.__name__ for cls in found - set(NAMES)} == PASSING


def test_every_map_that_applies_is_a_map():
    found = set().union(*(records(module) for module in modules(ntksketch.features)))
    maps = {cls for cls in found if hasattr(cls, "apply") and hasattr(cls, "row_entries")}
    assert maps == set(MAPS)


def test_a_type_that_is_new_would_be_seen():
    @dataclasses.dataclass(frozen=True)
    class Swish(Activation):
        """A new activation."""

    Swish.__module__ = "ntksketch.architectures.activations"
    assert Swish in subclasses(Architecture) - set(NAMES)
    with pytest.raises(TypeError, match=r"layers\[1\] is of .*Swish.* none of the library's own"):
        encode(ntksketch.serial(ntksketch.Dense(), Swish()))
    Swish.__module__ = __name__  # is not the library's own for other tests


@pytest.mark.parametrize("name", list(ENTRIES))
def test_the_table_has_every_field(name):
    entry = ENTRIES[name]
    needed = {key for key, spec in entry.fields.items() if not isinstance(spec, Maybe)}
    if issubclass(entry.cls, tuple):
        assert list(entry.cls._fields) == list(entry.fields)
    elif dataclasses.is_dataclass(entry.cls):
        assert {field.name for field in dataclasses.fields(entry.cls)} == needed
    elif entry.cls in MODELS:
        assert set(entry.cls._get_param_names()) <= needed


def test_types_have_one_name_each():
    assert len(NAMES) == len(ENTRIES)
    assert all(isinstance(entry, Entry) for entry in ENTRIES.values())


@pytest.mark.parametrize("maker", [*saved.MAKERS.values(), lambda: fitted_ridge()])
def test_the_table_has_every_attribute_of_estimators(maker):
    model = maker()
    assert set(vars(model)) <= set(ENTRIES[NAMES[type(model)]].fields)


def fitted_ridge():
    return ntksketch.StreamingRidge(1.0).fit(saved.ROWS, saved.TARGETS)


ANY = {
    None: [None],
    int: [-1, 0, 3],
    float: [0.0, 0.5, -2.5, 1e300],
    str: ["", "ntk", "ß\ud800\0"],
    bool: [True, False],
}


@pytest.mark.parametrize("value", [v for values in ANY.values() for v in values], ids=repr)
def test_plain_values_come_back(value):
    copy = decode(*encode(value))
    assert (type(copy), copy) == (type(value), value)
    for cls in ANY:
        assert schema.fits(copy, cls) == (cls is (value if value is None else type(value)))


@pytest.mark.parametrize(
    "value",
    [
        (),
        (1, (2.0, "three"), None),
        [1, [2, (3,)]],
        {},
        {"a": 1, 2: (True,), (0, 4): [None], 1.5: {}},
        {False: 0, 2: 1},
    ],
    ids=repr,
)
def test_containers_come_back(value):
    copy = decode(*encode(value))
    assert copy == value
    assert repr(copy) == repr(value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 4, 3), (2, 0, 3), (2, 3, 4, 2)])
def test_arrays_come_back_in_their_order(shape, order):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape).copy(order=order)
    for variant in (array, array.T, array[..., ::2] if shape else array):
        copy = decode(*encode(variant))
        np.testing.assert_array_equal(copy, variant)
        assert copy.dtype == variant.dtype
        if variant.flags.forc:
            assert copy.flags.f_contiguous == variant.flags.f_contiguous
            assert copy.flags.c_contiguous == variant.flags.c_contiguous


def test_axes_in_any_order_come_back():
    array = np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0)
    copy = decode(*encode(array))
    np.testing.assert_array_equal(copy, array)
    assert copy.strides == array.strides


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1j]), "array of complex128"),
        (np.array([np.longdouble(1)]), "array of (float128|longdouble|float64|float96)"),
        (np.array([1, "a"], dtype=object), "only strings"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "array of datetime64"),
        (float("nan"), "is nan: only finite numbers"),
        (2**70, "only finite numbers below"),
        (print, "none of the library's own"),
        (range(3), "none of the library's own"),
        (ntksketch.Relu, "none of the library's own"),
    ],
    ids=repr,
)
def test_what_cannot_be_saved(value, message):
    with pytest.raises(TypeError, match=message):
        encode(value)


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        (schema.Whole(1), [1, 2**63 - 1], [0, True, 1.0, None, 2**63]),
        (schema.OneOf(("ntk", None)), ["ntk", None], ["nngp", 0]),
        (schema.OneOf((1,)), [1], [True, 1.0]),
        (schema.Each(int, 1, 2), [(1,), (1, 2)], [(), (1, 2, 3), [1], (1.0,)]),
        (schema.Pair((int, str)), [(1, "a")], [(1,), ("a", 1), [1, "a"]]),
        (schema.ListOf(int), [[], [1]], [(1,), [1.0]]),
        (schema.DictOf(str, int), [{}, {"a": 1}], [{"a": "b"}, {1: 1}, []]),
        (schema.Array("f", 1), [np.zeros(2), np.zeros(0, np.float32)], [np.zeros((1, 1)), [0.0]]),
        (schema.Array("f", 1), [], [np.zeros(1, np.float16), np.array([np.inf]), np.zeros(1, int)]),
        (schema.Array("f", 1, finite=False), [np.array([np.inf])], [np.array([np.nan])]),
        (schema.Array("i", 1), [np.zeros(1, int)], [np.zeros(1, np.uint8), np.zeros(1, bool)]),
        (schema.Float64(ndim=2), [np.zeros((1, 2))], [np.zeros((1, 2), np.float32), np.zeros(2)]),
        (schema.Strings(), [np.array(["a"]), np.array(["a"], object)], [["a"], np.array([1])]),
        (schema.Labels(), [np.array([1, 2]), np.array(["a", "b"])], [np.array([2, 1]), [1, 2]]),
        (schema.Labels(), [], [np.array([1, 1]), np.array([1]), np.array([1.0, np.nan])]),
        (schema.But(int, bool), [1], [True, "a"]),
        ((int, None), [1, None], ["a"]),
        (ntksketch.Dense, [ntksketch.Dense()], [ntksketch.Relu(), None]),
    ],
    ids=lambda value: schema.describe(value)[:40] if not isinstance(value, list) else "",
)
def test_specifications(spec, good, bad):
    assert all(schema.fits(value, spec) for value in good)
    assert not any(schema.fits(value, spec) for value in bad)
    assert schema.describe(spec)
