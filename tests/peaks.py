"""Peaks of resident memory, measured in a process that gives freed memory back at once."""

import json
import os
import subprocess
import sys

import pytest

_START = """
import ctypes, gc, json, sys, warnings
import numpy as np
import ntksketch as ntk
from pathlib import Path

warnings.simplefilter("ignore")

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

def peak(function, *arguments):
    "Return the MiB that a call takes at most, above what was there before."
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = function(*arguments)
    return resident("VmHWM") - before
"""


def measured(script, *arguments):
    """Return what a script prints as JSON; it has `peak`, and its arguments as JSON as well."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's peak of resident memory")
    result = subprocess.run(
        [sys.executable, "-c", _START + script, *map(json.dumps, arguments)],
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
    return json.loads(result.stdout)
