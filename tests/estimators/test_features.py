import pickle
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

import ntksketch as ntk

MAPS = {
    "default": ntk.NTKFeatures(None, "random-features", 24, random_state=0),
    "nngp": ntk.NTKFeatures(n_components=24, kind="nngp", random_state=0),
    "tensor-sketch": ntk.NTKFeatures(
        None, ntk.RandomFeatures("leverage", "tensor-sketch", False), 24, random_state=0
    ),
    "exact": ntk.NTKFeatures(None, ntk.RandomFeatures(product="exact"), 24, random_state=0),
    "two layers with bias": ntk.NTKFeatures(
        ntk.mlp(2, bias_std=0.3), ntk.RandomFeatures(hidden_components=32), 24, random_state=0
    ),
}
every_map = pytest.mark.parametrize("features", MAPS.values(), ids=MAPS)


def rows(n=70, d=6, dtype=np.float64):
    X = np.random.default_rng(0).standard_normal((n, d)).astype(dtype)
    X[n // 2 :, d // 2] = 0
    return X


def tolerance(dtype):
    return 2e-5 if dtype == np.float32 else 1e-12


def assert_close(Z, expected, dtype=None):
    limit = tolerance(dtype or expected.dtype) * np.abs(expected).max()
    np.testing.assert_allclose(Z, expected, rtol=0, atol=limit)


@every_map
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_container_gives_the_same(features, dtype, tmp_path):
    X = rows(dtype=dtype)
    fitted = clone(features).fit(X)
    Z = fitted.transform(X)
    assert Z.shape == (70, 24)
    assert Z.dtype == dtype
    assert np.isfinite(Z).all()
    np.save(tmp_path / "X.npy", X)
    same = [
        np.load(tmp_path / "X.npy", mmap_mode="r"),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        pd.DataFrame(X),
    ]
    for other in same:
        np.testing.assert_array_equal(fitted.transform(other), Z)
        np.testing.assert_array_equal(clone(features).fit(other).transform(X), Z)
    for form in (sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_array):
        assert_close(fitted.transform(form(X)), Z)
        assert fitted.transform(form(X)).dtype == dtype
        assert_close(clone(features).fit(form(X)).transform(X), Z)


@every_map
def test_both_precisions_share_one_draw_and_leave_jax_as_it_was(features):
    before = jax.config.jax_enable_x64
    X = rows(dtype=np.float32)
    single, double = (clone(features).fit(X.astype(t)) for t in ("float32", "float64"))
    Z = double.transform(X.astype(np.float64))
    assert_close(single.transform(X), Z, np.float32)
    assert_close(double.transform(X), Z, np.float32)
    assert_close(single.transform(X.astype(np.float64)), Z, np.float32)
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16])
def test_other_numbers_become_float64(dtype):
    X = (np.abs(rows()) > 0.5).astype(dtype)
    fitted = clone(MAPS["default"]).fit(X)
    assert fitted.transform(X).dtype == np.float64
    np.testing.assert_array_equal(fitted.transform(X), fitted.transform(X.astype(np.float64)))
    np.testing.assert_array_equal(fitted.transform(X.tolist()), fitted.transform(X))


@every_map
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_blocks_give_what_one_block_gives(features, container):
    X = rows(150)
    fitted = clone(features).fit(X)
    whole = fitted.transform(container(X))
    row_bytes = 8 * 2 * fitted.feature_map_.row_entries
    blocks = clone(features).set_params(working_memory=33 * row_bytes / 2**20).fit(X)
    assert_close(blocks.transform(container(X)), whole)
    with sklearn.config_context(working_memory=9 * row_bytes / 2**20):
        assert_close(fitted.transform(container(X)), whole)


@every_map
def test_rows_do_not_see_each_other(features):
    X = rows()
    fitted = clone(features).fit(X)
    Z = fitted.transform(X)
    assert_close(fitted.transform(X[:1]), Z[:1])
    assert_close(fitted.transform(X[::-1]), Z[::-1])
    doubled = fitted.transform(np.vstack([X, X]))
    np.testing.assert_array_equal(doubled[:70], doubled[70:])


@pytest.mark.parametrize("n_components", [*range(1, 17), 23, 32, 39, 40])
def test_any_number_of_components_comes_out_exactly(n_components):
    features = ntk.NTKFeatures(
        ntk.mlp(1, bias_std=0.1 * (n_components % 4 < 2)),
        ntk.RandomFeatures(product=("tensor-srht", "tensor-sketch")[n_components % 2]),
        n_components,
        random_state=0,
    )
    Z = features.fit_transform(rows(2, dtype=np.float32))
    assert Z.shape == (2, n_components)
    assert np.isfinite(Z).all()
    assert Z.any()
    assert len(features.get_feature_names_out()) == n_components


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_fewer_components_than_layers(n_components):
    features = ntk.NTKFeatures(
        ntk.mlp(4), ntk.RandomFeatures(hidden_components=16), n_components, random_state=0
    )
    assert features.fit_transform(rows(2)).shape == (2, n_components)


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("variance_reduction", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_exact_product_names_the_smallest_size_that_works(kind, variance_reduction, depth):
    features = ntk.NTKFeatures(
        ntk.mlp(depth, bias_std=0.1),
        ntk.RandomFeatures(product="exact", variance_reduction=variance_reduction),
        kind=kind,
        random_state=0,
    )
    X = rows(3, 2)

    def refusal(n_components):
        with pytest.raises(ValueError, match=f"n_components={n_components} is too small") as error:
            features.set_params(n_components=n_components).fit(X)
        return str(error.value)

    smallest = int(refusal(1).rsplit(" ", 1)[1])
    assert features.set_params(n_components=smallest).fit_transform(X).shape == (3, smallest)
    assert refusal(smallest - 1).endswith(f"that works is {smallest}")


@every_map
def test_pickles_give_the_same_bits(features):
    X = rows()
    fitted = clone(features).fit(X)
    fresh = pickle.loads(pickle.dumps(fitted))
    Z = fitted.transform(X)
    np.testing.assert_array_equal(fresh.transform(X), Z)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), Z)


def test_another_process_gives_the_same_bits(tmp_path):
    X = rows()
    y = X[:, 0]
    models = [
        clone(MAPS["default"]).fit(X),
        ntk.NTKRegressor(n_components=24, random_state=0).fit(X, y),
        ntk.NTKClassifier(n_components=24, random_state=0).fit(X, np.where(y > 0, "up", "down")),
    ]
    expected = [models[0].transform(X), models[1].predict(X), models[2].decision_function(X)]
    (tmp_path / "models.pickle").write_bytes(pickle.dumps((models, X)))
    program = """
import pickle, sys
from pathlib import Path
folder = Path(sys.argv[1])
models, X = pickle.loads((folder / "models.pickle").read_bytes())
out = [models[0].transform(X), models[1].predict(X), models[2].decision_function(X)]
(folder / "out.pickle").write_bytes(pickle.dumps(out))
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    for value, there in zip(
        expected, pickle.loads((tmp_path / "out.pickle").read_bytes()), strict=True
    ):
        np.testing.assert_array_equal(there, value)


def test_random_state():
    X = rows()

    def transform(random_state):
        return ntk.NTKFeatures(n_components=16, random_state=random_state).fit_transform(X)

    np.testing.assert_array_equal(transform(3), transform(3))
    np.testing.assert_array_equal(transform(3), transform(np.random.RandomState(3)))
    assert not np.allclose(transform(3), transform(4))
    assert not np.allclose(transform(None), transform(None))
    state = np.random.RandomState(3)
    assert not np.allclose(transform(state), transform(state))
    features = ntk.NTKFeatures(n_components=16, random_state=3)
    np.testing.assert_array_equal(features.fit(X).transform(X), features.fit(X).transform(X))


@every_map
def test_input_is_left_alone(features):
    X = rows()
    kept, sparse = X.copy(), sp.csr_array(X)
    for container in (X, sparse):
        clone(features).fit(container).transform(container)
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(sparse.toarray(), kept)
    assert sparse.shape == X.shape


@every_map
def test_rows_of_zeros(features):
    Z = clone(features).fit(rows()).transform(np.zeros((3, 6)))
    if features.architecture is None:
        assert not Z.any()
    else:
        assert np.isfinite(Z).all()
        assert Z.any(axis=1).all()
        np.testing.assert_array_equal(Z[0], Z[2])
    sparse = clone(features).fit(rows()).transform(sp.csr_array((3, 6)))
    assert_close(sparse, Z + 0.0) if Z.any() else np.testing.assert_array_equal(sparse, Z)


@pytest.mark.parametrize("name", ["default", "nngp", "tensor-sketch", "two layers with bias"])
def test_narrow_and_constant_rows(name):
    for X in (rows(20, 1), np.ones((20, 1)), np.ones((20, 4)), np.full((20, 2), -1e-30)):
        Z = clone(MAPS[name]).fit(X).transform(X)
        assert Z.shape == (20, 24)
        assert np.isfinite(Z).all()


def test_inside_other_estimators():
    X = rows()
    part = ntk.NTKFeatures(n_components=8, random_state=0)
    alone = clone(part).fit_transform(X)
    union = FeatureUnion([("ntk", clone(part)), ("nngp", clone(part).set_params(kind="nngp"))])
    both = union.fit_transform(X)
    assert both.shape == (70, 16)
    np.testing.assert_array_equal(both[:, :8], alone)
    columns = ColumnTransformer([("ntk", clone(part), [0, 2])], remainder="passthrough")
    assert columns.fit_transform(X).shape == (70, 12)
    pipeline = make_pipeline(StandardScaler(), clone(part)).fit(X)
    assert pipeline.transform(X).shape == (70, 8)
    assert list(pipeline.get_feature_names_out()) == [f"ntkfeatures{i}" for i in range(8)]


def test_parameters_are_kept_as_given():
    method, architecture = ntk.RandomFeatures(n_steps=4), ntk.mlp(3)
    features = ntk.NTKFeatures(architecture, method, 9, kind="nngp", working_memory=2.0)
    copy = clone(features)
    assert copy.get_params() == features.get_params()
    assert copy.method == method
    assert copy.set_params(method="random-features", kind="ntk").fit(rows()).method_ == (
        ntk.RandomFeatures()
    )
    assert copy.method == "random-features"
    assert ntk.NTKFeatures(n_components=4).fit(rows()).architecture_ == ntk.mlp(1)


def test_methods_on_a_fitted_map_take_new_parameters_only_at_fit():
    features = ntk.NTKFeatures(n_components=8, random_state=0).fit(rows())
    Z = features.transform(rows())
    features.set_params(n_components=5, kind="nngp")
    np.testing.assert_array_equal(features.transform(rows()), Z)
    assert features.fit_transform(rows()).shape == (70, 5)


@pytest.mark.parametrize(
    "method", ["nystroem", "gegenbauer", ntk.Resampled(), ntk.Nystroem("rpcholesky")]
)
def test_a_method_sees_no_more_rows_than_it_looks_at(method, monkeypatch):
    """They are drawn in proportion to the weights."""
    seen = []
    draw = ntk.features.Method.init

    def init(self, key, target, X, **options):
        seen.append((X, options["sample_weight"]))
        return draw(self, key, target, X, **options)

    monkeypatch.setattr(ntk.features.Method, "init", init)
    monkeypatch.setattr(ntk.features.gegenbauer, "MOMENT_ROWS", 300)
    monkeypatch.setattr(ntk.features.resampled, "_SAMPLE", 300)
    X = np.random.default_rng(0).standard_normal((1000, 4))
    weight = (np.arange(1000) % 2).astype(float)
    fm = ntk.NTKFeatures(None, method, 20, random_state=0).fit(X, sample_weight=weight)
    rows, left = seen[0]
    assert rows.shape[0] == fm.method_.sample_size(20) < 1000
    assert left is None
    index = [np.flatnonzero((row == X).all(axis=1)).item() for row in rows]
    assert index == sorted(set(index))
    assert all(i % 2 for i in index)
