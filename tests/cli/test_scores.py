"""Scores from blocks are those of all rows, and no more than blocks are in memory."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, r2_score
from typer.testing import CliRunner

import ntksketch as ntk
from ntksketch.cli import scores
from ntksketch.cli.app import app
from ntksketch.cli.errors import InputError
from ntksketch.data import Source, open_source


def streamed(y, predicted, *, classifier=False, working_memory=None):
    source = open_source(np.ones((len(y), 1)), targets=y)
    return scores.score(source, predicted, classifier=classifier, working_memory=working_memory)


@pytest.fixture(params=[1, 3, 50, 1000])
def block_rows(request, monkeypatch):
    blocks = Source.target_blocks
    budget = 4 * 8 * request.param / 2**20
    monkeypatch.setattr(Source, "target_blocks", lambda self, _: blocks(self, budget))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [None, 1, 3])
def test_r2_is_that_of_all_rows(seed, width, block_rows):
    rng = np.random.default_rng(seed)
    shape = (200,) if width is None else (200, width)
    y = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3) + rng.integers(-5, 5)
    predicted = (y + rng.standard_normal(shape) * rng.uniform(0, 3)).astype(np.float32)
    expected = r2_score(y, predicted)
    found = streamed(y, predicted)
    assert found == {"R2": pytest.approx(expected, rel=1e-12, abs=1e-12)}
    if width == 1:
        assert streamed(y, predicted[:, 0]) == found


def test_r2_loses_no_digits_to_a_large_mean(block_rows):
    rng = np.random.default_rng(0)
    y = 1e9 + rng.standard_normal(100)
    predicted = y + 0.1 * rng.standard_normal(100)
    exact, given = [Fraction(v) for v in y], [Fraction(v) for v in predicted]
    mean = sum(exact) / 100
    residual = sum((a - b) ** 2 for a, b in zip(exact, given, strict=True))
    expected = 1 - residual / sum((a - mean) ** 2 for a in exact)
    assert streamed(y, predicted)["R2"] == pytest.approx(float(expected), rel=1e-6)


def test_r2_of_constant_targets(block_rows):
    y = np.ones((90, 2))
    y[:, 1] = np.arange(90)
    for predicted in (y, y + 1):
        assert streamed(y, predicted)["R2"] == pytest.approx(r2_score(y, predicted), rel=1e-12)
    assert streamed(y[:1], y[:1]) == {}


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint8])
def test_accuracy_is_that_of_all_rows(dtype, block_rows):
    y, predicted = np.random.default_rng(0).integers(0, 3, (2, 200))
    expected = accuracy_score(y, predicted)
    assert streamed(y.astype(dtype), predicted, classifier=True) == {"accuracy": expected}


def test_predictions_of_another_kind():
    y = np.arange(4)
    with pytest.raises(InputError, match="1 targets a row, and the model predicts 2"):
        streamed(y, np.ones((4, 2)))
    with pytest.raises(InputError, match="type int64 and the model's classes of type <U1"):
        streamed(y, np.array(["a"] * 4), classifier=True)


def test_only_blocks_of_the_column_of_targets_are_read(tmp_path, monkeypatch):
    X = np.random.default_rng(0).standard_normal((5000, 4))
    columns = {f"x{j}": X[:, j] for j in range(4)}
    pq.write_table(pa.table(columns | {"y": X[:, 0]}), tmp_path / "a.parquet", row_group_size=1000)
    ntk.save(ntk.NTKRegressor(n_components=8, random_state=0).fit(X, X[:, 0]), tmp_path / "m")
    read_group, read_targets, groups, heights = (
        pq.ParquetFile.read_row_group,
        Source.read_targets,
        [],
        [],
    )

    def group(self, i, columns):
        groups.append(columns)
        return read_group(self, i, columns=columns)

    def targets(self, start, stop):
        heights.append(stop - start)
        return read_targets(self, start, stop)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", group)
    monkeypatch.setattr(Source, "read_targets", targets)
    rows, output = tmp_path / "a.parquet", tmp_path / "p.npy"
    arguments = ("predict", tmp_path / "m", rows, output, "--target", "y", "--memory", "0.05")
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    expected = r2_score(X[:, 0], np.load(output))
    assert float(done.stdout.partition("R2: ")[2]) == pytest.approx(expected, rel=1e-12)
    assert groups[-5:] == [["y"]] * 5
    assert sum(heights) == 5000
    assert max(heights) * 4 * 4 * 8 <= 0.05 * 2**20
