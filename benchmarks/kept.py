"""Features kept on disk between sessions: what takes hours can be stopped and goes on."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntksketch as ntk
from benchmarks import ridge
from benchmarks.datasets import VARIABLE, Dataset
from benchmarks.results import write_atomically
from benchmarks.timing import Stages, peak_memory

_MEMORY = 128  # MiB for a block and its features: what is lost when it is stopped


class LastingStages(Stages):
    """Seconds of stages, which a file keeps.

    Parameters
    ----------
    path : Path
        Read if it is there, and written by `save`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self.path = path

    def save(self) -> None:
        """Write the file."""
        write_atomically(self.path, json.dumps(self))

    def ticking(self, name: str) -> Callable[[int, int], None]:
        """Return a function that adds to a stage the time since it was last called, and saves."""
        last = time.perf_counter()

        def tick(*done: int) -> None:
            nonlocal last
            now = time.perf_counter()
            self[name], last = self.get(name, 0.0) + now - last, now
            self.save()

        return tick


def folder_of(key: str, settings: dict[str, Any]) -> Path:
    """Return the folder of a configuration's files: in that of the data sets if there is one.

    Other settings have another folder.
    """
    place = Path(os.environ.get(VARIABLE) or tempfile.gettempdir())
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return place / f"kept {key} {digest}".replace(" ", "_")


def measure(
    folder: Path,
    prepare: Callable[[Stages], tuple[Dataset, dict[str, Any]]],
    draw: Callable[[Dataset], Any],
) -> dict[str, Any]:
    """Measure as `ridge.measure_features` does, from where an earlier session was stopped.

    Times are those of all sessions, peak memory is that of the last one.

    Parameters
    ----------
    folder : Path
        Where images, features and times are kept; it is deleted at the end.
    prepare : callable
        Returns the data, and what else belongs to the outcome.
    draw : callable
        Returns features fitted to the data, which can be pickled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stages = LastingStages(folder / "seconds.json")
    with peak_memory() as memory:
        data, about = _once(folder / "about", stages, lambda: _prepared(folder, prepare, stages))
        paths = {part: folder / f"{part}.npy" for part in ("X_train", "X_test")}
        data = replace(data, **{part: np.load(path, mmap_mode="r") for part, path in paths.items()})
        features = _once(folder / "features", stages, lambda: _drawn(draw, data, stages))
        train, test = (
            _featurise(features, paths[part], stages, stage)
            for part, stage in (("X_train", "featurise"), ("X_test", "featurise test"))
        )
        timed = Stages()  # reading takes the place of making features
        model = ridge.fit_ridge(_same, train, data.targets, timed)
        prediction = ridge.predict(model, _same, test, timed)
    seconds = {**timed, **stages}
    outcome = about | ridge.outcome(features, model, data, prediction)
    outcome |= {"seconds": seconds, "peak_memory": memory.peak}
    shutil.rmtree(folder)
    return outcome


def _same(Z: NDArray) -> NDArray:
    return np.asarray(Z)


def _once(path: Path, stages: LastingStages, make: Callable[[], Any]) -> Any:
    """Return what a file has that an earlier session wrote, or make it and write it."""
    if not path.exists():
        value = make()
        stages.save()
        write_atomically(path, pickle.dumps(value))
    return pickle.loads(path.read_bytes())


def _prepared(folder: Path, prepare: Any, stages: Stages) -> tuple[Dataset, dict[str, Any]]:
    data, about = prepare(stages)
    for part in ("X_train", "X_test"):
        np.save(folder / f"{part}.npy", getattr(data, part))
    empty = np.zeros((0, data.X_train.shape[1]), np.float32)
    return replace(data, X_train=empty, X_test=empty), about


def _drawn(draw: Callable[[Dataset], Any], data: Dataset, stages: Stages) -> Any:
    with stages("draw"):
        return draw(data)


def _featurise(features: Any, path: Path, stages: LastingStages, stage: str) -> NDArray:
    """Return the features of a file's rows, of which earlier sessions may have made some."""
    sink = path.with_name(f"features_of_{path.name}")
    ntk.data.featurise(
        features,
        path,
        sink,
        resume=True,
        working_memory=_MEMORY,
        progress=stages.ticking(stage),
    )
    return np.load(sink, mmap_mode="r")
