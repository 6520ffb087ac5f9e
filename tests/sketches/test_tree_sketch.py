import jax
import numpy as np
import pytest
from oracles import tensor_rows, tree_matrix
from scipy import sparse
from sketch_statistics import (
    COSINES,
    SEEDS,
    assert_mean,
    assert_variance_below,
    sketched_products,
    unit_pair,
)

from ntksketch.sketches import (
    OSNAP,
    SRHT,
    ComplexTensorSRHT,
    CountSketch,
    TensorSketch,
    TensorSRHT,
    TreeSketch,
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("complex_to_real", [False, True])
@pytest.mark.parametrize("p", [2, 3, 6])
def test_unbiased_within_the_bound_on_the_variance(p, complex_to_real, seed):
    w, d = 24, 40
    pairs = [[unit_pair(d, cosine, seed + k) for cosine in COSINES] for k in range(p)]
    xs, ys = zip(*(np.stack(pair, axis=1) for pair in pairs), strict=True)

    def init(key):
        return TreeSketch.init(key, (d,) * p, w, complex_to_real=complex_to_real)

    products = sketched_products(init, xs, ys, seed, n_keys=200)
    for cosine, sample in zip(COSINES, products, strict=True):
        assert_mean(sample, cosine**p)
        assert_variance_below(sample, (1 + 8 / w) ** (p - 1) * (1 + 2 / w) ** p - 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_variance_grows_slower_than_that_of_a_product_of_sketches(seed):
    p, m, d = 6, 64, 64
    x = unit_pair(d, 1.0, seed)[0][None]
    variances = [
        sketched_products(
            lambda key, cls=cls: cls.init(key, (d,) * p, m), [x] * p, [x] * p, seed, n_keys=500
        )[0].var()
        for cls in (TreeSketch, TensorSRHT, TensorSketch)
    ]
    assert variances[0] < 0.5 * min(variances[1:])


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("complex_to_real", [False, True])
@pytest.mark.parametrize("base", ["osnap", "countsketch", "srht"])
def test_all_powers_of_one_tree_are_unbiased(base, complex_to_real, seed):
    d, columns = 30, {2: 40, 3: 7, 4: 5, 6: 9, 7: 16}

    @jax.tree_util.register_dataclass
    class Powers(TreeSketch):
        def apply(self, X):
            powers = self.powers(self.project(*[X] * len(self.leaves)), columns)
            assert {j: Z.shape[1] for j, Z in powers.items()} == columns
            return powers[power]

    x, y = unit_pair(d, 0.8, seed)

    def init(key):
        return Powers.init_powers(
            key, d, columns, n_hidden=16, base=base, complex_to_real=complex_to_real
        )

    for power in (3, 7):
        assert_mean(sketched_products(init, [[x]], [[y]], seed, n_keys=120)[0], 0.8**power)


@pytest.mark.parametrize("complex_to_real", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("drawn", "taken"),
    [
        (dict.fromkeys((2, 3, 4, 5), 6), None),
        ({2: 9, 3: 4, 4: 7, 5: 3}, None),  # a power of more columns than the node above it takes
        ({2: 9, 4: 8, 5: 6}, {2: 1, 4: 5, 5: 4}),  # the first samples of each
    ],
)
def test_powers_are_the_trees_of_the_first_factors(drawn, taken, complex_to_real):
    sketch = TreeSketch.init_powers(
        jax.random.key(0), 5, drawn, n_hidden=6, leaf_width=4, complex_to_real=complex_to_real
    )
    X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    taken = drawn if taken is None else taken
    powers = sketch.powers(sketch.project(*[X] * 5), taken)
    assert set(powers) == set(taken)
    for j, Z in powers.items():
        expected = tensor_rows(*[X] * j) @ tree_matrix(sketch, j, taken[j])
        np.testing.assert_allclose(Z, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("columns", "complex_to_real"),
    [
        ({2: 8, 3: 1, 4: 12, 5: 7, 8: 4}, False),
        ({2: 8}, True),  # both parts of every sample come out
        ({5: 6}, True),
        ({8: 2}, True),
    ],
)
def test_powers_of_scalars_are_exact_for_every_draw(columns, complex_to_real):
    # with nodes of one column nothing but signs is random
    x = np.array([[1.5], [-0.7], [0.0]], np.float32)
    for seed in range(3):
        sketch = TreeSketch.init_powers(
            jax.random.key(seed), 1, columns, n_hidden=1, complex_to_real=complex_to_real
        )
        powers = sketch.powers(sketch.project(*[x] * len(sketch.leaves)), columns)
        for j, Z in powers.items():
            np.testing.assert_allclose(Z @ Z.T, (x @ x.T) ** j, rtol=1e-5, atol=1e-6)


def test_sparse_rows_have_the_powers_of_dense_ones():
    columns = {2: 7, 5: 4}
    sketch = TreeSketch.init_powers(jax.random.key(0), 40, columns, n_hidden=8)
    X = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    X[:, ::3] = X[2] = 0
    dense, on_host = (
        sketch.powers(sketch.project(*[rows] * 5), columns) for rows in (X, sparse.csr_array(X))
    )
    for j in columns:
        np.testing.assert_allclose(on_host[j], dense[j], rtol=1e-4, atol=1e-5)
        assert not np.asarray(on_host[j])[2].any()


def test_one_tree_serves_sparse_and_dense_factors_together():
    sketch = TreeSketch.init(jax.random.key(0), (30, 4, 20), 8)
    X, Y, Z = (
        np.random.default_rng(k).standard_normal((5, d)) for k, d in enumerate(sketch.n_features)
    )
    mixed = sketch.apply(sparse.csr_array(X), Y, sparse.csr_array(Z))
    assert isinstance(mixed, jax.Array)
    expected = tensor_rows(X, Y, Z) @ tree_matrix(sketch)
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_bases_are_checked():
    message = r"base = 'gaussian', expected one of \('osnap', 'countsketch', 'srht'\)"
    for widths in ((5,), (5, 5)):
        with pytest.raises(ValueError, match=message):
            TreeSketch.init(jax.random.key(0), widths, 4, base="gaussian")
    with pytest.raises(ValueError, match=message):
        TreeSketch.init_powers(jax.random.key(0), 5, {2: 3}, n_hidden=4, base="gaussian")
    for sizes in ({"n_hidden": 0}, {"n_hidden": 4, "leaf_width": 0}):
        with pytest.raises(ValueError, match="expected at least 1"):
            TreeSketch.init_powers(jax.random.key(0), 5, {3: 3}, **sizes)


def test_nodes_are_shared_and_only_what_comes_out_has_complex_signs():
    sketch = TreeSketch.init_powers(
        jax.random.key(0), 9, {2: 50, 8: 20}, n_hidden=16, complex_to_real=True
    )
    spans = {(0, 2), (2, 4), (4, 6), (6, 8), (0, 4), (4, 8), (0, 8)}
    assert set(sketch.nodes) == spans
    assert {s: n.n_components for s, n in sketch.nodes.items()} == {
        **dict.fromkeys(spans, 16),
        (0, 2): 50,
        (0, 8): 20,
    }
    complex_ = {s for s, node in sketch.nodes.items() if isinstance(node, ComplexTensorSRHT)}
    assert complex_ == {(0, 2), (0, 8)}


@pytest.mark.parametrize(
    ("base", "cls"), [("osnap", OSNAP), ("countsketch", CountSketch), ("srht", SRHT)]
)
def test_only_wide_factors_have_leaves(base, cls):
    sketch = TreeSketch.init(jax.random.key(0), (4, 20, 8), 8, base=base)
    assert [type(leaf) for leaf in sketch.leaves] == [type(None), cls, type(None)]
    assert sketch.n_features == (4, 20, 8)
    sketch = TreeSketch.init(jax.random.key(0), (4, 20, 8), 8, base=base, leaf_width=20)
    assert sketch.leaves == (None, None, None)


def test_powers_below_two_are_refused():
    for columns in ({}, {1: 3, 2: 3}):
        with pytest.raises(ValueError, match="expected powers >= 2"):
            TreeSketch.init_powers(jax.random.key(0), 5, columns, n_hidden=4)


def test_wide_sparse_rows_are_never_densified():
    n, d = 5000, 1_000_000  # 20 GB if dense
    rng = np.random.default_rng(0)
    columns = rng.integers(d, size=n)
    X = sparse.csr_array((np.ones(n, np.float32), (np.arange(n), columns)), shape=(n, d))
    Z = TreeSketch.init(jax.random.key(0), (d, d), 512).apply(X, X)
    assert abs((Z**2).sum(axis=1).mean() - 1) < 0.05
