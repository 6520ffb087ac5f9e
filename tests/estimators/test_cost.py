import numpy as np
import pytest

import ntksketch as ntk
from ntksketch.data import open_source
from ntksketch.data.blocks import format_seconds
from ntksketch.estimators import cost
from ntksketch.estimators.cost import fit_cost

MIB = 2**20


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    """A machine of 10^9 additions and multiplications a second."""
    monkeypatch.setattr(cost, "product_seconds", lambda: 1e-9)


def source(n, d, dtype=np.float32):
    return open_source(np.broadcast_to(np.zeros(1, dtype), (n, d)))


def test_products_of_the_pass_lead_for_many_rows():
    found = fit_cost(source(1_000_000, 10), 1000, 64)
    assert found.memory == 48e6 + 80 * MIB  # a quarter more for the rows that are read
    pass_alone = 1e6 * 1e3 * (1e3 + 20) * 1e-9 + 7e-9 * 1e9 + 7e-6 * 1e6
    assert pass_alone < found.seconds < 1.02 * pass_alone
    doubled = fit_cost(source(1_000_000, 10, np.float64), 1000, 64)
    assert doubled.seconds > 1.9 * found.seconds


def test_sparse_rows_count_their_entries():
    import scipy.sparse as sp

    rows = sp.random_array((1000, 10**6), density=1e-5, format="csr", dtype=np.float32, rng=0)
    sparse = fit_cost(open_source(rows), 64, 64)
    assert sparse.seconds < 0.1 * fit_cost(source(1000, 10**6), 64, 64).seconds


def test_unknown_rows_and_text():
    blocks = open_source(iter([np.zeros((3, 2), np.float32)]))
    found = fit_cost(blocks, 100, 1)
    assert found.seconds is None
    assert str(found).startswith("up to 1.7 MiB of memory, of ")
    assert str(fit_cost(source(10**6, 10), 1000, 64)).endswith("; about 17 min")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "1 s"), (40.4, "40 s"), (700, "12 min"), (11_000, "3.1 h"), (10**8, "1,157 days")],
)
def test_times(seconds, text):
    assert format_seconds(seconds) == text


def test_the_speed_is_that_of_a_product(monkeypatch):
    monkeypatch.undo()
    assert 1e-14 < cost.product_seconds() < 1e-8


def test_wide_rows_are_read_in_blocks_within_the_budget(tmp_path):
    """Three of them are in memory: one in use, one that waits, one that is being read."""
    X = np.random.default_rng(0).standard_normal((2000, 3000), dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    source = open_source(tmp_path / "X.npy", targets=X[:, 0])
    budget, rows = 4, []
    model = ntk.NTKRegressor(ntk.mlp(1), "gegenbauer", 16, working_memory=budget, random_state=0)
    model.fit(source, progress=rows.append)
    assert sum(rows) == len(X)
    assert 3 * max(rows) * source.row_bytes <= budget * MIB / 4
    seen = []
    predicted = model.predict(source, progress=seen.append)
    assert seen == rows
    np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-4, atol=1e-5)
