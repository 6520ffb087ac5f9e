import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from ntksketch.sketches import hadamard_transform
from ntksketch.sketches.hadamard import hadamard_entries, sampled_hadamard_transform


@pytest.mark.parametrize("size", [1, 2, 4, 64, 128, 256, 2048])
def test_equals_product_with_hadamard_matrix(size):
    X = np.random.default_rng(0).standard_normal((3, size))
    with jax.enable_x64(True):
        Z = hadamard_transform(X)
        assert Z.dtype == jnp.float64
        np.testing.assert_allclose(Z, X @ hadamard(size), rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("size", [1, 2, 64, 256, 1 << 15])
def test_sampled_coordinates_are_those_of_the_transform(size):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3, size)).astype(np.float32)
    indices = rng.integers(size, size=40)
    sampled = sampled_hadamard_transform(X, indices)
    np.testing.assert_array_equal(sampled, hadamard_transform(X)[:, indices])


def test_twice_is_a_multiple_of_the_identity_with_three_factors():
    size = 1 << 15
    X = np.random.default_rng(0).integers(-8, 9, (2, size)).astype(np.float32)
    np.testing.assert_array_equal(hadamard_transform(hadamard_transform(X)), size * X)


@pytest.mark.parametrize("size", [1, 2, 8, 32, 512])
def test_entries(size):
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(size, size=7), rng.integers(size, size=9)
    expected = hadamard(size)[rows][:, columns]
    np.testing.assert_array_equal(hadamard_entries(rows, columns, size), expected)


@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (4,)])
def test_width_must_be_a_power_of_two(shape):
    with pytest.raises(ValueError, match="power of two"):
        hadamard_transform(jnp.ones(shape))
