"""Every format gives the rows of the array that was stored, and says what is wrong with others."""

import functools
import itertools
import os
import pickle
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_map import BLOCK_MIB, LinearMap
from source_files import IN_MEMORY, SPARSE, TEXT, WAYS, dense, rows_and_targets, table

from ntksketch.data import Source, SourceError, featurise, open_source
from ntksketch.data import source as source_module
from ntksketch.data.mapped import MappedArray

N = 11  # two chunks and a ragged third

ways = pytest.mark.parametrize("way", WAYS)
in_files = pytest.mark.parametrize("way", [way for way in WAYS if way not in IN_MEMORY])


def stored_dtype(way, dtype):
    single = dtype == np.float32 and way not in TEXT
    return np.dtype(np.float32 if single else np.float64)


# ---------------------------------------------------------------------------------------------
# What every format does
# ---------------------------------------------------------------------------------------------


@ways
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_rows_and_targets_are_those_stored(way, dtype, tmp_path):
    X, y = rows_and_targets(N, dtype=dtype)
    source = WAYS[way](tmp_path, X, y)
    assert isinstance(source, Source)
    assert source.shape == X.shape
    assert source.dtype == stored_dtype(way, dtype)
    assert source.has_targets
    assert way in SPARSE or source.row_bytes == 5 * source.dtype.itemsize
    for start, stop in [(0, N), (0, 4), (3, 9), (4, 8), (10, N), (5, 5), (0, 0), (N, N)]:
        rows = source.read(start, stop)
        assert sp.issparse(rows) == (way in SPARSE)
        assert rows.dtype == source.dtype
        np.testing.assert_array_equal(dense(rows), X[start:stop])
        np.testing.assert_array_equal(source.read_targets(start, stop), y[start:stop])


@ways
def test_blocks_have_every_row_once(way, tmp_path):
    X, y = rows_and_targets(N)
    source = WAYS[way](tmp_path, X, y)
    for n_rows in (1, 3, 4, N, 100):
        blocks = list(source.blocks(n_rows))
        assert [block.start for block in blocks] == list(range(0, N, n_rows))
        assert [block.X.shape[0] for block in blocks[:-1]] == [n_rows] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.concatenate([dense(block.X) for block in blocks]), X)
        np.testing.assert_array_equal(np.concatenate([block.y for block in blocks]), y)
    assert [block.start for block in source.blocks(4, start=4)] == [4, 8]
    assert [block.start for block in source.blocks()] == [0]


@ways
@pytest.mark.parametrize("n", [0, 1])
def test_no_rows_and_one_row(way, n, tmp_path):
    if n == 0 and way in ("parquet lists", "csv without header"):
        pytest.skip("without rows there is no width")
    X, y = rows_and_targets(n)
    source = WAYS[way](tmp_path, X, y)
    assert source.shape == (n, 5)
    np.testing.assert_array_equal(dense(source.read(0, n)), X)
    np.testing.assert_array_equal(source.read_targets(0, n), y)
    assert len(list(source.blocks(3))) == n
    assert source.fingerprint()["shape"] == [n, 5]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Sources of the same 600 rows, made when they are asked for."""
    X, y = rows_and_targets(600, d=3)
    folder = tmp_path_factory.mktemp("stored")
    return X, functools.cache(lambda way: WAYS[way](folder, X, y))


@ways
@settings(max_examples=15, deadline=None, derandomize=True)
@given(ends=st.tuples(st.integers(0, 600), st.integers(0, 600)))
def test_any_slice(way, stored, ends):
    X, source = stored
    start, stop = sorted(ends)
    np.testing.assert_array_equal(dense(source(way).read(start, stop)), X[start:stop])


@ways
def test_slices_outside_the_rows_are_refused(way, tmp_path):
    source = WAYS[way](tmp_path, *rows_and_targets(N))
    for start, stop in [(-1, 3), (0, N + 1), (5, 4)]:
        with pytest.raises(IndexError, match=f"rows {start} to {stop} .* there are {N}"):
            source.read(start, stop)
    with pytest.raises(ValueError, match="n_rows must be at least 1, got 0"):
        source.blocks(0)
    with pytest.raises(ValueError, match="start must be a multiple of 4 rows, got 3"):
        source.blocks(4, start=3)


@ways
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_named_by_block_row_and_column(way, value, word, tmp_path):
    X, y = rows_and_targets(119, d=3)
    X[115, 2] = value
    source = WAYS[way](tmp_path, X, y)
    blocks = source.blocks(2)
    with pytest.raises(
        SourceError, match=rf"block 57 \(rows 114 to 115\): {word} in row 115, column 2"
    ):
        list(blocks)
    source.read(0, 114)
    with pytest.raises(SourceError, match=f"rows 110 to 118: {word} in row 115, column 2"):
        source.read(110, 119)


def test_targets_that_are_not_finite_are_named():
    y = np.ones((6, 2))
    y[3, 1] = np.nan
    source = open_source(np.ones((6, 2)), targets=y)
    with pytest.raises(SourceError, match=r"block 1 .*targets: NaN in row 3, column 1"):
        list(source.blocks(3))


@ways
def test_sources_pickle(way, tmp_path):
    X, y = rows_and_targets(N)
    source = WAYS[way](tmp_path, X, y)
    source.read(0, 2)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(dense(copy.read(3, N)), X[3:])
    assert copy.fingerprint() == source.fingerprint()


def test_blocks_take_the_working_memory(monkeypatch):
    import sklearn

    source = open_source(np.ones((5000, 128)))
    with sklearn.config_context(working_memory=1):
        assert next(source.blocks()).X.shape == (1024, 128)
    monkeypatch.setattr(source_module, "_MOST_ROWS", 100)
    assert next(source.blocks()).X.shape == (64, 128)


def in_huge_npy(path, shape):
    np.lib.format.open_memmap(path, "w+", np.float32, shape)


def in_huge_zarr(path, shape):
    zarr.create_array(str(path), shape=shape, chunks=(4096, shape[1]), dtype="f4")


def in_huge_hdf5(path, shape):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", shape=shape, chunks=(4096, shape[1]), dtype="f4")


@pytest.mark.parametrize(
    ("name", "store"), [("a.npy", in_huge_npy), ("a.zarr", in_huge_zarr), ("a.h5", in_huge_hdf5)]
)
def test_rows_larger_than_memory(name, store, tmp_path):
    n = 2**36 // 32  # 64 GiB that were never written, and take no room on the disk
    store(tmp_path / name, (n, 8))
    tracemalloc.start()
    source = open_source(tmp_path / name)
    source.fingerprint()
    assert source.read(n - 10, n).shape == (10, 8)
    assert next(source.blocks(512, start=n // 2)).start == n // 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26


# ---------------------------------------------------------------------------------------------
# Sources that change
# ---------------------------------------------------------------------------------------------


@ways
def test_fingerprint_tells_other_values(way, tmp_path):
    X, y = rows_and_targets(N)
    old, again = (WAYS[way](tmp_path, X, y).fingerprint() for _ in range(2))
    times = {name: old[name] for name in ("files", "stored_files") if name in old}
    assert old == again | times
    X[5, 1] += 1
    new = WAYS[way](tmp_path, X, y).fingerprint()
    assert {name for name in old if old[name] != new[name]} >= {"checksum"}


def test_fingerprint_tells_other_files(tmp_path):
    source = WAYS["npy"](tmp_path, *rows_and_targets(N))
    path = tmp_path / "X.npy"
    assert source.fingerprint()["files"] == {
        "X.npy": [path.stat().st_size, path.stat().st_mtime_ns]
    }


@in_files
def test_files_that_change_or_shrink_are_refused(way, tmp_path):
    source = WAYS[way](tmp_path, *rows_and_targets(N))
    blocks = source.blocks(4)
    next(blocks)
    path = next(iter(source._stamps))
    size = path.stat().st_size
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=f"{path.name} changed after it was opened"):
        next(blocks)
    os.truncate(path, size // 2)
    with pytest.raises(
        SourceError, match=f"{path.name} shrank .* {size:,} bytes and has {size // 2:,}"
    ):
        source.read(0, N)
    path.unlink()
    with pytest.raises(SourceError, match=f"{path.name}: there is no such file"):
        source.read_targets(0, N)
    with pytest.raises(SourceError, match="no such file"):
        source.fingerprint()


def test_chunks_that_come_later_change_the_fingerprint(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(90_000, 9), chunks=(10_000, 9), dtype="f8"
    )
    array[:10_000] = 1
    old = open_source(tmp_path / "a.zarr").fingerprint()
    for value in (1, 2):  # a chunk more, and one written over
        array[20_000:30_000] = value  # not among the rows that are looked at
        new = open_source(tmp_path / "a.zarr").fingerprint()
        assert {k for k in old if old[k] != new[k]} == {"stored_files"}
        assert new["stored_files"][0] == 3
        old = new


@pytest.mark.parametrize("way", [way for way in WAYS if "zarr" in way])
def test_chunks_that_change_during_a_pass(way, tmp_path):
    X, y = rows_and_targets(N)
    source = WAYS[way](tmp_path, X, y)
    folder = next(iter(source._stamps)).parent
    blocks = source.blocks(4)
    next(blocks)
    array = zarr.open_array(str(folder), mode="r+")
    array[0] = 7.0  # in a block that was read
    next(blocks)
    message = f"{folder.name if 'group' not in way else 'group.zarr'} changed while it was read"
    with pytest.raises(SourceError, match=message):
        next(blocks)
    again = open_source(source.name, **({"key": "train/X"} if "group" in way else {}))
    assert dense(np.concatenate([block.X for block in again.blocks(4)]))[0, 0] == 7


def test_features_of_a_store_that_changed_are_not_gone_on_with(tmp_path):
    X = rows_and_targets(40, d=4)[0]
    WAYS["zarr"](tmp_path, X, None)
    rows, path = tmp_path / "array30.zarr", tmp_path / "Z.npy"

    def stop(done, total):
        if done == 24:
            raise KeyboardInterrupt

    options = {"working_memory": BLOCK_MIB}
    with pytest.raises(KeyboardInterrupt):
        featurise(LinearMap(), rows, path, progress=stop, **options)
    zarr.open_array(str(rows), mode="r+")[12] = 5.0  # neither in the first block nor undone
    with pytest.raises(ValueError, match="stored_files"):
        featurise(LinearMap(), rows, path, resume=True, **options)


# ---------------------------------------------------------------------------------------------
# Opening
# ---------------------------------------------------------------------------------------------


def test_format_is_given_or_found(tmp_path):
    X, y = rows_and_targets(N)
    np.save(tmp_path / "rows.npy", X)
    (tmp_path / "rows.npy").rename(tmp_path / "rows.bin")
    with pytest.raises(SourceError, match=r"rows.bin: its format is not known .* pass format="):
        open_source(tmp_path / "rows.bin")
    assert open_source(tmp_path / "rows.bin", format="npy").shape == X.shape
    with pytest.raises(ValueError, match=r"format must be one of npy, npz, .* got 'xls'"):
        open_source(tmp_path / "rows.bin", format="xls")
    with pytest.raises(TypeError, match="format='npy' is for files"):
        open_source(X, format="npy")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match="folder: its format is not known"):
        open_source(tmp_path / "folder")
    WAYS["zarr"](tmp_path, X, y)
    (tmp_path / "array30.zarr").rename(tmp_path / "no_suffix")
    assert open_source(tmp_path / "no_suffix").format == "zarr"


def test_what_is_not_there_or_no_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.npy: there is no such file"):
        open_source(tmp_path / "none.npy")
    with pytest.raises(TypeError, match="expected a path, rows, or an iterable"):
        open_source(3)
    WAYS["parquet"](tmp_path, *rows_and_targets(N))
    with pytest.raises(TypeError, match=r"'key' is no option .* options are columns"):
        open_source(tmp_path / "rows.parquet", key="a")
    with pytest.raises(TypeError, match=r"'key' is no option .* options are none"):
        open_source(np.ones((2, 2)), key="a")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones(3), r"must be a 2-D array, got shape \(3,\)"),
        (np.ones((3, 0)), r"at least one column, got shape \(3, 0\)"),
        (np.ones((3, 2), complex), "must be real numbers, got dtype complex128"),
        (np.array([["a"]]), "must be real numbers, got dtype <U1"),
    ],
)
def test_rows_that_cannot_be_used(rows, message, tmp_path):
    with pytest.raises(SourceError, match=f"array.*{message}"):
        open_source(rows)
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(SourceError, match=f"a.npy.*{message}"):
        open_source(tmp_path / "a.npy")


def test_other_types_in_memory():
    X, _ = rows_and_targets(N)
    import pandas as pd

    np.testing.assert_array_equal(open_source(pd.DataFrame(X)).read(0, 3), X[:3])
    np.testing.assert_array_equal(open_source(X.astype(">f4")).read(0, 3), X[:3])
    assert open_source(X.astype(">f4")).dtype == np.float32
    assert open_source(X.astype(np.float16)).dtype == np.float64
    np.testing.assert_array_equal(open_source(sp.csc_array(X)).read(0, 3).toarray(), X[:3])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.ones(4), r"one for each of 11 rows, got shape \(4,\)"),
        (np.ones((11, 1, 1)), r"got shape \(11, 1, 1\)"),
        (["a"] * 11, "must be real numbers, got dtype"),
        ("y", "expected an array or a .npy file, got 'y'"),
    ],
)
def test_targets_that_cannot_be_used(targets, message):
    with pytest.raises(SourceError, match=f"targets of array.*{message}"):
        open_source(np.ones((11, 2)), targets=targets)


def test_targets_of_nullable_types():
    import pandas as pd

    for kind in ("Float64", "Int64", "boolean"):
        given = pd.Series([1, 0, 1], dtype=kind)
        np.testing.assert_array_equal(
            open_source(np.ones((3, 2)), targets=given).read_targets(0, 3), [1, 0, 1]
        )
    message = r"NaN in row 1|must be real numbers"  # by the version of pandas
    with pytest.raises(SourceError, match=message):
        next(open_source(np.ones((2, 2)), targets=pd.Series([1, pd.NA], dtype="Int64")).blocks())


def test_no_targets():
    source = open_source(np.ones((3, 2)))
    assert not source.has_targets
    assert next(source.blocks()).y is None
    with pytest.raises(SourceError, match=r"array.* has no targets"):
        source.read_targets(0, 2)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"a.h5: reading HDF5 needs .*h5py.*\[io\]"):
        open_source(tmp_path / "a.h5")


# ---------------------------------------------------------------------------------------------
# Errors of single formats
# ---------------------------------------------------------------------------------------------


@in_files
def test_a_file_that_was_cut_off(way, tmp_path):
    if way in TEXT:
        pytest.skip("a shorter text is a text")
    source = WAYS[way](tmp_path, *rows_and_targets(N))
    path = next(iter(source._stamps))
    os.truncate(path, path.stat().st_size // 2)
    opened = tmp_path / "parts" if way == "parquet folder" else path
    if "zarr" in way:
        opened = path.parent
    with pytest.raises(SourceError, match=opened.name):
        open_source(opened).read(0, N)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"no file of this format, whatever its name says" * 9])
def test_a_file_of_another_kind(suffix, content, tmp_path):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"other{suffix}: expected a whole"):
        open_source(path)


def test_pickles_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    trap = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "trap.npy", trap)
    np.savez(tmp_path / "trap.npz", X=trap)
    for name in ("trap.npy", "trap.npz"):
        with pytest.raises(SourceError, match=rf"{name}.*[Oo]bject"):
            open_source(tmp_path / name)


def test_npz_under_the_name_of_npy(tmp_path):
    WAYS["npz"](tmp_path, *rows_and_targets(N))
    (tmp_path / "stored.npz").rename(tmp_path / "a.npy")
    with pytest.raises(SourceError, match=r"a.npy: it is an .npz archive"):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("way", ["npz", "zarr group", "hdf5"])
def test_keys_are_listed(way, tmp_path):
    X, y = rows_and_targets(N)
    source = WAYS[way](tmp_path, X, y)
    with pytest.raises(SourceError, match=r"there is no 'Z'; the keys are .*X' \(11, 5\)"):
        open_source(source.name, key="Z")
    with pytest.raises(SourceError, match="there is no 'targets'; the keys are"):
        open_source(source.name, targets="targets")
    assert open_source(source.name).shape == (N, 5)  # the only 2-D array


def test_rows_are_not_guessed_among_several_arrays(tmp_path):
    X, y = rows_and_targets(N)
    np.savez(tmp_path / "two.npz", A=X, B=X[:, :2], y=y)
    with pytest.raises(SourceError, match=r"say which array has the rows, key=.*'A'.*'B'"):
        open_source(tmp_path / "two.npz")
    assert open_source(tmp_path / "two.npz", targets="A").shape == (N, 2)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(SourceError, match="the keys are none"):
        open_source(tmp_path / "none.npz")


def test_stored_members_are_mapped_and_compressed_ones_must_fit(tmp_path, monkeypatch):
    from ntksketch.data.formats import npz

    def refuse(*args):
        raise MemoryError(args[-1])

    monkeypatch.setattr(npz, "require_memory", refuse)
    X, y = rows_and_targets(N)
    WAYS["npz"](tmp_path, X, y)
    WAYS["csr.npz"](tmp_path, X, y)
    with pytest.raises(MemoryError, match="without compression"):
        WAYS["compressed npz"](tmp_path, X, y)


@pytest.mark.parametrize("part", ["indptr", "indices"])
def test_parts_that_are_no_csr(part, tmp_path):
    X = sp.csr_array(rows_and_targets(N)[0])
    parts = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": X.shape}
    parts[part] = parts[part][:-1]
    np.savez(tmp_path / "bad.npz", format=b"csr", **parts)
    with pytest.raises(SourceError, match=r"bad.npz: parts of shapes .* do not make a CSR array"):
        open_source(tmp_path / "bad.npz")


def test_csr_with_columns_that_are_not_there(tmp_path):
    X = sp.csr_array(rows_and_targets(N)[0])
    X.indices[X.indptr[7]] = 99
    sp.save_npz(tmp_path / "bad.npz", X)
    source = open_source(tmp_path / "bad.npz")
    with pytest.raises(SourceError, match=r"bad.npz, block 1 \(rows 4 to 7\): cannot be read"):
        list(source.blocks(4))
    sp.save_npz(tmp_path / "csc.npz", sp.csc_array(X.shape))
    with pytest.raises(SourceError, match=r"csc.npz: sparse rows must be in CSR, got 'csc'"):
        open_source(tmp_path / "csc.npz")


def test_a_broken_chunk_is_named_by_its_block(tmp_path):
    X, y = rows_and_targets(N)
    WAYS["zarr"](tmp_path, X, y)
    path = tmp_path / "array30.zarr/c/1/0"
    path.write_bytes(path.read_bytes()[:7])
    with pytest.raises(SourceError, match=r"array30.zarr, block 1 \(rows 4 to 7\): cannot be read"):
        list(open_source(tmp_path / "array30.zarr").blocks(4))
    with pytest.raises(SourceError, match="it is an array and not a group"):
        open_source(tmp_path / "array30.zarr", key="X")


def test_a_broken_hdf5_chunk_is_named_by_its_block(tmp_path):
    X, y = rows_and_targets(N)
    WAYS["hdf5"](tmp_path, X, y)
    path = tmp_path / "rows.h5"
    with h5py.File(path) as file:
        place = file["train/X"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"rows.h5, block 1 \(rows 4 to 7\): cannot be read"):
        list(open_source(path, key="train/X").blocks(4))


def test_columns_of_parquet(tmp_path):
    X, y = rows_and_targets(N)
    path = tmp_path / "rows.parquet"
    WAYS["parquet"](tmp_path, X, y)
    source = open_source(path, columns=["x3", "x0"])
    np.testing.assert_array_equal(source.read(2, 7), X[2:7, [3, 0]])
    assert not source.has_targets
    assert open_source(path).shape == (N, 6)
    for options in ({"columns": ["x9"]}, {"targets": "x9"}):
        with pytest.raises(SourceError, match="there is no column 'x9'; the columns are x0, x1"):
            open_source(path, **options)
    pq.write_table(table(X, y, name=["a"] * N), path)
    with pytest.raises(SourceError, match="column 'name' has the type string; rows are numeric"):
        open_source(path, targets="y")
    pq.write_table(pa.table({"y": y}), path)
    with pytest.raises(SourceError, match="no columns beside the targets"):
        open_source(path, targets="y")


def test_targets_of_parquet_that_are_no_numbers(tmp_path):
    X, y = rows_and_targets(N)
    times = np.arange(N).astype("M8[s]")
    pq.write_table(table(X, y, name=["a"] * N, time=times), tmp_path / "a.parquet")
    for name, kind in (("name", "string"), ("time", "timestamp")):
        message = rf"a.parquet: column '{name}' has the type {kind}.*, and targets are numbers"
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / "a.parquet", targets=name, columns=["x0"])
    schema = pa.schema([("x", pa.float64())] * 2)
    pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 2, schema=schema), tmp_path / "b.pq")
    with pytest.raises(SourceError, match=r"b.pq: two columns are called 'x'; rename one"):
        open_source(tmp_path / "b.pq")


def test_parquet_with_gaps(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": [1, 2, None, 4], "b": [1.0] * 4}), path, row_group_size=2)
    source = open_source(path)
    source.read(0, 2)
    with pytest.raises(SourceError, match="column 'a' has null entries"):
        source.read(2, 4)
    for ragged in ([1.0], None, [1.0, None]):
        pq.write_table(pa.table({"a": [[1.0, 2.0], [3.0, 4.0], ragged]}), path)
        message = "a list of 1 in row 2, and the first has 2" if ragged == [1.0] else "null"
        with pytest.raises(SourceError, match=f"column 'a' has.*{message}"):
            open_source(path).read(1, 3)
    pq.write_table(pa.table({"a": pa.array([], pa.list_(pa.float64()))}), path)
    with pytest.raises(SourceError, match=r"at least one column, got shape \(0, 0\)"):
        open_source(path)


def test_parquet_files_of_different_columns(tmp_path):
    X, y = rows_and_targets(N)
    pq.write_table(table(X, y), tmp_path / "a.parquet")
    pq.write_table(table(X.astype(float), y), tmp_path / "b.parquet")
    with pytest.raises(
        SourceError, match=r"b.parquet: .*a.parquet: 'x0' is float there and double"
    ):
        open_source(tmp_path)
    with pytest.raises(SourceError, match=r"the folder has no \*.parquet"):
        open_source(tmp_path.parent / tmp_path.name / "..", format="parquet")


def test_mixed_columns_of_parquet_are_float64(tmp_path):
    X, _ = rows_and_targets(N)
    columns = {"a": X[:, 0], "b": X[:, 1].astype(int), "c": X[:, 2] > 0}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.read(0, N), np.column_stack(list(columns.values())))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2", "line 5: expected 3 cells, got 2"),
        ("1,,3", "line 5: column 'b' must be a number, got ''"),
        ("1,x,3", "line 5: column 'b' must be a number, got 'x'"),
    ],
)
def test_lines_of_csv_that_cannot_be_used(line, message, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"a,b,c\n1,2,3\n\n4,5,6\n{line}\n")
    source = open_source(path)
    assert source.shape == (3, 3)
    source.read(0, 2)
    with pytest.raises(SourceError, match=f"a.csv, {message}"):
        source.read(1, 3)


def test_headers_and_targets_of_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"a"; b\r\n1;2\r\n3;"4"\r\n')
    source = open_source(path, delimiter=";", targets="b")
    np.testing.assert_array_equal(source.read(0, 2), [[1], [3]])
    np.testing.assert_array_equal(source.read_targets(0, 2), [2, 4])
    with pytest.raises(SourceError, match="there is no column 'c'; the columns are a, b"):
        open_source(path, delimiter=";", targets="c")
    with pytest.raises(SourceError, match="there is no column 2; there are 2"):
        open_source(path, delimiter=";", targets=2)
    number = open_source(path, delimiter=";", targets=np.int64(1))
    np.testing.assert_array_equal(number.read_targets(0, 2), [2, 4])
    path.write_text("a,a\n1,2\n")
    with pytest.raises(SourceError, match="two columns are called 'a'; give their number"):
        open_source(path, targets="a")
    assert open_source(path, targets=0).read_targets(0, 1) == 1
    path.write_text("1,2\n3,4\n")
    assert open_source(path, header=True).shape == (1, 2)
    path.write_text("")
    with pytest.raises(SourceError, match=r"a.csv: it has no rows"):
        open_source(path)
    path.write_bytes(b"1,2\n3,\xff\n")
    with pytest.raises(SourceError, match=r"line 2: expected text in UTF-8"):
        open_source(path).read(0, 2)


@pytest.mark.parametrize("line", ["1.0,,3", "1.0,x,3", "id,2019,2020", "nan,b,c"])
def test_a_first_line_of_names_and_numbers_is_not_guessed(line, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{line}\n4,5,6\n7,8,9\n")
    with pytest.raises(SourceError, match=r"a.csv: its first line has '.*header=True or header=F"):
        open_source(path)
    assert open_source(path, header=True).shape == (2, 3)
    source = open_source(path, header=False)
    assert source.shape == (3, 3)
    np.testing.assert_array_equal(source.read(1, 3), [[4, 5, 6], [7, 8, 9]])
    with pytest.raises(SourceError, match=r"a.csv, line 1: column '.' must be a number|NaN in row"):
        source.read(0, 1)


@pytest.mark.parametrize("line", [",a,b", "a,b,c", '"","",""'])
def test_a_first_line_without_numbers_has_the_names(line, tmp_path):
    (tmp_path / "a.csv").write_text(f"{line}\n4,5,6\n7,8,9\n")
    source = open_source(tmp_path / "a.csv")
    np.testing.assert_array_equal(source.read(0, 2), [[4, 5, 6], [7, 8, 9]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2", "line 12: expected 'target column:value ...'"),
        ("a 1:2", "line 12: expected 'target"),
        ("1 2:3 1:4", "line 12: expected 'target"),
        ("1 0:3", "line 12: its columns count from 0; say zero_based=True"),
        ("1 1:1 7:3", "line 12: column 7 is beyond n_features=5"),
    ],
)
def test_lines_of_libsvm_that_cannot_be_used(line, message, tmp_path):
    path = tmp_path / "a.svm"
    path.write_text("-1 1:0.5 3:2\n" * 11 + line + "\n")
    source = open_source(path, n_features=5)
    source.read(0, 11)
    with pytest.raises(SourceError, match=f"a.svm, {message}"):
        source.read(8, 12)


def test_columns_of_libsvm(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text("1 qid:3 1:0.5 4:2\n2\n3 2:1 # 9:1\n")
    assert open_source(path).shape == (3, 4)
    assert open_source(path, zero_based=True).shape == (3, 5)
    np.testing.assert_array_equal(open_source(path).read(1, 3).toarray(), [[0] * 4, [0, 1, 0, 0]])
    np.testing.assert_array_equal(open_source(path, targets=[7, 8, 9]).read_targets(1, 3), [8, 9])
    path.write_text("1\n2\n")
    with pytest.raises(SourceError, match="no row has an entry; say n_features"):
        open_source(path)


# ---------------------------------------------------------------------------------------------
# Iterables
# ---------------------------------------------------------------------------------------------


def pieces(X, y=None, sizes=(3, 1, 5, 2)):
    ends = np.cumsum([0, *sizes])
    for start, stop in itertools.pairwise(ends):
        yield X[start:stop] if y is None else (X[start:stop], y[start:stop])


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("n_rows", [1, 2, 4, 7, 20])
def test_blocks_of_an_iterable_are_cut_to_size(make, n_rows):
    X, y = rows_and_targets(N)
    source = open_source(pieces(make(X), y))
    assert source.shape == (None, 5)
    assert source.has_targets
    blocks = list(source.blocks(n_rows))
    assert [block.start for block in blocks] == list(range(0, N, n_rows))
    assert all(block.X.shape[0] == n_rows for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate([dense(block.X) for block in blocks]), X)
    np.testing.assert_array_equal(np.concatenate([block.y for block in blocks]), y)


def test_iterables_are_read_once():
    X, _ = rows_and_targets(N)
    source = open_source(pieces(X), n_rows=N)
    assert source.shape == (N, 5)
    assert not source.has_targets
    list(source.blocks(4))
    with pytest.raises(SourceError, match="read already and can be read only once"):
        source.blocks(4)
    source = open_source(pieces(X))
    for read in (source.read, source.read_targets):
        with pytest.raises(SourceError, match="no rows to seek"):
            read(0, 1)
    with pytest.raises(SourceError, match="not known before"):
        source.fingerprint()
    with pytest.raises(SourceError, match="from row 0, and start is 4"):
        source.blocks(4, start=4)


def test_an_iterable_may_use_one_buffer():
    def fill():
        buffer = np.empty((3, 2))
        for value in range(4):
            buffer[:] = value
            yield buffer

    blocks = list(open_source(fill()).blocks(5))
    np.testing.assert_array_equal(np.concatenate([b.X for b in blocks])[:, 0], np.arange(12) // 3)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "it has no blocks"),
        ([[1.0, 2.0]], "block 0: expected a 2-D block"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"block 1 .*expected shape \(2, 3\), got \(2, 4\)"),
        ([np.ones((2, 3)), (np.ones((2, 3)), [1, 2])], "block 1 .*every block has targets or none"),
        ([(np.ones((2, 3)), [1])], "block 0 .*2 rows came with 1 targets"),
        ([(np.ones((2, 3)), ["a", "b"])], "block 0 .*targets must be real numbers, got dtype"),
        ([(np.ones((2, 3)), [1, np.nan])], "block 0 .*targets: NaN in row 1"),
        ([np.ones((2, 3)), np.full((1, 3), np.nan)], "block 1 .*NaN in row 2, column 0"),
        ([np.ones((2, 3)), np.full((1, 3), "a")], "block 1 .*must be real numbers"),
    ],
)
def test_blocks_that_cannot_be_used(blocks, message):
    with pytest.raises(SourceError, match=f"iterable.*{message}"):
        list(open_source(iter(blocks)).blocks(10))


@pytest.mark.parametrize("n_rows", [4, 11, 100])
@pytest.mark.parametrize("said", [3, 10, 12])
def test_an_iterable_of_another_length_than_said(n_rows, said):
    source = open_source(pieces(np.ones((N, 2))), n_rows=said)
    with pytest.raises(SourceError, match=f"expected {said} rows, got"):
        list(source.blocks(n_rows))


def test_targets_of_an_iterable_come_with_it():
    with pytest.raises(TypeError, match="come with its blocks"):
        open_source(pieces(np.ones((N, 2))), targets=np.ones(N))


@pytest.mark.parametrize("way", SPARSE)
def test_indices_are_short(way, tmp_path):
    """scikit-learn refuses 64-bit ones, which some readers make."""
    X, y = rows_and_targets(10, dtype=np.float64 if way in TEXT else np.float32)
    block = WAYS[way](tmp_path, X, y).read(2, 9)
    assert block.indices.dtype == block.indptr.dtype == np.int32
    np.testing.assert_array_equal(dense(block), X[2:9])


@pytest.mark.parametrize("way", WAYS)
def test_rows_by_number(way, tmp_path):
    X, y = rows_and_targets(10, dtype=np.float64 if way in TEXT else np.float32)
    rows = WAYS[way](tmp_path, X, y).take(np.array([0, 3, 9]))
    assert (rows is not None) == (
        way in ("array", "npy", "npy by columns", "npz", "compressed npz")
    )
    if rows is not None:
        np.testing.assert_array_equal(rows, X[[0, 3, 9]])
        assert type(rows) is np.ndarray
        assert rows.flags.c_contiguous


TAKE = """
import sys, numpy as np
from ntksketch.data import open_source

def resident():
    with open("/proc/self/status") as lines:
        return {k: int(v.split()[0]) for k, v in (l.split(":") for l in lines if "kB" in l)}

index = np.arange(5000) * 40
open_source(np.ones((4, 4))).take(index[:1])
source, before = open_source(sys.argv[1]), resident()["VmRSS"]
rows = source.take(index)
assert (rows[:, 3] == index % 7).all()
print(resident()["VmHWM"] - before)
"""


@pytest.mark.slow  # the process of its own imports JAX
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell")
def test_rows_by_number_leave_no_pages_behind(tmp_path):
    path = tmp_path / "a.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float32, (200_000, 64))  # 49 MiB
    array[:, 3] = np.arange(200_000) % 7
    array.flush()
    done = subprocess.run(
        [sys.executable, "-c", TAKE, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20 * 2**10  # KiB: the rows take 1.2 MiB, their pages most of the file


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1000,), (1000, 3), (1000, 200)])
def test_rows_by_number_are_mapped_in_pieces(order, shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(order=order, dtype="f4")
    maps = []
    mapped = MappedArray(lambda: maps.append(1) or values)
    index = np.sort(np.random.default_rng(1).choice(1000, 500, replace=False))
    maps.clear()
    found = mapped[index]
    np.testing.assert_array_equal(found, values[index])
    assert found.dtype == values.dtype
    height = 128 if order == "C" or len(shape) == 1 else max(1, 128 // shape[1])
    assert len(maps) == -(-500 // height)
    assert mapped[index[:0]].shape == (0, *shape[1:])


def test_rows_by_number_are_checked():
    X = np.ones((5, 2))
    X[3, 1] = np.inf
    source = open_source(X)
    assert source.take(np.array([0, 4])).shape == (2, 2)
    with pytest.raises(SourceError, match="rows by number: infinity"):
        source.take(np.array([0, 3]))
