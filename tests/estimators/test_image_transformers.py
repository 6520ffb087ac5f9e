"""Transformers of images, and estimators that take them as arrays."""

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

import ntksketch as ntk
from ntksketch import ChannelStandardizer, FlipAverage, ZCAWhitening

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((40, 6, 5, 3)) * [1, 2, 3] + [4, 5, 6]
SHAPE = IMAGES.shape[1:]
FLAT = IMAGES.reshape(40, -1)
FEATURES = ntk.NTKFeatures(ntk.cnn(2, pooling=2), n_components=32, random_state=0)


def test_channels_are_standardised_over_all_pixels():
    Z = ChannelStandardizer().fit_transform(IMAGES)
    np.testing.assert_allclose(Z.mean((0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(Z.std((0, 1, 2)), 1)
    flat = ChannelStandardizer(SHAPE).fit_transform(FLAT)
    np.testing.assert_array_equal(flat, Z.reshape(40, -1))


def test_integers_constants_and_precision():
    X = np.full((4, 3, 3, 2), 7, np.uint8)
    X[0, 0, 0, 0] = 200
    fitted = ChannelStandardizer().fit(X)
    assert fitted.scale_[1] == 1
    np.testing.assert_array_equal(fitted.transform(X)[..., 1], 0)
    assert fitted.transform(X.astype(np.float32)).dtype == np.float32
    assert ZCAWhitening().fit(IMAGES).transform(IMAGES.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_that_are_no_binary_numbers(value, dtype):
    """Their mean is rounded, and so is their deviation above zero."""
    X = RNG.standard_normal((50, 3, 3, 2)).astype(dtype)
    X[..., 1] = value
    fitted = ChannelStandardizer().fit(X)
    assert fitted.scale_[1] == 1
    assert np.abs(fitted.transform(X)[..., 1]).max() < 1e-6
    with pytest.raises(ValueError, match="all rows are equal"):
        ZCAWhitening().fit(np.full((30, 6), value, dtype))


def test_weights_reach_the_features_of_mirror_images():
    weight = np.arange(40) % 3.0
    nystroem = ntk.NTKFeatures(ntk.cnn(1), "nystroem", 8, random_state=0)
    found = FlipAverage(nystroem).fit(IMAGES, sample_weight=weight).transform(IMAGES[:3])
    alone = clone(nystroem).fit(IMAGES, sample_weight=weight)
    both = alone.transform(IMAGES[:3]), alone.transform(IMAGES[:3, :, ::-1])
    np.testing.assert_allclose(found, sum(both) / 2)


@pytest.mark.parametrize(
    "transformer", [ChannelStandardizer(SHAPE), ZCAWhitening(), FlipAverage(FEATURES, SHAPE)]
)
def test_rows_that_are_not_in_memory_are_refused(transformer):
    lazy = da.from_array(FLAT, chunks=(10, -1))
    for rows in (ntk.data.open_source(FLAT), lazy):
        with pytest.raises(TypeError, match="takes images in memory, got"):
            transformer.fit(rows)
        with pytest.raises(TypeError, match="takes images in memory, got"):
            clone(transformer).fit(IMAGES).transform(rows)


@pytest.mark.parametrize("r", [0.01, 1])
def test_whitening_against_the_eigenvalues(r):
    X = RNG.standard_normal((300, 12)) @ RNG.standard_normal((12, 12)) + 3
    fitted = ZCAWhitening(r).fit(X)
    e = np.linalg.eigvalsh(np.cov(X.T, bias=True))
    found = np.linalg.eigvalsh(np.cov(fitted.transform(X).T, bias=True))
    np.testing.assert_allclose(np.sort(found), np.sort(e / (e + r * e.mean())), rtol=1e-9)
    np.testing.assert_allclose(fitted.whitening_, fitted.whitening_.T, atol=1e-12)
    assert (np.linalg.eigvalsh(fitted.whitening_) > 0).all()


def test_fewer_images_than_pixels_are_whitened():
    Z = ZCAWhitening().fit_transform(IMAGES)
    assert Z.shape == IMAGES.shape
    assert np.isfinite(Z).all()
    np.testing.assert_allclose(Z.mean(0), 0, atol=1e-12)


def test_mirror_images_have_equal_features_and_a_kernel_averaged_over_both():
    fitted = FlipAverage(FEATURES).fit(IMAGES)
    Z = fitted.transform(IMAGES)
    np.testing.assert_allclose(Z, fitted.transform(IMAGES[:, :, ::-1]), atol=1e-12)
    one = fitted.transformer_.transform(IMAGES)
    both = one, fitted.transformer_.transform(IMAGES[:, :, ::-1])
    gram = sum(a @ b.T for a in both for b in both) / 4
    np.testing.assert_allclose(Z @ Z.T, gram, rtol=1e-9)
    bound = ntk.serial(ntk.Input(SHAPE), FEATURES.architecture)
    flat = FlipAverage(clone(FEATURES).set_params(architecture=bound), SHAPE).fit(FLAT)
    np.testing.assert_allclose(flat.transform(FLAT), Z, atol=1e-12)


def test_pipeline_with_a_linear_classifier():
    y = (IMAGES[..., 0].mean((1, 2)) > 4).astype(int)
    model = make_pipeline(
        ChannelStandardizer(), ZCAWhitening(), FlipAverage(FEATURES), RidgeClassifier(1e-3)
    )
    assert model.fit(IMAGES, y).score(IMAGES, y) > 0.9


@pytest.mark.slow
def test_every_estimator_takes_arrays_of_images():
    y = IMAGES[..., 0].mean((1, 2))
    network = ntk.cnn(2, pooling=2)
    bound = ntk.serial(ntk.Input(SHAPE), network)
    for kind, options in [
        (ntk.NTKRegressor, {"n_components": 16}),
        (ntk.ExactNTKRegressor, {"alpha": 0.1}),
    ]:
        model = kind(network, random_state=0, **options).fit(IMAGES, y)
        assert model.n_features_in_ == 90
        flat = kind(bound, random_state=0, **options).fit(FLAT, y)
        np.testing.assert_array_equal(model.predict(IMAGES), flat.predict(FLAT))
        np.testing.assert_array_equal(model.predict(FLAT), model.predict(IMAGES))
        with pytest.raises(ValueError, match=r"shape \(5, 6, 3\), expected \(6, 5, 3\)"):
            model.predict(IMAGES.swapaxes(1, 2))
    again = model.fit(RNG.standard_normal((20, 4, 4, 3)), y[:20])
    assert again.n_features_in_ == 48
    with pytest.raises(ValueError, match="begin the architecture with Input"):
        ntk.NTKFeatures(network, n_components=4).fit(FLAT)


def test_saved_features_still_take_images(tmp_path):
    fitted = clone(FEATURES).fit(IMAGES)
    ntk.save(fitted, tmp_path / "features.safetensors")
    again = ntk.load(tmp_path / "features.safetensors")
    np.testing.assert_array_equal(again.transform(IMAGES), fitted.transform(IMAGES))


@pytest.mark.parametrize("method", [ChannelStandardizer(), FlipAverage(FEATURES)])
def test_flat_rows_need_a_shape(method):
    with pytest.raises(ValueError, match="give shape="):
        method.fit(FLAT)
    with pytest.raises(ValueError, match="90 numbers, expected 80"):
        method.set_params(shape=(4, 4, 5)).fit(FLAT)
    with pytest.raises(ValueError, match="images of shape"):
        method.fit(IMAGES)
    method.set_params(shape=None)


def test_bad_images():
    with pytest.raises(ValueError, match="3 channels, expected 2"):
        ChannelStandardizer().fit(IMAGES[..., :2]).transform(IMAGES)
    with pytest.raises(ValueError, match="90 numbers, expected 60"):
        ZCAWhitening().fit(IMAGES[..., :2]).transform(IMAGES)
    with pytest.raises(ValueError, match="width to mirror"):
        FlipAverage(FEATURES).fit(IMAGES[:, 0])
    with pytest.raises(ValueError, match="expected images, signals or flat rows"):
        ZCAWhitening().fit(np.ones((2, 3, 4, 5, 6)))
    with pytest.raises(ValueError, match="all rows are equal"):
        ZCAWhitening().fit(np.ones((4, 3)))
    for kind in (ChannelStandardizer, ZCAWhitening):
        with pytest.raises(ValueError, match="NaN"):
            kind().fit(np.full((2, 3, 3, 1), np.nan))


@pytest.mark.parametrize(("r", "error"), [(0, ValueError), (np.inf, ValueError), ("a", TypeError)])
def test_bad_regularisers(r, error):
    with pytest.raises(error, match="regularization must be"):
        ZCAWhitening(r).fit(IMAGES)


def test_whitening_that_cannot_fit_says_so(monkeypatch):
    needed = 3 * 8 * IMAGES[0].size ** 2
    monkeypatch.setattr("ntksketch.data.blocks.available_memory", lambda: needed + 0.0)
    ZCAWhitening().fit(IMAGES)
    monkeypatch.setattr("ntksketch.data.blocks.available_memory", lambda: needed - 1.0)
    with pytest.raises(MemoryError, match=r"the covariance of rows of .* numbers"):
        ZCAWhitening().fit(IMAGES)
