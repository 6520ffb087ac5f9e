"""Exact kernels of networks on images and signals."""

import conv_oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn

import ntksketch as ntk
from ntksketch import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Input, Relu, residual, serial
from ntksketch.architectures.shapes import output_shape

RELU, GAP, FLAT = Relu(), GlobalAvgPool(), Flatten()
BIASED = {"weight_std": 1.2, "bias_std": 0.3}

ARCHITECTURES = {
    "gap": ntk.cnn(2),
    "flatten": ntk.cnn(2, readout="flatten"),
    "biases": ntk.cnn(2, (3, 2), **BIASED),
    "biases, flatten": ntk.cnn(3, 2, readout="flatten", **BIASED),
    "valid": ntk.cnn(2, 2, padding="valid"),
    "circular": ntk.cnn(2, 3, padding="circular"),
    "circular, even": ntk.cnn(1, (2, 4), readout="flatten", padding="circular"),
    "strides": serial(Conv(3, 2), RELU, Conv(2, (1, 2)), RELU, GAP, Dense()),
    "strides, valid": serial(Conv(2, 2, "valid"), RELU, Conv(1), RELU, FLAT, Dense()),
    "circular strides": serial(Conv(3, 2, "circular"), RELU, GAP, Dense()),
    "pools": ntk.cnn(2, pooling=2),
    "pools, flatten": ntk.cnn(2, readout="flatten", pooling=2, bias_std=0.1),
    "pools, two halves": ntk.cnn(2, 2, readout=AvgPool((2, 1)), pooling=(1, 2), bias_std=0.1),
    "overlapping pools": serial(Conv(2), RELU, AvgPool(3, 1), Conv(2), RELU, FLAT, Dense()),
    "pool first": serial(AvgPool((2, 1)), Conv(2), RELU, GAP, Dense()),
    "dense behind": serial(Conv(), RELU, GAP, Dense(bias_std=0.5), RELU, Dense()),
    "dense on pixels": serial(Dense(1.1, 0.2), RELU, Conv(2), RELU, GAP, Dense()),
    "residual": serial(Conv(), residual(RELU, Conv(bias_std=0.2)), RELU, GAP, Dense()),
    "residual, flatten": serial(Conv(), residual(RELU, Conv()), RELU, FLAT, Dense()),
    "shortcut": serial(
        Conv(), residual(RELU, Conv(3, 2), shortcut=Conv(1, 2)), RELU, FLAT, Dense()
    ),
    "pool in a branch": serial(
        Conv(),
        residual(RELU, Conv(), AvgPool(2), shortcut=serial(Conv(1), AvgPool(2))),
        RELU,
        FLAT,
        Dense(),
    ),
    "nested": serial(Conv(2), residual(residual(RELU, Conv(2)), RELU, Conv(1)), GAP, Dense()),
    "input": serial(Input((4, 5, 2)), Conv(2), RELU, GAP, Dense()),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((3, 4, 5, 2))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "gap" else pytest.mark.slow) for n in ARCHITECTURES],
)
def test_images_agree_with_the_oracle(name, images):
    architecture = ARCHITECTURES[name]
    expected = np.array(
        [[conv_oracle.conv_kernel(architecture, x, y) for y in images] for x in images]
    )
    nngp = ntk.kernel(architecture, images[:2], images[1:], kind="nngp")
    np.testing.assert_allclose(nngp, expected[:2, 1:, 0], rtol=1e-9, atol=1e-12)
    K = ntk.kernel(architecture, images)
    np.testing.assert_allclose(K, expected[:, :, 1], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(K.diagonal(), ntk.kernel_diag(architecture, images))
    single = ntk.kernel(architecture, images.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected[:, :, 1], rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [
    ntk.cnn(2, bias_std=0.2), ntk.cnn(2, (2,), readout="flatten"), ntk.cnn(2, pooling=3),
    ntk.cnn(2, 4, "gap", padding="circular"), ntk.resnet(2),
], ids=str)  # fmt: skip
def test_signals_agree_with_the_oracle(architecture):
    signals = np.random.default_rng(1).standard_normal((2, 9, 3))
    for kind, expected in zip(
        ("nngp", "ntk"), conv_oracle.conv_kernel(architecture, *signals), strict=True
    ):
        found = ntk.kernel(architecture, signals[:1], signals[1:], kind=kind)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.slow
def test_myrtle_ends_with_one_pixel():
    """Images of 8 x 8 go down to one pixel by three pools, behind which nothing is left to pool."""
    for depth, count in ((5, 4), (7, 6), (10, 9)):
        layers = ntk.myrtle(depth).layers
        assert sum(isinstance(layer, Conv) for layer in layers) == count
        assert output_shape(serial(Input((32, 32, 3)), *layers[:-2]), ()) == (1, 1)
    x, y = np.random.default_rng(2).standard_normal((2, 8, 8, 1))
    small = serial(*ntk.myrtle(5).layers[:-4])
    K, same = (ntk.kernel(serial(small, end, Dense()), x[None], y[None]) for end in (GAP, FLAT))
    np.testing.assert_allclose(K, same, rtol=1e-12)


def test_a_pixel_is_a_row():
    """Images of one pixel make a network on images a perceptron."""
    X = np.random.default_rng(3).standard_normal((6, 7))
    for readout in ("gap", "flatten"):
        found = ntk.kernel(ntk.cnn(3, 1, readout, bias_std=0.3), X[:, None, None, :])
        np.testing.assert_allclose(found, ntk.kernel(ntk.mlp(3, bias_std=0.3), X), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gap", "pools, flatten", "strides", "shortcut"])
def test_wide_networks_agree(name, images):
    """The covariance of the outputs of wide random networks is the NNGP kernel."""
    architecture, width, n_draws = ARCHITECTURES[name], 96, 300
    x = jnp.asarray(images, jnp.float32)
    draw = jax.jit(lambda key: forward(architecture.layers, key, x, width))
    outputs = np.stack([np.asarray(draw(jax.random.key(i))) for i in range(n_draws)])
    products = np.einsum("dik,djk->dij", outputs, outputs) / outputs.shape[-1]
    K = ntk.kernel(architecture, images, kind="nngp")
    error = products.std(axis=0, ddof=1) / np.sqrt(n_draws)
    assert (np.abs(products.mean(axis=0) - K) < 5 * error + 3 * np.abs(K).max() / width).all()


def forward(layers, key, x, width):
    """Apply a random network: activations of shape (n, *S, channels), or (n, channels)."""
    first = x.shape[-1] in (2,)  # the images' channels: weights are not divided by their number
    for layer in layers:
        key, inner = jax.random.split(key)
        if isinstance(layer, Conv):
            size = (
                (layer.filter_size,) * 2
                if isinstance(layer.filter_size, int)
                else (layer.filter_size)
            )
            stride = (layer.stride,) * 2 if isinstance(layer.stride, int) else layer.stride
            fan_in = np.prod(size) * (1 if first else x.shape[-1])
            weights = jax.random.normal(inner, (*size, x.shape[-1], width))
            x = jax.lax.conv_general_dilated(
                x, weights * (layer.weight_std / np.sqrt(fan_in)), stride, layer.padding.upper(),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
            x = x + layer.bias_std * jax.random.normal(jax.random.fold_in(inner, 1), (width,))
            first = False
        elif isinstance(layer, Dense):
            weights = jax.random.normal(inner, (x.shape[-1], width)) / np.sqrt(x.shape[-1])
            x = layer.weight_std * x @ weights
            x = x + layer.bias_std * jax.random.normal(jax.random.fold_in(inner, 1), (width,))
        elif isinstance(layer, Relu):
            x = np.sqrt(2) * jax.nn.relu(x)
        elif isinstance(layer, AvgPool):
            n, h, w, c = x.shape
            k = layer.window_size
            x = x[:, : h // k * k, : w // k * k].reshape(n, h // k, k, w // k, k, c).mean((2, 4))
        elif isinstance(layer, GlobalAvgPool):
            x = x.mean((1, 2))
        elif isinstance(layer, Flatten):
            x = x.reshape(len(x), -1)
        else:
            branch, key = jax.random.split(inner)
            other = x
            if layer.shortcut is not None:
                other = forward(layer.shortcut.layers, jax.random.fold_in(key, 1), x, width)
            x = forward(layer.branch.layers, branch, x, width) + other
    return x


def test_rows_may_be_flat_integers_or_sparse(images):
    import scipy.sparse as sp

    pixels = np.random.default_rng(4).integers(0, 256, (3, 4, 5, 2)).astype(np.uint8)
    flat = ntk.cnn(1, shape=(4, 5, 2))
    K = ntk.kernel(ntk.cnn(1), pixels)
    np.testing.assert_array_equal(ntk.kernel(flat, pixels.reshape(3, -1)), K)
    np.testing.assert_array_equal(ntk.kernel(flat, pixels), K)
    sparse = sp.csr_array(pixels.reshape(3, -1).astype(float))
    np.testing.assert_array_equal(ntk.kernel(flat, sparse), K)
    across = ntk.kernel(flat, pixels, pixels.reshape(3, -1)[:1])
    np.testing.assert_allclose(across, K[:, :1], rtol=1e-12)
    assert (ntk.kernel(ntk.cnn(1), np.zeros((2, 4, 4, 1))) == 0).all()


@pytest.mark.parametrize("tile_mib", [0.1, 0.4, 1])
def test_tiles_do_not_matter(tile_mib, images):
    K = ntk.kernel(ntk.cnn(1), images, working_memory=64)
    tiled = ntk.kernel(ntk.cnn(1), images, working_memory=tile_mib)
    np.testing.assert_allclose(tiled, K, rtol=1e-12)


def test_the_budget_is_checked_before_anything_is_computed(images, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("ntksketch.kernels.gram.spatial_kernel", fail)
    monkeypatch.setattr("ntksketch.kernels.gram.spatial_diagonal", fail)
    for call in (ntk.kernel, ntk.kernel_diag):
        with pytest.raises(MemoryError, match="working_memory"):
            call(ntk.cnn(1), images, working_memory=0.01)
        with (
            sklearn.config_context(working_memory=0.01),
            pytest.raises(MemoryError, match="working_memory"),
        ):
            call(ntk.cnn(1), images)


def test_diagonals_come_in_blocks():
    X = np.random.default_rng(5).standard_normal((35, 4, 3, 2))  # more than one block of 32
    diagonal = ntk.kernel_diag(ntk.cnn(1), X)
    each = [ntk.kernel(ntk.cnn(1), x[None], x[None])[0, 0] for x in X[[0, 31, 32, 34]]]
    np.testing.assert_allclose(diagonal[[0, 31, 32, 34]], each, rtol=1e-6)
    few = ntk.kernel_diag(ntk.cnn(1), X, working_memory=0.1)
    np.testing.assert_allclose(few, diagonal, rtol=1e-12)


@pytest.mark.parametrize(("architecture", "shape", "message"), [
    (ntk.cnn(1), (3, 8), r"give arrays of shape \(n, height, width, channels\)"),
    (ntk.mlp(1), (3, 4, 4, 1), "X: Found array with dim 4|X: .*array with dim 4"),
    (ntk.cnn(1, shape=(4, 4, 1)), (3, 15), "rows of 15 numbers, expected 16"),
    (ntk.cnn(1, shape=(4, 4, 3)), (3, 4, 4, 1), r"rows of shape \(4, 4, 1\), expected \(4, 4, 3\)"),
    (ntk.cnn(1, 5, padding="valid"), (3, 4, 9, 1), "needs 5 pixels, and its input has shape"),
    (ntk.cnn(2, pooling=9), (3, 8, 8, 1), "needs 9 pixels"),
    (ntk.cnn(1, (3, 3)), (3, 8, 1), "has 2 numbers for its filter_size"),
    (ntk.cnn(1, 9, padding="circular"), (3, 4, 4, 1), "goes around more than once"),
    (serial(Conv(), RELU), (3, 4, 4, 1), "ends with pixels"),
    (serial(GAP, Conv()), (3, 4, 4, 1), "needs pixels, and the layers before it leave a vector"),
    (serial(Conv(), residual(RELU, Conv(3, 2)), GAP), (3, 4, 4, 1), "cannot be added"),
    (ntk.cnn(1), (3, 2, 4, 4, 1), "Found array with dim 5|expected"),
], ids=str)  # fmt: skip
def test_images_that_do_not_fit(architecture, shape, message):
    with pytest.raises(ValueError, match=message):
        ntk.kernel(architecture, np.ones(shape))


def test_what_cannot_be_added_up():
    with pytest.raises(ValueError, match="must end with Dense or Conv"):
        residual(Conv(), RELU)
    with pytest.raises(
        ValueError, match=r"readout must be one of .* or AvgPool, got GlobalAvgPool"
    ):
        ntk.cnn(1, readout=GAP)
    with pytest.raises(ValueError, match="Hermite expansion"):
        ntk.kernel(ntk.cnn(1, activation=ntk.Elementwise(np.tanh)), np.ones((1, 3, 3, 1)))
    with pytest.raises(MemoryError, match="working_memory"):
        ntk.kernel(ntk.cnn(1), np.ones((2, 32, 32, 1)), working_memory=1)
    images = np.ones((2, 3, 3, 1))
    images[1, 2, 2, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ntk.kernel(ntk.cnn(1), images)


@pytest.mark.slow
def test_estimators_take_flat_rows_of_small_images():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X, y = (X[:300] / 16).astype(np.float32), y[:300]
    architecture = ntk.cnn(1, readout="flatten", shape=(8, 8, 1))
    model = ntk.NTKClassifier(architecture, "nystroem", n_components=100, random_state=0)
    model.fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.85
    report = ntk.check_features(model.features_, X[200:])
    assert report.frobenius.value < 0.05
    alpha = 1e-3 * float(ntk.kernel_diag(architecture, X[:200]).mean())
    solution = ntk.solve_kernel_ridge(architecture, X[:200], X[:200, 20], alpha)
    K = ntk.kernel(architecture, X.astype(np.float64))
    K11 = K[:200, :200] + alpha * np.eye(200)
    ones, targets = np.ones(200), X[:200, 20].astype(float)
    solved = np.linalg.solve(K11, np.stack([targets, ones], axis=1))
    intercept = solved[:, 0].sum() / solved[:, 1].sum()
    expected = K[200:, :200] @ (solved[:, 0] - intercept * solved[:, 1]) + intercept
    np.testing.assert_allclose(solution.predict(X[200:]), expected, atol=2e-3)


@pytest.mark.parametrize("method", ["gegenbauer", "polynomial-sketch"])
def test_other_methods_say_so(method):
    features = ntk.NTKFeatures(ntk.cnn(1, shape=(4, 4, 1)), method, 64)
    with pytest.raises(ValueError, match="works on images"):
        features.fit(np.ones((5, 16)))
    with pytest.raises(ValueError, match="rows of 15 numbers, expected 16"):
        ntk.NTKFeatures(ntk.cnn(1, shape=(4, 4, 1)), "nystroem", 4).fit(np.ones((5, 15)))
    with pytest.raises(ValueError, match=r"weight_std must be None for .* images"):
        ntk.NTKKernel(ntk.cnn(1, shape=(4, 4, 1)), weight_std=1.0)(np.ones((5, 16)))


def test_grey_images_without_channels_are_warned_of():
    """As signals they would be, silently, other data."""
    X = np.random.default_rng(0).standard_normal((3, 8, 8))
    with pytest.warns(UserWarning, match=r"taken for 3 signals of 8 steps .* X\[..., None\]"):
        found = ntk.kernel(ntk.cnn(1), X)
    meant = ntk.kernel(ntk.cnn(1, shape=(8, 8)), X)
    np.testing.assert_array_equal(found, meant)
    assert np.abs(found - ntk.kernel(ntk.cnn(1), X[..., None])).max() > 0.1
    ntk.kernel(ntk.cnn(1), X[:, :, :7])
