"""Convergence to the exact kernel, and growth with the pixels: logic, tables and plots."""

import numpy as np
import pytest
from recorded import saved, with_images_and_series

from benchmarks import convergence, pixels
from benchmarks.datasets import VARIABLE
from benchmarks.errors import summary
from benchmarks.rendering import render


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return with_images_and_series(tmp_path)


# ---------------------------------------------------------------------------------------------
# Convergence to the exact kernel
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_method_on_the_crops(folder):
    settings = convergence.settings(True)
    [configuration] = [
        c for c in convergence.configurations(settings) if c["key"] == "cifar10 layerwise"
    ]
    outcome = convergence.measure(configuration, settings)
    assert (outcome["n_rows"], outcome["n_fit"]) == (12, 28)
    errors = [size["error"]["mean"] for size in outcome["sizes"]]
    assert 0 < errors[1] < errors[0] < 0.5


def test_sequences_have_the_methods_that_take_them():
    keys = [c["key"] for c in convergence.configurations(convergence.settings(True))]
    assert [key for key in keys if key.startswith("sequences")] == [
        "sequences nystroem",
        "sequences gradient",
    ]
    assert len(keys) == 3 * len(convergence.METHODS) + 2


def test_the_table_of_errors_from_made_up_results(tmp_path):
    settings = convergence.settings(False)
    outcomes = []
    for c in convergence.configurations(settings):
        most = settings["landmarks"] if c["method"] == "nystroem" else np.inf
        sizes = [
            {"n_components": m, "error": summary([m**-0.5, m**-0.5])}
            for m in settings["components"]
            if m <= most
        ]
        outcomes.append((c, {"sizes": sizes}))
    table = convergence.table(saved(tmp_path, convergence, settings, outcomes))
    assert "| Nyström, uniform | 0.0884 | 0.0625 | 0.0442 |  |  | -0.50 |" in table
    assert table.count("| Random features | 0.0884 | 0.0625 | 0.0442 | 0.0312 | 0.0221 |") == 3
    assert render(tmp_path / "convergence.json")[2].stat().st_size > 0


# ---------------------------------------------------------------------------------------------
# Growth with the pixels
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["features", pytest.param("exact", marks=pytest.mark.slow)])
def test_pixels(folder, what):
    settings = pixels.settings(True) | {"sides": [8], "exact_images": {"8": 2}, "images": 4}
    configurations = pixels.configurations(settings)
    assert [c["key"] for c in configurations] == ["features 8", "exact 8"]
    [configuration] = [c for c in configurations if c["what"] == what]
    outcome = pixels.measure(configuration, settings)
    data = saved(folder, pixels, settings, [(configuration, outcome)])
    assert outcome["entries"] == 4
    assert outcome["each"] == pytest.approx(np.median(outcome["seconds"]) / 4)
    assert "exponent" not in pixels.table(data)  # of a single size


def test_exponents_of_pixels(tmp_path):
    settings = pixels.settings(False)
    outcomes = []
    for c in reversed(pixels.configurations(settings)):
        power = {"features": 1.0, "exact": 2.0}[c["what"]]
        n = c["side"] ** 2
        about = {"pixels": n, "images": 2, "median": 1.0, "peak_memory": 0}
        outcomes.append((c, {"each": 1e-6 * n**power, **about}))
    data = saved(tmp_path, pixels, settings, outcomes)
    table = pixels.table(data)
    assert "| features, for an image | 1.00 | at most 1.1 |" in table
    assert "| exact kernel, for a pair of images | 2.00 | about 2 |" in table
    assert [m["side"] for m in pixels.series(data)["exact"]] == [8, 16, 32, 64]
    assert render(tmp_path / "pixels.json")[2].stat().st_size > 0
