"""Exact kernels against the scalar oracle, and what holds for every exact kernel."""

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import network_kernels, relu_products
from scipy.integrate import dblquad

import ntksketch as ntk
from ntksketch import Dense, Relu, residual, serial
from ntksketch.kernels import gram

KINDS = ("ntk", "nngp")
NETWORKS = {
    "mlp(1)": ntk.mlp(1),
    "mlp(2)": ntk.mlp(2),
    "mlp(3)": ntk.mlp(3),
    "mlp(4)": ntk.mlp(4),
    "mlp(5)": ntk.mlp(5),
    "mlp(1), bias": ntk.mlp(1, bias_std=0.3),
    "mlp(3), bias": ntk.mlp(3, bias_std=0.3),
    "mlp(5), bias": ntk.mlp(5, bias_std=0.3),
    "weights": ntk.mlp(2, weight_std=1.4),
    "weights and biases": ntk.mlp(3, weight_std=0.6, bias_std=1.1),
    "bias at the input": serial(Dense(0.8, 0.5), Relu(), Dense(1.2), Relu(), Dense(0.7)),
    "bias at the readout": serial(Dense(), Relu(), Dense(0.9, 0.4)),
    "ends in Relu": serial(Dense(), Relu(), Dense(1.3, 0.2), Relu()),
    "starts with Relu": serial(Relu(), Dense(1.1), Relu(), Dense()),
    "two Relus": serial(Dense(), Relu(), Relu(), Dense()),
    "two Denses": serial(Dense(1.2, 0.1), Dense(0.8, 0.3), Relu(), Dense(), Dense(0.5)),
    "one Dense": Dense(0.5, 0.2),
    "zero weights": serial(Dense(), Relu(), Dense(0.0, 0.7), Relu(), Dense()),
    "sum": serial(Dense(), residual(Relu(), Dense(1.1, 0.2)), Relu(), Dense()),
    "sum of branches": serial(
        residual(Dense(), Relu(), Dense(), shortcut=Dense(0.7, 0.1)), Relu(), Dense()
    ),
    "all zero": serial(Dense(0.0), Relu(), Dense()),
}
SOME = ("mlp(2)", "mlp(3), bias", "two Denses")  # in float32: zonal, not zonal, not zonal
networks = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
some_networks = pytest.mark.parametrize("network", [NETWORKS[n] for n in SOME], ids=SOME)
kinds = pytest.mark.parametrize("kind", KINDS)


# Compiling takes longer than everything else: most tests share shapes, n up to 16 and d = 6.


def rows(n=12, d=6, seed=0):
    """Rows in general position, of very different norms, some of them near-parallel."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    X[1] = X[0] + 1e-2 * X[1]
    X[2] = -3 * X[0] + 0.3 * X[2]
    X[3] *= 1e3
    X[4] *= 1e-3
    return X


def oracle(network, X, Y=None):
    return network_kernels(network if isinstance(network, ntk.Serial) else [network], X, Y)


def scales(network, kind, X, Y):
    """The bound sqrt(K(x, x) K(y, y)) of each |K(x, y)|."""
    left, right = (ntk.kernel_diag(network, Z.astype(np.float64), kind=kind) for Z in (X, Y))
    return np.sqrt(np.outer(left, right))


def cosines(X, Y):
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    return (X @ Y.T) / np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(Y, axis=1))


# ---------------------------------------------------------------------------------------------
# The oracle itself
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cosine", [-0.95, -0.5, 0.0, 0.3, 0.9])
def test_oracle_is_the_gaussian_integral(cosine):
    determinant = 1 - cosine**2

    def density(u, v):
        square = (u * u - 2 * cosine * u * v + v * v) / determinant
        return np.exp(-square / 2) / (2 * np.pi * np.sqrt(determinant))

    relu, step = relu_products(np.arccos(cosine))
    both_positive = (0, 12, 0, 12)
    integral, _ = dblquad(lambda u, v: 2 * u * v * density(u, v), *both_positive)
    assert integral == pytest.approx(relu, rel=1e-7)
    integral, _ = dblquad(lambda u, v: 2 * density(u, v), *both_positive)
    assert integral == pytest.approx(step, rel=1e-7)


def test_oracle_by_hand():
    """E_1 and E_2 of orthogonal unit rows: kappa1(0) = 1/pi, kappa0(0) = 1/2."""
    K = network_kernels(ntk.mlp(1), np.eye(2))
    np.testing.assert_allclose(K["nngp"], [[1, 1 / np.pi], [1 / np.pi, 1]], rtol=1e-15)
    np.testing.assert_allclose(K["ntk"], [[2, 1 / np.pi], [1 / np.pi, 2]], rtol=1e-15)
    angle = np.arccos(1 / np.pi)
    second = (np.sin(angle) + (np.pi - angle) / np.pi) / np.pi
    K = network_kernels(ntk.mlp(2), np.eye(2))
    expected = second + (1 - angle / np.pi) / np.pi
    np.testing.assert_allclose(K["ntk"], [[3, expected], [expected, 3]], rtol=1e-15)


# ---------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------


@networks
def test_float64_equals_the_oracle(network):
    X, Y = rows(), rows(9, seed=1)
    symmetric, rectangular = oracle(network, X), oracle(network, X, Y)
    for kind in KINDS if network != Relu() else ["nngp"]:
        K = ntk.kernel(network, X, kind=kind)
        np.testing.assert_allclose(K, symmetric[kind], rtol=1e-10)
        np.testing.assert_allclose(ntk.kernel(network, X, Y, kind=kind), rectangular[kind], 1e-10)
        np.testing.assert_array_equal(K, K.T)
        diagonal = ntk.kernel_diag(network, X, kind=kind)
        np.testing.assert_array_equal(np.diag(K), diagonal)
        np.testing.assert_allclose(diagonal, np.diag(symmetric[kind]), rtol=1e-14)


IN_FLOAT32 = (*SOME, "mlp(1)", "mlp(5)", "mlp(5), bias", "bias at the input", "ends in Relu")


@pytest.mark.parametrize("network", [NETWORKS[n] for n in IN_FLOAT32], ids=IN_FLOAT32)
def test_float32_equals_the_oracle(network):
    """To 1e-5: entries relative to sqrt(K(x, x) K(y, y)), since the NTK crosses zero."""
    X = rows(16).astype(np.float32)
    expected = oracle(network, X)
    far = 1 - np.abs(cosines(X, X)) > 1e-3
    for kind in KINDS:
        K = ntk.kernel(network, X, kind=kind)
        assert K.dtype == np.float32
        error = np.abs(K - expected[kind])
        assert np.linalg.norm(error) <= 1e-5 * np.linalg.norm(expected[kind])
        assert np.all(error[far] <= 1e-5 * scales(network, kind, X, X)[far])
        np.testing.assert_allclose(np.diag(K), np.diag(expected[kind]), rtol=1e-6)
        np.testing.assert_array_equal(K, K.T)


@kinds
@pytest.mark.parametrize("network", [ntk.mlp(1), ntk.mlp(5), ntk.mlp(10), NETWORKS["mlp(5), bias"]])
def test_float32_entries_of_acute_rows(network, kind):
    """Every entry to 1e-5 of itself where 1 - t > 1e-3: at acute angles none cancels."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        X = np.abs(rng.standard_normal((16, 6))).astype(np.float32)
        X[4:] = X[0] + np.geomspace(1e-2, 10, 12, dtype=np.float32)[:, None] * X[4:]
        K = ntk.kernel(network, X, kind=kind)
        expected = oracle(network, X)[kind]
        far = 1 - cosines(X, X) > 1e-3
        np.testing.assert_allclose(K[far], expected[far], rtol=1e-5)
        assert np.linalg.norm(K - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("depth", [20, 30])
def test_float32_of_deep_networks(depth):
    """Behind the depth that short polynomials reach; rounding of t itself costs more than 1e-5."""
    X = rows(16).astype(np.float32)
    K = ntk.kernel(ntk.mlp(depth), X)
    expected = oracle(ntk.mlp(depth), X)["ntk"]
    error = np.abs(K - expected)
    far = 1 - np.abs(cosines(X, X)) > 1e-3
    assert np.linalg.norm(error) <= 1e-5 * np.linalg.norm(expected)
    assert np.all(error[far] <= 1e-4 * scales(ntk.mlp(depth), "ntk", X, X)[far])
    np.testing.assert_allclose(np.diag(K), np.diag(expected), rtol=1e-6)


@pytest.mark.parametrize("depth", range(1, 6))
def test_diagonal_without_bias(depth):
    X = rows()
    squares = (X**2).sum(axis=1)
    np.testing.assert_allclose(ntk.kernel_diag(ntk.mlp(depth), X), (depth + 1) * squares, 1e-14)
    np.testing.assert_allclose(ntk.kernel_diag(ntk.mlp(depth), X, kind="nngp"), squares, 1e-14)


def test_float32_norms_of_many_columns():
    X = 3 + np.random.default_rng(0).standard_normal((4, 200_000)).astype(np.float32)
    expected = 3 * (X.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(ntk.kernel_diag(ntk.mlp(2), X), expected, rtol=2e-7)


# ---------------------------------------------------------------------------------------------
# Laws
# ---------------------------------------------------------------------------------------------


@kinds
@networks
def test_positive_semi_definite(network, kind):
    X = rows(11)
    K = ntk.kernel(network, np.vstack([X, X[:4], 0 * X[:1]]), kind=kind)
    values = np.linalg.eigvalsh(K)
    assert values[0] >= -1e-12 * values[-1]


@kinds
@some_networks
def test_rotations_change_nothing(network, kind):
    X = rows()
    Q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))
    np.testing.assert_allclose(
        ntk.kernel(network, X @ Q.T, kind=kind), ntk.kernel(network, X, kind=kind), rtol=1e-9
    )


@kinds
@pytest.mark.parametrize("depth", [1, 3])
def test_homogeneous_without_bias(depth, kind):
    X, Y = rows(), rows(9, seed=1)
    K = ntk.kernel(ntk.mlp(depth), X, Y, kind=kind)
    for c in (1e-8, 3.7, 1e8):
        scaled = ntk.kernel(ntk.mlp(depth), c * X, Y, kind=kind)
        np.testing.assert_allclose(scaled, c * K, rtol=1e-11)


@kinds
def test_a_bias_at_the_input_is_an_appended_coordinate(kind):
    X = rows()
    behind = (Relu(), Dense(1.1), Relu(), Dense())
    biased, plain = serial(Dense(1.0, 0.4), *behind), serial(Dense(), *behind)
    extended = np.hstack([X, np.full((len(X), 1), 0.4)])
    np.testing.assert_allclose(
        ntk.kernel(biased, X, kind=kind), ntk.kernel(plain, extended, kind=kind), rtol=1e-9
    )


def test_a_nested_network_is_its_layers():
    X = rows()
    nested = ntk.Serial((Dense(), ntk.Serial((Relu(), Dense()))))
    np.testing.assert_array_equal(ntk.kernel(nested, X), ntk.kernel(ntk.mlp(1), X))


# ---------------------------------------------------------------------------------------------
# Tiles and memory
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("network", [NETWORKS["mlp(2)"], NETWORKS["mlp(3), bias"]])
def test_the_budget_changes_nothing(network, dtype):
    X, Y = rows(11).astype(dtype), rows(9, seed=1).astype(dtype)
    whole, across = ntk.kernel(network, X), ntk.kernel(network, X, Y)
    # rounding of t grows near t = 1 and t = -1, and one tile's matrix product rounds as it likes
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    for entries in (1, 4**2):
        budget = entries * gram._TEMPORARIES * X.itemsize / 2**20
        K = ntk.kernel(network, X, working_memory=budget)
        bound = tolerance * scales(network, "ntk", X, X)
        assert np.all(np.abs(K - whole) <= bound)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_array_equal(np.diag(K), np.diag(whole))
        K = ntk.kernel(network, X, Y, working_memory=budget)
        assert np.all(np.abs(K - across) <= tolerance * scales(network, "ntk", X, Y))


@pytest.mark.parametrize("sparse", [False, True])
def test_tiles_of_one_call_compile_once(sparse, monkeypatch):
    traced = []
    finish = gram._finish
    monkeypatch.setattr(gram, "_finish", lambda *args: traced.append(1) or finish(*args))
    network = ntk.mlp(2, weight_std=1.0 + sparse + 0.123)  # compiled nowhere else
    X = rows(37)
    ntk.kernel(network, sp.csr_array(X) if sparse else X, working_memory=8**2 * 32 / 2**20)
    assert len(traced) == 1


def test_a_result_that_cannot_fit(monkeypatch):
    monkeypatch.setattr("ntksketch.data.blocks.available_memory", lambda: 100.0)
    monkeypatch.setattr(gram, "fill", lambda *args: pytest.fail("started all the same"))
    message = r"kernel matrix of 12 x 5 float64 entries needs 480 B and 100 B are available; .*Y="
    with pytest.raises(MemoryError, match=message):
        ntk.kernel(ntk.mlp(1), rows(12), rows(5))


def test_an_impossible_size_is_refused_at_once():
    X = np.broadcast_to(np.float32(1), (10**7, 1))
    with pytest.raises(MemoryError, match=r"10,000,000 x 10,000,000 float32 .* needs 363\.8 TiB"):
        ntk.kernel(ntk.mlp(1), X)
