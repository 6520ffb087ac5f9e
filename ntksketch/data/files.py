"""Files that are there whole or not at all, also after a crash."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, scratch: str | None = None) -> Iterator[Path]:
    """Yield the name of a new file beside `path`, which takes its place if all goes well.

    Parameters
    ----------
    path : Path
        The file; what a link points to is replaced, not the link. A new file keeps the mode of the
        old one.
    scratch : str, default=None
        What the new file's name adds to that of `path`, so that a killed writer leaves at most one,
        which the next one overwrites; None takes a name of its own, for writers side by side.

    Raises
    ------
    OSError
        If the file cannot be written; the one from before is left.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: give the name of a file in it")
    own = scratch is None
    name = f".{path.name[:100]}.{secrets.token_hex(8)}.tmp" if own else path.name + scratch
    temporary = path.with_name(name)
    temporary.touch(exist_ok=not own)
    try:
        mode = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        yield temporary
        temporary.chmod(mode)
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a text file by way of another name."""
    with replacing(path, ".tmp") as scratch:
        scratch.write_text(text, encoding="utf-8")


def append(path: Path, text: str) -> None:
    """Append to a text file, on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace(old: Path, new: Path) -> None:
    """Rename a file or folder, on the disk when this returns."""
    os.replace(old, new)
    sync(new.parent)


def sync(path: Path) -> None:
    """Bring a file or the entries of a folder to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
