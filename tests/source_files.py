"""The same rows in every format: one function a way of storing them, which returns a source."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from ntksketch.data import open_source

CHUNK = 4  # rows of a chunk, a row group, a file or a block
TEXT = ("csv", "csv without header", "libsvm")  # all float64
SPARSE = ("CSR array", "csr.npz", "compressed csr.npz", "libsvm")
IN_MEMORY = ("array", "CSR array")


def in_array(folder, X, y):
    return open_source(X, targets=y)


def in_csr_array(folder, X, y):
    return open_source(sp.csr_array(X), targets=y)


def in_npy(folder, X, y):
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return open_source(folder / "X.npy", targets=folder / "y.npy")


def in_npy_by_columns(folder, X, y):
    np.save(folder / "F.npy", np.asfortranarray(X))
    return open_source(str(folder / "F.npy"), targets=y)


def in_npz(folder, X, y):
    np.savez(folder / "stored.npz", X=X, y=y)
    return open_source(folder / "stored.npz", targets="y")


def in_compressed_npz(folder, X, y):
    np.savez_compressed(folder / "compressed.npz", rows=X, y=y)
    return open_source(folder / "compressed.npz", targets="y", key="rows")


def in_csr_npz(folder, X, y):
    sp.save_npz(folder / "stored.csr.npz", sp.csr_array(X), compressed=False)
    return open_source(folder / "stored.csr.npz", targets=y)


def in_compressed_csr_npz(folder, X, y):
    sp.save_npz(folder / "compressed.csr.npz", sp.csr_matrix(X))
    return open_source(folder / "compressed.csr.npz", targets=y)


def in_zarr(folder, X, y, version=3, **options):
    import zarr

    path = folder / f"array{version}{len(options)}.zarr"
    chunks = min(CHUNK, max(len(X), 1)), min(3, X.shape[1])
    options |= {"zarr_format": version, "overwrite": True}
    array = zarr.create_array(str(path), shape=X.shape, dtype=X.dtype, chunks=chunks, **options)
    array[:] = X
    return open_source(path, targets=y)


def in_zarr_2(folder, X, y):
    return in_zarr(folder, X, y, version=2)


def in_sharded_zarr(folder, X, y):
    return in_zarr(folder, X, y, shards=(2 * min(CHUNK, max(len(X), 1)), 3 * X.shape[1]))


def in_zarr_group(folder, X, y):
    import zarr

    group = zarr.open_group(str(folder / "group.zarr"), mode="w")
    for name, values in (("train/X", X), ("train/y", y)):
        chunks = (CHUNK, *values.shape[1:])
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks)
        array[:] = values
    return open_source(folder / "group.zarr", key="train/X", targets="train/y")


def in_hdf5(folder, X, y):
    import h5py

    with h5py.File(folder / "rows.h5", "w") as file:
        options = {"chunks": (CHUNK, X.shape[1]), "maxshape": (None, X.shape[1])}
        file.create_dataset("train/X", data=X, compression="gzip", **options)
        file["train/y"] = y
    return open_source(folder / "rows.h5", key="train/X", targets="train/y")


def table(X, y, **extra):
    columns = {f"x{j}": X[:, j] for j in range(X.shape[1])}
    return pa.table(columns | {"y": y} | extra)


def in_parquet(folder, X, y):
    pq.write_table(table(X, y), folder / "rows.parquet", row_group_size=CHUNK)
    return open_source(folder / "rows.parquet", targets="y")


def in_parquet_folder(folder, X, y):
    (folder / "parts").mkdir(exist_ok=True)
    for start in range(0, max(len(X), 1), CHUNK):
        part = slice(start, start + CHUNK)
        path = folder / f"parts/part-{start:06d}.parquet"
        pq.write_table(table(X[part], y[part]), path, row_group_size=3)
    return open_source(folder / "parts", targets="y")


def in_parquet_lists(folder, X, y, fixed=False):
    kind = pa.from_numpy_dtype(X.dtype)
    kind = pa.list_(kind, X.shape[1]) if fixed else pa.list_(kind)
    path = folder / f"lists{fixed:d}.parquet"
    columns = {"rows": pa.array(list(X), kind), "y": y, "unused": ["text"] * len(X)}
    pq.write_table(pa.table(columns), path, row_group_size=CHUNK)
    return open_source(path, targets="y", columns=["rows"])


def in_parquet_fixed_lists(folder, X, y):
    return in_parquet_lists(folder, X, y, fixed=True)


def in_csv(folder, X, y, header=True):
    lines = [",".join([*(repr(v.item()) for v in x), str(t)]) for x, t in zip(X, y, strict=True)]
    names = [",".join([f"x{j}" for j in range(X.shape[1])] + ["y"])] if header else []
    path = folder / f"rows{header:d}.csv"
    path.write_text("\n".join([*names, "", *lines]))  # a blank line, and no end of the last one
    return open_source(path, targets="y" if header else -1)


def in_csv_without_header(folder, X, y):
    return in_csv(folder, X, y, header=False)


def in_libsvm(folder, X, y):
    path = folder / "rows.libsvm"
    lines = ["# a comment"]
    for x, target in zip(X, y, strict=True):
        entries = [f"{j + 1}:{x[j].item()!r}" for j in np.flatnonzero(x)]
        lines.append(f"{target} {' '.join(entries)} # row")
    path.write_text("\n".join(lines) + "\n")
    return open_source(path, n_features=X.shape[1])


WAYS = {
    "array": in_array,
    "CSR array": in_csr_array,
    "npy": in_npy,
    "npy by columns": in_npy_by_columns,
    "npz": in_npz,
    "compressed npz": in_compressed_npz,
    "csr.npz": in_csr_npz,
    "compressed csr.npz": in_compressed_csr_npz,
    "zarr": in_zarr,
    "zarr 2": in_zarr_2,
    "sharded zarr": in_sharded_zarr,
    "zarr group": in_zarr_group,
    "hdf5": in_hdf5,
    "parquet": in_parquet,
    "parquet folder": in_parquet_folder,
    "parquet lists": in_parquet_lists,
    "parquet fixed lists": in_parquet_fixed_lists,
    "csv": in_csv,
    "csv without header": in_csv_without_header,
    "libsvm": in_libsvm,
}


def rows_and_targets(n, d=5, dtype=np.float32, seed=0):
    """Return rows with many zeros, of the kind that CSR is for, and whole numbers as targets."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * 100 * (rng.random((n, d)) < 0.6)
    return X.astype(dtype), rng.integers(-5, 5, n)


def dense(X):
    return X.toarray() if sp.issparse(X) else X
