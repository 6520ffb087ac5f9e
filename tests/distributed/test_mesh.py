import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.sparse as sp

import ntksketch as ntk
from ntksketch.distributed import gather_on_mesh, row_mesh
from ntksketch.features.statistics import gather
from ntksketch.linear import GramAccumulator

METHODS = ("nystroem", "gegenbauer", "random-features", "polynomial-sketch")


def problem(n, dtype, n_targets=2, seed=0):
    """Rows far from zero, targets and weights, some of them zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 9)).astype(dtype) + 1
    return X, rng.standard_normal((n, n_targets)) + 5, rng.integers(0, 3, n).astype(float)


def feature_map(method, X, m=33):
    return ntk.NTKFeatures(ntk.mlp(1), method, m, random_state=0).fit(X).feature_map_


def difference(one, other):
    """The largest relative difference of two sets of statistics, part by part."""
    parts = ("gram", "moment", "z_mean", "y_mean", "y_squares")
    pairs = [(getattr(one, part), getattr(other, part)) for part in parts]
    return max(np.abs(a - b).max() / max(np.abs(a).max(), 1e-300) for a, b in pairs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sums_are_those_of_the_host(fit_intercept, dtype):
    X, Y, weight = problem(700, dtype)
    fm, source = feature_map("gegenbauer", X), ntk.data.open_source(X, targets=Y)
    options = {"sample_weight": weight, "working_memory": 0.5}  # several blocks
    host = gather(fm, source, GramAccumulator(fit_intercept), **options).finalise()
    mesh = gather_on_mesh(fm, source, GramAccumulator(fit_intercept), **options).finalise()
    assert difference(host, mesh) < (5e-6 if dtype == np.float32 else 1e-13)
    assert (host.n_rows, host.total_weight) == (mesh.n_rows, mesh.total_weight)
    assert host.epsilon == mesh.epsilon


@pytest.mark.parametrize("m", [1, 2, 7, 8, 9, 17])
def test_tiles_cover_the_triangle_once(m):
    X, Y, _ = problem(50, np.float64, n_targets=1)
    fm, source = feature_map("random-features", X, m), ntk.data.open_source(X, targets=Y)
    host = gather(fm, source, GramAccumulator()).finalise()
    mesh = gather_on_mesh(fm, source, GramAccumulator()).finalise()
    np.testing.assert_allclose(mesh.gram, host.gram, rtol=1e-10, atol=1e-12)


def test_rows_join_those_already_there():
    X, Y, _ = problem(300, np.float64)
    fm = feature_map("random-features", X)
    whole = gather(fm, ntk.data.open_source(X, targets=Y), GramAccumulator()).finalise()
    parts = GramAccumulator()
    for sums, rows in ((gather, slice(100)), (gather_on_mesh, slice(100, None))):
        sums(fm, ntk.data.open_source(X[rows], targets=Y[rows]), parts)
    assert difference(whole, parts.finalise()) < 1e-12


def test_a_block_of_its_own_mean_does_not_lose_the_rest():
    """Rows in the order of their size: the first block's mean is far from the others'."""
    X, Y, _ = problem(2000, np.float32)
    X *= np.linspace(0.01, 3, len(X), dtype=np.float32)[:, None]
    fm = feature_map("gegenbauer", X)
    options = {"working_memory": 0.5}
    exact = gather(fm, ntk.data.open_source(X.astype(float), targets=Y), GramAccumulator())
    source = ntk.data.open_source(X, targets=Y)
    errors = [
        difference(exact.finalise(), sums(fm, source, GramAccumulator(), **options).finalise())
        for sums in (gather, gather_on_mesh)
    ]
    assert errors[1] < 3e-6
    assert errors[1] < 10 * errors[0]


def test_sparse_rows():
    X, Y, weight = problem(200, np.float64)
    X = sp.csr_array(np.where(X > 1, X, 0))
    fm, source = feature_map("random-features", X), ntk.data.open_source(X, targets=Y)
    host, mesh = (
        sums(fm, source, GramAccumulator(), sample_weight=weight).finalise()
        for sums in (gather, gather_on_mesh)
    )
    assert difference(host, mesh) < 1e-12


def test_rows_without_weight_change_nothing():
    X, Y, _ = problem(64, np.float64)
    fm, source = feature_map("random-features", X), ntk.data.open_source(X, targets=Y)
    empty = gather_on_mesh(fm, source, GramAccumulator(), sample_weight=np.zeros(64))
    assert empty.n_rows == 0
    assert empty.total_weight == 0


@pytest.mark.parametrize("method", METHODS)
def test_rows_whose_squares_underflow(method):
    X, Y, _ = problem(60, np.float32)
    fm = feature_map(method, X)
    X[::2] *= np.float32(2.0**-80)
    source = ntk.data.open_source(X, targets=Y)
    host, mesh = (f(fm, source, GramAccumulator()).finalise() for f in (gather, gather_on_mesh))
    assert difference(host, mesh) < 5e-6
    short = ntk.data.open_source(X[::2], targets=Y[::2])
    expected = fm.apply(X[::2] * np.float32(2.0**80)).mean(axis=0) * 2.0**-80
    found = gather_on_mesh(fm, short, GramAccumulator()).finalise()
    np.testing.assert_allclose(found.z_mean, expected, rtol=1e-4, atol=1e-6 * 2.0**-80)


def test_features_that_overflow_are_refused():
    X, Y, _ = problem(64, np.float32)
    fm = feature_map("random-features", X)
    X[40] *= 1e25
    with pytest.raises(ValueError, match="their squares overflow"):
        gather_on_mesh(fm, ntk.data.open_source(X, targets=Y), GramAccumulator())


def test_progress_counts_every_row():
    X, Y, _ = problem(700, np.float64)
    fm, source = feature_map("random-features", X), ntk.data.open_source(X, targets=Y)
    for sums in (gather, gather_on_mesh):
        counted = []
        sums(fm, source, GramAccumulator(), working_memory=0.5, progress=counted.append)
        assert len(counted) > 1
        assert sum(counted) == 700


def test_one_compilation_for_any_number_of_blocks(compilations):
    X, Y, _ = problem(1000, np.float64)
    fm = feature_map("random-features", X)
    for n in (700, 1000):
        compilations.clear()
        source = ntk.data.open_source(X[:n], targets=Y[:n])
        gather_on_mesh(fm, source, GramAccumulator(), working_memory=0.5)
    assert compilations == []


def test_budget_too_small_for_a_row():
    X, Y, _ = problem(10, np.float64)
    fm, source = feature_map("random-features", X), ntk.data.open_source(X, targets=Y)
    with pytest.raises(MemoryError, match="raise it"):
        gather_on_mesh(fm, source, GramAccumulator(), working_memory=1e-3)


def test_a_mesh_takes_the_devices_given():
    mesh = row_mesh(jax.local_devices()[:1])
    assert mesh.axis_names == ("rows",)
    assert mesh.size == 1


FOUR_DEVICES = """
import json
import jax
import numpy as np
import scipy.sparse as sp
import ntksketch as ntk
from ntksketch.distributed import gather_on_mesh
from ntksketch.features.statistics import gather
from ntksketch.linear import GramAccumulator
from test_mesh import METHODS, difference, feature_map, problem

assert len(jax.local_devices()) == 4
found = {"four": [], "again": [], "sparse": []}
for dtype, methods in ((np.float32, METHODS[:1]), (np.float64, METHODS)):
    X, Y, weight = problem(701, dtype)
    source = ntk.data.open_source(X, targets=Y)
    for method in methods:
        fm = feature_map(method, X)
        options = {"sample_weight": weight, "working_memory": 4.0}
        host = gather(fm, source, GramAccumulator(), **options).finalise()
        scale = float(np.finfo(dtype).eps)
        sums = gather_on_mesh(fm, source, GramAccumulator(), **options).finalise()
        found["four"].append(difference(host, sums) / scale)
        again = gather_on_mesh(fm, source, GramAccumulator(), **options).finalise()
        found["again"].append(difference(sums, again))
X, Y, weight = problem(300, np.float64)
X = sp.csr_array(np.where(X > 1, X, 0))
fm, source = feature_map("nystroem", X), ntk.data.open_source(X, targets=Y)
stats = [s(fm, source, GramAccumulator()).finalise() for s in (gather, gather_on_mesh)]
found["sparse"].append(difference(*stats))

X, Y, _ = problem(600, np.float64)
model = ntk.NTKRegressor(n_components=40, random_state=0).fit(X, Y)
print(json.dumps({**found, "prediction": model.predict(X[:5]).tolist()}))
"""


@pytest.mark.slow
def test_four_devices_give_the_sums_of_one():
    """In a process of its own, which sees four devices where there is one processor."""
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES],
        env={
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.path.dirname(__file__),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert max(found["four"]) < 100  # machine epsilons of the rows' dtype
    assert found["again"] == [0.0] * len(found["again"])
    assert max(found["sparse"]) < 1e-12
    X, Y, _ = problem(600, np.float64)
    model = ntk.NTKRegressor(n_components=40, random_state=0).fit(X, Y)
    np.testing.assert_allclose(found["prediction"], model.predict(X[:5]), rtol=1e-8)
