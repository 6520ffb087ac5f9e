"""Networks on images in every way that rows come: sources, Dask, files of models."""

import dask.array as da
import numpy as np
import pytest

import ntksketch as ntk
from ntksketch.data import open_source

RNG = np.random.default_rng(0)
SHAPE = (6, 6, 2)
X = RNG.standard_normal((90, 72)).astype(np.float32)
Y = X.reshape(-1, *SHAPE)[..., 0].mean((1, 2))
NETWORK = ntk.cnn(2, pooling=2, shape=SHAPE)


def model(**options):
    method = ntk.LayerwiseNystroem(8)
    return ntk.NTKRegressor(NETWORK, method, 24, alphas=0.1, random_state=0, **options)


@pytest.fixture(scope="module")
def expected():
    return model().fit(X, Y).predict(X)


@pytest.mark.parametrize("name", ["x.npy", "x.zarr", "x.h5"])
@pytest.mark.parametrize("rows", [X, X.reshape(-1, *SHAPE)], ids=["flat", "images"])
def test_sources_give_the_array_s_model(tmp_path, expected, name, rows):
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, rows)
    elif name == "x.zarr":
        import zarr

        chunks = (30, *rows.shape[1:])
        store = zarr.create_array(store=str(path), shape=rows.shape, chunks=chunks, dtype=X.dtype)
        store[:] = rows
    else:
        import h5py

        with h5py.File(path, "w") as file:
            file["images"] = rows
            file["labels"] = Y
    source = open_source(path, targets=Y)
    fitted = model().fit(source)
    np.testing.assert_array_equal(fitted.predict(X), expected)
    np.testing.assert_array_equal(fitted.predict(X.reshape(-1, *SHAPE)), expected)
    np.testing.assert_array_equal(fitted.predict(open_source(path)), expected)


def test_dask_gives_the_array_s_model(expected):
    rows, targets = (da.from_array(a, chunks=(30, *a.shape[1:])) for a in (X, Y))
    fitted = model().fit(rows, targets)
    np.testing.assert_allclose(fitted.predict(rows).compute(), expected, atol=2e-4)
    images = da.from_array(X.reshape(-1, *SHAPE), chunks=(30, 3, 6, 1))
    np.testing.assert_array_equal(fitted.predict(images).compute(), fitted.predict(rows).compute())
    again = model().fit(images, targets)
    np.testing.assert_array_equal(again.ridge_.coef_, fitted.ridge_.coef_)
    with pytest.raises(ValueError, match="X has 36 features, but NTKRegressor is expecting 72"):
        fitted.predict(images[..., :1])


def test_models_are_the_same_after_loading(tmp_path, expected):
    fitted = model().fit(X.reshape(-1, *SHAPE), Y)
    ntk.save(fitted, tmp_path / "model.safetensors")
    again = ntk.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(X), expected)
    np.testing.assert_array_equal(again.predict(X.reshape(-1, *SHAPE)), expected)


@pytest.mark.slow
def test_checks_measure_the_error_against_the_exact_kernel():
    fm = ntk.NTKFeatures(NETWORK, n_components=48, random_state=0).fit(X)
    report = ntk.check_features(fm, X[:20])
    K, Z = ntk.kernel(NETWORK, X[:20]), fm.transform(X[:20])
    error = np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)
    assert abs(report.frobenius.value - error) < 0.05 * error


def test_the_second_of_two_shapes_is_refused():
    fitted = model().fit(X, Y)
    with pytest.raises(ValueError, match="expected 72"):
        fitted.set_params(architecture=NETWORK).fit(np.ones((4, 70), np.float32), np.ones(4))
