"""Windows of pixels: products with filters, pixel by pixel, and how XLA computes them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntksketch import AvgPool, Conv, Dense
from ntksketch.features.pixels import spatial_shape
from ntksketch.features.state import Explicit
from ntksketch.networks.windows import windows_of

RNG = np.random.default_rng(0)
CASES = [
    (Conv(3), (6, 5)),
    (Conv((2, 3), stride=2, padding="circular"), (6, 5)),
    (Conv(4, stride=3), (9,)),
    (Conv(3, padding="valid"), (4, 6)),
    (Conv(5), (2, 2)),
    (AvgPool(2), (4, 4)),
    (Conv(1, stride=2), (5, 4)),
    (Dense(), (6, 5)),
]
every_case = pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)


def correlated(windows, images, filters):
    """Every image, window and filter by itself."""
    widths = [(0, 0), *((w.before, w.after) for w in windows.along), (0, 0)]
    padded = np.pad(images, widths, mode="wrap" if windows.wrap else "constant")
    found = np.empty((len(images), *windows.shape, filters.shape[-1]))
    for i, at in itertools.product(range(len(images)), np.ndindex(windows.shape)):
        under = tuple(
            slice(p * w.stride, p * w.stride + w.size)
            for p, w in zip(at, windows.along, strict=True)
        )
        for column in range(filters.shape[-1]):
            found[i, *at, column] = np.sum(padded[i][under] * filters[..., column])
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_case
def test_products_of_windows_with_filters(layer, shape, dtype):
    windows = windows_of(layer, shape)
    images = RNG.standard_normal((3, *shape, 2)).astype(dtype)
    filters = RNG.standard_normal((*windows.sizes, 2, 4)).astype(dtype)
    with jax.enable_x64(True):
        found = jax.jit(windows.correlate)(images, filters)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(
        found, correlated(windows, images, filters), rtol=tolerance, atol=tolerance
    )


@every_case
def test_inner_products_with_windows_are_those_of_the_windows(layer, shape):
    images, windows = RNG.standard_normal((4, *shape, 2)), windows_of(layer, shape)
    pixels = np.stack([RNG.integers(count, size=4) for count in windows.shape], axis=1)
    with jax.enable_x64(True):
        features = jnp.asarray(images)
        assert spatial_shape(Explicit(features, None)) == shape
        taken = np.asarray(windows.take(features, jnp.asarray(pixels)))
        assert taken.shape == (4, *windows.sizes, 2)
        found = np.asarray(windows.correlate(features, jnp.moveaxis(taken, 0, -1)))
    assert found.shape == (4, *windows.shape, 4)
    flat = taken.reshape(4, -1)
    np.testing.assert_allclose(found[(np.arange(4), *pixels.T)], flat @ flat.T, rtol=1e-10)


@pytest.mark.parametrize(("dtype", "shape"), [(np.float64, (6, 6)), (np.float32, (2, 6))], ids=str)
def test_no_convolution_that_reads_beside_the_array(dtype, shape):
    """XLA's loop over padded images does; no padded pixels are in any program it could be in."""
    windows = windows_of(Conv(3), shape)
    images = jax.ShapeDtypeStruct((2, *shape, 1), dtype)
    filters = jax.ShapeDtypeStruct((3, 3, 1, 1), dtype)
    with jax.enable_x64(True):
        program = jax.jit(jax.value_and_grad(lambda X, F: windows.correlate(X, F).sum()))
        compiled = program.lower(images, filters).compile().as_text()
    assert " convolution(" not in compiled


def test_float32_images_are_convolved():
    windows = windows_of(Conv(3), (6, 6))
    program = jax.jit(windows.correlate)
    found = program.lower(
        jax.ShapeDtypeStruct((2, 6, 6, 1), np.float32),
        jax.ShapeDtypeStruct((3, 3, 1, 1), np.float32),
    )
    assert "convolution" in found.as_text()
