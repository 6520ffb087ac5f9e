"""The kernel object in scikit-learn's Gaussian processes and kernel methods."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import cho_solve, cholesky
from sklearn.base import clone
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC

import ntksketch as ntk
from ntksketch import NTKKernel
from ntksketch.kernels.deviations import kernel_of_deviations

NETWORK = ntk.mlp(2)


def rows(n=8, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def targets(X):
    return np.sin(2 * X[:, 0]) + 0.1 * X[:, 1]


# ---------------------------------------------------------------------------------------------
# Values and gradients
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_is_the_exact_kernel(kind):
    X, Y = rows(), rows(5, seed=1)
    network = ntk.mlp(2, weight_std=1.3, bias_std=0.4)
    tuned = NTKKernel(NETWORK, weight_std=1.3, bias_std=0.4, kind=kind)
    fixed = NTKKernel(network, kind=kind)
    for k in (tuned, fixed):
        np.testing.assert_allclose(k(X), ntk.kernel(network, X, kind=kind), rtol=1e-12)
        np.testing.assert_allclose(k(X, Y), ntk.kernel(network, X, Y, kind=kind), rtol=1e-12)
        np.testing.assert_array_equal(k.diag(X), np.diag(k(X)))
        np.testing.assert_array_equal(k(X), k(X).T)
        np.testing.assert_allclose(k(sp.csr_array(X), Y), k(X, Y), rtol=1e-12)
        assert k(X.astype(np.float32)).dtype == np.float64
        assert k(X[0], Y[1]) == pytest.approx(k(X, Y)[0, 1], rel=1e-12)
        assert isinstance(k(X[0], Y[1]), float)


def with_sums(std=1.0, bias=0.0):
    """Return a network whose layers are inside residual sums, too."""
    dense, other = ntk.Dense(std, bias), ntk.Dense(std, bias)
    inner = ntk.residual(ntk.Relu(), dense, shortcut=other)
    return ntk.serial(dense, ntk.residual(ntk.Relu(), inner, ntk.Relu(), dense), ntk.Relu(), dense)


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_deviations_are_those_of_layers_inside_sums_as_well(kind):
    X = rows()
    tuned = NTKKernel(with_sums(), weight_std=1.3, bias_std=0.4, kind=kind)
    expected = ntk.kernel(with_sums(1.3, 0.4), X, kind=kind)
    np.testing.assert_allclose(tuned(X), expected, rtol=1e-12)
    np.testing.assert_allclose(tuned.diag(X), np.diag(expected), rtol=1e-12)


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (with_sums(), "ntk"),
        (ntk.mlp(2), "ntk"),
        (ntk.mlp(2), "nngp"),
        (ntk.mlp(2, activation=ntk.Erf()), "ntk"),
        (ntk.mlp(1, activation=ntk.Elementwise(jnp.tanh)), "nngp"),
    ],
    ids=repr,
)
def test_gradient_against_finite_differences(network, kind):
    X = rows() / 2
    X[1], X[2], X[3] = X[0], 2 * X[0], 0  # duplicates, parallel rows, zeros
    k = NTKKernel(network, weight_std=1.2, bias_std=0.3, kind=kind)
    K, gradient = k(X, eval_gradient=True)
    np.testing.assert_allclose(K, k(X), rtol=1e-7)
    assert gradient.shape == (8, 8, 2)
    np.testing.assert_allclose(gradient[0, 1], gradient[0, 0], rtol=1e-6)
    step = 1e-5
    different = np.ones((8, 8), bool)
    different[0, 1] = different[1, 0] = False  # the rounding of t at 1 spoils differences
    for i in range(2):
        up, down = (k.clone_with_theta(k.theta + s * step * np.eye(2)[i])(X) for s in (1, -1))
        numeric = (up - down)[different] / (2 * step)
        np.testing.assert_allclose(gradient[different, i], numeric, 1e-6, 1e-7 * K.max())


def test_gradient_without_bias():
    """The kernel is the 2 (L + 1)-th power of the weights' deviation times a constant."""
    X = rows()
    X[1], X[2], X[3] = X[0], -2 * X[0], 0
    K, gradient = NTKKernel(NETWORK, weight_std=1.2, bias_std=0.0)(X, eval_gradient=True)
    np.testing.assert_allclose(gradient[..., 0], 6 * K, rtol=1e-6, atol=1e-12)
    assert gradient.shape == (8, 8, 1)


def test_tiles_change_nothing(monkeypatch):
    X = rows()
    k = NTKKernel(NETWORK, weight_std=1.2, bias_std=0.3)
    whole = k(X, eval_gradient=True)
    monkeypatch.setattr("ntksketch.kernels.deviations.tile_side", lambda *args: 4)
    for small, large in zip(k(X, eval_gradient=True), whole, strict=True):
        np.testing.assert_allclose(small, large, rtol=1e-10)


def test_hyperparameters():
    k = NTKKernel(NETWORK, weight_std=1.2, bias_std=0.3, weight_std_bounds=(0.5, 2.0))
    np.testing.assert_allclose(k.theta, np.log([0.3, 1.2]))  # in the order of their names
    np.testing.assert_allclose(k.bounds, np.log([[1e-2, 1e2], [0.5, 2.0]]))
    assert k.clone_with_theta(np.log([0.2, 1.0])).weight_std == pytest.approx(1.0)
    assert NTKKernel().n_dims == 0
    assert NTKKernel(NETWORK, 1.0, 0.0).n_dims == 1
    assert NTKKernel(NETWORK, 1.0, 0.1, bias_std_bounds="fixed").n_dims == 1
    K, gradient = NTKKernel()(rows(), eval_gradient=True)
    assert gradient.shape == (*K.shape, 0)
    assert not k.is_stationary()


def test_value_semantics():
    k = NTKKernel(NETWORK, weight_std=1.2, bias_std=0.3)
    for copy in (clone(k), pickle.loads(pickle.dumps(k))):
        assert copy == k
    assert k != NTKKernel(NETWORK, weight_std=1.2)
    text = "NTKKernel(serial(Dense(), Relu(), Dense(), Relu(), Dense()), weight_std=1.2)"
    assert repr(NTKKernel(NETWORK, weight_std=1.2)) == text
    assert repr(NTKKernel(kind="nngp")) == "NTKKernel(kind='nngp')"


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (NTKKernel(NETWORK, weight_std=0.0), "weight_std must be finite and positive"),
        (NTKKernel(NETWORK, bias_std=-1.0), "bias_std must be finite and at least 0"),
        (NTKKernel(ntk.zonal.laplace(1.0), 1.0), "weight_std must be None for GammaExponential"),
        (NTKKernel(kind="both"), "kind must be one of"),
        (NTKKernel(NETWORK, weight_std=1e60), "overflows"),
    ],
)
def test_bad_parameters(kernel, message):
    with pytest.raises(ValueError, match=message):
        kernel(rows())


def test_bad_calls():
    k = NTKKernel(NETWORK, weight_std=1.0)
    with pytest.raises(ValueError, match="eval_gradient=True takes Y=None"):
        k(rows(), rows(), eval_gradient=True)
    with pytest.raises(ValueError, match="same number of columns, got 3 and 2"):
        k(rows(), rows(d=2))
    with pytest.raises(TypeError, match="weight_std must be a real number"):
        NTKKernel(NETWORK, "1")(rows())  # pyright: ignore


# ---------------------------------------------------------------------------------------------
# Gaussian processes
# ---------------------------------------------------------------------------------------------


def test_posterior_by_hand():
    X, new = rows(), rows(5, seed=1)
    y, noise = targets(X), 0.1
    k = NTKKernel(NETWORK, weight_std=1.2, bias_std=0.3)
    gp = GaussianProcessRegressor(k, alpha=noise, optimizer=None).fit(X, y)
    mean, std = gp.predict(new, return_std=True)
    network = ntk.mlp(2, weight_std=1.2, bias_std=0.3)
    K, across = ntk.kernel(network, X), ntk.kernel(network, new, X)
    factor = cholesky(K + noise * np.eye(8), lower=True), True
    np.testing.assert_allclose(mean, across @ cho_solve(factor, y), rtol=1e-9)
    variance = ntk.kernel_diag(network, new) - np.sum(across.T * cho_solve(factor, across.T), 0)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-9)
    likelihood = -y @ cho_solve(factor, y) / 2 - np.log(np.diag(factor[0])).sum()
    likelihood -= 8 / 2 * np.log(2 * np.pi)
    assert gp.log_marginal_likelihood() == pytest.approx(likelihood, rel=1e-9)


def test_hyperparameters_are_optimised():
    X = rows(30)
    y = targets(X) + 0.3 * np.random.default_rng(1).standard_normal(30)
    k = ConstantKernel() * NTKKernel(NETWORK, 1.0, 1.0, weight_std_bounds="fixed")
    gp = GaussianProcessRegressor(k + WhiteKernel(0.1, "fixed")).fit(X, y)
    assert gp.kernel_.n_dims == 2
    found, gradient = gp.log_marginal_likelihood(gp.kernel_.theta, eval_gradient=True)
    assert found > gp.log_marginal_likelihood(gp.kernel.theta) + 1
    np.testing.assert_allclose(gradient, 0, atol=0.01)


def test_classifier():
    X = rows(30)
    y = X[:, 0] > 0
    gp = GaussianProcessClassifier(NTKKernel(NETWORK, 1.0, 0.5)).fit(X, y)
    assert gp.score(X, y) > 0.9
    assert gp.log_marginal_likelihood_value_ > gp.log_marginal_likelihood(
        NTKKernel(NETWORK, 1.0, 0.5).theta
    )


def test_another_value_compiles_nothing(monkeypatch):
    traced = []
    propagate = ntk.kernels.deviations.propagate
    monkeypatch.setattr(
        ntk.kernels.deviations, "propagate", lambda *args: traced.append(1) or propagate(*args)
    )
    network = ntk.mlp(1, weight_std=1.234)  # compiled nowhere else
    for std in (0.5, 0.7, 1.1):
        network = clone(NTKKernel(network)).architecture
        kernel_of_deviations(network, "ntk", {"weight_std": std}, rows())
    assert len(traced) == 1


# ---------------------------------------------------------------------------------------------
# Kernel methods
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel",
    [NTKKernel(NETWORK), NTKKernel(NETWORK, 1.1, 0.2), NTKKernel(ntk.zonal.laplace(1.0))],
    ids=repr,
)
def test_kernel_methods(kernel):
    X, new = rows(), rows(5, seed=1)
    y = targets(X)
    K, across = kernel(X), kernel(new, X)
    svc = clone(SVC(kernel=kernel)).fit(X, y > 0)
    precomputed = SVC(kernel="precomputed").fit(K, y > 0)
    np.testing.assert_allclose(svc.decision_function(new), precomputed.decision_function(across))
    ridge = KernelRidge(kernel=kernel, alpha=0.1).fit(X, y)
    np.testing.assert_allclose(
        ridge.predict(new), across @ np.linalg.solve(K + 0.1 * np.eye(8), y), rtol=1e-7
    )
    Z = Nystroem(kernel=kernel, n_components=8, random_state=0).fit_transform(X)
    np.testing.assert_allclose(Z @ Z.T, K, rtol=1e-6, atol=1e-6 * K.max())
    components = KernelPCA(2, kernel=kernel).fit_transform(X)
    expected = KernelPCA(2, kernel="precomputed").fit_transform(K)
    np.testing.assert_allclose(np.abs(components), np.abs(expected), atol=1e-7)


def test_functions_of_pairs():
    X = rows(4)
    k = NTKKernel(NETWORK)
    pairs = pairwise_kernels(X, metric=lambda x, y: k(x, y))
    np.testing.assert_allclose(pairs, k(X), rtol=1e-7)
