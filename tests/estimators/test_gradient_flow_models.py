"""What a gradient flow is a model of: kernels, features and devices, and what it leaves alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntksketch as ntk
from ntksketch.data import open_source
from ntksketch.estimators import ridge_on_features
from ntksketch.estimators.targets import ShiftedTargets

rng = np.random.default_rng(1)
X, NEW = rng.standard_normal((50, 3)), rng.standard_normal((7, 3))
Y = np.stack([np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2]], 1)
TIMES = [0.0, 2.0, 100.0, np.inf]


def by_eigenvectors(K, across, y, times):
    """Write the solution out in the eigenvectors of K, without any care."""
    values, vectors = np.linalg.eigh(K / len(y))
    result = []
    for t in times:
        shares = np.array(
            [(1 - np.exp(-v * t)) / v if v > 1e-13 * values[-1] else 0 for v in values]
        )
        result.append(across @ vectors @ (np.array(shares)[:, None] * (vectors.T @ y)) / len(y))
    return np.stack(result)


def close(one, other, tolerance):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


KERNELS = {
    "default": (None, "ntk", ntk.mlp(1)),
    "network with biases": (ntk.mlp(1, bias_std=0.3), "ntk", None),
    "last layer": (ntk.mlp(2), "nngp", None),
    "another activation": (ntk.mlp(1, activation=ntk.Erf()), "ntk", None),
    "zonal": (ntk.zonal.laplace(1.0), "ntk", None),
    "network as a zonal kernel": (ntk.zonal.ntk(2), "ntk", ntk.mlp(2)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_every_exact_kernel(name):
    given, kind, same = KERNELS[name]
    target = given if same is None else same
    K = ntk.kernel(target, X, kind=kind)
    across = ntk.kernel(target, NEW, X, kind=kind)
    model = ntk.GradientFlow(given, kind=kind).fit(X, Y)
    expected = by_eigenvectors(K, across, Y, TIMES)
    close(model.predict(NEW, TIMES), expected, 1e-7)
    losses = ((by_eigenvectors(K, K, Y, TIMES) - Y) ** 2).sum((1, 2)) / 100
    close(model.training_loss(TIMES), losses, 1e-10)


def test_a_method_is_short_for_its_features():
    short = ntk.GradientFlow(ntk.mlp(1), "nystroem", 16, kind="nngp", random_state=3).fit(X, Y)
    features = ntk.NTKFeatures(ntk.mlp(1), "nystroem", 16, kind="nngp", random_state=3)
    given = ntk.GradientFlow(features).fit(X, Y)
    fitted = ntk.GradientFlow(features.fit(X)).fit(X, Y)
    for model in (given, fitted):
        np.testing.assert_array_equal(model.predict(NEW, TIMES), short.predict(NEW, TIMES))
    assert fitted.features_ is features
    assert given.features_ is not features  # a fit leaves parameters as they are


def test_the_seed_of_features_that_have_none():
    features = ntk.NTKFeatures(ntk.mlp(1), "nystroem", 8)
    models = [ntk.GradientFlow(features, random_state=seed).fit(X, Y) for seed in (0, 0, 1)]
    first, again, other = (model.predict(NEW, 2.0) for model in models)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert features.random_state is None


def test_a_fit_changes_nothing_that_it_was_given():
    K = np.asfortranarray(ntk.kernel(ntk.mlp(1), X))
    given = {"K": K, "X": X.copy(), "Y": Y.copy(), "weight": np.arange(50.0), "f0": Y + 1}
    kept = {name: value.copy() for name, value in given.items()}
    for kernel, rows in (("precomputed", given["K"]), (None, given["X"]), ("linear", given["X"])):
        for weight in (None, given["weight"]):
            model = ntk.GradientFlow(kernel).fit(rows, given["Y"], weight, f0=given["f0"])
            model.predict(rows, TIMES, f0=given["f0"])
    for value in given.values():
        value.flags.writeable = False
    ntk.GradientFlow("precomputed").fit(given["K"], given["Y"])
    ntk.GradientFlow("linear").fit(given["X"], given["Y"])
    for name, value in given.items():
        np.testing.assert_array_equal(value, kept[name])


ROWS = {  # what rows become, and what an error says of it
    "exact": (ntk.mlp(1), None, "the exact kernel of rows"),
    "drawn": (ntk.mlp(1), "nystroem", "features drawn for rows"),
    "linear": ("linear", None, "rows as features"),
}
CHANGES = [(a, b) for a in ROWS for b in ("drawn", "linear") if a != b]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_blocks_are_not_added_to_rows_of_another_kernel(before, after):
    kernel, method, words = ROWS[before]
    model = ntk.GradientFlow(kernel, method, 8, random_state=0).fit(X, Y)
    expected = model.predict(NEW)
    model.set_params(kernel=ROWS[after][0], method=ROWS[after][1])
    with pytest.raises(ValueError, match=f"with another kernel, on {words}.*: call fit"):
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(model.set_params(kernel=kernel).predict(NEW), expected)
    model.set_params(method=method).fit(X[:30], Y[:30])
    if before != "exact":
        model.partial_fit(X[30:], Y[30:])


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_the_first_block_decides_the_shape_of_predictions(shape):
    y = Y[:, 0].reshape(shape)
    model = ntk.GradientFlow("linear").partial_fit(X[:9], y[:9])
    other = y.ravel() if y.ndim == 2 else y[:, None]
    with pytest.raises(ValueError, match=r"y has shape \(41,.*targets before had shape \(n,"):
        model.partial_fit(X[9:], other[9:])
    expected = ntk.GradientFlow("linear").fit(X[:9], y[:9]).predict(NEW)
    close(model.predict(NEW), expected, 1e-12)
    assert model.partial_fit(X[9:], y[9:]).predict(NEW).shape == (7, *y.shape[1:])


def test_sums_on_devices(monkeypatch):
    model = ntk.GradientFlow(ntk.mlp(1), ntk.RandomFeatures(), 24, random_state=0)
    expected = model.fit(X, Y, f0=1.0).predict(NEW, TIMES, f0=1.0)
    monkeypatch.setattr(ridge_on_features, "gather", None)
    several = SimpleNamespace(local_devices=lambda: [0, 1], default_backend=lambda: "cpu")
    monkeypatch.setattr(ridge_on_features, "jax", several)
    close(model.fit(X, Y, f0=1.0).predict(NEW, TIMES, f0=1.0), expected, 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_blocks_of_features(dtype):
    rows = rng.standard_normal((3000, 4)).astype(dtype)
    targets = np.sin(rows[:, 0]).astype(np.float64)
    model = ntk.GradientFlow("linear").fit(rows, targets)
    G, M = rows.T.astype(float) @ rows / 3000, rows.T @ targets / 3000
    values, vectors = np.linalg.eigh(G)
    t = 0.7
    coef = vectors @ (-np.expm1(-values * t) / values * (vectors.T @ M))
    tolerance = 50 * float(np.finfo(dtype).eps)
    close(model.predict(rows, t), rows @ coef, tolerance)
    assert model.predict(rows, t).dtype == dtype
    np.testing.assert_allclose(model.eigenvalues_, values, rtol=tolerance)
    loss = np.mean((rows @ coef - targets) ** 2) / 2
    assert model.training_loss(t) == pytest.approx(loss, rel=tolerance)


def test_the_training_does_not_depend_on_how_often_rows_are_repeated():
    once = ntk.GradientFlow().fit(X, Y)
    thrice = ntk.GradientFlow().fit(np.tile(X, (3, 1)), np.tile(Y, (3, 1)))
    weighted = ntk.GradientFlow().fit(X, Y, 3.0)
    for model in (thrice, weighted):
        close(model.predict(NEW, TIMES), once.predict(NEW, TIMES), 1e-6)
        close(model.training_loss(TIMES), once.training_loss(TIMES), 1e-12)
        assert model.max_learning_rate_ == pytest.approx(once.max_learning_rate_)


def test_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), ntk.GradientFlow(t=5.0)).fit(X, Y)
    scaled = (X - X.mean(0)) / X.std(0)
    expected = ntk.GradientFlow().fit(scaled, Y).predict(scaled, 5.0)
    close(pipeline.predict(X), expected, 1e-10)
    assert repr(ntk.GradientFlow("linear", t=5.0)) == "GradientFlow(kernel='linear', t=5.0)"


def test_targets_less_an_array():
    source = open_source(X, targets=Y)
    shifted = ShiftedTargets(source, Y - 1)
    found = np.concatenate([block.y for block in shifted.blocks(16)])
    close(found, np.ones((50, 2)), 1e-15)
    from_32 = np.concatenate([block.y for block in shifted.blocks(16, start=32)])
    close(from_32, np.ones((18, 2)), 1e-15)
    by_number = next(iter(ShiftedTargets(source, np.array(2.0)).blocks(50)))
    np.testing.assert_array_equal(by_number.y, Y - 2)
    without = next(iter(ShiftedTargets(open_source(X), np.array(2.0)).blocks(50)))
    assert without.y is None
    with pytest.raises(ValueError, match="f0 has 9 rows, expected those of array: 50"):
        ShiftedTargets(source, Y[:9])
    with pytest.raises(ValueError, match=r"f0 has shape \(50,\), expected .* \(16, 2\)"):
        next(iter(ShiftedTargets(source, Y[:, 0]).blocks(16)))
