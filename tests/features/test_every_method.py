"""The ladder of tests that every feature method climbs."""

import pickle

import dask.array as da
import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from feature_statistics import (
    SEEDS,
    assert_compiles_once,
    assert_sums_on_a_mesh_are_those_of_the_host,
    assert_unbiased,
    draw,
    draw_map,
    relative_error,
)
from method_table import CASES
from sklearn.datasets import load_digits
from sklearn.utils import estimator_checks

import ntksketch as ntk
from ntksketch.features import transform_blocks

every_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=repr(case.method), marks=pytest.mark.slow if case.slow else ())
        for case in CASES
    ],
)
ROWS = np.random.default_rng(0).standard_normal((12, 5))
ARCHITECTURE = ntk.mlp(1)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data / 16


def expected_kernel(feature_map, X):
    norms = np.linalg.norm(X, axis=1)
    cosines = np.clip((X @ X.T) / np.outer(norms, norms), -1, 1)
    return np.outer(norms, norms) * feature_map.expected(cosines)


@pytest.mark.slow
@every_case
def test_mean_over_keys(case):
    if case.mean is None:
        pytest.skip("the mean is known in the limit only")
    K = ntk.kernel(ARCHITECTURE, ROWS)
    n_keys, m = (20, 6) if case.mean == "below" else (200, 9)
    keys = jax.random.split(jax.random.key(SEEDS[0]), n_keys)
    grams = np.stack([(Z := draw(case.method, ARCHITECTURE, ROWS, m, key)) @ Z.T for key in keys])
    if case.mean == "below":  # for every draw, in the order of matrices
        assert all(np.linalg.eigvalsh(K - gram)[0] >= -1e-8 for gram in grams)
        return
    if case.mean == "expected":
        feature_map = draw_map(case.method, ARCHITECTURE, ROWS, m, keys[0])
        K, exact = expected_kernel(feature_map, ROWS), K
        assert relative_error(K, exact) < 0.1
    assert_unbiased(grams, K)


@pytest.mark.slow
@every_case
def test_error_falls_with_the_components(case, digits):
    X = digits[::5]
    sizes = [64, 512]
    K = ntk.kernel(ntk.mlp(2), X)
    errors = [
        np.mean(
            [
                relative_error(Z @ Z.T, K)
                for seed in range(3)
                for Z in [draw(case.method, ntk.mlp(2), X, m, jax.random.key(seed))]
            ]
        )
        for m in sizes
    ]
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] <= case.slope


@pytest.mark.slow
@every_case
def test_spectral_factor_falls_with_the_components(case, digits):
    # the theorems ask for components in proportion to 1/factor^2 at every ridge
    X = digits[:200]
    K = ntk.kernel(ARCHITECTURE, X)
    values, vectors = scipy.linalg.eigh(K)
    sizes = (64, 512)
    grams = {
        m: [
            (Z := draw(case.method, ARCHITECTURE, X, m, jax.random.key(seed))) @ Z.T
            for seed in range(3)
        ]
        for m in sizes
    }
    for ridge in (1.0, 0.1):
        whitening = (vectors / np.sqrt(values + ridge * np.trace(K) / len(K))) @ vectors.T
        few, many = (
            np.mean([np.linalg.norm(whitening @ (G - K) @ whitening, 2) for G in grams[m]])
            for m in sizes
        )
        assert np.log(many / few) / np.log(sizes[1] / sizes[0]) <= -0.35


@every_case
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_exact_number_of_columns_in_the_dtype_of_the_rows(case, dtype):
    X = ROWS.astype(dtype)
    for m in (5, 8, 33):  # more than there are rows, too
        Z = draw(case.method, ARCHITECTURE, X, m, jax.random.key(0))
        assert Z.shape == (12, m)
        assert Z.dtype == dtype
        assert np.isfinite(Z).all()


@every_case
def test_the_key_decides_and_the_precision_does_not(case):
    first, again, other = (
        draw(case.method, ARCHITECTURE, ROWS, 9, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    single = draw(case.method, ARCHITECTURE, ROWS.astype(np.float32), 9, jax.random.key(0))
    np.testing.assert_allclose(single @ single.T, first @ first.T, rtol=2e-3, atol=2e-3)


@every_case
def test_homogeneous_without_bias_for_every_draw(case):
    feature_map = draw_map(case.method, ntk.mlp(2), ROWS, 20, jax.random.key(1))
    scales = np.array([0.0, 1e-3, 1.0, 7.0, 100.0, 2.0])[:, None]
    Z = transform_blocks(feature_map, ROWS[:6])
    scaled = transform_blocks(feature_map, scales * ROWS[:6])
    # where a row is a landmark, the square root of rounding remains
    np.testing.assert_allclose(scaled, scales * Z, rtol=1e-6, atol=1e-6)
    assert not scaled[0].any()


def takes_squares(method):
    """Say whether features need the squares of rows beside what is linear in them."""
    reduced = getattr(method, "variance_reduction", True)
    return reduced and not isinstance(method, ntk.GradientFeatures)


def with_long_or_short_row(dtype, power, form=np.asarray):
    """Six rows, the fourth of which is multiplied, and the factor."""
    X, factor = ROWS[:6].astype(dtype), np.power(dtype(10), dtype(power))
    X[3] *= factor
    return form(X), float(factor)


@every_case
@pytest.mark.parametrize(
    "form",
    [np.asarray, *(pytest.param(f, marks=pytest.mark.slow) for f in (sp.csr_array, sp.csr_matrix))],
    ids=["dense", "sparse array", "sparse matrix"],
)
@pytest.mark.parametrize(
    ("dtype", "powers", "long"),
    [
        (np.float32, (-36, -25, -20, -17, -14, 18), (20, 30)),
        pytest.param(np.float64, (-290, -170, -158, -120, 150), (160, 250), marks=pytest.mark.slow),
    ],
)
def test_rows_of_any_length_have_their_features_or_are_refused(case, form, dtype, powers, long):
    """Squares underflow below some length, where rows are stretched, and overflow above one."""
    feature_map = draw_map(case.method, ntk.mlp(2), ROWS.astype(dtype), 20, jax.random.key(1))
    Z = transform_blocks(feature_map, form(ROWS[:6].astype(dtype))).astype(np.float64)
    tolerance = 30 * np.finfo(dtype).eps * np.abs(Z).max(axis=1, keepdims=True)
    for power in (*powers, *long):
        X, factor = with_long_or_short_row(dtype, power, form)
        if power in long and takes_squares(case.method):
            message = f"features overflow {np.dtype(dtype)}, such as row 103; scale"
            with pytest.raises(ValueError, match=message):
                transform_blocks(feature_map, X, start=100)
            continue
        found = transform_blocks(feature_map, X, start=100).astype(np.float64)
        found[3] /= factor
        assert np.all(np.abs(found - Z) <= tolerance)


@pytest.mark.slow
@every_case
def test_biases_make_short_rows_the_same_as_zeros(case):
    """Without homogeneity nothing is stretched."""
    target = ntk.serial(ntk.Dense(1.2, 0.5), ntk.Relu(), ntk.Dense())
    feature_map = draw_map(case.method, target, ROWS, 9, jax.random.key(0))
    assert not feature_map.is_homogeneous
    X = ROWS.copy()
    X[3] *= 1e-200
    Z = transform_blocks(feature_map, X)
    X[3] = 0
    np.testing.assert_allclose(Z, transform_blocks(feature_map, X), rtol=1e-9, atol=1e-9)


@every_case
@pytest.mark.parametrize(
    ("dtype", "factor"),
    [
        (np.float32, 2.0**-100),
        pytest.param(np.float64, 2.0**-800, marks=pytest.mark.slow),
    ],
)
def test_short_rows_alone_are_as_good_as_others(case, dtype, factor):
    """Principal directions, scores and landmarks' kernels do not see the scale of all rows."""
    X = ROWS.astype(dtype)
    features = ntk.NTKFeatures(ntk.mlp(2), case.method, 20, random_state=0)
    Z = features.fit(X).transform(X[:6])
    for form in (np.asarray, sp.csr_array):
        short = form(X * dtype(factor))
        short = features.fit(short).transform(short[:6]) / dtype(factor)
        np.testing.assert_allclose(short @ short.T, Z @ Z.T, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@every_case
def test_fits_name_rows_whose_squares_overflow(case):
    X, _ = with_long_or_short_row(np.float32, 20)
    model = ntk.NTKRegressor(ntk.mlp(2), method=case.method, n_components=9, random_state=0)
    message = "X has rows so long that their (features|squares) overflow float32, such as row 3"
    other = "the squares of the features Z overflow float32; rescale them"  # finite ones
    with pytest.raises(ValueError, match=f"{message}|{other}"):
        model.fit(X, ROWS[:6, 0])
    model.fit(ROWS[:6].astype(np.float32), ROWS[:6, 0])
    if not takes_squares(case.method):
        assert np.isfinite(model.predict(X)).all()
    else:
        with pytest.raises(ValueError, match=message):
            model.predict(X)


@every_case
def test_sparse_rows_equal_dense_rows(case):
    X = np.where(np.random.default_rng(0).random((12, 5)) < 0.6, ROWS, 0.0)
    key = jax.random.key(0)
    for architecture in (ARCHITECTURE, ntk.serial(ntk.Dense(1.2, 0.5), ntk.Relu(), ntk.Dense())):
        Z = draw(case.method, architecture, X, 9, key)
        sparse = draw(case.method, architecture, sp.csr_array(X), 9, key)
        np.testing.assert_allclose(sparse @ sparse.T, Z @ Z.T, rtol=1e-6, atol=1e-8)


@every_case
def test_blocks_containers_and_pickles_agree(case):
    X = np.random.default_rng(1).standard_normal((70, 5))
    feature_map = draw_map(case.method, ARCHITECTURE, X, 12, jax.random.key(0))
    Z = transform_blocks(feature_map, X)
    budget = 8 * 2 * feature_map.row_entries * 17 / 2**20
    np.testing.assert_allclose(transform_blocks(feature_map, X, budget), Z, rtol=1e-7, atol=1e-9)
    for rows in (np.asfortranarray(X), X.copy()):
        rows.flags.writeable = False
        np.testing.assert_allclose(transform_blocks(feature_map, rows), Z, rtol=1e-7, atol=1e-9)
    copy = pickle.loads(pickle.dumps(feature_map))
    np.testing.assert_array_equal(transform_blocks(copy, X), Z)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_rows_of_files_and_of_dask_have_the_features_of_arrays(case, dtype, tmp_path):
    X = np.random.default_rng(1).standard_normal((70, 5)).astype(dtype)
    np.save(tmp_path / "X.npy", X)
    source = ntk.data.open_source(tmp_path / "X.npy")
    chunks = da.from_array(X, chunks=((35, 0, 35), (5,)))
    fm = ntk.NTKFeatures(ARCHITECTURE, case.method, 12, random_state=0)
    expected = fm.fit(X).transform(X)
    for rows in (np.load(tmp_path / "X.npy", mmap_mode="r"), source, chunks):
        fm.fit(rows)
        np.testing.assert_array_equal(fm.transform(X), expected)
    # chunks of other heights are other products
    close = {"rtol": 0, "atol": 2e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(fm.transform(chunks).compute(), expected, **close)
    written = ntk.data.featurise(fm, source, tmp_path / "Z.npy").read(0, 70)
    assert written.dtype == expected.dtype
    np.testing.assert_allclose(written, expected, **close)


@every_case
def test_sums_on_a_mesh_are_those_of_the_host(case):
    X = np.random.default_rng(1).standard_normal((70, 5)) + 1
    feature_map = draw_map(case.method, ARCHITECTURE, X, 12, jax.random.key(0))
    assert_sums_on_a_mesh_are_those_of_the_host(feature_map, X)


@every_case
def test_compiles_once_for_any_number_of_blocks(case, compilations):
    X = np.random.default_rng(1).standard_normal((300, 7)).astype(np.float32)
    feature_map = draw_map(case.method, ARCHITECTURE, X[:40], 13, jax.random.key(0))
    assert_compiles_once(feature_map, X, compilations)


@every_case
def test_biases(case):
    at_input = ntk.serial(ntk.Dense(1.3, 0.7), ntk.Relu(), ntk.Dense(0.8))
    K = ntk.kernel(at_input, ROWS)
    errors = [
        relative_error(Z @ Z.T, K)
        for seed in range(5)
        for Z in [draw(case.method, at_input, ROWS, 400, jax.random.key(seed))]
    ]
    bound = 0.15 if case.mean else 0.2  # few degrees are biased
    assert np.mean(errors) < bound * case.spread
    behind = ntk.mlp(2, bias_std=0.5)
    if case.layered:
        K = ntk.kernel(behind, ROWS)
        Z = draw(case.method, behind, ROWS, 1024, jax.random.key(0))
        assert relative_error(Z @ Z.T, K) < 0.15 * case.spread
    else:
        with pytest.raises(ValueError, match=r"is not zonal: .* method='nystroem'"):
            draw(case.method, behind, ROWS, 64, jax.random.key(0))


@every_case
@pytest.mark.parametrize(
    "kernel",
    [
        ntk.zonal.laplace(0.5),
        pytest.param(ntk.zonal.gamma_exponential(1.0, 1.5), marks=pytest.mark.slow),
        pytest.param(ntk.zonal.polynomial([0.5, 0.0, 2.0]), marks=pytest.mark.slow),
        pytest.param(ntk.zonal.from_function(np.exp), marks=pytest.mark.slow),
    ],
    ids=["laplace", "gamma-exponential", "polynomial", "function"],
)
def test_zonal_kernels(case, kernel):
    if not case.zonal:
        with pytest.raises(ValueError, match="needs the layers of a network"):
            draw(case.method, kernel, ROWS, 64, jax.random.key(0))
        return
    K = ntk.kernel(kernel, ROWS)
    errors = [
        relative_error(Z @ Z.T, K)
        for seed in range(5)
        for Z in [draw(case.method, kernel, ROWS, 1000, jax.random.key(seed))]
    ]
    assert np.mean(errors) < 0.1


@every_case
def test_a_network_and_its_zonal_kernel_have_the_same_features(case):
    if case.zonal:
        key = jax.random.key(0)
        np.testing.assert_array_equal(
            draw(case.method, ntk.zonal.ntk(2), ROWS, 9, key),
            draw(case.method, ntk.mlp(2), ROWS, 9, key),
        )


@pytest.mark.slow
@every_case
def test_nngp(case):
    K = ntk.kernel(ntk.mlp(2), ROWS, kind="nngp")
    errors = [
        relative_error(Z @ Z.T, K)
        for seed in range(5)
        for Z in [draw(case.method, ntk.mlp(2), ROWS, 500, jax.random.key(seed), "nngp")]
    ]
    assert np.mean(errors) < 0.12


@every_case
@pytest.mark.parametrize("shape", [(1, 5), (12, 1), (1, 1)])
def test_few_rows_and_columns(case, shape):
    X = ROWS[: shape[0], : shape[1]]
    K = ntk.kernel(ARCHITECTURE, X)
    Z = draw(case.method, ARCHITECTURE, X, 600, jax.random.key(0))
    assert relative_error(Z @ Z.T, K) < 0.35


@every_case
def test_duplicated_constant_and_zero_rows(case):
    X = np.concatenate([np.repeat(ROWS[:2], 20, axis=0), np.zeros((3, 5)), np.ones((5, 5))])
    K = ntk.kernel(ARCHITECTURE, X)
    Z = draw(case.method, ARCHITECTURE, X.astype(np.float32), 400, jax.random.key(0))
    assert relative_error(Z @ Z.T, K) < 0.2 * case.spread


@every_case
def test_rows_of_weight_zero_have_no_influence(case):
    X = np.concatenate([ROWS, 50 * np.random.default_rng(3).standard_normal((30, 5))])
    weight = np.concatenate([np.arange(1.0, 13.0), np.zeros(30)])
    for m in (6, 20):
        features = ntk.NTKFeatures(ARCHITECTURE, case.method, m, random_state=0)
        Z = features.fit(X, sample_weight=weight).transform(ROWS)
        poisoned = X.copy()
        poisoned[12:] *= -3.0
        again = features.fit(poisoned, sample_weight=weight).transform(ROWS)
        np.testing.assert_allclose(again, Z, rtol=1e-9, atol=1e-12)


SHORT_SET = (
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
    "check_fit_idempotent",
    "check_methods_subset_invariance",
    "check_estimators_pickle",
    "check_estimator_sparse_array",
    "check_dict_unchanged",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
)
WITH_ONE_COMPONENT = SHORT_SET[-2:] + SHORT_SET[3:4]


@every_case
@pytest.mark.parametrize("name", SHORT_SET)
def test_short_set_of_scikit_learn_checks(case, name):
    if name in WITH_ONE_COMPONENT and case.least > 1:
        pytest.skip("the check wants one component")
    features = ntk.NTKFeatures(method=case.method, n_components=8)
    getattr(estimator_checks, name)("NTKFeatures", features)
