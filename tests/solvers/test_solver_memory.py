import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

MEASURE = """
import ctypes, gc, json, sys, warnings
import numpy as np
import ntksketch as ntk
from pathlib import Path

warnings.simplefilter("ignore")

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

def peak(function):
    "Return the MiB that a call takes at most, above what was there before."
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    function()
    return resident("VmHWM") - before

n, budget = json.loads(sys.argv[1])
X = np.random.default_rng(0).standard_normal((n, 8))
Y = X[:, :2] ** 2

def solve(rows):
    return ntk.solve_kernel_ridge(
        ntk.mlp(1), X[:rows], Y[:rows], 1.0, max_iter=2, rank=20, working_memory=budget,
        random_state=0,
    )

small = solve(1000)
small.predict(X[:1000], working_memory=budget)
peaks = {"solve": peak(lambda: solve(n))}
solution = solve(n)
peaks["predict"] = peak(lambda: solution.predict(X, working_memory=budget))
print(json.dumps(peaks))
"""

ROWS, BUDGET = 5000, 8  # rows, MiB
ALLOWANCE = 12.0  # for the preconditioner, the columns of its pivots, and ten solutions


def test_peak_is_far_below_the_kernel_matrix():
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's peak of resident memory")
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps([ROWS, BUDGET])],
        env={
            **os.environ,
            "MALLOC_MMAP_THRESHOLD_": "262144",
            "JAX_PLATFORMS": "cpu",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    peaks = json.loads(result.stdout)
    matrix = ROWS**2 * 8 / 2**20
    assert peaks["solve"] < BUDGET + ALLOWANCE < matrix / 8
    assert peaks["predict"] < BUDGET + ALLOWANCE
