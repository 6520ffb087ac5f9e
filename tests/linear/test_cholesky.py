import numpy as np
import pytest
from scipy.linalg import LinAlgError

from ntksketch.linear import cholesky
from ntksketch.linear.cholesky import cholesky_factor


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("panel", [1, 3, 8, 50])
def test_panels_give_the_factor(panel, order, monkeypatch):
    monkeypatch.setattr(cholesky, "_PANEL", panel)
    rows = np.random.default_rng(0).standard_normal((17, 40))
    matrix = np.array(rows @ rows.T, order=order)
    expected = np.linalg.cholesky(matrix)
    matrix[np.triu_indices(17, 1)] = np.nan  # never read
    factor = cholesky_factor(matrix)
    np.testing.assert_allclose(np.tril(factor), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("panel", [2, 50])
def test_matrices_without_a_factor(panel, monkeypatch):
    monkeypatch.setattr(cholesky, "_PANEL", panel)
    matrix = np.eye(6)
    matrix[4, 4] = -1
    with pytest.raises(LinAlgError):
        cholesky_factor(matrix)
