"""Kernels written down by neural-tangents 0.6.5 (reference/make_neural_tangents_values.py)."""

from pathlib import Path

import numpy as np
import pytest

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
