"""Sequences of different lengths in every way that rows come: lists, rows, sources, files."""

import re

import dask.array as da
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

import ntksketch as ntk
from ntksketch.data import featurise, open_source, write_predictions

RNG = np.random.default_rng(0)
STEPS, CHANNELS = 5, 2
LENGTHS = RNG.integers(1, STEPS + 1, 60)
LENGTHS[7] = STEPS
SEQUENCES = [RNG.standard_normal((steps, CHANNELS)) for steps in LENGTHS]
Y = np.array([x[-1, 0] - x.mean() for x in SEQUENCES])
ROWS = ntk.pad_sequences(SEQUENCES)
NETWORK = ntk.rnn(bias_std=0.3, state_std=0.5)
FLAT = ntk.rnn(bias_std=0.3, state_std=0.5, shape=(STEPS, CHANNELS), lengths=True)


def model(network=NETWORK, method="auto"):
    return ntk.NTKRegressor(network, method, 24, alphas=0.1, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return model().fit(SEQUENCES, Y)


@pytest.fixture(scope="module")
def expected(fitted):
    return fitted.predict(SEQUENCES)


@pytest.mark.parametrize(
    "landmarks",
    [
        "kmeans",
        pytest.param("uniform", marks=pytest.mark.slow),
        pytest.param("leverage", marks=pytest.mark.slow),
        pytest.param("rpcholesky", marks=pytest.mark.slow),
    ],
)
def test_nystroem_features_converge(landmarks):
    K = ntk.kernel(NETWORK, SEQUENCES)
    errors = []
    for m in (8, 60):
        method = ntk.Nystroem(landmarks)
        Z = ntk.NTKFeatures(NETWORK, method, m, random_state=0).fit_transform(SEQUENCES)
        errors.append(np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K))
        assert np.diag(K - Z @ Z.T).min() > -1e-9
    assert errors[1] < 1e-6 < errors[0] < 0.5


def test_landmarks_are_rows():
    features = ntk.NTKFeatures(NETWORK, ntk.Nystroem("kmeans"), 16, random_state=1)
    landmarks = features.fit(SEQUENCES).feature_map_.landmarks
    assert len(np.unique(landmarks, axis=0)) == 16
    assert all((row == ROWS).all(axis=1).any() for row in landmarks)
    bad = ROWS[:4] + 0.5
    with pytest.raises(ValueError, match=r"of \d\.5 steps, expected a whole"):
        ntk.NTKFeatures(NETWORK, ntk.Nystroem(bad), 16).fit(SEQUENCES)


def test_rows_give_the_list_s_model(fitted, expected):
    assert fitted.n_features_in_ == 1 + STEPS * CHANNELS
    assert fitted.score(SEQUENCES, Y) > 0.8
    np.testing.assert_array_equal(fitted.predict(ROWS), expected)
    again = model(FLAT).fit(ROWS, Y)
    np.testing.assert_array_equal(again.predict(SEQUENCES), expected)
    np.testing.assert_array_equal(model(FLAT).fit(SEQUENCES, Y).predict(ROWS), expected)
    short = [x for x in SEQUENCES if len(x) < STEPS]
    np.testing.assert_allclose(fitted.predict(short), expected[LENGTHS < STEPS], rtol=1e-12)
    of_two = np.stack([x for x in SEQUENCES if len(x) == 2])  # an array: all of one length
    np.testing.assert_allclose(fitted.predict(of_two), expected[LENGTHS == 2], rtol=1e-12)


def test_sources_and_dask_give_the_array_s_model(tmp_path, expected):
    np.save(tmp_path / "rows.npy", ROWS)
    source = open_source(tmp_path / "rows.npy", targets=Y)
    fitted = model(FLAT).fit(source)
    np.testing.assert_array_equal(fitted.predict(source), expected)
    write_predictions(fitted, source, tmp_path / "predicted.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "predicted.npy"), expected)
    written = featurise(fitted.features_, source, tmp_path / "features.npy").read(0, 60)
    np.testing.assert_array_equal(written, fitted.features_.transform(SEQUENCES))
    lazy = da.from_array(ROWS, chunks=(25, -1))
    by_task = model(FLAT).fit(lazy, da.from_array(Y, chunks=25))
    np.testing.assert_allclose(by_task.predict(lazy).compute(), expected, rtol=1e-6)


def test_models_are_the_same_after_loading(tmp_path, fitted, expected):
    ntk.save(fitted, tmp_path / "model.safetensors")
    again = ntk.load(tmp_path / "model.safetensors")
    assert again.features_.architecture_ == fitted.features_.architecture_
    np.testing.assert_array_equal(again.predict(SEQUENCES), expected)
    np.testing.assert_array_equal(again.predict(ROWS), expected)


@pytest.mark.slow
def test_the_exact_solver_is_the_kernel_s():
    exact = ntk.ExactNTKRegressor(NETWORK, alpha=0.1, fit_intercept=False, tolerance=1e-12)
    found = exact.fit(SEQUENCES[:40], Y[:40]).predict(SEQUENCES[40:])
    K = ntk.kernel(NETWORK, SEQUENCES)
    expected = K[40:, :40] @ np.linalg.solve(K[:40, :40] + 0.1 * np.eye(40), Y[:40])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_scikit_learn_splits_lists():
    classifier = ntk.NTKClassifier(NETWORK, n_components=24, random_state=0)
    scores = cross_val_score(classifier, SEQUENCES, Y > 0, cv=2)
    assert scores.mean() > 0.7


@pytest.mark.slow
def test_features_are_checked_against_the_exact_kernel(fitted):
    report = ntk.check_features(fitted.features_, SEQUENCES, n_draws=2)
    K, Z = ntk.kernel(NETWORK, SEQUENCES), fitted.features_.transform(SEQUENCES)
    error = np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K)
    np.testing.assert_allclose(report.frobenius.value, error, rtol=1e-6)


def test_longer_sequences_are_refused_and_room_is_a_matter_of_the_input(fitted, expected):
    longer = [*SEQUENCES[:2], RNG.standard_normal((STEPS + 2, CHANNELS))]
    with pytest.raises(ValueError, match=r"number 2, of shape \(7, 2\), expected at most 5 steps"):
        fitted.predict(longer)
    with pytest.raises(ValueError, match="15 features, but NTKRegressor is expecting 11"):
        fitted.predict(ntk.pad_sequences(longer))
    roomy = ntk.rnn(bias_std=0.3, state_std=0.5, shape=(8, CHANNELS), lengths=True)
    found = model(roomy, "nystroem").fit(SEQUENCES, Y)
    assert np.isfinite(found.predict(longer)).all()


def broken(row, column, value):
    rows = ROWS.copy()
    rows[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (broken(41, 0, 0), "number 41, of 0 steps, expected a whole number from 1 to 5"),
        (broken(41, 0, 2.5), "number 41, of 2.5 steps"),
        (broken(41, 0, 6), "number 41, of 6 steps"),
        (broken(7, 0, 1), "number 7, of 1 steps with numbers before these"),
    ],
)
def test_rows_that_are_no_sequences(rows, message, fitted, tmp_path):
    with pytest.raises(ValueError, match=message):
        fitted.predict(rows)
    np.save(tmp_path / "rows.npy", rows)
    source = open_source(tmp_path / "rows.npy", targets=Y)
    with pytest.raises(ValueError, match=message):
        fitted.predict(source)
    with pytest.raises(ValueError, match=message):
        model(FLAT, ntk.Nystroem(ROWS[:24])).fit(source)
    lazy = da.from_array(rows, chunks=(25, -1))
    with pytest.raises(ValueError, match=message):
        model(FLAT, ntk.Nystroem(ROWS[:24])).fit(lazy, Y)


@pytest.mark.parametrize("method", ["layerwise-nystroem", "random-features", "gegenbauer"])
def test_other_methods_refuse_them(method):
    architecture = ntk.serial(ntk.Dense(), ntk.Relu(), ntk.GlobalAvgPool(), ntk.Dense())
    reason = "images or signals" if method == "gegenbauer" else "different lengths"
    with pytest.raises(ValueError, match=re.escape(reason)):
        ntk.NTKFeatures(architecture, method, 24).fit(SEQUENCES)
    assert ntk.NTKFeatures(architecture, n_components=24).fit_transform(SEQUENCES).any()


def test_nan_for_steps_that_are_not_there():
    array = np.full((3, 4, 2), np.nan)
    array[:, 2:] = 1.0
    with pytest.raises(ValueError, match="NaN in signal 0; if they pad sequences of different"):
        model().fit(array, np.ones(3))


@pytest.mark.slow
def test_solvers_take_lists():
    options = {"fit_intercept": False, "tolerance": 1e-12}
    K = ntk.kernel(NETWORK, SEQUENCES)
    exact = ntk.solve_kernel_ridge(NETWORK, SEQUENCES, Y, 0.1, **options)
    expected = np.linalg.solve(K + 0.1 * np.eye(len(Y)), Y)
    np.testing.assert_allclose(exact.dual_coef, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(exact.predict(SEQUENCES[:9]), K[:9] @ expected, atol=1e-8)
    few = ntk.solve_nystroem_ridge(NETWORK, SEQUENCES, Y, 0.1, landmarks=60, **options)
    np.testing.assert_allclose(few.predict(SEQUENCES[:9]), K[:9] @ expected, atol=1e-6)


@pytest.mark.slow
def test_resampled_columns_are_of_sequences():
    method = ntk.Resampled(ntk.Nystroem("uniform"), n_candidates=16)
    features = ntk.NTKFeatures(NETWORK, method, 8, random_state=0).fit(SEQUENCES)
    assert features.transform(SEQUENCES).shape == (60, 8)
    with pytest.raises(ValueError, match="number 41, of 0 steps"):
        features.transform(broken(41, 0, 0))
