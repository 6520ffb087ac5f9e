"""Linear layers on features of pixels: their inner products are the exact view's covariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntksketch import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Input, kernel, serial
from ntksketch.features.state import Explicit, linear

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((4, 6, 5, 2))
SIGNALS = RNG.standard_normal((4, 9, 2))

LAYERS = [
    (Conv(3, bias_std=0.3), AvgPool(2), Conv(2, stride=2, weight_std=1.3), GlobalAvgPool()),
    (Conv((3, 2), padding="valid"), Dense(0.7, 0.2), Flatten(), Dense()),
    (AvgPool(3, stride=1), Conv(3, padding="circular"), Flatten()),
]


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_linear_networks_have_exact_features(layers):
    with jax.enable_x64(True):
        state = Explicit(jnp.asarray(IMAGES), None)
        for layer in layers:
            state = linear(layer, state)
    architecture = serial(Input(IMAGES.shape[1:]), *layers)
    for kind, features in (("nngp", state.phi), ("ntk", state.psi)):
        Z = np.asarray(features)
        np.testing.assert_allclose(Z @ Z.T, kernel(architecture, IMAGES, kind=kind), rtol=1e-10)
