"""Fixtures that tests of several packages share."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core: more threads would queue for it
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True)  # the same examples in every run
settings.load_profile("fixed")


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
