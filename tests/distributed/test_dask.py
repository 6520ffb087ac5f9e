"""Dask collections: the models of the same rows in memory, by pure tasks and lazily."""

import itertools
import os
import signal
import threading
import time
import weakref

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import ntksketch as ntk
from ntksketch.data import SourceError
from ntksketch.distributed import dask_collections

METHODS = ["nystroem", "gegenbauer", "random-features", "polynomial-sketch", ntk.Resampled()]
CHUNKS = [(600,), (1, 599), (250, 0, 250, 100), (100,) * 6]


def problem(dtype=np.float64, n=600):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5)).astype(dtype) + 0.5
    return X, np.column_stack([np.sin(X[:, 0]), X[:, 1] ** 2]), rng.integers(0, 3, n).astype(float)


def in_chunks(*arrays, chunks=(150,) * 4):
    return [da.from_array(a, chunks=(chunks, *((-1,) * (a.ndim - 1)))) for a in arrays]


def regressor(method="nystroem", **options):
    return ntk.NTKRegressor(ntk.mlp(1), method, 24, random_state=0, **options)


def close(one, other, tolerance=1e-9):
    scale = np.abs(other).max()
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """More than one task, also for few rows."""
    monkeypatch.setattr(dask_collections, "_GROUP_WIDTHS", 5)


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_any_chunks_give_the_model_of_the_array(chunks, weighted):
    X, Y, weight = problem()
    weight = weight if weighted else None
    expected = regressor().fit(X, Y, weight)
    lazy = in_chunks(X, Y, *([weight] if weighted else []), chunks=chunks)
    model = regressor().fit(*lazy)
    close(model.predict(X), expected.predict(X))
    predicted = model.predict(lazy[0])
    assert isinstance(predicted, da.Array)
    assert predicted.chunks == (chunks, (2,))
    close(predicted.compute(), expected.predict(X))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_method(method, dtype):
    X, Y, _ = problem(dtype)
    lazy = in_chunks(X, Y)
    expected = ntk.NTKFeatures(ntk.mlp(1), method, 24, random_state=0).fit(X)
    features = clone(expected).fit(lazy[0])
    Z = features.transform(lazy[0])
    assert (Z.dtype, Z.shape, Z._meta.dtype) == (dtype, (600, 24), dtype)
    np.testing.assert_array_equal(Z.compute(), expected.transform(X))
    model = regressor(method).fit(*lazy)
    close(
        model.predict(X),
        regressor(method).fit(X, Y).predict(X),
        1e-9 if dtype == np.float64 else 1e-3,
    )


def test_the_same_rows_give_the_same_bits():
    lazy = in_chunks(*problem()[:2])
    one, other = (regressor().fit(*lazy).ridge_.coef_ for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("labels", [np.array([3, 7, 9]), np.array(["a", "bc", "d"])], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes(labels, n_classes):
    X, Y, weight = problem()
    y = labels[np.digitize(Y[:, 0], [0.2, 0.8][: n_classes - 1])]
    model = ntk.NTKClassifier(n_components=24, class_weight="balanced", random_state=0)
    expected = clone(model).fit(X, y, weight)
    model.fit(*in_chunks(X, y, weight))
    np.testing.assert_array_equal(model.classes_, expected.classes_)
    (lazy,) = in_chunks(X)
    close(model.decision_function(lazy).compute(), expected.decision_function(X))
    predicted = model.predict(lazy)
    assert predicted.dtype == expected.predict(X).dtype
    np.testing.assert_array_equal(predicted.compute(), expected.predict(X))


def test_data_frames():
    X, Y, _ = problem()
    frame = pd.DataFrame(X, columns=list("abcde"))
    target = pd.Series(Y[:, 0], name="y")
    lazy = dd.from_pandas(frame, npartitions=4), dd.from_pandas(target, npartitions=4)
    expected = regressor().fit(frame, target)
    model = regressor().fit(*lazy)
    close(model.predict(frame), expected.predict(frame))
    assert list(model.feature_names_in_) == list("abcde")
    predicted = model.predict(lazy[0])
    assert predicted.ndim == 1
    close(predicted.compute(), expected.predict(frame))
    Z = ntk.NTKFeatures(n_components=8, random_state=0).fit(lazy[0]).transform(lazy[0])
    assert Z.compute().shape == (600, 8)


def test_chunks_of_unknown_length_and_of_columns():
    X, Y, _ = problem()
    whole = da.from_array(X, chunks=(150, 2))
    expected = regressor().fit(X, Y)
    close(regressor().fit(whole, Y).predict(X), expected.predict(X))
    keep = X[:, 0] > 0
    some = whole[da.from_array(keep, chunks=150)]
    assert np.isnan(some.shape[0])
    model = regressor().fit(some, Y[keep])
    close(model.predict(X), regressor().fit(X[keep], Y[keep]).predict(X))
    assert np.isnan(some.shape[0])  # the caller's array is left alone
    assert model.predict(some).compute().shape == (keep.sum(), 2)


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_blocks_are_counted_once(chunks):
    """Whole numbers, whose sums are exact."""
    rng = np.random.default_rng(0)
    Z = rng.integers(-50, 50, (600, 4)).astype(float)
    y = rng.integers(-50, 50, 600).astype(float)
    model = ntk.StreamingRidge(1.0, fit_intercept=False).fit(*in_chunks(Z, y, chunks=chunks))
    stats = model._accumulator.finalise()
    np.testing.assert_array_equal(stats.gram, Z.T @ Z)
    np.testing.assert_array_equal(stats.moment[:, 0], Z.T @ y)
    assert stats.n_rows == 600


def test_tasks_change_nothing():
    """Each is run twice, as after the loss of a worker, and gives the same."""
    X, Y, _ = problem()
    lazy = in_chunks(X, Y)
    fm = ntk.NTKFeatures(n_components=8, random_state=0).fit(X).feature_map_
    settings = fm, np.asarray, True, None, np.dtype(np.float64)

    def part(start):
        rows = slice(start, start + 300)
        return dask_collections._accumulate(settings, start, [X[rows]], [Y[rows]], [])

    one, other = part(0), part(300)
    first, second = (dask_collections._merge(one, other).finalise() for _ in range(2))
    np.testing.assert_array_equal(first.gram, second.gram)
    assert (one.n_rows, other.n_rows, first.n_rows) == (300, 300, 600)
    assert len(list(dask_collections._parts(dask_collections.DaskSource(*lazy), 24))) > 1


@pytest.mark.parametrize("late", [0, 17, 63])
def test_few_results_wait_for_a_late_task(late, monkeypatch):
    """A worker holds statistics for its threads, and few more, whichever task takes long."""
    X, Y, _ = problem(n=64 * 30)
    alive, most, count = set(), [], itertools.count()

    def watched(function):
        def call(*arguments):
            if function is accumulate and arguments[1] == 30 * late:
                time.sleep(0.5)
            result = function(*arguments)
            name = next(count)
            alive.add(name)
            weakref.finalize(result, alive.discard, name)
            most.append(len(alive))
            return result

        return call

    accumulate, merge = dask_collections._accumulate, dask_collections._merge
    monkeypatch.setattr(dask_collections, "_accumulate", watched(accumulate))
    monkeypatch.setattr(dask_collections, "_merge", watched(merge))
    monkeypatch.setattr(dask_collections, "_GROUP_WIDTHS", 1)
    with dask.config.set(scheduler="threads", num_workers=2):
        model = ntk.StreamingRidge().fit(*in_chunks(X, Y, chunks=(30,) * 64))
    assert len(most) == 64 + 63
    assert max(most) <= 2 * 2 + 2 * 6
    close(model.coef_, ntk.StreamingRidge().fit(X, Y).coef_)


def test_one_weight_for_all_rows():
    X, Y, _ = problem()
    model = ntk.StreamingRidge(1.0).fit(*in_chunks(X, Y), 2.0)
    close(model.coef_, ntk.StreamingRidge(1.0).fit(X, Y, 2.0).coef_)


def test_what_cannot_be_used():
    X, Y, _ = problem()
    lazy, targets = in_chunks(X, Y)
    with pytest.raises(SourceError, match="no targets to learn from"):
        regressor().fit(lazy)
    with pytest.raises(SourceError, match=r"y: expected one for each of 600 rows, got .*\(5, 2\)"):
        regressor().fit(lazy, targets[:5])
    with pytest.raises(ValueError, match=r"expected rows of shape \(n, d\), got 1 dimensions"):
        regressor().fit(lazy[:, 0], targets)
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        regressor().fit(lazy * 1j, targets)
    with pytest.raises(TypeError, match="expected a Dask array or data frame, got Delayed"):
        regressor().fit(dask.delayed(X), targets)
    bad = X.copy()
    bad[457, 3] = np.nan
    with pytest.raises(SourceError, match=r"rows 450 to 599: NaN in row 457, column 3"):
        regressor("random-features").fit(*in_chunks(bad, Y))
    model = regressor().fit(lazy, targets)
    with pytest.raises(ValueError, match="has 4 features, but NTKRegressor is expecting 5"):
        model.predict(lazy[:, :4])
    rows = in_chunks(bad)[0]
    with pytest.raises(SourceError, match="NaN in row 457, column 3"):
        model.predict(rows).compute()
    with pytest.raises(SourceError, match="a chunk: NaN in row 7, column 3"):
        model.predict(rows[rows[:, 0] < np.inf]).compute()  # nobody knows how many come before


def test_targets_are_part_of_the_identity_of_rows():
    X, Y, _ = problem()
    lazy, targets = in_chunks(X, Y)
    found = [
        dask_collections.DaskSource(lazy, y).targets_fingerprint()
        for y in (targets, Y, targets + 1, None)
    ]
    assert found[0] == found[1] != found[2]
    assert found[3] is None


# ---------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """Two workers of one thread, processes of their own."""
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_processes_give_what_threads_give(cluster):
    X, Y, weight = problem()
    lazy = in_chunks(X, Y, weight)
    expected = regressor().fit(*lazy)
    with cluster.as_current():
        model = regressor().fit(*lazy)
        predicted = model.predict(lazy[0]).compute()
    np.testing.assert_array_equal(model.ridge_.coef_, expected.ridge_.coef_)
    np.testing.assert_array_equal(predicted, expected.predict(lazy[0]).compute())


def slow_rows(block, folder):
    """Chunks that tell that they are there, and take their time."""
    time.sleep(0.3)
    open(os.path.join(folder, f"{os.getpid()}-{int(block[0, 0])}"), "w").close()
    return block


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_changes_nothing(cluster, tmp_path):
    rng = np.random.default_rng(0)
    Z = rng.integers(-50, 50, (600, 4)).astype(float)
    Z[:, 0] = np.arange(600)
    y = rng.integers(-50, 50, 600).astype(float)
    lazy, targets = in_chunks(Z, y, chunks=(30,) * 20)
    lazy = lazy.map_blocks(slow_rows, folder=str(tmp_path), dtype=float, meta=np.empty((0, 4)))
    pids = list(cluster.run(os.getpid).values())

    def kill():
        while len(os.listdir(tmp_path)) < 6:
            time.sleep(0.05)
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with cluster.as_current():
        killer.start()
        model = ntk.StreamingRidge(1.0, fit_intercept=False).fit(lazy, targets)
        killer.join()
    seen = [name.split("-") for name in os.listdir(tmp_path)]
    assert len({pid for pid, _ in seen}) >= 2
    assert {int(row) for _, row in seen} == set(range(0, 600, 30))
    stats = model._accumulator.finalise()
    np.testing.assert_array_equal(stats.gram, Z.T @ Z)
    np.testing.assert_array_equal(stats.moment[:, 0], Z.T @ y)
    assert stats.n_rows == 600
