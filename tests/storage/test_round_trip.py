"""A model that was saved and loaded is the model."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import saved
import scipy.sparse as sp
from features.method_table import CASES
from saved import CLASSES, ROWS, TARGETS, assert_same, classifier, features, regressor, reload
from scipy.linalg import LinAlgWarning
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import ntksketch as ntk
from ntksketch.features import Auto
from ntksketch.features.layered_sketch import LayeredPolynomial
from ntksketch.features.nystroem import NystroemMap
from ntksketch.kernels.zonal import LegendreSeries

pytestmark = pytest.mark.slow

every_method = pytest.mark.parametrize(
    "method", [case.method for case in CASES], ids=lambda method: repr(method)
)


# ---------------------------------------------------------------------------------------------
# Methods and maps
# ---------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("kind", list(saved.MAKERS))
def test_every_method(method, kind, tmp_path):
    model = saved.MAKERS[kind](method)
    copy = reload(model, tmp_path)
    assert_same(model, copy)
    assert copy.get_params(deep=False) == model.get_params(deep=False)
    assert repr(copy) == repr(model)


PROCESS = """
import pathlib, sys
import numpy as np, saved
import ntksketch as ntk
from ntksketch.features.nystroem import NystroemMap
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.safetensors")):
    expected = np.load(path.with_suffix(".npz"))
    found = saved.outputs(ntk.load(path), expected["rows"])
    for name, values in found.items():
        assert values.dtype == expected[name].dtype
        np.testing.assert_array_equal(values, expected[name], err_msg=f"{path.name}: {name}")
    print(path.stem)
"""


def test_every_method_in_another_process(tmp_path):
    names = []
    for number, case in enumerate(CASES):
        # the regressor's own features are among its outputs
        kind = ("regressor", "classifier")[number % 2]
        rows = ROWS.astype((np.float64, np.float32)[number // 2 % 2])
        model = saved.MAKERS[kind](case.method, X=rows)
        names.append(f"{number:02d}")
        ntk.save(model, tmp_path / f"{names[-1]}.safetensors")
        np.savez(tmp_path / f"{names[-1]}.npz", rows=rows, **saved.outputs(model, rows))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROCESS, tmp_path],
        env=saved.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == names


@pytest.mark.parametrize(
    "method",
    [
        ntk.RandomFeatures.published(),
        ntk.RandomFeatures(product="tensor-sketch", relu_fraction=0.3, n_steps=3),
        ntk.RandomFeatures(product="exact"),
        ntk.RandomFeatures("gaussian", hidden_components=40),
        ntk.Gegenbauer(max_degree=1),
        ntk.Gegenbauer(linear="random", directions="structured"),
        ntk.PolynomialSketch(degree=3, coefficients="taylor", complex_to_real=np.bool_(False)),
        ntk.PolynomialSketch(variant="layered", hidden_components=64),
        ntk.Nystroem(ROWS[:3], n_candidates=7),
        ntk.Resampled("polynomial-sketch", n_candidates=60, ridge=1e-3),
        ntk.Resampled(scheme="with-replacement"),
        ntk.Resampled(ntk.Resampled("gegenbauer")),
        Auto(),
        "auto",
    ],
    ids=repr,
)
def test_parameters_of_methods(method, tmp_path):
    model = regressor(method, ntk.mlp(2) if method != ntk.RandomFeatures(product="exact") else None)
    copy = reload(model, tmp_path)
    assert_same(model, copy)
    assert copy.method == method


def test_a_structured_map_whose_columns_project_the_linear_part(tmp_path):
    """Maps were so before they had a projection of their own, which files do not name."""
    model = features(ntk.Gegenbauer(linear="random", directions="structured"), n_components=9)
    feature_map = model.feature_map_
    layout, params = feature_map.plan.layout, feature_map.params
    R = np.sqrt(feature_map.plan.coefficients[1]) * params.projection.apply(np.eye(ROWS.shape[1]))
    constant = np.zeros((len(R), layout.constant))
    columns = np.concatenate([np.asarray(R), constant], axis=1, dtype=params.columns.dtype)
    old = feature_map._replace(params=params._replace(columns=columns, projection=None))
    Z = model.transform(ROWS)
    model.feature_map_ = old
    ntk.save(model, tmp_path / "model.safetensors")
    file = saved.File(tmp_path / "model.safetensors")
    assert file.at("feature_map_", "params")["fields"].pop("projection") is None
    copy = ntk.load(file.write())
    assert copy.feature_map_.params.projection is None
    np.testing.assert_allclose(copy.transform(ROWS), Z, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(copy.transform(ROWS), model.transform(ROWS))


@pytest.mark.parametrize("n_components", [1, 2, 3, 60])
@pytest.mark.parametrize("method", ["nystroem", "gegenbauer", "random-features"])
def test_few_and_many_components(method, n_components, tmp_path):
    model = features(method, n_components=n_components)  # folded, all random, more than rows
    assert_same(model, reload(model, tmp_path))


@pytest.mark.parametrize("base", ["osnap", "countsketch", "srht"])
def test_leaves_of_wide_sparse_rows(base, tmp_path):
    X = sp.random_array((6, 5000), density=0.01, format="csr", rng=np.random.default_rng(0))
    model = features(ntk.PolynomialSketch(degree=3, base=base, hidden_components=16), X=X)
    assert_same(model, reload(model, tmp_path), X)


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@every_method
def test_sparse_rows(method, container, tmp_path):
    X = container(np.where(np.abs(ROWS) > 0.5, ROWS, 0).astype(np.float32))
    model = regressor(method, X=X)
    copy = reload(model, tmp_path)
    assert_same(model, copy, X)
    if isinstance(method, ntk.Nystroem):
        before, after = (m.features_.feature_map_.landmarks for m in (model, copy))
        assert type(after) is type(before)
        if sp.issparse(before):
            assert after.indices.dtype == before.indices.dtype
            assert (after != before).nnz == 0


def test_given_sparse_landmarks(tmp_path):
    landmarks = sp.csr_array(np.eye(3, saved.WIDTH))
    model = features(ntk.Nystroem(landmarks))
    copy = reload(model, tmp_path)
    assert_same(model, copy)
    assert copy.method == model.method


# ---------------------------------------------------------------------------------------------
# Architectures and kernels
# ---------------------------------------------------------------------------------------------

ARCHITECTURES = [
    None,
    ntk.Dense(0.5, 0.25),
    ntk.serial(ntk.Relu(), ntk.Dense()),
    ntk.mlp(3, weight_std=1.3, bias_std=0.1),
    ntk.mlp(2, input_bias_std=0.7),
    ntk.mlp(1, activation=ntk.LeakyRelu(-0.5)),
    ntk.mlp(2, activation=ntk.Erf()),
    ntk.mlp(1, activation=ntk.Gelu()),
    ntk.mlp(1, activation=ntk.Sin(0.5, 2.0, 1.0)),
    ntk.cnn(2, (2,), "flatten", pooling=2, padding="circular", shape=(saved.WIDTH, 1)),
    ntk.resnet(2, bias_std=0.1, shape=(saved.WIDTH, 1)),
    ntk.serial(ntk.Input((1, saved.WIDTH, 1)), ntk.AvgPool((1, 2), 1), ntk.Flatten(), ntk.Dense()),
    ntk.rnn(2, state_std=0.5, bidirectional=True, shape=(saved.WIDTH, 1)),
    ntk.zonal.ntk(2),
    ntk.zonal.nngp(1),
    ntk.zonal.laplace(0.5),
    ntk.zonal.gamma_exponential(1.0, 2.0),
    ntk.zonal.polynomial([0.1, 0.0, 2.0]),
    LegendreSeries(saved.WIDTH, (0.2, 0.5, 0.3)),
    LayeredPolynomial(ntk.mlp(1), "ntk", (0.3, 0.5, 0.2), (0.5, 0.4)),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
def test_every_architecture(architecture, tmp_path):
    model = features("nystroem", architecture)
    copy = reload(model, tmp_path)
    assert_same(model, copy)
    assert (copy.architecture, copy.architecture_) == (architecture, model.architecture_)
    assert hash(copy.architecture) == hash(architecture)


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize(
    "activation",
    [ntk.Relu(), ntk.LeakyRelu(0.3), ntk.Erf(), ntk.Gelu(), ntk.Sin(frequency=2.0)],
    ids=repr,
)
def test_random_features_of_every_activation(activation, kind, tmp_path):
    model = features("random-features", ntk.mlp(1, activation=activation, bias_std=0.1), kind=kind)
    assert_same(model, reload(model, tmp_path))


@pytest.mark.parametrize("method", ["gegenbauer", "polynomial-sketch"])
@pytest.mark.parametrize("kind", list(saved.MAKERS))
def test_functions_that_predictions_do_without(kind, method, tmp_path):
    kernel = ntk.zonal.from_function(lambda t: np.exp(t - 1))
    model = saved.MAKERS[kind](method, kernel)
    copy = reload(model, tmp_path)
    assert_same(model, copy)
    with pytest.raises(ValueError, match="function of this kernel was not saved"):
        copy.fit(ROWS, TARGETS > 0)
    assert_same(
        model,
        copy.set_params(architecture=kernel).fit(
            ROWS, {"features": None, "regressor": TARGETS, "classifier": CLASSES}[kind]
        ),
    )


# ---------------------------------------------------------------------------------------------
# Precision and order
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["nystroem", "gegenbauer", "random-features"])
@pytest.mark.parametrize("fitted", [np.float32, np.float64])
@pytest.mark.parametrize("asked", [np.float32, np.float64])
def test_precisions(method, fitted, asked, tmp_path):
    model = regressor(method, X=ROWS.astype(fitted))
    assert_same(model, reload(model, tmp_path), ROWS.astype(asked))


def flags(array):
    return array.flags.c_contiguous, array.flags.f_contiguous


@pytest.mark.parametrize("alphas", [0.5, "auto", [0.1, 1.0]])
def test_order_in_memory_decides_about_the_last_bits(alphas, tmp_path, monkeypatch):
    monkeypatch.setattr(NystroemMap, "is_small", False)  # so that there is a penalty matrix
    model = regressor(alphas=alphas, y=np.column_stack([TARGETS, -TARGETS, TARGETS**2]))
    copy = reload(model, tmp_path)
    assert_same(model, copy)
    for one, other in ((model.ridge_, copy.ridge_),):
        assert flags(other._accumulator._gram) == flags(one._accumulator._gram) == (False, True)
        assert flags(other._choice.solution.coef) == flags(one._choice.solution.coef)
        assert flags(other._penalty.packed) == flags(one._penalty.packed)


def test_what_is_shared_is_stored_once(tmp_path):
    model = features(ntk.Nystroem(ROWS[:20].copy()))
    reload(model, tmp_path)
    assert len(saved.File(tmp_path / "model.safetensors").arrays) == 2  # landmarks and whitening
    reload(features(ntk.Resampled(scheme="with-replacement")), tmp_path)
    file = saved.File(tmp_path / "model.safetensors")
    assert file.text.count('{"array"') > len(file.arrays)  # the map's own and the candidates'


def test_whitening_travels(tmp_path, monkeypatch):
    model = features("nystroem")
    ntk.save(model, tmp_path / "model.safetensors")
    monkeypatch.setattr("ntksketch.features.whitening.cholesky_factor", None)
    copy = ntk.load(tmp_path / "model.safetensors")
    assert_same(model, copy)
    assert copy.feature_map_.jitter == model.feature_map_.jitter
    assert copy.feature_map_.rank == model.feature_map_.rank


def test_a_copy_saves_as_the_same_file_and_pickles(tmp_path):
    model = classifier("random-features")
    copy = reload(model, tmp_path, "first.safetensors")
    assert_same(model, reload(copy, tmp_path, "second.safetensors"))
    first, second = (tmp_path / f"{name}.safetensors" for name in ("first", "second"))
    one, other = saved.File(first), saved.File(second)
    assert one.text == other.text
    assert all(np.array_equal(a, other.arrays[name]) for name, a in one.arrays.items())
    assert_same(model, pickle.loads(pickle.dumps(copy)))


# ---------------------------------------------------------------------------------------------
# Parameters and state of estimators
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        CLASSES,
        CLASSES.astype(object),
        CLASSES.astype("U40"),
        np.array(["", "\ud800", "ß\n\0x"])[np.arange(40) % 3],
        np.arange(40) % 3 - 1,
        (np.arange(40) % 2).astype(np.uint8),
        np.arange(40) % 2 == 1,
        np.array([-1.5, 0.0, 2.0])[np.arange(40) % 3].astype(np.float32).astype(np.int16),
        np.array([1.0, 2.0])[np.arange(40) % 2],
        np.array([1.0, 2.0], np.float32)[np.arange(40) % 2],
        (np.arange(40) % 3).astype(">i4"),
    ],
    ids=lambda y: f"{y.dtype}-{len(set(y.tolist()))}",
)
def test_classes_of_every_type(y, tmp_path):
    model = classifier("gegenbauer", y=y)
    copy = reload(model, tmp_path)
    assert copy.classes_.dtype == model.classes_.dtype.newbyteorder("=")
    np.testing.assert_array_equal(copy.classes_, model.classes_)
    np.testing.assert_array_equal(copy.predict(ROWS), model.predict(ROWS))


@pytest.mark.parametrize("class_weight", [{"no": 2, "yes": 1.5}, "balanced", None])
def test_class_weights(class_weight, tmp_path):
    model = classifier("gegenbauer", class_weight=class_weight)
    copy = reload(model, tmp_path)
    assert copy.class_weight == class_weight
    assert_same(model, copy)


@pytest.mark.parametrize(
    "alphas",
    [
        "auto",
        1,
        0.5,
        [1, 0.5],
        (0.5, 2.0),
        np.float64(0.5),
        np.float32(0.5),
        np.array(2),
        np.array([1, 2]),
        np.array([0.1, 1.0], np.float32),
        np.logspace(-2, 2, 9)[::2],
    ],
    ids=repr,
)
def test_penalties(alphas, tmp_path):
    model = regressor("gegenbauer", alphas=alphas)
    copy = reload(model, tmp_path)
    np.testing.assert_array_equal(copy.alphas, alphas)
    assert copy.alpha_ == model.alpha_
    assert_same(model, copy)
    assert copy.ridge_._choice is copy.ridge_._current()  # solved when it was saved


def test_names_of_columns(tmp_path):
    frame = pd.DataFrame(ROWS, columns=[f"column {i}" for i in range(saved.WIDTH)])
    for model in (features(X=frame), regressor(X=frame)):
        copy = reload(model, tmp_path)
        assert copy.feature_names_in_.dtype == object
        assert list(copy.feature_names_in_) == list(frame.columns)
        assert copy.n_features_in_ == saved.WIDTH
        use = "transform" if hasattr(model, "transform") else "predict"
        np.testing.assert_array_equal(getattr(copy, use)(frame), getattr(model, use)(frame))
        with pytest.raises(ValueError, match="feature names should match"):
            getattr(copy, use)(frame[frame.columns[::-1]])


def test_settings_travel(tmp_path):
    model = features(working_memory=16, random_state=np.int64(3)).set_output(transform="pandas")
    copy = reload(model, tmp_path)
    assert (copy.working_memory, copy.random_state) == (16, 3)
    assert isinstance(copy.transform(ROWS), pd.DataFrame)
    assert list(copy.get_feature_names_out()) == list(model.get_feature_names_out())
    assert copy.n_components == 24


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_stream_of_random_numbers_is_saved_as_none(random_state, tmp_path):
    model = regressor(random_state=random_state)
    copy = reload(model, tmp_path)
    assert copy.random_state is None
    assert copy.features_.random_state is None
    assert_same(model, copy)


def test_loaded_models_fit_and_clone_as_before(tmp_path):
    model = regressor(ntk.RandomFeatures(sampling="gaussian"), ntk.mlp(2), alphas=[0.1, 10.0])
    copy = reload(model, tmp_path)
    assert_same(model, clone(copy).fit(ROWS, TARGETS))
    assert_same(model, copy.fit(ROWS, TARGETS))
    assert copy.fit_seconds_.keys() == model.fit_seconds_.keys()


def test_parameters_set_after_fit(tmp_path):
    model = features().set_params(n_components=7, method="gegenbauer")
    copy = reload(model, tmp_path)
    assert copy.n_components == 7
    assert_same(model, copy)


def test_several_targets(tmp_path):
    for y in (TARGETS[:, None], np.column_stack([TARGETS, ROWS[:, 2]])):
        model = regressor("gegenbauer", y=y)
        assert_same(model, reload(model, tmp_path))


# ---------------------------------------------------------------------------------------------
# StreamingRidge
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_go_on_after_loading(fit_intercept, dtype, tmp_path):
    X, y = ROWS.astype(dtype), np.column_stack([TARGETS, -ROWS[:, 2]])
    model = ntk.StreamingRidge([0.1, 1.0], fit_intercept=fit_intercept)
    model.partial_fit(X[:15], y[:15])
    copy = reload(model, tmp_path)  # not solved
    assert_same(model, copy)
    copy = reload(model, tmp_path)  # solved
    for part in (slice(15, 30), slice(30, 40)):
        weight = np.linspace(0, 2, len(X[part]))
        model.partial_fit(X[part], y[part], weight)
        copy.partial_fit(X[part], y[part], weight)
        assert copy.n_samples_seen_ == model.n_samples_seen_
        for name in ("coef_", "intercept_", "alpha_", "alphas_", "gcv_scores_", "rank_"):
            np.testing.assert_array_equal(getattr(copy, name), getattr(model, name))
    assert_same(model, copy)


def test_penalties_change_after_loading(tmp_path):
    model = ntk.StreamingRidge("auto").fit(ROWS, TARGETS)
    copy = reload(model, tmp_path)
    assert_same(model.set_params(alphas=[0.5, 5.0]), copy.set_params(alphas=[0.5, 5.0]))


def test_a_choice_by_rows_kept_aside_holds(tmp_path):
    model = ntk.StreamingRidge([1e-3, 1e3]).fit(ROWS[:20], TARGETS[:20])
    model.select_alpha(ROWS[20:], TARGETS[20:])
    copy = reload(model, tmp_path)
    np.testing.assert_array_equal(copy.holdout_scores_, model.holdout_scores_)
    assert copy.alpha_ == model.alpha_
    assert_same(model, copy)


def test_scores_may_be_infinite(tmp_path):
    model = ntk.StreamingRidge([1e-6, 1e3]).fit(ROWS, TARGETS, np.full(40, 5 / 40))
    assert np.isinf(model.gcv_scores_).any()
    copy = reload(model, tmp_path)
    np.testing.assert_array_equal(copy.gcv_scores_, model.gcv_scores_)
    assert_same(model, copy)


def test_how_a_solve_went_is_remembered(tmp_path):
    with pytest.warns(LinAlgWarning, match="rank"):
        model = ntk.StreamingRidge(0.0).fit(np.hstack([ROWS, ROWS]), TARGETS)
    copy = reload(model, tmp_path)
    assert copy._choice.solution.status == model._choice.solution.status
    assert copy._choice.solution.status.kind == "singular"
    assert_same(model, copy, np.hstack([ROWS, ROWS]))


def test_nothing_but_rows_without_weight(tmp_path):
    model = ntk.StreamingRidge(1.0).partial_fit(ROWS, TARGETS, np.zeros(40))
    copy = reload(model, tmp_path)
    assert copy.n_samples_seen_ == 0
    assert_same(model.partial_fit(ROWS, TARGETS), copy.partial_fit(ROWS, TARGETS))


def test_not_fitted(tmp_path):
    for model in (ntk.NTKFeatures(), ntk.NTKRegressor(), ntk.NTKClassifier(), ntk.StreamingRidge()):
        with pytest.raises(NotFittedError):
            ntk.save(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
