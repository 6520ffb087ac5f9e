"""The map of features layer by layer against loops over pixels, landmarks and windows."""

import numpy as np
import pytest
import scipy.linalg
from oracles import relu_products

import ntksketch as ntk
from ntksketch import AvgPool, Conv, Dense, GlobalAvgPool, LayerwiseNystroem, Relu, serial

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((30, 5, 4, 2))


def window(image, i, j):
    """Return the 3 x 3 pixels around one, zeros outside."""
    height, width, channels = image.shape
    found = np.zeros((3, 3, channels))
    for a in range(3):
        for b in range(3):
            y, x = i + a - 1, j + b - 1
            if 0 <= y < height and 0 <= x < width:
                found[a, b] = image[y, x]
    return found.ravel()


def duals(inner, left, right):
    """Return the rectifier's dual function of a covariance, and that of its derivative."""
    norm = np.sqrt(left * right)
    value, slope = relu_products(np.arccos(np.clip(inner / norm, -1, 1)))
    return norm * value, slope


def square_root(values, matrix, eps=2.0**-52):
    """Return L^{-1} values for the Cholesky factor of a matrix of which little is added."""
    jitter = 10 * len(matrix) * eps * np.linalg.eigvalsh(matrix)[-1]
    factor = scipy.linalg.cholesky(matrix + jitter * np.eye(len(matrix)), lower=True)
    return scipy.linalg.solve_triangular(factor, values, lower=True)


class Layer:
    """A convolution of size 3 and a rectifier, of landmarks given by their windows."""

    def __init__(self, phi, psi, weight, bias):
        self.phi, self.psi = phi, psi
        self.weight, self.bias = weight**2 / 9, bias**2
        marks = list(zip(phi, psi, strict=True))
        pairs = [[self.kernels(*z, *y) for y in marks] for z in marks]
        self.value, self.tangent = np.moveaxis(np.array(pairs), 2, 0)

    def kernels(self, phi, psi, other_phi, other_psi):
        nngp, left, right = (
            self.weight * a @ b + self.bias
            for a, b in ((phi, other_phi), (phi, phi), (other_phi, other_phi))
        )
        value, slope = duals(nngp, left, right)
        return value, (self.weight * psi @ other_psi + nngp) * slope

    def pixels(self, phi, psi):
        """Return both kernels of every pixel of an image with the landmarks."""
        height, width = phi.shape[:2]
        found = np.zeros((2, height, width, len(self.phi)))
        for i in range(height):
            for j in range(width):
                here = window(phi, i, j), window(psi, i, j)
                pairs = [self.kernels(*here, *z) for z in zip(self.phi, self.psi, strict=True)]
                found[:, i, j] = np.array(pairs).T
        return found


def pooled_in_pairs(features):
    """Return the means of 2 x 2 pixels; what is left over is left out."""
    found = np.empty((features.shape[0] // 2, features.shape[1] // 2, features.shape[2]))
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            found[i, j] = features[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1))
    return found


def landmark_windows(mark):
    """Return the windows of landmarks as rows; there is no psi in front of the first layer."""
    count = mark.phi.shape[-1]
    phi = mark.phi.reshape(-1, count).T
    return phi, np.zeros((count, 9)) if mark.psi is None else mark.psi.reshape(-1, count).T


@pytest.mark.parametrize(("weight", "bias"), [(1.0, 0.0), (1.3, 0.4)])
def test_two_layers_by_loops(weight, bias):
    conv = Conv(3, weight_std=weight, bias_std=bias)
    readout = Dense(1.1, 0.2)
    network = serial(conv, Relu(), AvgPool(2), conv, Relu(), GlobalAvgPool(), readout)
    fm = ntk.NTKFeatures(network, LayerwiseNystroem(6), 9, random_state=0).fit(IMAGES)
    first, second = (
        Layer(*landmark_windows(mark), weight, bias) for mark in fm.feature_map_.params
    )
    # the readout: w^2 (S + T) + b^2
    last = 1.1**2 * (second.value + second.tangent)
    for image, features in zip(IMAGES[:4], fm.transform(IMAGES[:4]), strict=True):
        value, tangent = first.pixels(image, np.zeros((5, 4, 1)))
        phi = square_root(value.reshape(-1, 6).T, first.value).T.reshape(5, 4, 6)
        psi = square_root(tangent.reshape(-1, 6).T, first.tangent).T.reshape(5, 4, 6)
        phi, psi = (
            np.array(
                [
                    [a[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) for j in (0, 1)]
                    for i in (0, 1)
                ]
            )
            for a in (phi, psi)
        )
        value, tangent = second.pixels(phi, psi)
        pooled = 1.1**2 * (value + tangent).mean((0, 1))
        expected = np.append(square_root(pooled, last), 0.2)
        np.testing.assert_allclose(features, expected, rtol=1e-6, atol=1e-8)


def test_landmarks_are_windows_of_the_sample():
    fm = ntk.NTKFeatures(ntk.cnn(1), LayerwiseNystroem(), 12, random_state=3).fit(IMAGES)
    rows, _ = landmark_windows(fm.feature_map_.params[0])
    every = {window(image, i, j).tobytes() for image in IMAGES for i in range(5) for j in range(4)}
    assert {row.tobytes() for row in rows} <= every
    assert len({row.tobytes() for row in rows}) == 12
