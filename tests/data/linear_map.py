"""A transformer that needs NumPy alone, and a program that is killed while it writes features.

``python linear_map.py FOLDER SUFFIX`` writes the features of FOLDER/X.npy once for each moment at
which the file system is touched, each time in a process that kills itself at that moment, and
prints the number of moments. What is left is in FOLDER/0, FOLDER/1 and so on.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from ntksketch.data import featurise, open_source

BLOCK_MIB = 4 * 8 * 40 / 2**20  # a budget for blocks of 8 rows with 4 columns and 6 components


class LinearMap:
    """Multiplies rows by a matrix."""

    def __init__(self, n_components=6, seed=0):
        self.n_components, self.seed = n_components, seed

    def get_params(self):
        return {"n_components": self.n_components, "seed": self.seed}

    def transform(self, X):
        matrix = np.random.default_rng(self.seed).standard_normal((4, self.n_components))
        return (X @ matrix).astype(X.dtype)


def write(folder, suffix, **options):
    """Write the features of the rows one folder up, in blocks of eight rows."""
    source = open_source(folder.parent / "X.npy")
    return featurise(
        LinearMap(), source, folder / f"Z{suffix}", working_memory=BLOCK_MIB, **options
    )


def kill_at(moment, folder):
    """Kill this process when it touches something in a folder for the moment-th time."""
    left = [moment]

    def hook(event, arguments):
        touched = event in ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir")
        if touched and str(folder) in str(arguments[0]):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    sys.addaudithook(hook)


def main(folder, suffix):
    os.fsync = lambda handle: None  # a killed process loses nothing that it wrote
    if suffix == ".zarr":
        import zarr  # noqa: F401  (once, and not in every child)
    for moment in range(1000):
        place = folder / str(moment)
        place.mkdir()
        child = os.fork()
        if child == 0:
            kill_at(moment, place)
            write(place, suffix)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return moment, os.waitstatus_to_exitcode(status)
    raise RuntimeError("it never came to its end")


if __name__ == "__main__":
    print(*main(Path(sys.argv[1]), sys.argv[2]))
