"""Damage to files of rows, and to what a run of `featurise` left, at random.

The suite runs some; ``python tests/data/fuzz_files.py --cases 100000`` runs many of each.
"""

import argparse
import collections
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.append(str(Path(__file__).parents[1]))  # where it is run as a script
from damage import change_tree, damaged
from source_files import WAYS, rows_and_targets

from ntksketch.data import SourceError, open_source
from ntksketch.data.sinks.sink import BlockSink

LIBSVM = b"""# a comment
1 1:0.5 3:-2e3 # row
-1 2:1
0.25

3 1:1e-300 2:+7 4:.5
"""
CSV = b"""a,"b c",y
1,2.5,-3e2
"0.5",.25,1

1e-300,-0,2
"""
# the last is of a finished file whose manifest is gone
REFUSALS = "damaged; delete it", "not the one to resume", "no Z.npy.json tells what it is"
BLOCKS, ROWS, WIDTH = 3, 4, 2
BINARY = {
    "npy": {"targets": "y.npy"},
    "npy by columns": {},
    "npz": {"targets": "y"},
    "compressed npz": {"targets": "y", "key": "rows"},
    "csr.npz": {},
    "compressed csr.npz": {},
    "zarr": {},
    "zarr 2": {},
    "zarr group": {"targets": "train/y", "key": "train/X"},
    "hdf5": {"targets": "train/y", "key": "train/X"},
    "parquet": {"targets": "y"},
    "parquet lists": {"targets": "y", "columns": ["rows"]},
}
MOST = 10_000  # rows or columns that are read, of what a damaged file says it has


def read(path, **options):
    """Open a source and read all of it; return what came of it."""
    try:
        source = open_source(path, **options)
        n, d = source.shape
        blocks = list(source.blocks(2))
    except SourceError:
        return "refused"
    rows = [block.X.toarray() if sp.issparse(block.X) else block.X for block in blocks]
    assert sum(map(len, rows)) == n
    assert all(X.shape[1] == d and np.isfinite(X).all() for X in rows)
    assert all(block.y is None or len(block.y) == block.X.shape[0] for block in blocks)
    return "read"


class Text:
    """A text file of rows."""

    def __init__(self, content, suffix, folder):
        self.content, self.path = content, Path(folder) / f"rows{suffix}"
        self.options = {} if suffix == ".csv" else {"n_features": 4}

    def run(self, rng):
        content = self.content * rng.choice([1, 1, 3])
        self.path.write_bytes(damaged(content, rng))
        options = self.options if rng.random() < 0.5 else {}
        if self.path.suffix == ".csv" and rng.random() < 0.5:
            options = {"targets": rng.choice(["y", -1, 0])}
        return read(self.path, **options)


class Stored:
    """Files of rows in another format, of which one is damaged."""

    def __init__(self, way, folder):
        self.path = Path(WAYS[way](folder, *rows_and_targets(11)).name)
        self.options = BINARY[way]
        if str(self.options.get("targets")).endswith(".npy"):
            self.options = {"targets": str(folder / self.options["targets"])}
        self.files = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def run(self, rng):
        for path, content in self.files.items():
            path.write_bytes(content)
        path = rng.choice(sorted(self.files))
        path.write_bytes(damaged(self.files[path], rng))
        message = None
        try:
            source = open_source(self.path, **self.options)
            result = "too large" if max(source.shape) > MOST else ""
        except SourceError as error:
            result, message = "refused", str(error)
        except MemoryError as error:  # an array that is compressed is read whole
            result, message = "too large", str(error)
        assert message is None or str(self.path) in message or str(path) in message
        return result or read(self.path, **self.options)


class Run:
    """What a finished or a stopped run left: a resumed one goes on, or refuses."""

    def __init__(self, suffix, finished, folder):
        self.folder, self.finished = Path(folder), finished
        self.path = self.folder / f"Z{suffix}"
        self.manifest = {
            "features": {"class": "NTKFeatures", "parameters": {"n_components": "2"}},
            "source": {"format": "array", "shape": [BLOCKS * ROWS, 3]},
            "shape": [BLOCKS * ROWS, WIDTH],
            "dtype": "float64",
            "block_rows": ROWS,
        }
        self.Z = np.arange(BLOCKS * ROWS * WIDTH, dtype=float).reshape(-1, WIDTH)
        self.write(resume=False, blocks=BLOCKS if finished else 2)
        names = [f"{self.path.name}.{end}" for end in ("json", "journal")]
        self.text = self.folder / names[0 if finished else 1]
        self.files = {p: p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def write(self, *, resume, blocks=BLOCKS):
        sink = BlockSink(self.path, json.loads(json.dumps(self.manifest)), resume=resume)
        for block in range(sink.finished, blocks):
            sink.write(self.Z[block * ROWS : (block + 1) * ROWS])
        return sink

    def run(self, rng):
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self.files:
                path.unlink()
        for path, content in self.files.items():
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        lines = self.files[self.text].decode().splitlines()
        if rng.random() < 0.5:
            self.text.write_bytes(damaged(self.files[self.text], rng))
        else:
            trees = (
                [json.loads("\n".join(lines))] if self.finished else list(map(json.loads, lines))
            )
            change_tree(trees, rng)
            text = "\n".join(json.dumps(tree) for tree in trees)
            self.text.write_text(text + "\n")
        message = None
        try:
            self.write(resume=True)
        except (ValueError, OSError) as error:
            message = str(error)
        if message is not None:
            assert any(text in message for text in REFUSALS), message
            return "refused"
        found = open_source(self.path).read(0, BLOCKS * ROWS)
        np.testing.assert_array_equal(found, self.Z)
        return "went on"


def targets(folder):
    """Return what is damaged, by name; each in a folder of its own."""
    made = {}
    for name in ("libsvm", "csv", *BINARY, "stopped", "finished"):
        own = Path(folder) / name.replace(" ", "-")
        own.mkdir()
        if name in ("libsvm", "csv"):
            made[name] = Text(LIBSVM if name == "libsvm" else CSV, f".{name}", own)
        elif name in BINARY:
            made[name] = Stored(name, own)
        else:
            made[name] = Run(".npy", name == "finished", own)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a name")
    arguments = parser.parse_args()
    start, counts = time.perf_counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, target in targets(folder).items():
            if arguments.only not in name:
                continue
            for case in range(arguments.cases):
                try:
                    result = target.run(random.Random(f"{arguments.seed} {case}"))
                except BaseException:
                    print(f"case {case} of seed {arguments.seed}, {name}")
                    raise
                counts[name, result] += 1
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    for (name, result), count in sorted(counts.items()):
        print(f"{name:20} {result:10} {count}")


if __name__ == "__main__":
    main()
