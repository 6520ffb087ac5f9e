from pathlib import Path

import numpy as np
import pytest
import sklearn

from ntksketch.data import blocks
from ntksketch.data.blocks import (
    available_memory,
    block_slices,
    budget_bytes,
    format_bytes,
    pad_rows,
    padded_rows,
    require_memory,
    rows_per_block,
    store_behind,
    tile_side,
    tile_slices,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * MIB, "1.5 MiB"),
        (16e9, "14.9 GiB"),
        (3 * 2.0**40, "3.0 TiB"),
        (5e15, "4547.5 TiB"),
    ],
)
def test_format_bytes(size, text):
    assert format_bytes(size) == text


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Files in place of the system's: set ``meminfo`` and the files of the control group."""
    places = {"/proc/meminfo": tmp_path / "meminfo", "/sys/fs/cgroup": tmp_path / "cgroup"}
    monkeypatch.setattr(blocks, "Path", lambda name: places[name])

    def write(available_kib=None, **group):
        if available_kib is not None:
            lines = f"MemTotal: 99999999 kB\nMemAvailable: {available_kib} kB\n"
            places["/proc/meminfo"].write_text(lines)
        places["/sys/fs/cgroup"].mkdir(exist_ok=True)
        for name, text in group.items():
            (places["/sys/fs/cgroup"] / f"memory.{name}").write_text(f"{text}\n")

    return write


def test_available_memory_of_this_machine():
    assert available_memory() > 0
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        total = float(meminfo.read_text().split("MemTotal:")[1].split()[0]) * 1024
        assert available_memory() <= total


def test_free_memory_is_what_the_system_says(machine):
    machine(1000)
    assert available_memory() == 1000 * 1024


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({"max": "max"}, 1000 * 1024),
        ({"max": 10**9, "current": 10, "stat": "anon 10"}, 1000 * 1024),
        ({"max": 50_000, "current": 20_000, "stat": "anon 20000"}, 30_000),
        # page cache is counted as used and given back when needed; shared memory is not
        (
            {
                "max": 50_000,
                "current": 49_000,
                "stat": "anon 9000\nfile 31000\nshmem 1000\ninactive_file 20000\nactive_file 10000",
            },
            31_000,
        ),
        ({"max": 50_000, "current": 60_000, "stat": "anon 60000"}, 0),
    ],
)
def test_limit_of_the_control_group(machine, group, expected):
    machine(1000, **group)
    assert available_memory() == expected


def test_a_system_without_meminfo(machine):
    machine()
    assert available_memory() > 0


def test_require_memory(monkeypatch):
    monkeypatch.setattr(blocks, "available_memory", lambda: 1.5 * MIB)
    require_memory(1.5 * MIB, "the matrix", "use less")
    message = r"^the matrix needs 2\.0 MiB and 1\.5 MiB are available; use less$"
    with pytest.raises(MemoryError, match=message):
        require_memory(2 * MIB, "the matrix", "use less")


# ---------------------------------------------------------------------------------------------
# Sizes of blocks
# ---------------------------------------------------------------------------------------------


def test_budget_is_scikit_learns_unless_given():
    assert budget_bytes(2) == 2 * MIB
    with sklearn.config_context(working_memory=3):
        assert budget_bytes(None) == 3 * MIB
        assert budget_bytes(0.5) == 0.5 * MIB


@pytest.mark.parametrize("value", [0, -1, float("nan"), "64", True, [64]])
def test_bad_budget(value):
    with pytest.raises(ValueError, match="working_memory must be a positive number of MiB"):
        budget_bytes(value)


@pytest.mark.parametrize(
    ("row_bytes", "working_memory", "rows"),
    [
        (MIB, 1, 1),
        (MIB, 7.9, 4),
        (MIB, 8, 8),
        (8, 64, 256),
        (8, float("inf"), 256),
    ],
)
def test_rows_per_block(row_bytes, working_memory, rows):
    assert rows_per_block(row_bytes, working_memory) == rows


def test_rows_per_block_keeps_to_the_largest_size():
    assert rows_per_block(8, 64, most=1000) == 512
    assert rows_per_block(8, 64, most=4096) == 4096


def test_one_row_that_does_not_fit():
    message = r"one row needs 3\.5 MiB .* working_memory leaves 2\.0 MiB .* at least 1\.8-fold"
    with pytest.raises(MemoryError, match=message):
        rows_per_block(3.5 * MIB, 2)
    assert rows_per_block(3.5 * MIB, 1.8 * 2) == 1  # the remedy works


@pytest.mark.parametrize("entry_bytes", [1, 16, 32, 1000])
@pytest.mark.parametrize("working_memory", [1e-3, 0.1, 1, 10, 1000, float("inf")])
def test_tiles_are_the_largest_power_of_two_in_the_budget(entry_bytes, working_memory):
    side = tile_side(entry_bytes, working_memory)
    budget = working_memory * MIB
    assert side in {2**k for k in range(11)}
    assert side == 1 or side**2 * entry_bytes <= budget
    assert side == 1024 or (2 * side) ** 2 * entry_bytes > budget


def test_a_tile_has_at_least_one_entry():
    assert tile_side(2**20, 1.5) == 1
    with pytest.raises(MemoryError, match=r"one pair of rows needs 953\.7 MiB .* 1\.1-fold"):
        tile_side(1e9, 900)


@pytest.mark.parametrize("n_rows", [0, 1, 4, 5, 8, 9])
def test_block_slices_cover_the_rows_once(n_rows):
    slices = list(block_slices(n_rows, 4))
    assert [i for s in slices for i in range(n_rows)[s]] == list(range(n_rows))
    assert all(s.stop - s.start == 4 for s in slices[:-1])
    assert all(0 < s.stop - s.start <= 4 for s in slices)


@pytest.mark.parametrize(
    ("n_rows", "expected"), [(1, 1), (2, 2), (3, 4), (5, 8), (64, 64), (65, 64), (10**9, 64)]
)
def test_padded_rows(n_rows, expected):
    assert padded_rows(n_rows, 64) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2)])
def test_pad_rows_appends_zeros(shape, dtype):
    block = np.ones(shape, dtype)
    padded = pad_rows(block, 5)
    assert padded.dtype == dtype
    np.testing.assert_array_equal(padded, np.concatenate([block, np.zeros((2, *shape[1:]))]))
    assert pad_rows(block, 3) is block


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("n", "p"), [(0, 0), (1, 1), (8, 8), (11, 11)])
def test_tiles_cover_the_pairs_once(n, p, symmetric):
    covered = np.zeros((n, p), int)
    for i, j in tile_slices(n, p, 4, symmetric):
        covered[i, j] += 1
        if symmetric and i != j:
            covered[j, i] += 1
    assert (covered == 1).all()


def test_tiles_of_other_rows():
    covered = np.zeros((5, 9), int)
    for i, j in tile_slices(5, 9, 4, False):
        covered[i, j] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_items_are_stored_in_order_one_behind(count):
    log = []

    def items():
        for i in range(count):
            log.append(("computed", i))
            yield i, -i

    store_behind(items(), lambda i, j: log.append(("stored", i, j)))
    assert [entry[1] for entry in log if entry[0] == "stored"] == list(range(count))
    if count > 1:
        assert log[:3] == [("computed", 0), ("computed", 1), ("stored", 0, 0)]
