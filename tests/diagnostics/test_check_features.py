import json

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.kernel_approximation import RBFSampler
from sklearn.preprocessing import FunctionTransformer

import ntksketch as ntk
from ntksketch import RandomFeatures

ARCHITECTURE = ntk.mlp(depth=1)


@pytest.fixture(scope="module")
def X():
    return load_digits().data[:90] / 16


@pytest.fixture(scope="module")
def fm(X):
    return ntk.NTKFeatures(ARCHITECTURE, "random-features", 256, random_state=0).fit(X)


class ExactFeatures(TransformerMixin, BaseEstimator):
    """A square root of the exact kernel on the rows of fit, scaled."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y=None):
        eigenvalues, V = np.linalg.eigh(ntk.kernel(ARCHITECTURE, X))
        self.rows_ = X
        self.root_ = self.scale * V * np.sqrt(np.maximum(eigenvalues, 0))
        return self

    def transform(self, X):
        return self.root_[[np.flatnonzero((self.rows_ == x).all(axis=1))[0] for x in X]]


def test_every_error_against_its_definition(X, fm):
    alphas = [1.0, 0.05]
    report = ntk.check_features(fm, X, alphas=alphas)
    K, Z = ntk.kernel(ARCHITECTURE, X), fm.transform(X)
    E = Z @ Z.T - K
    assert report.n_rows == 90
    assert report.n_samples == 1
    assert report.n_components == 256
    for estimate, expected in (
        (report.frobenius, np.sqrt((E**2).sum() / (K**2).sum())),
        (report.spectral, np.linalg.norm(E, 2) / np.linalg.norm(K, 2)),
        (report.diagonal, np.sqrt((np.diag(E) ** 2).sum() / (np.diag(K) ** 2).sum())),
    ):
        assert estimate.standard_error is None
        np.testing.assert_allclose(estimate.value, expected, rtol=1e-5)
    for ridge, alpha in zip(report.ridges, alphas, strict=True):
        A = K + alpha * np.trace(K) / 90 * np.eye(90)
        root = np.real(scipy.linalg.inv(scipy.linalg.sqrtm(A)))
        assert ridge.alpha == alpha
        np.testing.assert_allclose(
            ridge.statistical_dimension.value, np.trace(K @ np.linalg.inv(A)), rtol=1e-8
        )
        np.testing.assert_allclose(
            ridge.spectral_factor.value, np.linalg.norm(root @ E @ root, 2), rtol=1e-5
        )


def test_exact_features_have_no_error(X):
    report = ntk.check_features(ExactFeatures().fit(X), X, architecture=ARCHITECTURE)
    for estimate in (report.frobenius, report.spectral, report.diagonal, report.bias):
        assert abs(estimate.value) < 1e-9
    for ridge in report.ridges:
        assert ridge.spectral_factor.value < 1e-6
        assert ridge.prediction_gap.value < 1e-6


def test_features_equal_to_the_last_bit():
    """There is nothing for an iteration to find."""
    X = np.random.default_rng(0).integers(-4, 5, (80, 6)).astype(float)
    report = ntk.check_features(FunctionTransformer().fit(X), X, architecture=ntk.Dense())
    assert report.frobenius.value == report.spectral.value == 0
    assert report.ridges[0].spectral_factor.value == report.ridges[0].prediction_gap.value == 0


def test_frames_give_no_warning(X, recwarn):
    frame = pd.DataFrame(X[:60], columns=[f"x{j}" for j in range(X.shape[1])])
    fitted = ntk.NTKFeatures(ARCHITECTURE, "random-features", 16, random_state=0).fit(frame)
    ntk.check_features(fitted, frame)
    assert not recwarn


def test_samples_of_one_row_are_refused(X, fm):
    with pytest.raises(ValueError, match="at least two rows"):
        ntk.check_features(fm, X[:1])
    with pytest.raises(ValueError, match="5 rows do not make n_samples=4 samples of two or more"):
        ntk.check_features(fm, X[:5], n_rows=4)


def test_scaled_features_have_the_error_of_their_scale(X):
    report = ntk.check_features(ExactFeatures(1.1).fit(X), X, architecture=ARCHITECTURE)
    for estimate in (report.frobenius, report.spectral, report.diagonal, report.bias):
        np.testing.assert_allclose(estimate.value, 0.21, rtol=1e-6)
    for ridge in report.ridges:
        assert 0 < ridge.prediction_gap.value < 0.21


def test_prediction_gap_on_given_targets_against_explicit_ridge(X, fm):
    y = load_digits().target[:90].astype(float)
    gap = ntk.check_features(fm, X, y, alphas=[0.1], random_state=3).ridges[0].prediction_gap
    K, Z = ntk.kernel(ARCHITECTURE, X), fm.transform(X)
    alpha = 0.1 * np.trace(K) / 90
    gaps = []
    # the report's split is its own business: the mean over splits must be of its size
    rng = np.random.default_rng(0)
    for _ in range(30):
        order = rng.permutation(90)
        test, train = order[:30], order[30:]
        exact = K[np.ix_(test, train)] @ np.linalg.solve(
            K[np.ix_(train, train)] + alpha * np.eye(60), y[train]
        )
        coef = np.linalg.solve(Z[train].T @ Z[train] + alpha * np.eye(256), Z[train].T @ y[train])
        gaps.append(np.linalg.norm(Z[test] @ coef - exact) / np.linalg.norm(exact))
    assert abs(gap.value - np.mean(gaps)) < 5 * np.std(gaps)


def test_samples_have_standard_errors_that_cover_the_whole(X):
    rows = load_digits().data[:900] / 16
    fm = ntk.NTKFeatures(ARCHITECTURE, "random-features", 128, random_state=0).fit(rows)
    whole = ntk.check_features(fm, rows)
    sampled = ntk.check_features(fm, rows, n_rows=150, n_samples=5)
    assert (sampled.n_rows, sampled.n_samples) == (150, 5)
    for part, all_rows in (
        (sampled.frobenius, whole.frobenius),
        (sampled.diagonal, whole.diagonal),
    ):
        assert part.standard_error > 0
        # a sample keeps its diagonal, which weighs more in fewer rows
        assert abs(part.value - all_rows.value) < 5 * part.standard_error + 0.1 * all_rows.value


@pytest.mark.parametrize("random_state", [0, 1])
def test_bias_is_within_its_error_for_unbiased_features(X, fm, random_state):
    bias = ntk.check_features(fm, X, n_draws=30, random_state=random_state).bias
    assert 0 < bias.standard_error < 0.1
    assert abs(bias.value) < 5 * bias.standard_error


def test_reproducible_and_leaves_the_features_alone(X, fm):
    before = fm.transform(X)
    first, again = (ntk.check_features(fm, X, n_rows=40, n_samples=2) for _ in range(2))
    assert first == again
    np.testing.assert_array_equal(fm.transform(X), before)


def test_other_transformers_need_an_architecture(X):
    sampler = RBFSampler(n_components=32, random_state=0).fit(X)
    with pytest.raises(ValueError, match="architecture must be given"):
        ntk.check_features(sampler, X)
    report = ntk.check_features(sampler, X, architecture=ntk.zonal.nngp(depth=1))
    assert report.frobenius.value > 0.1


@pytest.mark.parametrize(
    "architecture",
    [
        ARCHITECTURE,
        ntk.serial(ntk.Dense(1.2, 0.5), ntk.Relu(), ntk.Dense()),
        ntk.zonal.laplace(1.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("sparse", [False, True])
def test_truncation_error_is_apart_from_the_sketching_error(X, architecture, sparse):
    method = ntk.PolynomialSketch(degree=3, coefficients="taylor")
    fm = ntk.NTKFeatures(architecture, method, 128, random_state=0).fit(X)
    report = ntk.check_features(fm, scipy.sparse.csr_array(X) if sparse else X, n_draws=2)
    K, rows = ntk.kernel(architecture, X), X
    if architecture is not ARCHITECTURE and not isinstance(architecture, ntk.zonal.ZonalKernel):
        rows = np.hstack([1.2 * X, np.full((90, 1), 0.5)])
    difference = ntk.kernel(fm.feature_map_.expected, rows) - K
    assert report.truncation is not None
    expected = np.linalg.norm(difference) / np.linalg.norm(K)
    np.testing.assert_allclose(report.truncation.value, expected, rtol=1e-9)
    assert 0.001 < expected < report.frobenius.value
    assert "relative truncation error" in str(report)
    assert report.to_dict()["truncation"]["value"] == report.truncation.value


def test_truncation_has_a_standard_error_and_falls_with_the_degree(X):
    errors = []
    for degree in (2, 8):
        method = ntk.PolynomialSketch(degree=degree)
        fm = ntk.NTKFeatures(ARCHITECTURE, method, 2048, random_state=0).fit(X)
        errors.append(ntk.check_features(fm, X, n_rows=30, n_samples=3, n_draws=2).truncation)
    assert errors[0].standard_error > 0
    assert errors[1].value < 0.5 * errors[0].value


def test_no_truncation_where_nothing_is_cut_off(X, fm):
    report = ntk.check_features(fm, X, n_draws=2)
    assert report.truncation is None
    assert "truncation" not in str(report)
    assert report.to_dict()["truncation"] is None


def test_kind_follows_the_features(X):
    fm = ntk.NTKFeatures(ARCHITECTURE, n_components=2048, kind="nngp", random_state=0).fit(X)
    assert ntk.check_features(fm, X).frobenius.value < 0.1
    assert ntk.check_features(fm, X, kind="ntk").frobenius.value > 0.3


def test_prints_plots_and_turns_into_plain_numbers(X, fm):
    report = ntk.check_features(fm, X, n_rows=30, n_samples=3, alphas=[0.5])
    text = str(report)
    assert "relative Frobenius error" in text
    assert "spectral factor at ridge 0.5 trace(K)/n" in text
    assert "±" in text
    assert len(text.splitlines()) == 2 + len(list(report.rows()))
    again = json.loads(json.dumps(report.to_dict()))
    assert again["frobenius"]["value"] == report.frobenius.value
    assert again["ridges"][0]["prediction_gap"]["standard_error"] > 0
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ax = report.plot()
    assert len(ax.patches) == 6
    assert ax.get_xscale() == "log"
    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alphas": [0.0]}, "alphas must be a sequence of positive numbers"),
        ({"alphas": [np.nan]}, "alphas must be"),
        ({"alphas": 0.1}, "alphas must be"),
        ({"n_rows": 2}, "n_rows must be at least 4"),
        ({"n_samples": 1}, "n_samples must be at least 2"),
        ({"n_draws": 0}, "n_draws must be at least 2"),
        ({"kind": "both"}, "kind must be one of"),
        ({"y": np.zeros(5)}, "inconsistent numbers of samples"),
    ],
)
def test_bad_arguments(X, fm, arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.check_features(fm, X, **arguments)


def test_rows_of_zeros_and_unfitted_features(X, fm):
    with pytest.raises(ValueError, match="kernel is zero"):
        ntk.check_features(fm, np.zeros((5, 64)))
    with pytest.raises(NotFittedError):
        ntk.check_features(ntk.NTKFeatures(), X)


def test_suggestion_reaches_the_target(X):
    method = RandomFeatures("leverage")
    found = ntk.suggest_n_components(ARCHITECTURE, X, method, 0.06, n_draws=10)
    low, high = found.interval
    assert low <= found.n_components <= high
    assert found.exponent.value < 0
    assert [m for m, _ in found.pilots] == [128, 256, 512, 1024]
    K = ntk.kernel(ARCHITECTURE, X)
    errors = []
    for seed in range(12):
        fm = ntk.NTKFeatures(ARCHITECTURE, method, found.n_components, random_state=100 + seed)
        Z = fm.fit_transform(X)
        errors.append(np.linalg.norm(Z @ Z.T - K) / np.linalg.norm(K))
    spread = np.std(errors) / np.sqrt(len(errors))
    # the interval's ends, taken to errors by the fitted power
    slack = 0.06 * ((high / low) ** -found.exponent.value - 1)
    assert abs(np.mean(errors) - 0.06) < 3 * spread + slack
    assert str(found.n_components) in str(found)


def test_suggestion_says_when_it_extrapolates(X):
    found = ntk.suggest_n_components(
        ARCHITECTURE, X, "random-features", target_error=0.001, n_draws=3
    )
    assert found.extrapolated
    assert "beyond the pilot runs" in str(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_error": 0}, "target_error must be in"),
        ({"pilots": [64]}, "at least two sizes"),
        ({"n_draws": 1}, "two draws"),
        ({"method": "magic"}, "method must be one of"),
    ],
)
def test_bad_suggestion_arguments(X, arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.suggest_n_components(ARCHITECTURE, X, **arguments)
