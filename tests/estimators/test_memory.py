import pytest
from peaks import measured

MEASURE = """
import tempfile
import jax
import zarr

def rows(n, d):
    X = np.empty((n, d), np.float32)
    for start in range(0, n, 1000):
        X[start : start + 1000] = rng.standard_normal(X[start : start + 1000].shape)
    return X

rng = np.random.default_rng(0)
peaks, arrays = {}, {}
for name, (n, d, m, depth, budget, method) in json.loads(sys.argv[1]).items():
    X = rows(n, d)
    features = ntk.NTKFeatures(
        ntk.mlp(depth), eval("ntk." + method), m, working_memory=budget, random_state=0
    ).fit(X[:1500])
    features.transform(X[:1500])
    peaks[name] = peak(features.transform, X)
    leaves = jax.tree.leaves(features.feature_map_.params)
    arrays[name] = sum(np.asarray(leaf).nbytes for leaf in leaves) / 2**20

n, m, budget = json.loads(sys.argv[2])
X = rows(n, 64)
y = X[:, 0].copy()
for alphas in ("auto", 1.0):
    model = ntk.NTKRegressor(
        n_components=m, alphas=alphas, working_memory=budget, random_state=0
    ).fit(X[:5000], y[:5000])
    model.predict(X[:5000])
    peaks[f"fit {alphas}"] = peak(model.fit, X, y)
    peaks[f"predict {alphas}"] = peak(model.predict, X)

n, d, m, budget = json.loads(sys.argv[4])
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "rows.zarr"
    store = zarr.create_array(str(path), shape=(n, d), dtype=np.float32, chunks=(4096, d))
    for start in range(0, n, 4096):
        store[start : start + 4096] = rows(min(4096, n - start), d)
    model = ntk.NTKRegressor(n_components=m, working_memory=budget, random_state=0)
    y = rng.standard_normal(n)
    model.fit(ntk.data.open_source(np.ones((5000, d), np.float32), targets=y[:5000]))
    source = ntk.data.open_source(path, targets=y)
    source.read(0, 10)
    peaks["fit store"] = peak(model.fit, source)

Z = rows(1000, json.loads(sys.argv[3]))
peaks["solve"] = peak(ntk.StreamingRidge().fit, Z, Z[:, 0].copy())
peaks["flow"] = peak(ntk.GradientFlow("linear").fit, Z, Z[:, 0].copy())
print(json.dumps({**peaks, 'arrays': arrays}))
"""

RANDOM = "RandomFeatures(hidden_components=300)"
TRANSFORMS = {  # rows, columns, components, depth, budget in MiB, method
    "many rows": (40_000, 64, 512, 1, 8, RANDOM),
    "many components": (2_000, 64, 4096, 1, 24, RANDOM),
    "many columns": (2_000, 2_000, 64, 1, 16, RANDOM),
    "many layers": (4_000, 64, 64, 3, 6, RANDOM),
    "powers": (8_000, 64, 512, 1, 16, "PolynomialSketch(hidden_components=128)"),
    "wide powers": (1_500, 5_000, 64, 1, 16, "PolynomialSketch(hidden_components=128)"),
    "layers of powers": (
        (4_000, 64, 64, 2, 12, "PolynomialSketch(variant='layered', hidden_components=64)")
    ),
    "directions": (8_000, 64, 512, 2, 8, "Gegenbauer()"),
    "wide structured directions": (
        (1_500, 4_000, 512, 2, 24, "Gegenbauer(linear='random', directions='structured')")
    ),
    "landmarks": (8_000, 64, 512, 2, 12, "Nystroem('uniform')"),
    "gradients": (4_000, 64, 256, 2, 12, "GradientFeatures(width=64)"),
    "columns chosen": (4_000, 64, 256, 1, 12, "Resampled('gegenbauer')"),
}
FIT = (20_000, 384, 16)  # rows, components, budget in MiB
STORE = (150_000, 64, 384, 16)  # rows, columns, components, budget in MiB
SOLVE = 640  # components
ALLOWANCE = 6.0  # for allocator and threads, which vary by 4: it does not grow with the rows


@pytest.fixture(scope="module")
def peaks():
    """Return the peaks that a process of its own measures; it gives freed memory back at once."""
    return measured(MEASURE, TRANSFORMS, FIT, SOLVE, STORE)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_takes_its_result_the_arrays_and_the_budget(peaks, name):
    n, _, n_components, _, budget, _ = TRANSFORMS[name]
    result = n * n_components * 4 / 2**20
    assert result - 1 < peaks[name] < result + peaks["arrays"][name] + budget + ALLOWANCE


@pytest.mark.parametrize("alphas", ["auto", "1.0"])
def test_fit_and_predict_take_the_budget_and_the_statistics(peaks, alphas):
    n, m, budget = FIT
    statistics, features = m * m * (8 + 4) / 2**20, n * m * 4 / 2**20
    assert peaks[f"fit {alphas}"] < budget + statistics + ALLOWANCE < features
    assert peaks[f"predict {alphas}"] < budget + ALLOWANCE


def test_fit_from_a_store_takes_no_more_for_more_rows(peaks):
    n, d, m, budget = STORE
    statistics, whole = m * m * (8 + 4) / 2**20, n * d * 4 / 2**20
    assert peaks["fit store"] < budget + statistics + ALLOWANCE < whole


def test_the_solve_takes_six_matrices(peaks):
    assert peaks["solve"] < 6 * SOLVE * SOLVE * 8 / 2**20 + ALLOWANCE


def test_the_dynamics_take_no_more_than_the_ridge(peaks):
    """The Gram matrix and its eigenvectors, beside float32 sums that are gone by then."""
    matrix = SOLVE * SOLVE * 8 / 2**20
    assert peaks["flow"] < 2 * matrix + ALLOWANCE
    assert peaks["flow"] < peaks["solve"] + ALLOWANCE / 2
