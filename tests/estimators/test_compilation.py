import numpy as np

import ntksketch as ntk


def rows(n, d, dtype=np.float32):
    return np.random.default_rng(0).standard_normal((n, d)).astype(dtype)


def fitted(d, n_components, seed, block_rows):
    """Return a map whose blocks have so many rows: no other test has its sizes."""
    features = ntk.NTKFeatures(
        None, "random-features", n_components=n_components, random_state=seed
    ).fit(rows(2, d))
    row_bytes = 4 * 2 * features.feature_map_.row_entries
    return features.set_params(working_memory=(block_rows + 1) * row_bytes / 2**20)


def test_one_compilation_for_any_number_of_blocks_and_any_seed(compilations):
    features = fitted(11, 53, 0, 32)
    compilations.clear()
    features.transform(rows(112, 11))  # three blocks and a half
    assert len(compilations) == 1
    features.transform(rows(32, 11))
    features.transform(rows(205, 11))
    assert len(compilations) == 1
    other = fitted(11, 53, 1, 32)
    compilations.clear()
    other.transform(rows(70, 11))
    assert not compilations
    assert other.feature_map_.plan == features.feature_map_.plan
    assert hash(other.feature_map_.plan) == hash(features.feature_map_.plan)


def test_predictors_compile_once_for_any_number_of_chunks(compilations):
    X = rows(1000, 11)
    model = ntk.NTKRegressor(method="random-features", n_components=52, random_state=0, alphas=1.0)
    ntk.NTKFeatures(None, "random-features", n_components=52, random_state=0).fit(
        X
    )  # draws compile, too
    row_bytes = 4 * 2 * fitted(11, 52, 0, 1).feature_map_.row_entries
    compilations.clear()
    model.set_params(working_memory=65 * row_bytes / 2**20).fit(X, X[:, 0])
    model.predict(X[:700])
    assert len(compilations) <= 2  # a chunk's last block is padded as any other


def test_small_data_share_few_shapes(compilations):
    features = fitted(11, 51, 0, 64)
    compilations.clear()
    for n in range(33, 65):
        features.transform(rows(n, 11))
    assert len(compilations) == 1
