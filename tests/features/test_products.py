import jax
import numpy as np
import pytest
import scipy.sparse as sp
from oracles import count_sketch_matrix, srht_matrix, tensor_rows
from oracles import tensor_sketch_matrix as tensor_sketch
from oracles import tensor_srht_matrix as tensor_srht

from ntksketch.features.products import PRODUCTS, init_linear, init_product

RNG = np.random.default_rng(0)
PSI = RNG.standard_normal((5, 6)).astype(np.float32) * (RNG.random((5, 6)) < 0.6)
STEPS = np.sign(RNG.standard_normal((5, 3))).astype(np.float32)


def drawn(product, balanced=True):
    return init_product(jax.random.key(0), product, (6, 3), 10, np.float32, balanced=balanced)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_is_its_sketch_of_the_tensor_product(product, balanced):
    linear = drawn(product, balanced)
    Z = np.asarray(linear.combine(linear.project(PSI), STEPS))
    full = tensor_rows(PSI, STEPS)
    if product == "exact":
        assert Z.shape == (5, 18)
        np.testing.assert_allclose(Z @ Z.T, full @ full.T, rtol=1e-5, atol=1e-5)
    else:
        matrix = tensor_srht if product == "tensor-srht" else tensor_sketch
        np.testing.assert_allclose(Z, full @ matrix(linear.sketch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("product", PRODUCTS)
def test_sparse_rows_have_the_products_of_dense_ones(product):
    linear = drawn(product)
    dense, sparse = (linear.combine(linear.project(X), STEPS) for X in (PSI, sp.csr_array(PSI)))
    np.testing.assert_allclose(sparse, dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("width", [4, 6, 9])
def test_the_linear_sketch_is_the_identity_where_that_costs_no_more(product, width):
    sketch = init_linear(jax.random.key(0), product, 6, width, np.float32)
    if width == 6:
        matrix = np.eye(6)
    else:
        matrix = (srht_matrix if product == "tensor-srht" else count_sketch_matrix)(sketch)
    for X in (PSI, sp.csr_array(PSI)):
        np.testing.assert_allclose(sketch.apply(X), PSI @ matrix, rtol=1e-5, atol=1e-6)
