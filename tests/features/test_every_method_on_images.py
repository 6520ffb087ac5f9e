"""The ladder of tests that every feature method climbs on images and signals."""

import pickle

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from feature_statistics import (
    assert_compiles_once,
    assert_sums_on_a_mesh_are_those_of_the_host,
    assert_unbiased,
    draw,
    draw_map,
    relative_error,
)
from method_table import IMAGE_CASES
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch import (
    AvgPool,
    Conv,
    Dense,
    Erf,
    Flatten,
    GlobalAvgPool,
    Input,
    LastStep,
    Relu,
    Reverse,
    serial,
)
from ntksketch.features import transform_blocks
from ntksketch.storage import load, save

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((6, 4, 4, 2))
SIGNALS = RNG.standard_normal((6, 7, 2))
SHALLOW = ntk.cnn(1)

NETWORKS = {
    "pools, biases": (ntk.cnn(2, pooling=2, bias_std=0.2), IMAGES),
    "gap": (ntk.cnn(2), IMAGES),
    "flatten, valid": (ntk.cnn(2, 2, "flatten", padding="valid"), IMAGES),
    "strides, circular": (
        serial(Conv(3, 2, "circular"), Relu(), Conv(2), Relu(), GlobalAvgPool(), Dense()),
        IMAGES,
    ),
    "residual": (ntk.resnet(2), IMAGES),
    "activation in a shortcut": (
        serial(
            Conv(), ntk.residual(Conv(), shortcut=serial(Relu(), Conv(1))), Relu(), GlobalAvgPool()
        ),
        IMAGES,
    ),
    "hidden vector": (serial(Conv(), Relu(), Flatten(), Dense(), Relu(), Dense()), IMAGES),
    "signals": (serial(Conv(), Relu(), AvgPool(2), Conv(), Relu(), Flatten(), Dense()), SIGNALS),
    "last step": (serial(Conv(), Relu(), LastStep(), Dense()), SIGNALS),
    "turned": (serial(Reverse(), Conv(2), Relu(), GlobalAvgPool(), Dense()), SIGNALS),
}
SLOW = ntk.Resampled, ntk.PolynomialSketch, ntk.GradientFeatures, ntk.RandomFeatures
every_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=repr(case.method),
            marks=pytest.mark.slow if isinstance(case.method, SLOW) else (),
        )
        for case in IMAGE_CASES
    ],
)
every_network = pytest.mark.parametrize(
    "name",
    [n if n == "pools, biases" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS],
)


def centred(K):
    """Without the mean of all rows, whose one squared length hides the errors of all else."""
    rows = K - K.mean(axis=0)
    return rows - rows.mean(axis=1, keepdims=True)


def on(architecture, X):
    return serial(Input(X.shape[1:]), architecture), X.reshape(len(X), -1)


@every_case
@every_network
@pytest.mark.parametrize("kind", ["ntk", pytest.param("nngp", marks=pytest.mark.slow)])
def test_close_to_the_kernel_of_every_network(case, name, kind):
    architecture, X = on(*NETWORKS[name])
    K = ntk.kernel(architecture, X, kind=kind)
    errors = [
        relative_error(Z @ Z.T, K)
        for seed in range(3)
        for Z in [draw(case.method, architecture, X, 1024, jax.random.key(seed), kind)]
    ]
    assert np.mean(errors) < case.error


@pytest.mark.slow
@every_case
def test_mean_over_keys_with_one_activation(case):
    if case.mean != "exact":
        pytest.skip("the mean is not the kernel")
    architecture, X = on(SHALLOW, IMAGES)
    keys = jax.random.split(jax.random.key(0), 200)
    grams = np.stack([(Z := draw(case.method, architecture, X, 9, key)) @ Z.T for key in keys])
    assert_unbiased(grams, ntk.kernel(architecture, X))


@pytest.mark.slow
@every_case
def test_error_falls_with_the_components(case):
    if case.slope is None:
        pytest.skip("its series is short")
    X = load_digits().data[:150].reshape(-1, 8, 8, 1) / 16
    architecture, X = on(ntk.cnn(2, pooling=2), X)
    K = centred(ntk.kernel(architecture, X))
    sizes = [64, 512]
    errors = [
        np.mean(
            [
                relative_error(centred(Z @ Z.T), K)
                for seed in range(5)
                for Z in [draw(case.with_hidden(4 * m), architecture, X, m, jax.random.key(seed))]
            ]
        )
        for m in sizes
    ]
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] <= case.slope


@every_case
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_exact_number_of_columns_in_the_dtype_of_the_rows(case, dtype):
    architecture, X = on(ntk.cnn(2, readout="flatten"), IMAGES.astype(dtype))
    for m in (17, 33):
        Z = draw(case.method, architecture, X, m, jax.random.key(0))
        assert Z.shape == (6, m)
        assert Z.dtype == dtype
        assert np.isfinite(Z).all()


@pytest.mark.slow
@every_case
def test_the_key_decides_and_the_precision_does_not(case):
    architecture, X = on(SHALLOW, IMAGES)
    first, again, other = (
        draw(case.method, architecture, X, 20, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    single = draw(case.method, architecture, X.astype(np.float32), 20, jax.random.key(0))
    np.testing.assert_allclose(single @ single.T, first @ first.T, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
@every_case
def test_homogeneous_without_bias_and_zero_for_black_images(case):
    architecture, X = on(SHALLOW, IMAGES)
    feature_map = draw_map(case.method, architecture, X, 20, jax.random.key(1))
    scales = np.array([0.0, 1e-3, 1.0, 7.0, 100.0, 2.0])[:, None]
    Z, scaled = (transform_blocks(feature_map, rows) for rows in (X, scales * X))
    np.testing.assert_allclose(scaled, scales * Z, rtol=1e-5, atol=1e-6)
    assert not scaled[0].any()


@pytest.mark.slow
@every_case
def test_sparse_rows_blocks_pickles_and_files_agree(case, tmp_path):
    X = np.where(RNG.random((70, 4, 4, 2)) < 0.6, RNG.standard_normal((70, 4, 4, 2)), 0.0)
    architecture, X = on(SHALLOW, X)
    features = ntk.NTKFeatures(architecture, case.method, 24, random_state=0).fit(X)
    Z, feature_map = features.transform(X), features.feature_map_
    np.testing.assert_allclose(features.transform(sp.csr_array(X)), Z, rtol=1e-7, atol=1e-9)
    budget = 8 * 2 * feature_map.row_entries * 17 / 2**20
    np.testing.assert_allclose(transform_blocks(feature_map, X, budget), Z, rtol=1e-7, atol=1e-9)
    copy = pickle.loads(pickle.dumps(feature_map))
    np.testing.assert_array_equal(transform_blocks(copy, X), Z)
    save(features, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(X), Z)


@pytest.mark.slow
@every_case
def test_images_of_weight_zero_have_no_influence(case):
    architecture, X = on(SHALLOW, np.concatenate([IMAGES, 50 * IMAGES[::-1]]))
    weight = np.r_[np.arange(1.0, 7.0), np.zeros(6)]
    features = ntk.NTKFeatures(architecture, case.method, 20, random_state=0)
    Z = features.fit(X, sample_weight=weight).transform(X[:6])
    poisoned = np.concatenate([X[:6], -3 * X[6:]])
    again = features.fit(poisoned, sample_weight=weight).transform(X[:6])
    np.testing.assert_allclose(again, Z, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@every_case
def test_sums_on_a_mesh_are_those_of_the_host(case):
    architecture, X = on(SHALLOW, RNG.standard_normal((70, 4, 4, 2)) + 1)
    feature_map = draw_map(case.method, architecture, X, 12, jax.random.key(0))
    assert_sums_on_a_mesh_are_those_of_the_host(feature_map, X)


@pytest.mark.slow
@every_case
def test_compiles_once_for_any_number_of_blocks(case, compilations):
    X = RNG.standard_normal((200, 4, 4, 2)).astype(np.float32)
    architecture, X = on(SHALLOW, X)
    feature_map = draw_map(case.method, architecture, X[:40], 13, jax.random.key(0))
    assert_compiles_once(feature_map, X, compilations)


@every_case
@pytest.mark.parametrize("readout", ["last", pytest.param("mean", marks=pytest.mark.slow)])
def test_recurrent_networks_are_taken_or_refused_by_name(case, readout):
    architecture, X = on(ntk.rnn(readout=readout), SIGNALS)
    if case.recurrent:
        K = ntk.kernel(architecture, X)
        Z = draw(case.method, architecture, X, 1024, jax.random.key(0))
        assert relative_error(Z @ Z.T, K) < 2 * case.error  # one draw
    else:
        with pytest.raises(ValueError, match=r"recurrent: take (method=)?'nystroem'"):
            draw(case.method, architecture, X, 64, jax.random.key(0))


@every_case
def test_sequences_of_different_lengths_are_taken_or_refused_by_name(case):
    X = ntk.pad_sequences([SIGNALS[0], SIGNALS[1][:3], SIGNALS[2][:1]])
    architecture = serial(Input((7, 2), lengths=True), Dense(), Relu(), GlobalAvgPool(), Dense())
    if case.lengths:
        K = ntk.kernel(architecture, X)
        Z = draw(case.method, architecture, X, 64, jax.random.key(0))
        assert relative_error(Z @ Z.T, K) < 1e-6
    else:
        with pytest.raises(ValueError, match="different lengths: take"):
            draw(case.method, architecture, X, 64, jax.random.key(0))


@pytest.mark.parametrize(
    ("method", "architecture", "message"),
    [
        (ntk.RandomFeatures(product="exact"), ntk.cnn(2), "take product='tensor-srht'"),
        (ntk.PolynomialSketch(), ntk.cnn(2), "take variant='layered'"),
        (ntk.PolynomialSketch.published(), ntk.cnn(2, activation=Erf()), "has Erf"),
        (ntk.Gegenbauer(), ntk.cnn(2), "layerwise-nystroem"),
        (ntk.Resampled("gegenbauer"), ntk.cnn(2), "layerwise-nystroem"),
        (ntk.RandomFeatures(), serial(Conv(), GlobalAvgPool(), Dense()), "kernel is linear"),
        (ntk.RandomFeatures(hidden_components=2), ntk.cnn(2), "hidden_components=2 is too small"),
    ],
    ids=repr,
)
def test_what_methods_refuse(method, architecture, message):
    architecture, X = on(architecture, IMAGES)
    with pytest.raises(ValueError, match=message):
        draw(method, architecture, X, 64, jax.random.key(0))
