import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntksketch as ntk

TRANSFORMERS = [
    ntk.NTKFeatures(n_components=32),
    ntk.NTKFeatures(n_components=31, kind="nngp"),
]
PREDICTORS = [
    ntk.NTKRegressor(
        method=ntk.RandomFeatures(sampling="leverage", product="tensor-sketch"), n_components=32
    ),
    ntk.NTKClassifier(
        ntk.mlp(depth=2, bias_std=0.1), ntk.RandomFeatures(hidden_components=16), n_components=32
    ),
    ntk.ExactNTKRegressor(ntk.mlp(depth=1, bias_std=0.1), tolerance=1e-10),
    ntk.GradientFlow(ntk.zonal.laplace(1.0)),
    ntk.GradientFlow(ntk.NTKFeatures(ntk.zonal.laplace(1.0), n_components=32)),
    ntk.GradientFlow("linear", t=1e3),
    ntk.GradientFlow("precomputed"),
]

OF_ALL = (
    "check_dataframe_column_names_consistency",
    "check_n_features_in_after_fitting",
    "check_param_validation",
)
OF_TRANSFORMERS = (
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
)


# among the rows are kernels that are not positive: some less their mean, some rounded to float32
@pytest.mark.filterwarnings("ignore:K has negative eigenvalues:scipy.linalg.LinAlgWarning")
@parametrize_with_checks(TRANSFORMERS + PREDICTORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# the checks of set_output fit a data frame and then transform an array, and the reverse
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize(
    ("estimator", "name"),
    [(e, name) for e in [*TRANSFORMERS, *PREDICTORS, ntk.StreamingRidge()] for name in OF_ALL]
    + [(e, name) for e in TRANSFORMERS for name in OF_TRANSFORMERS],
)
def test_checks_that_the_suite_leaves_out(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, clone(estimator))


def test_names_of_columns_in_and_out():
    frame = pd.DataFrame([[0.0, 1.0], [2.0, 3.0]], columns=["a", "b"])
    features = ntk.NTKFeatures(n_components=5).fit(frame)
    assert list(features.feature_names_in_) == ["a", "b"]
    assert list(features.get_feature_names_out()) == [f"ntkfeatures{i}" for i in range(5)]
    out = features.set_output(transform="pandas").transform(frame.set_index(pd.Index([7, 8])))
    assert list(out.columns) == list(features.get_feature_names_out())
    assert list(out.index) == [7, 8]
    with pytest.raises(ValueError, match="feature names should match"):
        features.transform(frame[["b", "a"]])
