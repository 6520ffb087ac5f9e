"""--network: architectures as text, on the command line, for rows, images and signals."""

import json
import math

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import ntksketch as ntk
from ntksketch import Conv, Dense, GlobalAvgPool, Input, LeakyRelu, Relu, residual, serial
from ntksketch.cli import evaluate
from ntksketch.cli.app import app
from ntksketch.cli.architecture import network
from ntksketch.cli.errors import InputError

IMAGES = ntk.cnn(2, 2, pooling=2, shape=(8, 8, 1))


@pytest.mark.parametrize(
    "architecture",
    [
        ntk.mlp(3, weight_std=1.5, bias_std=0.1),
        ntk.myrtle(5, shape=(32, 32, 3)),
        ntk.rnn(2, bidirectional=True, shape=(9, 2)),
        serial(
            Input((8, 8, 1)),
            residual(Conv((3, 3), padding="circular"), shortcut=Conv(1)),
            LeakyRelu(-0.2),
            GlobalAvgPool(),
            Dense(),
        ),
    ],
)
def test_what_a_network_prints_is_read(architecture):
    assert network(repr(architecture), 1, 0.0) == architecture


def test_builders_and_spaces_are_read():
    assert network(" cnn(2, 2, pooling = 2, shape=[8, 8, 1]) ", 1, 0.0) == IMAGES
    pool = ntk.AvgPool(4)
    assert network("cnn(1, readout=AvgPool(4))", 1, 0.0) == ntk.cnn(1, readout=pool)
    assert network(None, 2, 0.5) == ntk.mlp(2, bias_std=0.5)
    assert network("serial(Dense(1e0, bias_std=2), Relu(), Dense())", 1, 0.0) == serial(
        Dense(1.0, 2.0), Relu(), Dense()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it cannot be read"),
        ("cnn(", "it cannot be read"),
        ("mlp(2); mlp(3)", "it cannot be read"),
        ("3", "it is no network"),
        ("mlp", "malformed"),
        ("mlp(0)", "depth must be at least 1"),
        ("mlp(2, widths=3)", "unexpected keyword"),
        ("mlp(**{'depth': 2})", r"may not hold \*\*"),
        ("mlp(*[2])", "malformed"),
        ("mlp(1 + True * 2)", "malformed"),
        ("mlp(len([1]))", "it may call"),
        ("__import__('os').system('true')", "it may call"),
        ("Elementwise(abs)", "it may call"),
        ("serial(Dense)", "malformed"),
        ("serial(" * 500 + "Dense()" + ")" * 500, "nested too deeply|cannot be read"),
        ("rnn(shape=(3,))", "shape must be"),
    ],
)
def test_what_is_no_network(text, message):
    with pytest.raises(InputError, match=message):
        network(text, 1, 0.0)


@pytest.mark.parametrize(("depth", "bias"), [(2, 0.0), (1, 0.5)])
def test_a_network_twice(depth, bias):
    with pytest.raises(InputError, match="leave out --depth and --bias"):
        network("mlp(1)", depth, bias)


@pytest.mark.parametrize("bias", [-1.0, math.inf, math.nan])
def test_bad_biases(bias):
    with pytest.raises(InputError, match="--bias must be at least 0 and finite"):
        network(None, 1, bias)


def succeeded(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.stderr
    return done


@pytest.fixture
def digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = load_digits(return_X_y=True)
    X, y = X[:240] / 16, y[:240]
    np.savez("digits.npz", X=X, y=y)
    np.save("rows.npy", X)
    np.save("labels.npy", y)
    return X, y


def test_images_from_files_to_predictions(digits):
    X, y = digits
    options = ("--network", repr(IMAGES), "--components", 32, "--seed", 3)
    succeeded(
        "fit", "rows.npy", "m.safetensors", "--target", "labels.npy", "--task", "classification",
        *options,
    )  # fmt: skip
    succeeded("predict", "m.safetensors", "rows.npy", "found.npy")
    model = ntk.NTKClassifier(IMAGES, n_components=32, random_state=3).fit(X, y)
    np.testing.assert_array_equal(np.load("found.npy"), model.predict(X))
    succeeded("featurize", "rows.npy", "Z.npy", *options)
    features = ntk.NTKFeatures(IMAGES, n_components=32, random_state=3)
    np.testing.assert_allclose(np.load("Z.npy"), features.fit_transform(X), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_compare_takes_the_methods_that_take_images(digits, monkeypatch):
    monkeypatch.setattr(evaluate, "DRAWS", 2)
    monkeypatch.setattr(evaluate, "CHECKED_ROWS", 40)
    names = set(evaluate.named_methods(None, IMAGES))
    assert names == {
        "random-features", "polynomial-sketch", "nystroem", "layerwise-nystroem",
        "gradient", "ntkrf",
    }  # fmt: skip
    assert "layerwise-nystroem" not in evaluate.named_methods()
    done = succeeded(
        "compare", "digits.npz", "--network", repr(IMAGES), "--method", "layerwise-nystroem",
        "--method", "polynomial-sketch", "--components", 32, "--max-exact-rows", 0, "--json",
    )  # fmt: skip
    rows = json.loads(done.stdout)["rows"]
    assert [row["method"] for row in rows] == ["layerwise-nystroem", "polynomial-sketch"]


def test_flat_rows_need_their_shape(digits):
    done = CliRunner().invoke(app, ["featurize", "rows.npy", "Z.npy", "--network", "cnn(2)"])
    assert done.exit_code == 2
    assert "Input(shape)" in done.stderr
