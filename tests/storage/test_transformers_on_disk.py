"""Transformers of images on disk."""

import numpy as np
import pytest
from saved import File, reload

import ntksketch as ntk
from ntksketch import ChannelStandardizer, FlipAverage, ZCAWhitening

SHAPE = (4, 3, 2)
IMAGES = np.random.default_rng(0).standard_normal((30, *SHAPE)) + 1
FLAT = IMAGES.reshape(30, -1)
FEATURES = ntk.NTKFeatures(ntk.cnn(1), n_components=8, random_state=0)

MODELS = {
    "standardiser": lambda: ChannelStandardizer().fit(IMAGES),
    "standardiser of rows": lambda: ChannelStandardizer(list(SHAPE)).fit(FLAT),
    "whitening": lambda: ZCAWhitening(0.3).fit(IMAGES),
    "flips": lambda: FlipAverage(FEATURES).fit(IMAGES),
    "flips of rows": lambda: FlipAverage(
        ntk.NTKFeatures(ntk.cnn(1, shape=SHAPE), "random-features", 8, random_state=0), SHAPE
    ).fit(FLAT),
}


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loaded_transformer_is_the_transformer(name, dtype, tmp_path):
    model = MODELS[name]()
    copy = reload(model, tmp_path)
    rows = (FLAT if "rows" in name else IMAGES)[:5].astype(dtype)
    np.testing.assert_array_equal(copy.transform(rows), model.transform(rows))
    assert repr(copy) == repr(model)


def test_a_pipeline_is_saved_by_its_steps(tmp_path):
    """The images of a model go through what those of its fit went through."""
    white = ZCAWhitening().fit(IMAGES)
    model = ntk.NTKClassifier(ntk.cnn(1), n_components=8, random_state=0)
    model.fit(white.transform(IMAGES), IMAGES[:, 0, 0, 0] > 1)
    for name, step in {"white": white, "model": model}.items():
        ntk.save(step, tmp_path / f"{name}.safetensors")
    again, loaded = (ntk.load(tmp_path / f"{n}.safetensors") for n in ("white", "model"))
    found = loaded.predict(again.transform(IMAGES))
    np.testing.assert_array_equal(found, model.predict(white.transform(IMAGES)))


def test_features_of_others_are_refused(tmp_path):
    model = FlipAverage(ChannelStandardizer()).fit(IMAGES)
    with pytest.raises(ValueError, match="transformer, a ChannelStandardizer, lacks"):
        ntk.save(model, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("standardiser", lambda f: scale(f, "scale_", -1), "a scale is not above zero"),
        ("standardiser", lambda f: cut(f, "mean_"), "differ in number"),
        ("standardiser of rows", lambda f: f.put([4, 3, 5], "shape"), "channels have no mean"),
        ("whitening", lambda f: f.put(23, "n_features_in_"), "23 columns have 24 means"),
        ("whitening", lambda f: cut(f, "whitening_"), "the whitening has another shape"),
        ("whitening", lambda f: f.put(0.0, "regularization"), "the regulariser is 0"),
        ("flips of rows", lambda f: f.put([4, 3, 3], "shape"), "is not of 24"),
        ("flips", lambda f: f.put(f.at("transformer"), "transformer_"), "are not fitted|nothing"),
    ],
)
def test_parts_that_do_not_fit_are_refused(name, change, message, tmp_path):
    path = tmp_path / "model.safetensors"
    ntk.save(MODELS[name](), path)
    file = File(path)
    change(file)
    with pytest.raises(ntk.ModelFileError, match=message):
        ntk.load(file.write())


def scale(file, name, factor):
    file.arrays[file.array(name)] = factor * file.arrays[file.array(name)]


def cut(file, name):
    file.arrays[file.array(name)] = file.arrays[file.array(name)][:-1]
