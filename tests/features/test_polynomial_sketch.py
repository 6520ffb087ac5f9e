import math
import subprocess
import sys

import jax
import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from feature_statistics import (
    SEEDS,
    assert_unbiased,
    draw,
    draw_map,
    gram_matrices,
    relative_error,
)
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch import Dense, PolynomialSketch, Relu, serial
from ntksketch.features import transform_blocks
from ntksketch.features.polynomials import fit_polynomial
from ntksketch.features.state import Explicit, linear
from ntksketch.kernels.gram import precision
from ntksketch.kernels.zonal import zonal_form

ROWS = np.random.default_rng(0).standard_normal((6, 5))
LAYERED = PolynomialSketch(variant="layered", hidden_components=64)
METHODS = [
    PolynomialSketch(),
    PolynomialSketch(coefficients="taylor", complex_to_real=False, hidden_components=32),
    PolynomialSketch(5, base="countsketch"),
    PolynomialSketch.published(degree=4),
    LAYERED,
]
TARGETS = [
    ntk.mlp(1),
    ntk.mlp(3, weight_std=1.3),
    serial(Dense(bias_std=0.5), Relu(), Dense()),
    serial(Relu(), Dense()),
    ntk.zonal.laplace(0.7),
    ntk.zonal.gamma_exponential(0.5, 1.5),
    ntk.zonal.polynomial([0.3, 0.0, 0.0, 1.0]),
    ntk.zonal.from_function(np.exp),
]


@pytest.fixture(scope="module")
def digits():
    return load_digits().data / 16


def expected_kernel(method, target, X, m=64, kind="ntk"):
    """The mean of the features' kernel, by the polynomial of the rows after a first Dense."""
    first, _ = zonal_form(target, kind)
    with precision(X.dtype):
        rows = X if first is None else np.asarray(linear(first, Explicit(X, None)).phi)
    feature_map = draw_map(method, target, X, m, jax.random.key(0), kind)
    return ntk.kernel(feature_map.expected, rows)


# ---------------------------------------------------------------------------------------------
# The one-shot map
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", TARGETS, ids=repr)
@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_unbiased_for_its_polynomial(method, target, seed):
    grams = gram_matrices(method, target, ROWS, 40, n_keys=120, seed=seed)
    assert_unbiased(grams, expected_kernel(method, target, ROWS, 40))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("base", ["osnap", "countsketch", "srht"])
def test_unbiased_with_leaves(base, seed, monkeypatch):
    monkeypatch.setattr("ntksketch.features.powers._NARROW", 4)
    X = np.random.default_rng(1).standard_normal((5, 40))
    method = PolynomialSketch(5, base=base, hidden_components=16)
    grams = gram_matrices(method, ntk.mlp(2), X, 30, n_keys=200, seed=seed)
    assert_unbiased(grams, expected_kernel(method, ntk.mlp(2), X, 30))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_unbiased_for_both_kinds(kind, seed):
    method = PolynomialSketch(6)
    grams = gram_matrices(method, ntk.mlp(2), ROWS, 50, 200, seed, kind)
    assert_unbiased(grams, expected_kernel(method, ntk.mlp(2), ROWS, 50, kind))


def test_exact_where_all_monomials_fit():
    method = PolynomialSketch(4)
    m = sum(math.comb(5 + j - 1, j) for j in range(5))
    for n_components in (m, m + 7):
        Z = draw(method, ntk.mlp(1), ROWS, n_components, jax.random.key(0))
        assert Z.shape == (6, n_components)
        np.testing.assert_allclose(Z @ Z.T, expected_kernel(method, ntk.mlp(1), ROWS), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("complex_to_real", [False, True])
def test_error_falls_as_the_square_root_of_the_components(complex_to_real, seed):
    X = np.random.default_rng(2).standard_normal((40, 300)) + 0.5
    method = PolynomialSketch(6, complex_to_real=complex_to_real)
    K = expected_kernel(method, ntk.mlp(2), X)
    sizes = [32, 128]
    errors = [
        np.mean([relative_error(G, K) ** 2 for G in gram_matrices(method, ntk.mlp(2), X, m, 24)])
        for m in sizes
    ]
    exponent = np.polyfit(np.log(sizes), np.log(errors), 1)[0] / 2
    assert abs(exponent + 0.5) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_complex_signs_reduce_the_error(seed):
    X = np.random.default_rng(2).standard_normal((40, 300)) + 1.0
    real, complex_ = (
        [
            relative_error(G, expected_kernel(method, ntk.mlp(1), X)) ** 2
            for G in gram_matrices(method, ntk.mlp(1), X, 128, 100, seed)
        ]
        for method in (PolynomialSketch(complex_to_real=False), PolynomialSketch())
    )
    error = np.hypot(np.std(real), np.std(complex_)) / 10
    assert np.mean(complex_) < np.mean(real) - 2 * error


@pytest.mark.parametrize(("m", "bound"), [(1024, 0.019), (4096, 0.010)])
def test_error_on_digits(m, bound, digits):
    X = digits[:600]
    K = ntk.kernel(ntk.mlp(1), X)
    errors = []
    for seed in range(4):
        fm = ntk.NTKFeatures(ntk.mlp(1), PolynomialSketch(), m, random_state=seed)
        Z = fm.fit_transform(X.astype(np.float32))
        errors.append(relative_error(Z @ Z.T, K))
    assert np.mean(errors) <= bound


@pytest.mark.parametrize("narrow", [pytest.param(4096, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("complex_to_real", [False, True])
@pytest.mark.parametrize(("m", "exact"), [(6, ()), (8, (1,)), (25, (1, 2))])
def test_powers_are_weighted_sketches_of_tensor_powers(
    m, exact, complex_to_real, narrow, monkeypatch
):
    monkeypatch.setattr("ntksketch.features.powers._NARROW", narrow)
    X, target = ROWS[:, :4], ntk.zonal.from_function(np.exp)
    method = PolynomialSketch(
        4, coefficients="taylor", complex_to_real=complex_to_real, hidden_components=3
    )
    feature_map = draw_map(method, target, X, m, jax.random.key(0))
    assert feature_map.plan.exact == exact
    Z, expected = transform_blocks(feature_map, X), oracles.power_features(feature_map, X)
    np.testing.assert_allclose(Z @ Z.T, expected @ expected.T, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_the_map_reports_its_polynomial(method):
    t = np.linspace(-1, 1, 7)
    for target in TARGETS:
        fitted = fit_polynomial(zonal_form(target, "ntk")[1], method.degree, method.coefficients)
        by_hand = sum(a * t**j for j, a in enumerate(fitted))
        feature_map = draw_map(method, target, ROWS, 40, jax.random.key(0))
        np.testing.assert_allclose(feature_map.expected(t), by_hand, rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------------------------------------
# The layered map
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("degree", [2, 8])
def test_published_sketch_is_unbiased_at_depth_1_without_a_sketch_of_the_rows(degree, seed):
    method = PolynomialSketch(degree, "layered", "taylor", complex_to_real=False)
    method = PolynomialSketch(**{**vars(method), "hidden_components": 16})
    grams = gram_matrices(method, ntk.mlp(1), ROWS, 16, n_keys=300, seed=seed)
    assert_unbiased(grams, expected_kernel(method, ntk.mlp(1), ROWS))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
def test_published_sketch_approaches_the_exact_kernel(depth, digits):
    X = digits[:100].astype(np.float32)
    K = ntk.kernel(ntk.mlp(depth), X.astype(np.float64))
    method = PolynomialSketch.published(degree=8)
    small, large = (
        np.mean(
            [
                relative_error(G, K)
                for G in gram_matrices(
                    PolynomialSketch(**{**vars(method), "hidden_components": m}),
                    ntk.mlp(depth),
                    X,
                    m,
                    6,
                )
            ]
        )
        for m in (128, 1024)
    )
    assert large < 0.6 * small
    assert large < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("target", TARGETS[:4], ids=repr)
def test_layered_kernel_approaches_the_exact_one_with_the_degree(target, kind):
    K = ntk.kernel(target, ROWS, kind=kind)
    low, high = (
        relative_error(expected_kernel(PolynomialSketch(q, "layered"), target, ROWS, 64, kind), K)
        for q in (6, 40)
    )
    assert high < min(0.7 * low, 0.06)


@pytest.mark.parametrize("kind", ["ntk", pytest.param("nngp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("d", [3, 7])  # as they are, and sketched first
@pytest.mark.parametrize(
    "method",
    [
        PolynomialSketch(4, "layered", "taylor", "osnap", False, 4),  # as published
        PolynomialSketch(3, "layered", base="srht", hidden_components=5),
    ],
    ids=repr,
)
def test_layers_are_those_of_the_published_algorithm(method, d, kind):
    X = np.random.default_rng(1).standard_normal((4, d))
    for depth in (1, 2):
        feature_map = draw_map(method, ntk.mlp(depth), X, 6, jax.random.key(depth), kind)
        expected = oracles.layered_features(feature_map, X, kind)
        Z = transform_blocks(feature_map, X)
        np.testing.assert_allclose(Z, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("fit", ["nnls", "taylor"])
def test_the_layered_map_reports_the_recursion_with_polynomials(fit):
    method, deviation = PolynomialSketch(6, "layered", fit), 1.2
    t = np.linspace(-1, 1, 9)
    maps = {
        kind: draw_map(method, ntk.mlp(3, weight_std=deviation), ROWS, 64, jax.random.key(0), kind)
        for kind in ("ntk", "nngp")
    }
    plan = maps["ntk"].plan
    value, slope = (np.polynomial.Polynomial(c) for c in (plan.value, plan.slope))
    # cosines go through kappa1's polynomial; each Dense layer scales both kernels and adds
    cosine, variance, kernel = t, 1.0, t
    for _ in range(3):
        cosine, kernel = value(cosine), slope(cosine) * kernel
        variance *= deviation**2
        kernel = deviation**2 * kernel + variance * cosine
    np.testing.assert_allclose(maps["ntk"].expected(t), kernel, rtol=1e-10)
    np.testing.assert_allclose(maps["nngp"].expected(t), variance * cosine, rtol=1e-10)


def test_layers_are_needed():
    with pytest.raises(ValueError, match="needs the layers of a network"):
        draw(LAYERED, ntk.zonal.laplace(1.0), ROWS, 64, jax.random.key(0))
    with pytest.raises(ValueError, match="is not zonal"):
        draw(LAYERED, ntk.mlp(2, bias_std=0.1), ROWS, 64, jax.random.key(0))
    with pytest.raises(ValueError, match=r"hidden_components=2 is too small: .* degree=8 is 4"):
        draw(
            PolynomialSketch(8, "layered", "taylor", hidden_components=2),
            ntk.mlp(1),
            ROWS,
            64,
            jax.random.key(0),
        )


# ---------------------------------------------------------------------------------------------
# What holds for both
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("depth", [1, 2])
def test_homogeneous_for_every_draw(method, depth):
    scales = np.array([0.0, 1e-3, 1.0, 7.0, 100.0, 2.0])[:, None]
    key = jax.random.key(1)
    Z, scaled = (draw(method, ntk.mlp(depth), X, 96, key) for X in (ROWS, scales * ROWS))
    np.testing.assert_allclose(scaled, scales * Z, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "target", [ntk.mlp(1), pytest.param(TARGETS[2], marks=pytest.mark.slow)], ids=repr
)
@pytest.mark.parametrize(
    "method",
    [METHODS[0], *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS[1:])],
    ids=repr,
)
@pytest.mark.parametrize("narrow", [pytest.param(4096, marks=pytest.mark.slow), 4])
def test_sparse_rows_equal_dense_rows(target, method, narrow, monkeypatch):
    monkeypatch.setattr("ntksketch.features.powers._NARROW", narrow)
    X = np.where(np.random.default_rng(0).random((7, 150)) < 0.2, 1.5, 0.0)
    X[3] = 0
    key = jax.random.key(0)
    Z = draw(method, target, X, 64, key)
    np.testing.assert_allclose(draw(method, target, sp.csr_array(X), 64, key), Z, atol=1e-11)
    assert np.isfinite(Z).all()


@pytest.mark.parametrize("method", [METHODS[2], METHODS[3]], ids=repr)
def test_blocks_of_sparse_rows_compile_once(method, compilations, monkeypatch):
    monkeypatch.setattr("ntksketch.features.powers._NARROW", 4)
    X = sp.random_array((300, 40), density=0.2, rng=0, format="csr", dtype=np.float32)
    method = PolynomialSketch(**{**vars(method), "hidden_components": 8})
    feature_map = draw_map(method, ntk.mlp(1), X, 13, jax.random.key(0))
    budget = 4 * 2 * feature_map.row_entries * 33 / 2**20
    transform_blocks(feature_map, X[:70], budget)
    compilations.clear()
    other = draw_map(method, ntk.mlp(1), X, 13, jax.random.key(1))
    Z = transform_blocks(other, X, budget)
    assert not compilations
    np.testing.assert_allclose(Z[200:], transform_blocks(other, X[200:]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [*({"base": base} for base in ("osnap", "countsketch", "srht")), {"variant": "layered"}],
    ids=repr,
)
def test_compiled_code_takes_no_more_than_the_stated_entries(parameters):
    method = PolynomialSketch(**parameters, hidden_components=128)
    for d, m in ((30, 400), (5000, 64), (5000, 600)):  # the wide ones have leaves
        X = np.zeros((256, d), np.float32)
        feature_map = draw_map(method, ntk.mlp(1), X, m, jax.random.key(0))
        apply = jax.jit(lambda params, X, drawn=feature_map: drawn._replace(params=params).apply(X))
        memory = apply.lower(feature_map.params, X).compile().memory_analysis()
        taken = memory.temp_size_in_bytes + memory.output_size_in_bytes + X.nbytes
        assert taken <= 4 * len(X) * feature_map.row_entries


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_exact_number_of_columns_and_dtype(method, dtype):
    for target, m in ((ntk.mlp(1), 97), (TARGETS[2], 200)):
        Z = draw(method, target, ROWS.astype(dtype), m, jax.random.key(0))
        assert Z.shape == (6, m)
        assert Z.dtype == dtype


@pytest.mark.parametrize("coefficients", ["nnls", "taylor"])
def test_too_few_components_name_the_smallest_number(coefficients):
    method = PolynomialSketch(coefficients=coefficients)
    with pytest.raises(
        ValueError, match=r"n_components=1 is too small: .* works is (\d+)"
    ) as error:
        draw(method, ntk.mlp(2), ROWS, 1, jax.random.key(0))
    smallest = int(str(error.value).split()[-1])
    assert draw(method, ntk.mlp(2), ROWS, smallest, jax.random.key(0)).shape[1] == smallest
    with pytest.raises(ValueError, match=f"works is {smallest}"):
        draw(method, ntk.mlp(2), ROWS, smallest - 1, jax.random.key(0))


def test_bias_behind_the_input_is_refused():
    with pytest.raises(ValueError, match="is not zonal"):
        draw(PolynomialSketch(), ntk.mlp(2, bias_std=0.1), ROWS, 64, jax.random.key(0))


def test_negative_power_series_is_refused():
    kernel = ntk.kernels.zonal.LegendreSeries(5, (0.1, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"negative coefficient .* t\^0"):
        draw(PolynomialSketch(coefficients="taylor"), kernel, ROWS, 64, jax.random.key(0))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"degree": 0}, "degree must be a whole number of at least 1, got 0"),
        ({"degree": 2.5}, "degree must be a whole number"),
        ({"degree": True}, "degree must be a whole number"),
        ({"variant": "deep"}, "variant must be one of"),
        ({"coefficients": "chebyshev"}, "coefficients must be one of"),
        ({"base": "gaussian"}, "base must be one of"),
        ({"complex_to_real": "yes"}, "complex_to_real must be True or False"),
        ({"hidden_components": 0}, "hidden_components must be a whole number"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        PolynomialSketch(**parameters)


def test_repr_and_equality():
    assert repr(PolynomialSketch()) == "PolynomialSketch()"
    published = PolynomialSketch.published(degree=6)
    assert eval(repr(published)) == published
    assert hash(PolynomialSketch()) == hash(PolynomialSketch(8))


WIDE = """
import sys
from pathlib import Path
import numpy as np, scipy.sparse as sp
import ntksketch as ntk

n, d, nnz = 3000, 1_000_000, 20
rng = np.random.default_rng(0)
X = sp.csr_array(
    (rng.random(n * nnz, dtype=np.float32), rng.integers(d, size=n * nnz), nnz * np.arange(n + 1)),
    shape=(n, d),
)
method = ntk.PolynomialSketch(variant=sys.argv[1], hidden_components=256)
fm = ntk.NTKFeatures(ntk.mlp(2), method, 256, working_memory=64, random_state=0).fit(X)
Z = fm.transform(X)
norms = np.asarray(X.multiply(X).sum(axis=1)).ravel()
assert abs(np.mean((Z**2).sum(axis=1) / norms) - 3) < 0.5
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("variant", ["one-shot", pytest.param("layered", marks=pytest.mark.slow)])
def test_wide_sparse_rows_are_never_densified(variant):
    done = subprocess.run(
        [sys.executable, "-c", WIDE, variant], capture_output=True, text=True, check=True
    )
    # the rows alone are 12 GB if dense, and each 4 MB
    assert float(done.stdout) < 1500


def test_layers_that_are_no_rectifiers_are_not_taken():
    method = ntk.PolynomialSketch(variant="layered")
    assert method.takes(ntk.cnn(2, shape=(4, 4, 1)))
    assert not method.takes(ntk.cnn(2, activation=ntk.Erf(), shape=(4, 4, 1)))
    assert not method.takes(ntk.zonal.laplace(1.0))
