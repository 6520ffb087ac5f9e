"""Blocks of features on their way to a file: what is done, what is left, and for which run."""

from __future__ import annotations

import errno
import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.blocks import block_slices, format_bytes
from ntksketch.data.checksum import checksum
from ntksketch.data.files import append, replace, sync, write_whole

# a format's module in ntksketch.data.sinks and its class there
STORES = {".npy": ("npy", "NpyStore"), ".zarr": ("zarr", "ZarrStore")}


class BlockSink:
    """A file that appears when its last block is written; until then a journal says what is done.

    Beside ``path`` there are ``path.partial``, which is filled, and ``path.journal``: the manifest
    and the checksum of each finished block, a line each. At the end ``path.json`` has both.

    Parameters
    ----------
    path : Path
        The file or folder to be.
    manifest : dict
        What decides the result, as values for JSON, with "shape", "dtype" and "block_rows".
    resume : bool
        Whether to go on with the blocks of a run of the same manifest.

    Raises
    ------
    FileExistsError
        If something is there and `resume` is false.
    ValueError
        If the manifest there differs from this one, or the suffix is not known.
    OSError
        If nothing can be written there, or there is too little room.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], *, resume: bool) -> None:
        check_path(path)
        self.path, self.manifest = path, json.loads(json.dumps(manifest))
        self._partial, self._journal = _beside(path, "partial"), _beside(path, "journal")
        shape = tuple(manifest["shape"])
        self._slices = list(block_slices(shape[0], manifest["block_rows"]))
        self._checksums: list[str] = []
        name, store = STORES[path.suffix.lower()]
        module = importlib.import_module(f"ntksketch.data.sinks.{name}")
        dtype = np.dtype(manifest["dtype"])
        self._store = getattr(module, store)(self._partial, shape, dtype, manifest["block_rows"])
        with self._writing():
            self._begin(resume, float(np.prod(shape)) * dtype.itemsize)

    @property
    def finished(self) -> int:
        """Number of blocks that are done."""
        return len(self._checksums)

    @property
    def complete(self) -> bool:
        """Whether the file is there, whole."""
        return self.path.exists()

    def write(self, Z: NDArray) -> None:
        """Write the next block, and after the last one give the file its name."""
        rows = self._slices[self.finished]
        expected = rows.stop - rows.start, *self.manifest["shape"][1:]
        if Z.shape != expected:
            raise ValueError(
                f"{self.path}: expected values of shape {expected} for block {self.finished}, "
                f"got {Z.shape}"
            )
        with self._writing():
            self._store.write(rows.start, Z)
            line = checksum([Z])
            append(self._journal, json.dumps(line) + "\n")
            self._checksums.append(line)
            if self.finished == len(self._slices):
                self._commit()

    def _begin(self, resume: bool, n_bytes: float) -> None:
        if self.complete:
            if not resume:
                raise FileExistsError(errno.EEXIST, "it exists; delete it or choose another name")
            described = _beside(self.path, "json")
            if not described.exists():
                raise FileExistsError(
                    errno.EEXIST, f"it exists, and no {described.name} tells what it is"
                )
            finished = _parsed(described, described.read_bytes())
            blocks = finished.pop("blocks", None) if isinstance(finished, dict) else None
            if not isinstance(blocks, list):
                raise _damaged(described)
            self._require_same(finished, f"delete {self.path.name} to start over")
            if len(blocks) != len(self._slices):
                raise _damaged(described)
            self._checksums = blocks
            self._journal.unlink(missing_ok=True)
            return
        if self._journal.exists():
            lines = _whole_lines(self._journal)
            if not resume:
                raise FileExistsError(
                    errno.EEXIST,
                    f"a run stopped after {len(lines) - 1} of {len(self._slices)} blocks; "
                    f"resume=True goes on with it, without {self._journal.name} it starts over",
                )
            self._require_same(lines[0], f"delete {self._journal.name} to start over")
            if self._partial.exists():
                self._checksums = self._verified(lines[1:])
                self._write_journal()
                if self.finished == len(self._slices):
                    self._commit()
                return
        free = shutil.disk_usage(self.path.parent).free
        if free < n_bytes:
            raise OSError(
                errno.ENOSPC, f"it needs {format_bytes(n_bytes)} and {format_bytes(free)} are free"
            )
        try:
            self._store.create()
            self._write_journal()
        except OSError:
            self._store.remove()
            self._journal.unlink(missing_ok=True)
            raise

    def _verified(self, checksums: list[str]) -> list[str]:
        """Return those of the blocks, up to the first that is not what was written."""
        for done, (rows, line) in enumerate(zip(self._slices, checksums, strict=False)):
            try:
                intact = checksum([self._store.read(rows.start, rows.stop)]) == line
            except Exception:  # of a chunk that was cut off, each codec has its own
                intact = False
            if not intact:
                return checksums[:done]
        return checksums

    def _write_journal(self) -> None:
        lines = [json.dumps(line) for line in (self.manifest, *self._checksums)]
        write_whole(self._journal, "\n".join(lines) + "\n")

    def _commit(self) -> None:
        self._store.sync()
        manifest = self.manifest | {"blocks": self._checksums}
        write_whole(_beside(self.path, "json"), json.dumps(manifest, indent=1) + "\n")
        replace(self._partial, self.path)
        self._journal.unlink()
        sync(self.path.parent)

    def _require_same(self, old: dict[str, Any], remedy: str) -> None:
        before, now = dict(_flat(old)), dict(_flat(self.manifest))
        differing = [k for k in {**before, **now} if before.get(k) != now.get(k)]
        if differing:
            changes = "; ".join(
                f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in differing[:5]
            )
            more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise ValueError(
                f"{self.path}: this run is not the one to resume: {changes}{more}; {remedy}"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say for which file the system refused something, and what becomes of the blocks."""
        try:
            yield
        except OSError as error:
            kept = (
                f"; {self.finished} blocks are kept, resume=True goes on" if self.finished else ""
            )
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"{self.path} cannot be written: {reason}{kept}") from error


def check_path(path: Path) -> None:
    """Raise an error before anything is computed, unless a file may be made there."""
    if path.suffix.lower() not in STORES:
        raise ValueError(f"{path}: results are written to {' or '.join(STORES)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _whole_lines(journal: Path) -> list[Any]:
    """Return the lines of a journal without one that was cut off."""
    text = journal.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    if not lines:
        raise _damaged(journal)
    return [_parsed(journal, line) for line in lines]


def _parsed(path: Path, text: bytes) -> Any:
    """Return the value that JSON text stands for, or say which file is damaged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged; delete it to start over")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts under dotted names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
