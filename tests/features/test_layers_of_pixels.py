"""Random features and polynomial sketches of images, against loops over pixels."""

import jax
import numpy as np
import pytest

import ntksketch as ntk
from ntksketch import Conv, Dense, GlobalAvgPool, Input, PolynomialSketch, RandomFeatures, Relu
from ntksketch.kernels.gram import precision

IMAGES = np.random.default_rng(0).standard_normal((2, 4, 3, 2))
NETWORK = ntk.serial(
    Input((4, 3, 2)),
    Conv((3, 2), weight_std=1.2, bias_std=0.3),
    Relu(),
    Conv((2, 2), stride=2, padding="valid", weight_std=0.8),
    Relu(),
    GlobalAvgPool(),
    Dense(1.5, 0.4),
)


def patches(pixels, size, stride, before, shape):
    """Return what lies in the windows of one image, offset by offset; outside there is nothing."""
    height, width = len(pixels), len(pixels[0])
    nothing = np.zeros_like(pixels[0][0])
    out = []
    for i in range(shape[0]):
        row = []
        for j in range(shape[1]):
            found = []
            for a in range(size[0]):
                for b in range(size[1]):
                    y, x = i * stride + a - before[0], j * stride + b - before[1]
                    inside = 0 <= y < height and 0 <= x < width
                    found.append(pixels[y][x] if inside else nothing)
            row.append(np.concatenate(found) / np.sqrt(size[0] * size[1]))
        out.append(row)
    return out


def convolved(phi, psi, layer, before, shape):
    """Return the features behind a convolution."""
    stride = layer.stride
    phi = [
        [np.r_[layer.weight_std * p, layer.bias_std] if layer.bias_std else layer.weight_std * p
         for p in row]
        for row in patches(phi, layer.filter_size, stride, before, shape)
    ]  # fmt: skip
    if psi is None:
        return phi, phi
    psi = patches(psi, layer.filter_size, stride, before, shape)
    return phi, [
        [np.r_[p, layer.weight_std * q] for p, q in zip(*rows, strict=True)]
        for rows in zip(phi, psi, strict=True)
    ]


def apply_to(sketch, *vectors):
    with precision(np.float64):
        return np.asarray(sketch.apply(*(v[None] for v in vectors)))[0]


def each(function, *grids):
    return [
        [function(*cells) for cells in zip(*rows, strict=True)] for rows in zip(*grids, strict=True)
    ]


def by_loops(image, activations, mix):
    """Return the features of one image in front of the last sketch."""
    first, second, readout = NETWORK.layers[1], NETWORK.layers[3], NETWORK.layers[6]
    phi = [[np.asarray(p) for p in row] for row in image]
    phi, psi = convolved(phi, None, first, (1, 0), (4, 3))
    phi, psi = activations[0](phi, psi)
    phi, psi = convolved(phi, psi, second, (0, 0), (2, 1))
    psi = each(mix[0], psi)
    phi, psi = activations[1](phi, psi)
    phi, psi = (np.mean([cell for row in grid for cell in row], axis=0) for grid in (phi, psi))
    phi = np.r_[readout.weight_std * phi, readout.bias_std]
    return mix[1](np.r_[phi, readout.weight_std * psi])


def features_of(method, m=24):
    features = ntk.NTKFeatures(NETWORK, method, m, random_state=3)
    return features.fit(IMAGES).feature_map_, features.transform(IMAGES)


@pytest.mark.parametrize("sampling", ["gaussian", "leverage"])
def test_random_features_by_loops(sampling):
    method = RandomFeatures(sampling, "tensor-srht", False, 0.25, hidden_components=20)
    feature_map, Z = features_of(method)
    *drawn, fold = feature_map.params
    assert fold is None

    def activation(params):
        relu, steps = np.asarray(params.relu), np.asarray(params.steps)

        def rectified(phi):
            return np.sqrt(2 / relu.shape[1]) * np.maximum(phi @ relu, 0)

        def product(phi, psi):
            step = np.sqrt(2 / steps.shape[1]) * (phi @ steps >= 0)
            return apply_to(params.product.sketch, psi, step)

        return lambda phi, psi: (each(rectified, phi), each(product, phi, psi))

    activations = [activation(params) for params in drawn]
    mix = (lambda psi: psi,) * 2
    for image, z in zip(IMAGES, Z, strict=True):
        np.testing.assert_allclose(z, by_loops(image, activations, mix), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("degree", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_polynomial_sketch_by_loops(degree):
    method = PolynomialSketch(degree, "layered", "taylor", "osnap", False, hidden_components=20)
    feature_map, Z = features_of(method)
    plan, (_, drawn, gaussian) = feature_map

    def polynomial(mixture, coefficients, columns, u):
        powers = {0: np.ones(1), 1: u}
        if mixture.tree is not None:
            with precision(np.float64):
                leaves = mixture.tree.project(*[u[None]] * len(mixture.tree.leaves))
                found = mixture.tree.powers(leaves, dict(columns))
            powers |= {j: np.asarray(found[j])[0] for j in found}
        parts = [np.sqrt(c) * powers[j] for j, c in enumerate(coefficients) if c]
        return apply_to(mixture.mix, np.concatenate(parts))

    def activation(params):
        def value(phi):
            norm = np.linalg.norm(phi)
            return norm * polynomial(params.value, plan.value, plan.value_columns, phi / norm)

        def product(phi, psi):
            u = phi / np.linalg.norm(phi)
            step = polynomial(params.slope, plan.slope, plan.slope_columns, u)
            return apply_to(params.product, psi, step)

        return lambda phi, psi: (each(value, phi), each(product, phi, psi))

    def exact(params, variances):
        # the norms in front of the second activation are the exact kernel's, not the features'
        def value(phi, v):
            return np.sqrt(v) * polynomial(
                params.value, plan.value, plan.value_columns, phi / np.sqrt(v)
            )

        def product(phi, psi, v):
            step = polynomial(params.slope, plan.slope, plan.slope_columns, phi / np.sqrt(v))
            return apply_to(params.product, psi, step)

        return lambda phi, psi: (each(value, phi, variances), each(product, phi, psi, variances))

    relus = [layer for layer in drawn if hasattr(layer, "value")]
    mixes = [layer for layer in drawn if not hasattr(layer, "value")]
    mix = (
        lambda psi: apply_to(mixes[0], psi),
        lambda psi: apply_to(mixes[1], psi) @ gaussian,
    )
    for image, z in zip(IMAGES, Z, strict=True):
        pixels = [[np.asarray(p) for p in row] for row in image]
        first, _ = convolved(pixels, None, NETWORK.layers[1], (1, 0), (4, 3))
        squares = each(lambda p: np.array([p @ p]), first)
        second = patches(each(np.sqrt, squares), (2, 2), 2, (0, 0), (2, 1))
        variances = each(lambda p: 0.8**2 * (p @ p), second)
        activations = [activation(relus[0]), exact(relus[1], variances)]
        np.testing.assert_allclose(z, by_loops(image, activations, mix), rtol=1e-9, atol=1e-11)


def test_hidden_components_by_default():
    for m, hidden in ((256, 256), (1200, 300)):
        plan = (
            PolynomialSketch.published(degree=2)
            .init(jax.random.key(0), NETWORK, IMAGES.reshape(2, -1), kind="ntk", n_components=m)
            .plan
        )
        assert plan.n_hidden == hidden
        layouts = (
            RandomFeatures()
            .init(jax.random.key(0), NETWORK, IMAGES.reshape(2, -1), kind="ntk", n_components=m)
            .plan.layouts
        )
        assert sum(layouts[0].widths) == hidden
