"""Training in closed form on every kind of rows, against training as it is done."""

import pickle

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.integrate import solve_ivp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

import ntksketch as ntk
from ntksketch.data import SourceError, blocks, open_source
from ntksketch.features import nystroem

rng = np.random.default_rng(0)
X, NEW = rng.standard_normal((40, 4)), rng.standard_normal((6, 4))
Y = np.stack([np.abs(X[:, 0]), X[:, 1] * X[:, 2]], 1)
F0, F0_NEW = rng.standard_normal((40, 2)), rng.standard_normal((6, 2))
WEIGHT = rng.integers(0, 4, 40).astype(float)
ARCH = ntk.mlp(2)
TIMES = [0.0, 0.5, 5.0, 60.0]
COMPILES_LONG = ["gegenbauer", "polynomial-sketch"]
METHODS = ["nystroem", "random-features"]
METHODS += [pytest.param(name, marks=pytest.mark.slow) for name in COMPILES_LONG]


def flow(kernel=ARCH, method=None, n_components=24, **parameters):
    return ntk.GradientFlow(kernel, method, n_components, random_state=0, **parameters)


def close(one, other, tolerance):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


# -------------------------------------------------------------------------------------------
# The exact kernel
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_exact_kernel_is_the_solution_of_the_differential_equation(weighted, started):
    K, across = ntk.kernel(ARCH, X), ntk.kernel(ARCH, NEW, X)
    weight = WEIGHT if weighted else np.ones(40)
    start, start_new = (F0, F0_NEW) if started else (0 * F0, 0 * F0_NEW)
    joint = np.concatenate([K, across])

    def velocity(_, f):
        residual = f.reshape(46, 2)[:40] - Y
        return -(joint @ (weight[:, None] * residual) / weight.sum()).ravel()

    at_start = np.concatenate([start, start_new]).ravel()
    options = {"method": "DOP853", "rtol": 1e-10, "atol": 1e-11}
    solved = solve_ivp(velocity, (0, TIMES[-1]), at_start, t_eval=TIMES, **options)
    expected = solved.y.T.reshape(len(TIMES), 46, 2)
    f0, f0_new = (F0, F0_NEW) if started else (None, None)
    model = flow().fit(X, Y, weight if weighted else None, f0=f0)
    found = model.predict(NEW, TIMES, f0=f0_new)
    assert found.shape == (4, 6, 2)
    close(found, expected[:, 40:], 1e-7)
    close(found[0], start_new, 0)
    losses = ((expected[:, :40] - Y) ** 2).sum(2) @ weight / (2 * weight.sum())
    np.testing.assert_allclose(model.training_loss(TIMES), losses, rtol=1e-6)
    for i, t in enumerate(TIMES):
        close(model.predict(NEW, t, f0=f0_new), found[i], 1e-12)
        assert model.training_loss(t) == pytest.approx(model.training_loss(TIMES)[i], rel=1e-12)


@pytest.mark.parametrize("kernel", [ARCH, "precomputed"], ids=["exact", "given"])
def test_steps_of_gradient_descent(kernel):
    K, across = ntk.kernel(ARCH, X), ntk.kernel(ARCH, NEW, X)
    rows, new = (X, NEW) if kernel is ARCH else (K, across)
    model = flow(kernel).fit(rows, Y, WEIGHT, f0=F0)
    rate = 0.9 * model.max_learning_rate_
    model = flow(kernel, learning_rate=rate).fit(rows, Y, WEIGHT, f0=F0)
    f, f_new = F0, F0_NEW
    for step in range(61):
        if step in (0, 1, 2, 17, 60):
            close(model.predict(new, step, f0=F0_NEW), f_new, 1e-10)
        gradient = WEIGHT[:, None] * (f - Y) / WEIGHT.sum()
        f, f_new = f - rate * K @ gradient, f_new - rate * across @ gradient
    model.set_params(learning_rate=None)
    assert not np.allclose(model.predict(new, 17, f0=F0_NEW), f_new)


def test_the_end_is_interpolation_of_least_norm():
    K, across = ntk.kernel(ARCH, X), ntk.kernel(ARCH, NEW, X)
    expected = across @ np.linalg.lstsq(K, Y, rcond=1e-14)[0]
    model = flow().fit(X, Y)
    close(model.predict(NEW), expected, 1e-8)
    close(model.predict(X), Y, 1e-8)
    assert model.rank_ == 40
    repeated = flow().fit(np.concatenate([X, X]), np.concatenate([Y, Y + 1]))
    assert repeated.rank_ == 40
    close(repeated.predict(X), Y + 0.5, 1e-8)
    close(repeated.training_loss(np.inf), 2 * 0.5**2 / 2, 1e-10)


# -------------------------------------------------------------------------------------------
# Features
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_features_are_the_kernel_of_their_inner_products(method):
    model = flow(ARCH, method).fit(X, Y, WEIGHT, f0=F0)
    Z, Z_new = model.features_.transform(X), model.features_.transform(NEW)
    given = flow("precomputed").fit(Z @ Z.T, Y, WEIGHT, f0=F0)
    assert model.rank_ == given.rank_
    moving = given.eigenvalues_[-given.rank_ :]
    np.testing.assert_allclose(model.eigenvalues_[-model.rank_ :], moving, rtol=1e-7)
    times = [0.0, 1.0, 50.0, 1000.0]
    expected = given.predict(Z_new @ Z.T, times, f0=F0_NEW)
    close(model.predict(NEW, times, f0=F0_NEW), expected, 1e-8)
    close(model.training_loss(times), given.training_loss(times), 1e-10)
    assert (np.diff(model.training_loss(np.geomspace(1e-2, 1e5, 50))) <= 0).all()


def test_features_by_steps_of_gradient_descent():
    model = flow(ARCH, "random-features").fit(X, Y)
    Z, Z_new = model.features_.transform(X), model.features_.transform(NEW)
    rate = 0.99 * model.max_learning_rate_
    model.set_params(learning_rate=rate)
    theta = np.zeros((24, 2))
    for step in range(41):
        if step in (0, 1, 20, 40):
            close(model.predict(NEW, step), Z_new @ theta, 1e-10)
        theta -= rate * Z.T @ (Z @ theta - Y) / 40


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nystroem_before_whitening_trains_as_its_features(dtype, monkeypatch):
    """More landmarks than those that are whitened in the pass, which are lowered here."""
    rows = np.random.default_rng(0).standard_normal((400, 2)).astype(dtype)
    targets = np.sin(3 * rows[:, :1])
    model = flow(ARCH, ntk.Nystroem(landmarks="uniform"), 140).fit(rows[:300], targets[:300])
    monkeypatch.setattr(nystroem.NystroemMap, "is_small", False)
    before = flow(ARCH, ntk.Nystroem(landmarks="uniform"), 140).fit(rows[:300], targets[:300])
    times = np.array([1.0, 100.0, 1e4]) / model.eigenvalues_[-1]
    found, expected = (m.predict(rows[300:], times) for m in (before, model))
    close(found, expected, 1e-8 if dtype == np.float64 else 8e4 * np.finfo(dtype).eps)
    added = before.partial_fit(rows[300:], targets[300:])
    whole = model.partial_fit(rows[300:], targets[300:])
    found, expected = (m.predict(rows[300:], times) for m in (added, whole))
    close(found, expected, 1e-8 if dtype == np.float64 else 8e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n_rows", [40, 15])
@pytest.mark.parametrize("rank", [24, 10])
def test_the_end_on_features_is_ridge_without_a_penalty(n_rows, rank):
    Z = flow(ARCH, "random-features").fit(X, Y).features_.transform(X)
    Z = Z @ rng.standard_normal((24, rank)) @ rng.standard_normal((rank, 30))
    model = flow("linear").fit(Z[:n_rows], Y[:n_rows])
    assert model.rank_ == min(rank, n_rows)
    coef = np.linalg.lstsq(Z[:n_rows], Y[:n_rows], rcond=1e-10)[0]
    scale = np.abs(Z @ coef).max()
    close(model.predict(Z), Z @ coef, 1e-6 * scale)
    ridge = Ridge(1e-12 * model.eigenvalues_[-1], fit_intercept=False, solver="svd")
    close(model.predict(Z[:n_rows]), ridge.fit(Z[:n_rows], Y[:n_rows]).predict(Z[:n_rows]), 1e-6)


def features():
    return ntk.NTKFeatures(ARCH, "nystroem", 24, random_state=0)


WAYS = {
    "features not fitted": lambda: flow(features()),
    "features fitted": lambda: flow(features().fit(X)),
    "linear": lambda: flow("linear"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("f0", [None, 0.7, F0], ids=["zero", "number", "array"])
@pytest.mark.parametrize("single", [False, True])
def test_arrays_blocks_and_sources_give_one_model(way, f0, single):
    y = Y[:, 0] if single else Y
    start = f0[:, 0] if single and np.ndim(f0) else f0
    model = WAYS[way]()
    if way == "features not fitted":  # which a first block would decide
        model.kernel = model.kernel.set_params(method=ntk.Nystroem(landmarks=X[:24]))
    expected = clone(model) if way == "features not fitted" else WAYS[way]()
    expected.fit(X, y, WEIGHT, f0=start)
    at_end = np.zeros((6, *y.shape[1:])) if np.ndim(f0) else f0
    values = expected.predict(NEW, TIMES, f0=at_end)
    for source in (open_source(X, targets=y), open_source([(X[:9], y[:9]), (X[9:], y[9:])])):
        weight = WEIGHT if source.shape[0] else None
        if weight is None and not single:
            continue
        found = clone(model) if way == "features not fitted" else WAYS[way]()
        found.fit(source, sample_weight=weight, f0=start)
        if weight is None:
            values = WAYS[way]().set_params(kernel=found.kernel).fit(X, y, f0=start)
            values = values.predict(NEW, TIMES, f0=at_end)
        close(found.predict(NEW, TIMES, f0=at_end), values, 1e-8)
        if weight is not None:
            close(found.predict(open_source(NEW), TIMES, f0=at_end), values, 1e-8)
    values = expected.predict(NEW, TIMES, f0=at_end)
    parts = clone(model) if way == "features not fitted" else WAYS[way]()
    for rows in (slice(0, 17), slice(17, 18), slice(18, 40)):
        part = start[rows] if np.ndim(start) else start
        parts = parts.partial_fit(X[rows], y[rows], WEIGHT[rows], f0=part)
        assert parts.rank_ <= 24
    close(parts.predict(NEW, TIMES, f0=at_end), values, 1e-8)


@pytest.mark.parametrize("way", ["features fitted", "linear"])
def test_blocks_after_fit_are_added_to_its_rows(way):
    model = WAYS[way]().fit(X[:25], Y[:25], WEIGHT[:25])
    model.partial_fit(X[25:30], Y[25:30], WEIGHT[25:30]).partial_fit(X[30:], Y[30:], WEIGHT[30:])
    expected = WAYS[way]().fit(X, Y, WEIGHT)
    close(model.predict(NEW, TIMES), expected.predict(NEW, TIMES), 1e-8)
    close(model.training_loss(TIMES), expected.training_loss(TIMES), 1e-10)


def test_a_block_of_which_some_rows_are_refused_changes_nothing():
    rows = np.random.default_rng(0).standard_normal((700, 4)).astype(np.float32)
    model = ntk.GradientFlow(ARCH, "random-features", 24, working_memory=0.5, random_state=0)
    model.fit(rows[:100], rows[:100, 0])
    before = model.predict(rows, TIMES)
    rows[650] = 1e30  # not in the first chunk
    with pytest.raises(ValueError, match="overflow"):
        model.partial_fit(rows[100:], rows[100:, 0])
    rows[650] = rows[0]
    assert (model.predict(rows, TIMES)[:, :650] == before[:, :650]).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("dtype", "before", "after", "cutoff"),
    [(float, 0.1, 1.0, 0.1), (np.float32, 1e-4, 2e-3, None)],
)
def test_directions_below_the_cutoff_may_count_with_more_rows(seed, dtype, before, after, cutoff):
    draws = np.random.default_rng(seed)
    rows = draws.standard_normal((60, 4)).astype(dtype)
    rows[:, 3] *= np.where(np.arange(60) < 50, before, after)
    targets = draws.standard_normal(60)
    model = ntk.GradientFlow("linear", cutoff=cutoff).fit(rows[:50], targets[:50])
    assert model.rank_ == 3
    expected = ntk.GradientFlow("linear", cutoff=cutoff).fit(rows, targets)
    model.partial_fit(rows[50:], targets[50:])
    assert model.rank_ == expected.rank_ == 4
    tolerance = 100 * float(np.finfo(dtype).eps)  # the sums of float32 are rounded block by block
    np.testing.assert_allclose(model.eigenvalues_, expected.eigenvalues_, rtol=tolerance)
    found, coef = model.predict(np.eye(4)), expected.predict(np.eye(4))
    close(found, coef, tolerance * np.abs(coef).max())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("single", [False, True])
def test_dask(way, single):
    y = Y[:, 0] if single else Y
    lazy, new = da.from_array(X, chunks=(13, 4)), da.from_array(NEW, chunks=(4, 4))
    model = WAYS[way]().fit(lazy, da.from_array(y, chunks=(13, *y.shape[1:])), WEIGHT, f0=0.5)
    expected = WAYS[way]().fit(X, y, WEIGHT, f0=0.5)
    for t in (3.0, TIMES):
        found = model.predict(new, t, f0=0.5)
        assert isinstance(found, da.Array)
        close(found.compute(), expected.predict(NEW, t, f0=0.5), 1e-8)
    with pytest.raises(TypeError, match="f0 must be a number for Dask's rows: add an array"):
        model.predict(new, f0=F0_NEW)
    with pytest.raises(TypeError, match="f0 must be a number for Dask's rows: subtract an array"):
        WAYS[way]().fit(lazy, da.from_array(Y), f0=F0)


# -------------------------------------------------------------------------------------------
# Relations
# -------------------------------------------------------------------------------------------


def test_the_filter_multiplies_the_targets_and_is_close_to_that_of_ridge():
    model = flow().fit(X, Y)
    values, vectors = np.linalg.eigh(ntk.kernel(ARCH, X) / 40)
    np.testing.assert_allclose(model.eigenvalues_, values, rtol=1e-9)
    for t in (0.1, 10.0, np.inf):
        fitted = (vectors * model.filter(t)) @ vectors.T @ Y
        close(model.predict(X, t), fitted, 1e-9)
    times = np.geomspace(1e-2, 1e6, 60)
    shares = model.filter(times)
    assert shares.shape == (60, 40)
    of_ridge = values / (values + 1 / times[:, None])
    assert (shares >= of_ridge).all()
    assert (shares <= 1.2985 * of_ridge).all()
    rate = 0.5 * model.max_learning_rate_
    steps = model.set_params(learning_rate=rate).filter([3])
    np.testing.assert_allclose(steps[0], 1 - (1 - rate * values) ** 3, rtol=1e-9)


def test_the_time_is_a_parameter_like_others():
    model = flow(t=5.0).fit(X, Y[:, 0])
    np.testing.assert_array_equal(model.predict(NEW), model.predict(NEW, 5.0))
    assert model.score(X, Y[:, 0]) < flow().fit(X, Y[:, 0]).score(X, Y[:, 0])
    noisy = Y[:, 0] + 5 * rng.standard_normal(40)
    search = GridSearchCV(flow(), {"t": [0.3, np.inf]}, cv=3).fit(X, noisy)
    assert search.best_params_ == {"t": 0.3}


@pytest.mark.parametrize("method", [None, "nystroem"])
def test_kinds_of_rows(method):
    expected = flow(ARCH, method).fit(X, Y).predict(NEW, 5.0)
    single = flow(ARCH, method).fit(X.astype(np.float32), Y).predict(NEW.astype(np.float32), 5.0)
    assert single.dtype == np.float32
    close(single, expected, 1e-3)
    given = ntk.Nystroem(landmarks=X[:24]) if method else None
    expected = flow(ARCH, given).fit(X, Y).predict(NEW, 5.0)
    sparse = flow(ARCH, given).fit(sp.csr_array(X), Y)
    close(sparse.predict(sp.csr_array(NEW), 5.0), expected, 1e-9)
    frame = flow(ARCH, given).fit(pd.DataFrame(X, columns=list("abcd")), Y)
    assert list(frame.feature_names_in_) == list("abcd")
    close(frame.predict(pd.DataFrame(NEW, columns=list("abcd")), 5.0), expected, 1e-12)


@pytest.mark.parametrize("method", [pytest.param(None, marks=pytest.mark.slow), "nystroem"])
def test_images(method):
    images = rng.standard_normal((10, 5, 5, 2))
    network = ntk.cnn(1)
    model = flow(network, method, 8).fit(images[:8], Y[:8, 0])
    K = ntk.kernel(network, images, images[:8])
    expected = flow("precomputed").fit(K[:8], Y[:8, 0])
    close(model.predict(images, TIMES), expected.predict(K, TIMES), 1e-6)


@pytest.mark.parametrize("model", [flow(), flow("linear"), flow(ARCH, "nystroem")], ids=str)
def test_pickled_and_cloned(model):
    model = clone(model).fit(X, Y)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict(NEW, TIMES), model.predict(NEW, TIMES))
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(NEW), model.predict(NEW))


def test_any_block_of_predictions(monkeypatch):
    many = np.concatenate([NEW] * 20)
    model = flow().fit(X, Y)
    expected, deviations = model.predict(many, TIMES, return_std=True)
    model.set_params(working_memory=0.01)  # some ten rows of the kernel
    found, again = model.predict(many, TIMES, return_std=True)
    close(found, expected, 1e-12)
    close(again, deviations, 1e-7)
    monkeypatch.setattr(blocks, "available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"kernel of 40 rows and its eigenvectors.* or a method"):
        flow().fit(X, Y)


# -------------------------------------------------------------------------------------------
# Errors
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"kernel": "rbf"}, ValueError, 'kernel must be .*"linear" or "precomputed", got \'rbf\''),
        ({"kernel": 3}, ValueError, "'kernel' parameter of GradientFlow"),
        ({"kernel": "linear", "method": "nystroem"}, ValueError, "'linear' takes none"),
        ({"kernel": features(), "method": "nystroem"}, ValueError, "NTKFeatures takes none"),
        ({"method": "fourier"}, ValueError, "fourier"),
        ({"method": "nystroem", "n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"kind": "gp"}, ValueError, "kind must be one of"),
        ({"t": -1.0}, ValueError, "t must be at least 0, got -1"),
        ({"t": np.nan}, ValueError, "t must be at least 0, got nan"),
        ({"t": [1.0]}, ValueError, "'t' parameter of GradientFlow"),
        ({"t": 0.5, "learning_rate": 0.1}, ValueError, "t counts steps"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": 1e6}, ValueError, "must be below max_learning_rate_ ="),
        ({"cutoff": 1.0}, ValueError, "cutoff must be at least 0 and below 1"),
        ({"cutoff": np.nan}, ValueError, "cutoff must be at least 0 and below 1"),
        ({"working_memory": -1.0}, ValueError, "working_memory must be a positive number"),
    ],
)
def test_bad_parameters(parameters, error, message):
    model = flow(**parameters)
    with pytest.raises(error, match=message):
        model.fit(X, Y)
    with pytest.raises(NotFittedError):
        model.predict(X)


every_kernel = pytest.mark.parametrize(
    "kernel", [ARCH, "linear", features()], ids=["exact", "linear", "features"]
)


def with_value(array, value):
    changed = array.copy()
    changed[3, 1] = value
    return changed


@pytest.mark.parametrize(
    "kernel", [ARCH, "linear", features()], ids=["exact", "linear", "features"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(kernel, value):
    for rows, targets in ((with_value(X, value), Y), (X, with_value(Y, value))):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            flow(kernel).fit(rows, targets)
    with pytest.raises(ValueError, match="f0 contains NaN or infinity"):
        flow(kernel).fit(X, Y, f0=with_value(F0, value))
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        flow(kernel).fit(X, Y).predict(with_value(NEW, value))


@pytest.mark.parametrize(
    "kernel", [ARCH, "linear", features()], ids=["exact", "linear", "features"]
)
def test_shapes_that_do_not_fit(kernel):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        flow(kernel).fit(X, Y[:9])
    with pytest.raises(ValueError, match=r"f0 has shape \(40,\), expected .* y, \(40, 2\)"):
        flow(kernel).fit(X, Y, f0=F0[:, 0])
    with pytest.raises(ValueError, match=r"sample_weight has shape \(9,\)"):
        flow(kernel).fit(X, Y, WEIGHT[:9])
    with pytest.raises(ValueError, match=r"weights are all zero|zero for every row"):
        flow(kernel).fit(X, Y, np.zeros(40))
    with pytest.raises(ValueError, match="X has 3 features, but GradientFlow is expecting 4"):
        flow(kernel).fit(X, Y).predict(NEW[:, :3])
    started = flow(kernel).fit(X, Y, f0=F0)
    with pytest.raises(ValueError, match=r"f0 has shape \(6,\), expected .* \(6, 2\)"):
        started.predict(NEW, f0=F0_NEW[:, 0])
    with pytest.raises(TypeError, match="f0 must hold real numbers"):
        started.predict(NEW, f0="zero")
    with pytest.raises(ValueError, match="fit had f0, so that predict needs that of its rows"):
        started.predict(NEW)
    with pytest.raises(ValueError, match="f0 is given, and fit had none"):
        flow(kernel).fit(X, Y).predict(NEW, f0=F0_NEW)


def test_times_and_rates_after_fit():
    model = flow().fit(X, Y)
    for call in (lambda t: model.predict(NEW, t), model.training_loss, model.filter):
        with pytest.raises(ValueError, match="t must be at least 0, got nan"):
            call([1.0, np.nan])
        with pytest.raises(ValueError, match="t must be a number or of shape"):
            call([[1.0]])
    model.set_params(learning_rate=2 * model.max_learning_rate_)
    for call in (lambda t: model.predict(NEW, t), model.training_loss, model.filter):
        with pytest.raises(ValueError, match="must be below max_learning_rate_ ="):
            call(3)
    model.set_params(learning_rate=0.9 * model.max_learning_rate_)
    with pytest.raises(ValueError, match="t counts steps"):
        model.predict(NEW, 0.5)


def test_kernels_that_are_given():
    K = ntk.kernel(ARCH, X)
    model = flow("precomputed").fit(K, Y)
    kept = K.copy()
    np.testing.assert_array_equal(K, kept)
    close(model.predict(ntk.kernel(ARCH, NEW, X), 5.0), flow().fit(X, Y).predict(NEW, 5.0), 1e-11)
    with pytest.raises(ValueError, match=r"must be square.* got \(40, 30\)"):
        flow("precomputed").fit(K[:, :30], Y)
    with pytest.raises(ValueError, match="must be symmetric"):
        flow("precomputed").fit(np.triu(K), Y)
    with pytest.raises(ValueError, match="X has 4 features, but GradientFlow is expecting 40"):
        model.predict(NEW)
    with pytest.raises(TypeError, match="takes rows in memory here"):
        flow("precomputed").fit(open_source(K, targets=Y))


def test_what_only_features_can_do():
    for kernel in (ARCH, "precomputed"):
        assert not hasattr(flow(kernel), "partial_fit")
    with pytest.raises(TypeError, match="takes rows in memory here"):
        flow().fit(open_source(X, targets=Y))
    model = flow("linear").partial_fit(X[:9], Y[:9])
    with pytest.raises(ValueError, match="f0 was not given with the blocks before"):
        model.partial_fit(X[9:], Y[9:], f0=F0[9:])
    with pytest.raises(ValueError, match="4 feature columns and 1 targets"):
        model.partial_fit(X[9:], Y[9:, :1])
    close(model.predict(NEW), flow("linear").fit(X[:9], Y[:9]).predict(NEW), 1e-9)
    with pytest.raises(SourceError, match="has no targets to learn from"):
        flow("linear").fit(open_source(X))
    with pytest.raises(TypeError, match="sparse rows; dense ones are expected"):
        flow("linear").fit(open_source(sp.csr_array(X), targets=Y))
    with pytest.raises(ValueError, match=r"f0 has 9 rows, expected those of array: 40"):
        flow("linear").fit(open_source(X, targets=Y), f0=F0[:9])
    with pytest.raises(ValueError, match=r"f0 has shape \(40,\), expected that of the targets"):
        flow("linear").fit(open_source(X, targets=Y), f0=F0[:, 0])
    with pytest.raises(ValueError, match="X has 3 features, but NTKFeatures is expecting 4"):
        flow(features().fit(X)).fit(X[:, :3], Y)


def test_not_fitted():
    for call in (
        lambda m: m.predict(X),
        lambda m: m.training_loss(1),
        lambda m: m.filter(1),
        lambda m: m.eigenvalues_,
        lambda m: m.rank_,
        lambda m: m.max_learning_rate_,
    ):
        with pytest.raises(NotFittedError, match="This GradientFlow instance is not fitted"):
            call(flow())
