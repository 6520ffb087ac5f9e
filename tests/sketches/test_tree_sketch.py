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


@pytest.mark.parametrize("complex_to_real", [False, True])
def test_powers_are_the_trees_of_the_first_factors(complex_to_real):
    columns = dict.fromkeys((2, 3, 4, 5), 6)
    sketch = TreeSketch.init_powers(
        jax.random.key(0), 5, columns, n_hidden=6, complex_to_real=complex_to_real
    )
    X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    powers = sketch.powers(sketch.project(*[X] * 5), columns)
    for j, Z in powers.items():
        nodes = {span: node for span, node in sketch.nodes.items() if span[1] <= j}
        tree = TreeSketch(sketch.leaves[:j], nodes)
        expected = tensor_rows(*[X] * j) @ tree_matrix(tree)
        np.testing.assert_allclose(Z, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


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
