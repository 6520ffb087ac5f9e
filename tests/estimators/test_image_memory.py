"""Peak memory of what works on images: kernels and features, in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

MEASURE = """
import ctypes, gc, json, sys, warnings
import jax
import numpy as np
import ntksketch as ntk
from pathlib import Path

warnings.simplefilter("ignore")

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

def peak(function):
    "Return the MiB that a call takes at most, above what was there before."
    function()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = function()
    return resident("VmHWM") - before

def images(n, shape, dtype):
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(dtype)

kernels, features = map(json.loads, sys.argv[1:])
peaks = {}
for name, (network, n, shape, dtype, budget) in kernels.items():
    X, network = images(n, shape, dtype), eval(network, vars(ntk))
    for call in (ntk.kernel, ntk.kernel_diag):
        peaks[f"{name} {call.__name__}"] = peak(lambda: call(network, X, working_memory=budget))
for name, (method, n, shape, m, budget) in features.items():
    X = images(n, shape, np.float32)
    model = ntk.NTKFeatures(
        ntk.cnn(2), eval(method, vars(ntk)), m, working_memory=budget, random_state=0
    )
    peaks[f"{name} fit"] = peak(lambda: model.fit(X))
    peaks[f"{name} transform"] = peak(lambda: model.transform(X))
    leaves = jax.tree.leaves(model.feature_map_.params)
    peaks[f"{name} arrays"] = sum(np.asarray(leaf).nbytes for leaf in leaves) / 2**20
print(json.dumps(peaks))
"""

SUM = "residual(Relu(), Conv(3), residual(Relu(), Conv(3)))"
# networks, images, their shape, dtype, budget in MiB; features, images, columns, budget in MiB
FAST = {"all pairs": ("cnn(2)", 2, (28, 28, 3), "float32", 56)}
SLOW = {
    "steps": ("rnn(1, 'mean')", 3, (600, 3), "float32", 32),
    "several images": ("cnn(2)", 6, (20, 20, 3), "float32", 60),
    "float64": ("cnn(2)", 2, (24, 24, 3), "float64", 60),
    "strides": ("serial(Conv(3, stride=2), Relu(), Conv(3), Gelu(), GlobalAvgPool(), Dense())",
                2, (32, 32, 3), "float32", 90),
    "circular": ("cnn(2, padding='circular', bias_std=0.1)", 2, (28, 28, 3), "float32", 80),
    "pools": ("myrtle(5, bias_std=0.1)", 2, (32, 32, 3), "float32", 95),
    "sums": (f"serial(Conv(3), {SUM}, Relu(), GlobalAvgPool(), Dense())",
             2, (24, 24, 3), "float32", 40),
    "same pixels": ("cnn(2, readout='flatten')", 64, (40, 40, 3), "float32", 80),
    "same steps": ("rnn(2)", 64, (800, 3), "float32", 50),
}  # fmt: skip
LAYERWISE = "LayerwiseNystroem(hidden_components=64)"
FAST_FEATURES = {"layer by layer": (LAYERWISE, 40, (40, 40, 3), 128, 24)}
SLOW_FEATURES = {
    "large images": (LAYERWISE, 40, (96, 96, 3), 128, 64),
    "random": ("RandomFeatures(hidden_components=64)", 64, (32, 32, 3), 128, 96),
}
ALLOWANCE = 8.0  # for allocator and threads


def measure(kernels, features):
    """Return the peaks that a process of its own measures; it gives freed memory back at once."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's peak of resident memory")
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(kernels), json.dumps(features)],
        env={
            **os.environ,
            "MALLOC_MMAP_THRESHOLD_": "262144",
            "JAX_PLATFORMS": "cpu",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def peaks():
    return measure(FAST, FAST_FEATURES)


@pytest.fixture(scope="module")
def slow_peaks():
    return measure(SLOW, SLOW_FEATURES)


def check_kernel(peaks, name, budget):
    assert budget / 10 < peaks[f"{name} kernel"] < budget + ALLOWANCE  # the cases are no small ones
    assert peaks[f"{name} kernel_diag"] < budget + ALLOWANCE


def check_features(peaks, name, n, n_components, budget):
    arrays, result = peaks[f"{name} arrays"], n * n_components * 4 / 2**20
    assert peaks[f"{name} fit"] < 2 * arrays + budget + ALLOWANCE  # the map before is still there
    assert peaks[f"{name} transform"] < arrays + result + budget + ALLOWANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_kernels_of_images_take_their_budget(peaks, name):
    check_kernel(peaks, name, FAST[name][-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST_FEATURES)
def test_features_of_images_take_their_budget(peaks, name):
    _, n, _, n_components, budget = FAST_FEATURES[name]
    check_features(peaks, name, n, n_components, budget)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_kernel_of_images_takes_its_budget(slow_peaks, name):
    check_kernel(slow_peaks, name, SLOW[name][-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_FEATURES)
def test_more_features_of_images_take_their_budget(slow_peaks, name):
    _, n, _, n_components, budget = SLOW_FEATURES[name]
    check_features(slow_peaks, name, n, n_components, budget)
