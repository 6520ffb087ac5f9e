import jax
import numpy as np
import pytest
import scipy.sparse as sp

import ntksketch as ntk


def sparse_rows(d):
    return sp.random_array((30, d), density=50 / d, rng=np.random.default_rng(0), format="csr")


@pytest.mark.parametrize(
    ("rows", "architecture", "method"),
    [
        (np.eye(5), ntk.mlp(2), ntk.Nystroem("kmeans")),
        (np.eye(5), ntk.mlp(2, bias_std=0.1), ntk.Nystroem("kmeans")),
        (np.eye(5), ntk.zonal.laplace(1.0), ntk.Nystroem("kmeans")),
        (sparse_rows(500), ntk.mlp(1), ntk.Nystroem("kmeans")),
        (sparse_rows(20_000), ntk.mlp(1), ntk.Nystroem("uniform")),
        (sparse_rows(20_000), ntk.zonal.laplace(1.0), ntk.Nystroem("uniform")),
        (sparse_rows(20_000), ntk.mlp(1, bias_std=0.1), ntk.Nystroem("uniform")),
    ],
)
def test_choice_by_the_rows_and_the_kernel(rows, architecture, method):
    features = ntk.NTKFeatures(architecture, n_components=16, random_state=0).fit(rows)
    assert features.method == "auto"
    assert features.method_ == method
    named = ntk.NTKFeatures(architecture, method, n_components=16, random_state=0).fit(rows)
    np.testing.assert_array_equal(features.transform(rows), named.transform(rows))


@pytest.mark.parametrize("n", [130, 4200, 5000])
def test_batches_of_k_means_have_a_row_for_each_centroid(n):
    X = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    m = 120 if n == 130 else 4100
    feature_map = ntk.Nystroem("kmeans").init(
        jax.random.key(0), ntk.mlp(1), X, kind="ntk", n_components=m
    )
    assert feature_map.landmarks.shape == (m, 3)
