"""Fixtures that tests of several packages share."""

import os
import re
import zlib

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core: more threads would queue for it
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True)  # the same examples in every run
settings.load_profile("fixed")


def pytest_addoption(parser):
    parser.addoption("--part", default="1/1", metavar="K/N", help="run the K-th of N parts only")


def pytest_collection_modifyitems(config, items):
    """Keep the tests of one part, by their names, so that every worker keeps the same."""
    part = re.fullmatch(r"(\d+)/(\d+)", config.getoption("part"))
    k, n = map(int, part.groups()) if part else (0, 0)
    if not 1 <= k <= n:
        raise pytest.UsageError(f"--part must be like 1/4, got {config.getoption('part')}")
    others = [item for item in items if zlib.crc32(item.nodeid.encode()) % n != k - 1]
    if others:
        config.hook.pytest_deselected(items=others)
        kept = set(items) - set(others)
        items[:] = [item for item in items if item in kept]


@pytest.fixture
def compilations():
    """Return a list that grows by one name whenever XLA compiles something."""
    names = []

    def listener(name, duration, **details):
        if name.endswith("backend_compile_duration"):
            names.append(name)

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield names
    jax.monitoring.unregister_event_duration_listener(listener)
