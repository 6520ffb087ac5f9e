"""Damage to model files, at random: of their bytes, and of their structure with a right checksum.

The suite runs some; ``python tests/storage/fuzz.py --cases 100000`` runs many.
"""

import argparse
import collections
import random
import sys
import tempfile
import time
import unittest.mock
import warnings
from pathlib import Path

import jax
import numpy as np
import saved
import scipy.linalg

sys.path.append(str(Path(__file__).parents[1]))  # where it is run as a script
from damage import change_tree, damaged

import ntksketch as ntk
from ntksketch.features.nystroem import NystroemMap
from ntksketch.storage.registry import ENTRIES


def gathered_before_whitening():
    """Return a small model that is gathered as one of many landmarks."""
    with unittest.mock.patch.object(NystroemMap, "is_small", False):
        return saved.regressor(n_components=8, alphas="auto")


FILES = {
    "features": lambda: saved.features("gegenbauer", n_components=8),
    "structured": lambda: saved.features(ntk.Gegenbauer(None, "random", "structured"), None, 8),
    "regressor": lambda: saved.regressor("random-features", n_components=8),
    "folded": lambda: saved.regressor("random-features", n_components=2),
    "nystroem": lambda: gathered_before_whitening(),
    "classifier": lambda: saved.classifier("polynomial-sketch", n_components=16),
    "layered": lambda: saved.features(
        ntk.PolynomialSketch(variant="layered", degree=2, hidden_components=8), n_components=8
    ),
    "resampled": lambda: saved.classifier(ntk.Resampled(), n_components=8),
    "images": lambda: saved.regressor(
        "layerwise-nystroem", ntk.cnn(2, shape=(saved.ROWS.shape[1], 1)), n_components=8
    ),
    "sketched images": lambda: saved.regressor(
        ntk.PolynomialSketch(variant="layered", degree=2, hidden_components=8),
        ntk.cnn(2, 2, shape=(saved.ROWS.shape[1], 1)),
        n_components=8,
    ),
    "random features of images": lambda: saved.regressor(
        ntk.RandomFeatures(hidden_components=16),
        ntk.cnn(2, 2, shape=(saved.ROWS.shape[1], 1)),
        n_components=8,
    ),
    "gradients": lambda: saved.features(
        ntk.GradientFeatures(width=4),
        ntk.cnn(2, 2, pooling=2, bias_std=0.2, shape=(saved.ROWS.shape[1], 1)),
        n_components=8,
    ),
    "flow": lambda: saved.flow("linear", t=2),
    "flow of features": lambda: saved.flow(ntk.mlp(1), "gegenbauer", 8),
    "flow of a kernel": lambda: saved.flow(X=saved.ROWS[:9], y=saved.TARGETS[:9]),
    "exact": lambda: saved.exact(X=saved.ROWS[:9], y=saved.TARGETS[:9]),
    "whitening": lambda: ntk.ZCAWhitening().fit(saved.ROWS),
    "ridge": lambda: ntk.StreamingRidge([0.1, 1.0]).fit(saved.ROWS, saved.TARGETS),
}


def change_arrays(arrays, rng):
    """Change the shape, dtype, values or name of an array, or take it away."""
    if not arrays:
        return
    name = rng.choice(sorted(arrays))
    array, kind = np.array(arrays[name], order="C"), rng.randrange(8)
    if kind == 0:
        del arrays[name]
        return
    if kind == 1:
        arrays[rng.choice(["surplus", "../../x", "", "array99"])] = array
        return
    if kind == 2:
        other = rng.choice(sorted(arrays))
        arrays[name], arrays[other] = arrays[other], array
        return
    if kind == 3:
        dtypes = np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.bool_
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice(dtypes))
    elif kind == 4:
        shapes = [array.size], [1, *array.shape], array.shape[::-1], [*array.shape, 1]
        array = array.reshape(rng.choice(shapes))
    elif kind == 5:
        array = array[: rng.randrange(len(array) + 1)] if array.ndim else array
    elif kind == 6:
        array = np.concatenate([array, array]) if array.ndim else array
    elif array.size:
        special = np.nan, np.inf, -1, 2**31 - 1, -(2**31), 10**6
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array.flat[rng.randrange(array.size)] = np.array(rng.choice(special)).astype(
                array.dtype
            )
    arrays[name] = array


class Target:
    """A valid file, and what its model makes of rows."""

    def __init__(self, name, folder):
        self.path = Path(folder) / f"{name}.safetensors"
        self.damaged = Path(folder) / f"{name}.damaged"
        self.model = FILES[name]()
        ntk.save(self.model, self.path)
        self.content = self.path.read_bytes()
        self.expected = saved.outputs(self.model)

    def change_bytes(self, rng):
        """Damage bytes; return what came of it."""
        self.damaged.write_bytes(damaged(self.content, rng))
        try:
            model = ntk.load(self.damaged)
        except ntk.ModelFileError:
            return "refused"
        found = saved.outputs(model)
        assert all(np.array_equal(values, found[name]) for name, values in self.expected.items())
        return "identical"

    def change_structure(self, rng, use=True):
        """Change the structure under a right checksum; return what came of it."""
        self.damaged.write_bytes(self.content)
        file = saved.File(self.damaged)
        part = rng.randrange(4)
        if part:
            change_tree(file.document, rng, list(ENTRIES))
        if part in (0, 3):
            change_arrays(file.arrays, rng)
        file.write()
        try:
            model = ntk.load(self.damaged)
        except ntk.ModelFileError:
            return "refused"
        return use_model(model) if use else "loaded"


def use_model(model):
    """Use a model that loaded: it works, or says what is wrong with its numbers."""
    rows = np.ones((3, model.n_features_in_))
    if hasattr(model, "feature_names_in_"):
        return "loaded"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = saved.outputs(model, rows)
        except (MemoryError, scipy.linalg.LinAlgError, ValueError) as error:
            # other numbers in the statistics, the kernel or the sizes than any fit would make
            return f"says {type(error).__name__}"
    assert all(len(values) == 3 for values in found.values())
    return "works"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--use", type=float, default=0.05, help="share of loaded models to use")
    arguments = parser.parse_args()
    start, counts = time.perf_counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        targets = [Target(name, folder) for name in FILES]
        for case in range(arguments.cases):
            rng = random.Random(f"{arguments.seed} {case}")
            target = targets[case % len(targets)]
            structure = case // len(targets) % 2
            try:
                if structure:
                    result = target.change_structure(rng, rng.random() < arguments.use)
                else:
                    result = target.change_bytes(rng)
            except BaseException:
                print(f"case {case} of seed {arguments.seed}, {target.path.stem}")
                raise
            counts["structure" if structure else "bytes", result] += 1
            if case % 5000 == 4999:
                jax.clear_caches()
                print(f"{case + 1} cases, {time.perf_counter() - start:.0f} s", flush=True)
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:10} {result:20} {count}")


if __name__ == "__main__":
    main()
