"""One file with a text and named arrays: safetensors, read strictly and written atomically.

A safetensors file is a length (8 bytes, little-endian), a header in JSON and the arrays' bytes. The
header's metadata hold the text, the format's number, the library's version and a checksum of all of
it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.blocks import require_memory
from ntksketch.data.files import replacing
from ntksketch.storage.errors import ModelFileError

FORMAT = 1

_LENGTH = 8  # bytes of the header's length
_LARGEST_HEADER = 10**8  # what safetensors itself reads
_LARGEST_TEXT = 3 * 10**7  # characters, which take up to two bytes each in the header
_METADATA = {"format", "version", "model", "sha256"}


def write(path: Path, text: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file that is there whole or not at all.

    Raises
    ------
    ModuleNotFoundError
        If safetensors is not installed.
    OSError
        If the file cannot be written; one that was there before is still there.
    ValueError
        If the text is too long for the format.
    """
    numbers = require_safetensors()
    if len(text) > _LARGEST_TEXT:
        raise ValueError(
            f"the model cannot be saved: what is not in arrays takes {len(text):,} characters, at "
            f"most {_LARGEST_TEXT:,} have room; names of columns take most: fit without them"
        )
    with replacing(path) as temporary:
        try:
            numbers.save_file(dict(arrays), temporary, seal(text, arrays))
        except OSError:
            raise
        except Exception as error:  # safetensors has its own errors for a full disk and the like
            raise OSError(f"{path} could not be written: {error}") from error


def read(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return the text and the arrays of a file whose checksum is right.

    Raises
    ------
    ModuleNotFoundError
        If safetensors is not installed.
    ModelFileError
        If the file is not one that `write` made, or not as it made it.
    OSError
        If the file cannot be read.
    """
    numbers = require_safetensors()
    if not path.is_file():
        path.stat()  # its own error, if there is nothing
        raise ModelFileError("it is not a regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _LENGTH + 2:
            raise ModelFileError(f"it has {size} bytes, fewer than the smallest one")
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > min(size - _LENGTH, _LARGEST_HEADER):
            raise ModelFileError(
                f"it has {size:,} bytes, and its first {_LENGTH} ask for a header of {length:,}: "
                "it is cut off, or something else"
            )
        metadata, end = _header(file.read(length))
        if size != _LENGTH + length + end:
            raise ModelFileError(
                f"it has {size:,} bytes, expected {_LENGTH + length + end:,}: it is cut off, or "
                "something was added"
            )
        require_memory(2.0 * size, f"a model of {size:,} bytes", "free some memory")
        file.seek(0)
        content = file.read(size + 1)
    try:
        arrays = {name: np.array(array) for name, array in numbers.load(content).items()}
    except Exception as error:
        raise ModelFileError(f"it is no safetensors file: {error}") from error
    if metadata["sha256"] != checksum(metadata, arrays):
        raise ModelFileError("its content does not match its checksum: it was changed or damaged")
    return metadata["model"], arrays


def seal(text: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the metadata of a file: the text, what wrote it, and the checksum."""
    metadata = {"format": str(FORMAT), "version": version("ntksketch"), "model": text}
    return metadata | {"sha256": checksum(metadata, arrays)}


def checksum(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of a file's metadata and arrays."""
    digest = hashlib.sha256()
    for name in ("format", "version", "model"):
        digest.update(
            f"{name} {len(metadata[name])}\n{metadata[name]}\n".encode(errors="surrogatepass")
        )
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name!r} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def parse(text: str | bytes) -> Any:
    """Return strict JSON: no key twice, no NaN or infinity; a ModelFileError if it is none."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            raise ValueError("a key occurs twice")
        return result

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    try:
        text = text.decode() if isinstance(text, bytes) else text
        return json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its text is not as JSON should be: {error}") from error


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """Return a header's metadata and the number of bytes that its arrays take."""
    header = parse(content)
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or "format" not in metadata or "model" not in metadata:
        raise ModelFileError("it holds no model of this library")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError("its metadata are not all strings")
    if metadata["format"] != str(FORMAT):
        writer = str(metadata.get("version"))[:40]
        raise ModelFileError(
            f"it has format {metadata['format'][:40]!r}, written by ntksketch {writer}; this is "
            f"ntksketch {version('ntksketch')}, which reads format {FORMAT}: update it"
        )
    if set(metadata) != _METADATA:
        raise ModelFileError("its metadata are not those of a model")
    end = 0
    for entry in header.values():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if (
            not isinstance(offsets, list)
            or len(offsets) != 2
            or not all(type(offset) is int for offset in offsets)
        ):
            raise ModelFileError("its header has an array without its place in the file")
        end = max(end, offsets[1])
    return metadata, end


def require_safetensors() -> Any:
    """Return the package's module for NumPy's arrays, or raise ModuleNotFoundError with a hint."""
    try:
        return importlib.import_module("safetensors.numpy")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "models on disk need the package safetensors; install it with "
            "python -m pip install 'ntksketch[io]'",
            name="safetensors",
        ) from error
