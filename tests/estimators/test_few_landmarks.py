"""Nystroem features of kernels with few directions, in ridge regression."""

import numpy as np
import pytest

import ntksketch as ntk

RNG = np.random.default_rng(0)
X = RNG.uniform(-3, 3, (500, 1))


@pytest.mark.parametrize("m", [64, 128, pytest.param(300, marks=pytest.mark.slow)])
def test_a_smooth_function_in_single_precision(m):
    y = np.sin(3 * X[:, 0])
    network = ntk.mlp(1, input_bias_std=1.0)
    errors = {
        dtype: np.median(
            [
                np.std(
                    ntk.NTKRegressor(network, "nystroem", m, random_state=seed)
                    .fit(X.astype(dtype), y)
                    .predict(X.astype(dtype))
                    - y
                )
                for seed in range(3)
            ]
        )
        for dtype in (np.float32, np.float64)
    }
    assert errors[np.float64] < 0.02
    assert errors[np.float32] < 3 * errors[np.float64]


@pytest.mark.parametrize("m", [128, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_of_rank_two(m, dtype):
    # without a bias, functions of one variable are straight on each side of zero
    y = np.sin(3 * X[:, 0])
    sides = np.maximum(np.c_[X, -X], 0)
    straight = np.c_[sides, np.ones(len(X))]
    expected = straight @ np.linalg.lstsq(straight, y, rcond=None)[0]
    model = ntk.NTKRegressor(ntk.mlp(1), "nystroem", m, alphas=1e-3, random_state=0)
    found = model.fit(X.astype(dtype), y).predict(X.astype(dtype))
    np.testing.assert_allclose(found, expected, atol=5e-3)
