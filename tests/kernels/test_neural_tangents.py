"""Kernels written down by neural-tangents 0.6.5 (reference/make_neural_tangents_values.py)."""

from pathlib import Path

import numpy as np
import pytest
from reference.make_neural_tangents_values import networks

import ntksketch as ntk

VALUES = dict(np.load(Path(__file__).parent / "reference" / "neural_tangents.npz"))


def test_versions_are_written_down():
    assert str(VALUES["versions"]) == "neural-tangents 0.6.5, jax 0.4.35"


@pytest.mark.parametrize("name", [name for name in VALUES if "=" in name])
def test_equals_neural_tangents(name):
    kind, *options = name.split()
    numbers = {key: float(value) for key, value in (option.split("=") for option in options)}
    network = ntk.mlp(int(numbers.pop("depth")), **numbers)
    K = ntk.kernel(network, VALUES["X"], kind=kind)
    # 1e-9: rows 1 and 6 are nearly opposite, which cancels seven digits of kappa1
    np.testing.assert_allclose(K, VALUES[name], rtol=1e-9)
    np.testing.assert_allclose(np.diag(K), np.diag(VALUES[name]), rtol=1e-14)


IMAGES, SIGNALS = networks(ntk)


SHORT = [("residual shortcut", "ntk"), ("stride same even", "nngp")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) in SHORT else pytest.mark.slow)
        for name in [*IMAGES, *SIGNALS]
        for kind in ("ntk", "nngp")
    ],
)
def test_equals_neural_tangents_on_pixels(name, kind):
    network = (IMAGES | SIGNALS)[name]
    X = VALUES["images" if name in IMAGES else "signals"]
    expected = VALUES[f"{kind}: {name}"]
    # 1e-8: theirs rounds the cosine of a pixel with itself, whose distance from 1 has a square root
    np.testing.assert_allclose(ntk.kernel(network, X, kind=kind), expected, rtol=1e-8)


def test_all_values_are_checked():
    named = {name.partition(": ")[2] for name in VALUES if ": " in name}
    assert named == set(IMAGES | SIGNALS)
