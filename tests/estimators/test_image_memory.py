"""Peak memory of what works on images: kernels and features, in a process of its own."""

import pytest
from peaks import measured

pytestmark = pytest.mark.slow

MEASURE = """
import jax

def second(function):
    "Return the peak of a call that compiles nothing."
    function()
    return peak(function)

def images(n, shape, dtype):
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(dtype)

kernels, features = map(json.loads, sys.argv[1:])
peaks = {}
for name, (network, n, shape, dtype, budget) in kernels.items():
    X, network = images(n, shape, dtype), eval(network, vars(ntk))
    for call in (ntk.kernel, ntk.kernel_diag):
        peaks[f"{name} {call.__name__}"] = second(lambda: call(network, X, working_memory=budget))
for name, (method, n, shape, m, budget) in features.items():
    X = images(n, shape, np.float32)
    model = ntk.NTKFeatures(
        ntk.cnn(2), eval(method, vars(ntk)), m, working_memory=budget, random_state=0
    )
    peaks[f"{name} fit"] = second(lambda: model.fit(X))
    peaks[f"{name} transform"] = second(lambda: model.transform(X))
    leaves = jax.tree.leaves(model.feature_map_.params)
    peaks[f"{name} arrays"] = sum(np.asarray(leaf).nbytes for leaf in leaves) / 2**20
print(json.dumps(peaks))
"""

SUM = "residual(Relu(), Conv(3), residual(Relu(), Conv(3)))"
# networks, images, their shape, dtype, budget in MiB; features, images, columns, budget in MiB
KERNELS = {
    "all pairs": ("cnn(2)", 2, (28, 28, 3), "float32", 56),
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
FEATURES = {
    "layer by layer": (LAYERWISE, 40, (40, 40, 3), 128, 24),
    "large images": (LAYERWISE, 40, (96, 96, 3), 128, 64),
    "random": ("RandomFeatures(hidden_components=64)", 64, (32, 32, 3), 128, 96),
}
ALLOWANCE = 8.0  # for allocator and threads


@pytest.fixture(scope="module")
def peaks():
    """Return the peaks that a process of its own measures."""
    return measured(MEASURE, KERNELS, FEATURES)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_images_take_their_budget(peaks, name):
    budget = KERNELS[name][-1]
    assert budget / 10 < peaks[f"{name} kernel"] < budget + ALLOWANCE  # the cases are no small ones
    assert peaks[f"{name} kernel_diag"] < budget + ALLOWANCE


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_images_take_their_budget(peaks, name):
    _, n, _, n_components, budget = FEATURES[name]
    arrays, result = peaks[f"{name} arrays"], n * n_components * 4 / 2**20
    assert peaks[f"{name} fit"] < 2 * arrays + budget + ALLOWANCE  # the map before is still there
    assert peaks[f"{name} transform"] < arrays + result + budget + ALLOWANCE
