"""Empirical NTK against dense Jacobians, its memory, and its choice of a strategy."""

import functools
import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_table import NETWORKS, rows_for

import ntksketch as ntk
from ntksketch.data.precision import precision
from ntksketch.networks import cost as costs
from ntksketch.networks import empirical
from ntksketch.networks.network import NetworkFunction

STRATEGIES = ("jacobian", "ntk-vector")
MIB = 2**20


def tiny(params, X):
    """A function of a dictionary of parameters, one of them a scalar."""
    hidden = jnp.tanh(X @ params["first"] + params["shift"])
    return jnp.sin(hidden @ params["second"])


def tiny_params(k, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"first": (4, 5), "second": (5, k), "shift": ()}
    return {name: np.asarray(rng.standard_normal(shape), dtype) for name, shape in shapes.items()}


def dense_ntk(f, params, X, Y):
    """The product of whole Jacobians, of forward mode."""
    with jax.enable_x64(True):
        whole = []
        for rows in (X, Y):
            J = jax.jacfwd(f)(params, jnp.asarray(rows))
            n, k = f(params, rows).shape
            whole.append(
                np.concatenate([np.reshape(a, (n, k, -1)) for a in jax.tree.leaves(J)], -1)
            )
    return np.einsum("nka,pla->npkl", *whole)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    return rng.standard_normal((7, 4)), rng.standard_normal((5, 4))


CASES = {(s, k, side) for s in STRATEGIES for k in (1, 3) for side in (4, 128)}
QUICK = {("jacobian", 3, 4), ("ntk-vector", 3, 4), ("jacobian", 1, 128), ("auto", 3, 128)}


@pytest.mark.parametrize(
    ("strategy", "k", "side"),
    [
        *sorted(QUICK),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in sorted(CASES - QUICK)),
    ],
)
def test_all_strategies_give_the_product_of_dense_jacobians(strategy, k, side, rows, monkeypatch):
    monkeypatch.setattr(costs, "_SIDE", side)
    X, Y = rows
    params = tiny_params(k)
    for other in (None, Y):
        full = dense_ntk(tiny, params, X, X if other is None else other)
        found = ntk.empirical_ntk(tiny, params, X, other, strategy=strategy, trace=False)
        np.testing.assert_allclose(found, full, rtol=1e-10, atol=1e-12)
        mean = ntk.empirical_ntk(tiny, params, X, other, strategy=strategy)
        expected = np.einsum("npkk->np", full) / k
        np.testing.assert_allclose(mean, expected, rtol=1e-10, atol=1e-12)
        assert found.dtype == mean.dtype == np.float64
        if other is None:
            np.testing.assert_array_equal(mean, mean.T)
            np.testing.assert_array_equal(found, found.transpose(1, 0, 3, 2))


SHORT = "mlp with biases"
EACH = [pytest.param(n, marks=() if n == SHORT else pytest.mark.slow) for n in NETWORKS]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_networks(name, strategy):
    architecture, X = NETWORKS[name][0], rows_for(name)
    params = ntk.init_network(
        architecture, jax.random.key(1), 5, input_shape=X.shape[1:], n_outputs=2, dtype=np.float64
    )
    f = NetworkFunction(architecture)
    full = dense_ntk(f, params, X, X)
    found = ntk.empirical_ntk(f, params, X, strategy=strategy, trace=False)
    np.testing.assert_allclose(found, full, rtol=1e-10, atol=1e-12)
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), params)
    rough = ntk.empirical_ntk(f, single, X, strategy=strategy, trace=False)
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, full, rtol=1e-4, atol=1e-5 * np.abs(full).max())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_blocks_of_rows_are_blocks_of_the_kernel(strategy, rows):
    X, params = rows[0], tiny_params(2)
    whole = ntk.empirical_ntk(tiny, params, X, strategy=strategy, trace=False)
    for i, j in ((slice(0, 3), slice(2, 7)), (slice(6, 7), slice(0, 1))):
        part = ntk.empirical_ntk(tiny, params, X[i], X[j], strategy=strategy, trace=False)
        np.testing.assert_allclose(part, whole[i, j], rtol=1e-10, atol=1e-12)


def test_the_kernel_is_a_gram_matrix(rows):
    """Of as many columns as there are parameters: no negative eigenvalue, and no larger rank."""
    X = np.concatenate(rows)

    def small(w, X):
        return jnp.tanh(X @ w)

    w = np.random.default_rng(3).standard_normal((4, 2))
    K = ntk.empirical_ntk(small, w, X, trace=False).transpose(0, 2, 1, 3).reshape(24, 24)
    values = np.linalg.eigvalsh(K)
    assert np.all(np.abs(values[:-8]) < 1e-12 * values[-1])
    assert np.all(values[-8:] > 1e-6 * values[-1])


def test_long_jacobians_are_contracted_in_chunks():
    rng = np.random.default_rng(0)
    size = 2 * empirical._CHUNK + 77
    left, right = ([rng.standard_normal((n, 2, size))] for n in (3, 4))
    with precision(np.float64):
        found = empirical.contract(left, right, False)
        mean = empirical.contract(left, right, True)
    expected = np.einsum("nka,pla->npkl", left[0], right[0])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mean, np.einsum("npkk->np", expected) / 2, rtol=1e-10, atol=1e-10)


def test_the_scale_of_the_standard_parameterization():
    """Each layer's share is larger by one over the square of its parameters' scale."""
    architecture, X = ntk.mlp(1, weight_std=1.3, bias_std=0.5), rows_for("mlp")
    width = 6
    shares = {}
    for name in ("ntk", "standard"):
        params = ntk.init_network(
            architecture,
            jax.random.key(0),
            width,
            input_shape=4,
            parameterization=name,
            dtype=np.float64,
        )
        f = functools.partial(ntk.apply_network, architecture, parameterization=name)
        for i in (0, 2):
            for part in ("weight", "bias"):

                def of_one(array, rows, i=i, part=part, params=params, f=f):
                    layers = list(params)
                    layers[i] = {**layers[i], part: array}
                    return f(tuple(layers), rows)

                shares[name, i, part] = ntk.empirical_ntk(of_one, params[i][part], X)
        total = sum(share for key, share in shares.items() if key[0] == name)
        np.testing.assert_allclose(ntk.empirical_ntk(f, params, X), total, rtol=1e-12)
    factors = {(0, "weight"): 1.3**-2, (2, "weight"): width * 1.3**-2}
    for i in (0, 2):
        for part in ("weight", "bias"):
            expected = factors.get((i, part), 0.5**-2) * shares["ntk", i, part]
            np.testing.assert_allclose(shares["standard", i, part], expected, rtol=1e-11)


def test_any_object_that_can_be_called(rows):
    class Callable:
        __hash__ = None

        def __call__(self, params, X):
            return tiny(params, X)

    found = ntk.empirical_ntk(Callable(), tiny_params(2), rows[0])
    np.testing.assert_array_equal(found, ntk.empirical_ntk(tiny, tiny_params(2), rows[0]))


def test_double_precision_needs_no_flag_and_leaves_it_alone(rows):
    jitted = jax.jit(lambda p, X: tiny(p, X))
    found = ntk.empirical_ntk(jitted, tiny_params(1), rows[0].astype(np.float32))
    assert found.dtype == np.float64
    assert ntk.empirical_ntk(jitted, tiny_params(1, np.float32), rows[0]).dtype == np.float32
    assert jnp.ones(1).dtype == np.float32


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------


COMPUTED = {  # a matrix of the parameters, and their shapes
    "low rank": (lambda p: p["U"] @ p["V"], {"U": (120, 4), "V": (4, 120)}),
    "square": (lambda p: p["W"] @ p["W"], {"W": (120, 120)}),
    "unit columns": (lambda p: p["W"] / jnp.linalg.norm(p["W"], axis=0), {"W": (120, 120)}),
    "kronecker": (lambda p: jnp.kron(p["A"], p["B"]), {"A": (12, 12), "B": (10, 10)}),
}


def function_and_rows(name):
    """Return a function, its parameters and 16 rows."""
    if name not in COMPUTED:
        architecture, X = NETWORKS[name][0], rows_for(name, 16, dtype=np.float32)
        width = 128 if name == SHORT else 32
        shape = {"input_shape": X.shape[1:], "n_outputs": 3}
        params = ntk.init_network(architecture, jax.random.key(0), width, **shape)
        return NetworkFunction(architecture), params, X
    matrix, shapes = COMPUTED[name]
    rng = np.random.default_rng(0)
    params, read_out, X = (
        jax.tree.map(lambda size: rng.standard_normal(size, np.float32), each, is_leaf=_is_shape)
        for each in (shapes, (120, 3), (16, 120))
    )
    return lambda p, rows: jnp.tanh(rows @ matrix(p)) @ read_out, params, X


def _is_shape(value):
    return isinstance(value, tuple)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "name",
    [
        SHORT,
        "low rank",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("square", "unit columns", "kronecker", "cnn", "resnet", "rnn mean")
        ),
    ],
)
def test_blocks_take_no_more_memory_than_they_say(name, strategy, trace):
    """By what the compiler says that the programs of a tile take."""
    f, params, X = function_and_rows(name)
    cost = costs.cost_of(f, params, jax.ShapeDtypeStruct((1, *X.shape[1:]), X.dtype))
    if strategy == "jacobian":
        program = empirical.jacobian_block.lower(f, params, X)
        jacobians = jax.eval_shape(functools.partial(empirical.jacobian_block, f), params, X)
        first = program.compile().memory_analysis()
        second = empirical.contract.lower(jacobians, jacobians, trace).compile().memory_analysis()
        held = sum(4 * math.prod(block.shape) for block in jacobians)
        assert held == 16 * 3 * cost.n_params * 4
        peak = max(
            first.temp_size_in_bytes + 2 * held,  # one is there, the other is being computed
            second.temp_size_in_bytes + second.output_size_in_bytes + 2 * held,
        )
        bound = costs.jacobian_bytes(cost, 16, trace)
    else:
        rows, outputs = X[:8], np.zeros(8, int)
        program = empirical.vector_products.lower(f, params, rows, outputs, X)
        found = program.compile().memory_analysis()
        peak = found.temp_size_in_bytes + found.output_size_in_bytes
        bound = costs.product_bytes(cost, 16, 8, trace)
    assert peak <= bound
    assert bound <= 20 * peak  # and it is no idle bound


def test_budgets_decide_how_many_rows_are_taken_together(rows, monkeypatch):
    X = np.tile(rows[0], (10, 1))
    params = tiny_params(3)
    taken = []

    def counted(function, position):
        def wrapped(*arguments):
            taken.append(arguments[position].shape[0])
            return function(*arguments)

        return wrapped

    for name, position in (("jacobian_block", 2), ("vector_products", 4)):
        monkeypatch.setattr(empirical, name, counted(getattr(empirical, name), position))
    cost = costs.cost_of(tiny, params, jax.ShapeDtypeStruct((1, 4), np.float32))
    for strategy in STRATEGIES:
        results = []
        for budget in (0.05, 64):
            taken.clear()
            results.append(
                ntk.empirical_ntk(tiny, params, X, strategy=strategy, working_memory=budget)
            )
            blocks = costs.plan_blocks(cost, 70, None, strategy, True, budget)
            assert blocks.n_bytes <= budget * MIB
            assert max(taken) <= 128 if budget == 64 else max(taken) < 64
        np.testing.assert_allclose(*results, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("budget", [1, 10, 100, 1000])
@pytest.mark.parametrize("symmetric", [True, False])
def test_plans_fit_their_budgets(strategy, trace, budget, symmetric):
    for k, n_params, entries in ((1, 10**5, 10**4), (10, 10**6, 10**5), (1000, 10**4, 10**4)):
        cost = costs.Cost(k, n_params, 2.0 * n_params, entries, n_params, 4)
        columns = None if symmetric else 300
        ways = [costs.jacobian_bytes(cost, 1, trace), costs.product_bytes(cost, 1, 1, trace)]
        least = dict(zip(STRATEGIES, ways, strict=True)).get(strategy, min(ways))
        plan = functools.partial(costs.plan_blocks, cost, 500, columns, strategy, trace, budget)
        if least > budget * MIB:
            with pytest.raises(MemoryError, match=r"raise it at least .*-fold"):
                plan()
            continue
        blocks = plan()
        assert blocks.n_bytes <= budget * MIB
        assert strategy in ("auto", blocks.strategy)


def test_the_choice():
    """Many pairs of outputs of dense layers go by vector products, shared weights by Jacobians."""

    def chosen(k, share, trace, budget=1000):
        cost = costs.Cost(k, 10**6, share * 2e6, 10**4, 0.0, 4)
        return costs.plan_blocks(cost, 200, None, "auto", trace, budget).strategy

    assert chosen(1, 1, True) == "jacobian"
    assert chosen(50, 1, False) == "ntk-vector"
    assert chosen(50, 1000, False, 10_000) == "jacobian"
    assert chosen(50, 1000, True, 100) == "ntk-vector"  # a Jacobian of one row does not fit


def test_operations_are_counted():
    def f(params, X):
        def advance(h, x):
            return jnp.tanh(h @ params["W"] + x), None

        return jax.lax.scan(advance, X[:, 0], jnp.moveaxis(X, 1, 0))[0]

    params = {"W": np.ones((20, 20), np.float32)}
    cost = costs.cost_of(f, params, jax.ShapeDtypeStruct((1, 7, 20), np.float32))
    assert (cost.n_outputs, cost.n_params) == (20, 400)
    assert 7 * 2 * 400 <= cost.operations <= 1.2 * 7 * 2 * 400
    architecture = ntk.cnn(2, readout="flatten")
    params = ntk.init_network(architecture, jax.random.key(0), 8, input_shape=(6, 6, 3))
    row = jax.ShapeDtypeStruct((1, 6, 6, 3), np.float32)
    expected = 2 * 36 * 9 * (3 * 8 + 8 * 8)
    cost = costs.cost_of(NetworkFunction(architecture), params, row)
    assert expected <= cost.operations <= 1.2 * expected


LARGE = """
import ctypes, gc, json, math
from pathlib import Path
import jax, numpy as np
import ntksketch as ntk

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

width, n, k, budget = 1500, 48, 8, 200
X = np.random.default_rng(0).standard_normal((n, 10)).astype(np.float32)
arch = ntk.mlp(2)
params = ntk.init_network(arch, jax.random.key(0), width, input_shape=10, n_outputs=k)
f = lambda p, rows: ntk.apply_network(arch, p, rows)
ntk.empirical_ntk(f, params, X[:2], working_memory=budget)
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
found = ntk.empirical_ntk(f, params, X, working_memory=budget)
peak = resident("VmHWM") - before

# the kernel by hand: activations and slopes of every layer
W = [np.asarray(layer["weight"], np.float64) for layer in params[::2]]
W[1], W[2] = W[1] / math.sqrt(width), W[2] / math.sqrt(width)
a, slopes = [X.astype(np.float64)], []
for w in W[:2]:
    z = a[-1] @ w
    slopes.append(math.sqrt(2) * (z > 0))
    a.append(math.sqrt(2) * np.maximum(z, 0))
expected = a[2] @ a[2].T / width
for o in range(k):
    back = slopes[1] * W[2][:, o]
    expected += (a[1] @ a[1].T / width) * (back @ back.T) / k
    back = slopes[0] * (back @ W[1].T)
    expected += (a[0] @ a[0].T) * (back @ back.T) / k
error = float(np.abs(found - expected).max() / expected.max())
whole = n * k * sum(w.size for w in W) * 4 / 2**20
print(json.dumps({"peak": peak, "budget": budget, "whole": whole, "error": error}))
"""


@pytest.mark.slow
def test_a_network_whose_jacobian_would_be_gigabytes():
    done = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"] > 3000  # MiB
    assert found["error"] < 1e-5
    assert found["peak"] < found["budget"] + 60  # what compiling takes


# ---------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "params", "options", "error", "message"),
    [
        (tiny, tiny_params(1), {"strategy": "dense"}, ValueError, "strategy must be one of"),
        (tiny, tiny_params(1, np.float16), {}, TypeError, r"got float16 at \['first'\]"),
        (tiny, [1.0], {}, TypeError, r"got float at \[0\]"),
        (tiny, {}, {}, ValueError, "params hold no arrays"),
        (tiny, tiny_params(1), {"Y": np.ones((2, 5))}, ValueError, "rows of the same shape"),
        (tiny, tiny_params(1), {"X": np.ones(4)}, ValueError, "must have rows and columns"),
        (tiny, tiny_params(1), {"X": np.ones((0, 4))}, ValueError, "must be rows, got 0 in X"),
        (tiny, tiny_params(1), {"X": np.ones((2, 4), complex)}, TypeError, "real numbers"),
        (tiny, tiny_params(1), {"working_memory": 1e-4}, MemoryError, "raise it"),
        (tiny, tiny_params(1), {"working_memory": -1}, ValueError, "positive number of MiB"),
        (tiny, tiny_params(1), {"X": np.full((2, 4), np.nan)}, ValueError, "is not finite"),
        (lambda p, X: tiny(p, X)[:, 0], tiny_params(1), {}, ValueError, r"got \(2,\) for 2 rows"),
        (lambda p, X: tiny(p, X).T, tiny_params(3), {}, ValueError, r"got \(3, 2\) for 2 rows"),
        (lambda p, X: (X @ p, X), jnp.ones((4, 2)), {}, ValueError, r"\(2, 2\), \(2, 4\) for 2"),
    ],
)
def test_bad_arguments(f, params, options, error, message):
    options = {"X": np.ones((3, 4)), **options}
    with pytest.raises(error, match=message):
        ntk.empirical_ntk(f, params, options.pop("X"), **options)


def batch_normalised(params, X):
    return tiny(params, (X - X.mean(0)) / X.std(0))


def attending(params, X):
    return jax.nn.softmax(X @ X.T) @ tiny(params, X)


@pytest.mark.parametrize("f", [batch_normalised, attending])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_that_mix_rows_are_refused(f, dtype, rows):
    X, Y = rows
    for given in ((X, None), (X, Y), (X[:1], Y[:1])):
        with pytest.raises(ValueError, match="without regard to the other rows, and those of the "):
            ntk.empirical_ntk(f, tiny_params(2, dtype), *given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_which_little_but_rounding_is_left_mix_no_rows(dtype, rows):
    """Networks that begin at zero, since they are less what they are at their start."""
    start = tiny_params(2, dtype)

    def centred(params, X):
        return tiny(params, X) - tiny(start, X) * np.asarray(1 + 1e-7, dtype)

    found = ntk.empirical_ntk(centred, start, rows[0])
    np.testing.assert_allclose(found, ntk.empirical_ntk(tiny, start, rows[0]), rtol=1e-5)


def test_results_that_cannot_fit():
    rows = np.broadcast_to(np.ones((1, 4)), (10**7, 4))
    with pytest.raises(MemoryError, match="the empirical NTK of shape"):
        ntk.empirical_ntk(tiny, tiny_params(1), rows)
