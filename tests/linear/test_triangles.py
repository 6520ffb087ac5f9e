import numpy as np
import pytest

from ntksketch.linear import triangles
from ntksketch.linear.cholesky import cholesky_factor

LOWER, UPPER = np.tril_indices(11), np.triu_indices(11, 1)


@pytest.fixture(params=[1, 3, 4, 50], autouse=True)
def panel(request, monkeypatch):
    monkeypatch.setattr(triangles, "_PANEL", request.param)
    monkeypatch.setattr(triangles.panels, "__defaults__", (request.param,))


@pytest.fixture
def square():
    return np.random.default_rng(0).standard_normal((2, 11, 11))


@pytest.mark.parametrize("scale", [1.0, -2.0])
def test_only_the_lower_triangle_is_added(square, scale):
    target, source = square[0].copy(), square[1].copy()
    source[UPPER] = np.nan
    triangles.add_lower(target, source, scale)
    np.testing.assert_array_equal(target[UPPER], square[0][UPPER])
    np.testing.assert_allclose(target[LOWER], square[0][LOWER] + scale * square[1][LOWER])


def test_mirrored_and_cleared(square):
    matrix = square[0].copy()
    matrix[UPPER] = np.nan
    triangles.mirror_lower(matrix)
    np.testing.assert_array_equal(np.tril(matrix), np.tril(square[0]))
    np.testing.assert_array_equal(matrix, matrix.T)
    triangles.clear_upper(matrix)
    np.testing.assert_array_equal(matrix, np.tril(square[0]))


@pytest.mark.parametrize("columns", [3, 50])
def test_a_factor_leaves_the_upper_triangle_alone(square, columns, monkeypatch):
    monkeypatch.setattr("ntksketch.linear.cholesky._PANEL", columns)
    matrix = np.asfortranarray(square[0] @ square[0].T + np.eye(11))
    expected = np.linalg.cholesky(matrix)
    matrix[UPPER] = np.nan
    factor = cholesky_factor(matrix, clear=False)
    assert np.shares_memory(factor, matrix)
    assert np.isnan(factor[UPPER]).all()
    np.testing.assert_allclose(factor[LOWER], expected[LOWER], atol=1e-12)
