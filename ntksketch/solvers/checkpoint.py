"""Checkpoints of an iteration: written while it runs, and refused to any other problem."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.archive import read_archive, write_archive
from ntksketch.data.distinct import hash_rows
from ntksketch.kernels import kernel
from ntksketch.linear.conjugate_gradients import CGState

_FORMAT = "ntksketch conjugate gradients 1"
_SAMPLE = 8  # rows whose kernel tells kernels apart


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often the state of an iteration is saved.

    The file is a npz archive of numbers and text. It is replaced as a whole, so that a process that
    is killed leaves the last one that was finished. A solve that finds it goes on from there, with
    the iterates that it would have had without a break.

    Parameters
    ----------
    path : str or path-like
        The file. Its folder must exist.
    seconds : float or None, default=300.0
        Save when so much time has passed since the last time; None: not by time.
    iterations : int or None, default=None
        Save every so many iterations; None: not by iterations. The last iteration is always saved.

    Raises
    ------
    TypeError, ValueError
        If an interval is no positive number.

    Examples
    --------
    >>> from ntksketch.solvers import Checkpoint
    >>> Checkpoint("solve.npz", iterations=10)
    Checkpoint(path='solve.npz', seconds=300.0, iterations=10)
    """

    path: str | os.PathLike[str]
    seconds: float | None = 300.0
    iterations: int | None = None

    def __post_init__(self) -> None:
        for name, number in (("seconds", Real), ("iterations", Integral)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, number):
                raise TypeError(f"{name} must be a number or None, got {value!r}")
            if not float(value) > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")


class StateFile:
    """A checkpoint's file, for one problem.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where and how often.
    problem : dict of str to str
        What the state depends on, in words or as a digest.
    sample : ndarray
        A sample of the kernel.

    Raises
    ------
    FileNotFoundError
        If the file's folder does not exist: now, and not at the first save.
    """

    def __init__(
        self, checkpoint: Checkpoint, problem: Mapping[str, str], sample: NDArray[np.float64]
    ) -> None:
        self.checkpoint, self.problem, self.sample = checkpoint, dict(problem), sample
        self.path = Path(checkpoint.path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint {self.path}: there is no folder {self.path.parent}; create it"
            )
        self._last: CGState | None = None
        self._saved_iteration = -1
        self._saved_time = time.monotonic()

    def load(self) -> CGState | None:
        """Return the state saved for this problem, or None if there is no file.

        Raises
        ------
        ValueError
            If the file is damaged, or of another problem; the message names the difference.
        """
        if not self.path.exists():
            return None
        arrays = read_archive(self.path)
        if str(arrays.get("format")) != _FORMAT:
            raise ValueError(f"{self.path} is no checkpoint of this version; {_REMEDY}")
        there = json.loads(str(arrays["problem"]))
        for name in [*self.problem, *there]:
            if name != "architecture" and there.get(name) != self.problem.get(name):
                self._refuse(name, there.get(name))
        rtol = 1e-4 if self.problem["dtype"] == "float32" else 1e-9
        scale = np.abs(self.sample).max(initial=0.0)
        same = arrays["sample"].shape == self.sample.shape
        if not (same and np.allclose(arrays["sample"], self.sample, rtol, rtol * scale)):
            self._refuse("architecture", there["architecture"])
        fields: dict[str, Any] = {name: arrays[name] for name in CGState._fields}
        state = CGState(**{**fields, "iteration": int(fields["iteration"])})
        self._saved_iteration = state.iteration
        return state

    def _refuse(self, name: str, there: str | None) -> None:
        raise ValueError(
            f"{self.path} is the checkpoint of another problem: its {name} is {there}, and here "
            f"it is {self.problem.get(name)}; {_REMEDY}"
        )

    def see(self, state: CGState) -> None:
        """Save a state if it is time to."""
        self._last = state
        every, seconds = self.checkpoint.iterations, self.checkpoint.seconds
        since = time.monotonic() - self._saved_time
        if (every is not None and state.iteration - max(self._saved_iteration, 0) >= every) or (
            seconds is not None and since >= seconds
        ):
            self._save(state)

    def finish(self) -> None:
        """Save the last state seen, unless it is saved."""
        if self._last is not None and self._last.iteration != self._saved_iteration:
            self._save(self._last)

    def _save(self, state: CGState) -> None:
        described = {"format": _FORMAT, "problem": json.dumps(self.problem), "sample": self.sample}
        write_archive(self.path, {**state._asdict(), **described})
        self._saved_iteration, self._saved_time = state.iteration, time.monotonic()


_REMEDY = "give another path, or delete the file to start again"


def stored_seed(path: str | os.PathLike[str]) -> int | None:
    """Return the seed of the preconditioner that a checkpoint was made with, if there is one."""
    if not Path(path).exists():
        return None
    try:
        return int(json.loads(str(read_archive(path)["problem"]))["random_state"])
    except KeyError:  # another file: `load` says so
        return None


def kernel_sample(target: Any, kind: str, X: Any) -> NDArray[np.float64]:
    """Return the kernel of the first rows, by which another kernel is recognised."""
    return kernel(target, X[:_SAMPLE], kind=kind).astype(np.float64)


def digest(array: Any) -> str:
    """Return shape and hash of an array, or of the rows of a matrix, dense or sparse."""
    if sp.issparse(array) or array.ndim == 2:
        array, shape = hash_rows(array), array.shape
    else:
        shape = array.shape
    code = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{' x '.join(map(str, shape))} ({code})"
