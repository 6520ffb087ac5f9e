"""Nystroem features layer by layer, against the exact kernel."""

import pickle

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch import (
    AvgPool,
    Conv,
    Dense,
    Erf,
    Flatten,
    Gelu,
    GlobalAvgPool,
    Input,
    LayerwiseNystroem,
    Relu,
    residual,
    serial,
)
from ntksketch.features import Auto, resolve_method

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((3, 4, 4, 2))
SIGNALS = RNG.standard_normal((4, 7, 2))
POOLED = ntk.cnn(2, pooling=2)

NETWORKS = {
    "gap": (ntk.cnn(2), IMAGES),
    "pool, biases": (ntk.cnn(2, pooling=2, bias_std=0.1), IMAGES),
    "flatten, valid": (ntk.cnn(2, 2, "flatten", padding="valid"), IMAGES),
    "erf, circular": (ntk.cnn(2, padding="circular", activation=Erf()), IMAGES),
    "residual, strides": (ntk.resnet(2), IMAGES),
    "weights before a pool": (
        serial(Conv(), AvgPool(2), Relu(), Dense(1.0, 0.2), Relu(), GlobalAvgPool(), Dense()),
        IMAGES,
    ),
    "activation first, two readouts": (
        serial(Relu(), Conv(3, stride=2), Gelu(), GlobalAvgPool(), Dense(1.2, 0.3), Dense(0.7)),
        IMAGES,
    ),
    "hidden vector": (serial(Conv(), Relu(), Flatten(), Dense(), Relu(), Dense()), IMAGES),
    "activation in a shortcut": (
        serial(residual(Conv(), shortcut=serial(Relu(), Conv(1))), Relu(), GlobalAvgPool()),
        IMAGES,
    ),
    "signals": (ntk.cnn(2, pooling=2), SIGNALS),
    "signals, two-sided": (
        serial(Conv(3, stride=2), Relu(), Conv(2), Relu(), Flatten(), Dense(bias_std=0.5)),
        SIGNALS,
    ),
}
FAST = ("pool, biases",)
every_network = pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]
)


def features(architecture, X, m, method=None, *, seed=0, **options):
    method = LayerwiseNystroem(hidden_components=m) if method is None else method
    return ntk.NTKFeatures(architecture, method, m, random_state=seed, **options).fit(X)


def relative_error(Z, K):
    return np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@every_network
def test_all_pixels_as_landmarks_give_the_exact_kernel(name, kind):
    architecture, X = NETWORKS[name]
    if kind == "nngp" and architecture == NETWORKS["activation in a shortcut"][0]:
        assert np.isfinite(ntk.kernel(architecture, X, kind=kind)).all()
    K = ntk.kernel(architecture, X, kind=kind)
    Z = features(architecture, X, 450, kind=kind).transform(X)
    assert Z.shape == (len(X), 450)
    assert relative_error(Z, K) < 1e-9
    single = X.astype(np.float32)
    Z = features(architecture, single, 450, kind=kind).transform(single)
    assert Z.dtype == np.float32
    assert relative_error(Z, K) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_error_falls_with_the_landmarks_on_digits(kind):
    X = load_digits().images[:150, :, :, None] / 16
    architecture = ntk.cnn(3, pooling=2)
    K = ntk.kernel(architecture, X, kind=kind)
    sizes = [32, 128, 512]
    errors = [
        np.mean(
            [
                relative_error(features(architecture, X, m, seed=seed, kind=kind).transform(X), K)
                for seed in range(3)
            ]
        )
        for m in sizes
    ]
    assert errors[-1] < 0.03
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] < -0.5


@pytest.mark.slow
def test_new_images_do_not_decide_and_are_close():
    X = load_digits().images[:400, :, :, None] / 16
    fm = features(POOLED, X[:200], 256)
    Z = fm.transform(X[200:])
    assert relative_error(Z, ntk.kernel(POOLED, X[200:])) < 0.08
    np.testing.assert_array_equal(Z[:7], fm.transform(X[200:])[:7])
    np.testing.assert_allclose(fm.transform(X[200:207]), Z[:7], atol=1e-9)


@pytest.mark.slow
def test_seeds_weights_and_pickles():
    X = load_digits().images[:60, :, :, None].astype(np.uint8)
    method = LayerwiseNystroem((20,))
    one = features(POOLED, X, 40, method).transform(X)
    np.testing.assert_array_equal(one, features(POOLED, X, 40, method).transform(X))
    assert np.abs(one - features(POOLED, X, 40, method, seed=1).transform(X)).max() > 1e-3
    fm = features(POOLED, X, 40, method)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fm)).transform(X), one)
    weight = np.r_[np.ones(30), np.zeros(30)]
    fm = ntk.NTKFeatures(POOLED, method, 40, random_state=0).fit(X, sample_weight=weight)
    other = X.copy()
    other[30:] = 0  # rows of weight zero are no landmarks
    same = ntk.NTKFeatures(POOLED, method, 40, random_state=0).fit(other, sample_weight=weight)
    np.testing.assert_array_equal(fm.transform(X), same.transform(X))


def test_flat_rows_images_and_blocks_agree():
    X = RNG.standard_normal((50, 6, 5, 2)).astype(np.float32)
    Z = features(POOLED, X, 30).transform(X)
    flat = X.reshape(50, -1)
    bound = serial(Input((6, 5, 2)), POOLED)
    fm = features(bound, flat, 30)
    np.testing.assert_array_equal(fm.transform(flat), Z)
    np.testing.assert_array_equal(fm.transform(X), Z)
    small = ntk.NTKFeatures(
        bound, LayerwiseNystroem(30), 30, working_memory=0.1, random_state=0
    ).fit(flat)
    np.testing.assert_allclose(small.transform(flat), Z, atol=2e-5)


def test_the_draw_does_not_depend_on_the_budget():
    """Images that are walked through one by one leave the landmarks that 32 at a time leave."""
    X = RNG.standard_normal((40, 6, 5, 2))
    maps = [
        ntk.NTKFeatures(
            POOLED, LayerwiseNystroem(30), 30, working_memory=budget, random_state=0
        ).fit(X).feature_map_
        for budget in (None, 0.05)
    ]  # fmt: skip
    assert 2 * 8 * maps[0].row_entries > 0.05 * 2**20  # two images at a time take more
    for left, right in zip(*(jax.tree.leaves(fm.params) for fm in maps), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-9)


def test_a_budget_below_one_image_is_refused_before_the_draw():
    fm = ntk.NTKFeatures(POOLED, LayerwiseNystroem(30), 30, working_memory=0.01)
    with pytest.raises(MemoryError, match="one row needs"):
        fm.fit(RNG.standard_normal((40, 6, 5, 2)))


@pytest.mark.slow
def test_widths_of_hidden_activations_grow_as_pixels_fall():
    X = RNG.standard_normal((40, 8, 8, 1)).astype(np.float32)
    fm = ntk.NTKFeatures(ntk.cnn(3, pooling=2), "layerwise-nystroem", 1024, random_state=0).fit(X)
    counts = [mark.phi.shape[-1] for mark in fm.feature_map_.params]
    assert counts == [128, 256, 40 * 4]  # of the last there are no more pixels
    Z = fm.transform(X)
    assert not Z[:, 160:].any()


def test_more_rows_than_a_compiled_draw_walks_through():
    X = RNG.standard_normal((100, 4, 4, 1))
    fm = features(POOLED, X, 90)
    assert fm.feature_map_.params[-1].phi.shape == (3, 3, 90, 90)


def test_auto_takes_layers_where_pixels_mix():
    X = IMAGES.reshape(3, -1)
    choose = Auto().choose
    bound = serial(Input((4, 4, 2)), POOLED)
    assert choose(bound, X) == LayerwiseNystroem()
    assert choose(serial(Input((4, 4, 2)), ntk.cnn(1, readout="flatten")), X) == ntk.Nystroem()
    assert choose(serial(Input((16, 2)), ntk.rnn(readout="mean")), X) == ntk.Nystroem()
    fm = ntk.NTKFeatures(POOLED, n_components=16, random_state=0).fit(IMAGES)
    assert fm.method_ == LayerwiseNystroem()
    assert resolve_method("layerwise-nystroem") == LayerwiseNystroem()


@pytest.mark.parametrize(
    ("architecture", "X", "message"),
    [
        (ntk.mlp(1), np.ones((3, 4)), "has no pixels"),
        (ntk.rnn(readout="mean"), SIGNALS, "is recurrent"),
        (serial(Conv(), GlobalAvgPool()), IMAGES, "no activation"),
        (serial(Conv(), Relu(), Conv(), GlobalAvgPool()), IMAGES, "more than pools and Dense"),
    ],
)
def test_networks_that_are_refused(architecture, X, message):
    with pytest.raises(ValueError, match=message):
        features(architecture, X, 8)


def test_other_methods_name_this_one():
    with pytest.raises(ValueError, match="layerwise-nystroem"):
        features(POOLED, IMAGES, 8, ntk.Gegenbauer())
    with pytest.raises(ValueError, match="layerwise-nystroem"):
        features(POOLED, IMAGES, 8, ntk.Resampled("gegenbauer"))


@pytest.mark.parametrize("given", [0, True, 2.5, "a", (3, -1), [4, None]])
def test_bad_counts(given):
    with pytest.raises(ValueError, match="hidden_components must be whole numbers"):
        LayerwiseNystroem(given)


def test_counts_that_do_not_fit():
    with pytest.raises(ValueError, match="1 activations before the last"):
        features(POOLED, IMAGES, 8, LayerwiseNystroem((4, 4)))
    with pytest.raises(ValueError, match="16 in all"):
        features(ntk.cnn(1, readout="flatten"), IMAGES, 8)
    with pytest.raises(ValueError, match="2 in all"):
        features(ntk.cnn(1, bias_std=0.1), IMAGES, 1)


def test_images_of_another_shape_are_refused():
    fm = features(POOLED, IMAGES, 8)
    with pytest.raises(ValueError, match=r"rows of shape \(4, 2, 4\), expected \(4, 4, 2\)"):
        fm.transform(np.ones((2, 4, 2, 4)))
    with pytest.raises(ValueError, match="NaN"):
        fm.transform(np.full((2, 4, 4, 2), np.nan))


def test_features_trace_under_another_compilation():
    X = RNG.standard_normal((8, 4, 4, 2)).astype(np.float32)
    fm = features(POOLED, X, 12)
    feature_map = fm.feature_map_
    again = jax.jit(lambda p, x: feature_map._replace(params=p).apply(x))(
        feature_map.params, X.reshape(8, -1)
    )
    np.testing.assert_allclose(np.asarray(again), fm.transform(X), atol=1e-5)


@pytest.mark.slow
def test_regression_and_classification_on_images():
    digits = load_digits()
    X, y = (digits.images[..., None] / 16).astype(np.float32), digits.target
    model = ntk.NTKClassifier(POOLED, n_components=64, random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:400], y[300:400]) > 0.8
    exact = ntk.ExactNTKRegressor(POOLED, alpha=1e-2).fit(X[:60], y[:60] == 3)
    assert exact.predict(X[:5]).shape == (5,)
    with pytest.raises(ValueError, match="rows of shape"):
        model.predict(X.reshape(-1, 4, 16, 1)[:2])
