"""NumPy's .npz and SciPy's sparse .npz.

Members that are stored (`numpy.savez`, `scipy.sparse.save_npz(compressed=False)`) are memory maps;
compressed ones have no rows to seek and are loaded whole.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ntksketch.data.blocks import require_memory
from ntksketch.data.checks import opening
from ntksketch.data.formats.arrays import ArraySource, CSRSource
from ntksketch.data.formats.keys import choose_arrays
from ntksketch.data.mapped import MappedArray
from ntksketch.data.source import Source, SourceError

CSR_MEMBERS = {"format", "shape", "data", "indices", "indptr"}
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _Member:
    """An array of an archive, of which only the header is read until it is loaded."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._path, self._info = path, info
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"{info.filename} has a header of version {version}")
            self.shape, self._fortran, self.dtype = _HEADERS[version](file)
            self._header = file.tell()
        if self.dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects; pickles are never loaded")

    def load(self) -> np.ndarray:
        """Map the array into memory where its bytes lie open in the file, else load it."""
        if self._info.compress_type == zipfile.ZIP_STORED:
            order = "F" if self._fortran else "C"
            offset = self._data_offset() + self._header
            return np.memmap(self._path, self.dtype, "r", offset, self.shape, order)
        require_memory(
            float(np.prod(self.shape)) * self.dtype.itemsize,
            f"{self._info.filename} of {self._path}, which is compressed,",
            "store it without compression, which is read in blocks: numpy.savez, or "
            "scipy.sparse.save_npz(..., compressed=False)",
        )
        with zipfile.ZipFile(self._path) as archive, archive.open(self._info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def rows(self) -> Any:
        """Return the array as `load` does, but mapped anew for each read if it can be mapped."""
        stored = self._info.compress_type == zipfile.ZIP_STORED
        return MappedArray(self.load) if stored else self.load()

    def _data_offset(self) -> int:
        """Return where the member begins: after a header of 30 bytes, its name and extra field."""
        with self._path.open("rb") as file:
            file.seek(self._info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
        return self._info.header_offset + 30 + name + extra


def open_file(path: Path, *, targets: Any = None, key: str | None = None) -> Source:
    """Open an .npz file; `key` and `targets` name arrays in it."""
    with opening(path, "a whole .npz archive"):
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): _Member(path, archive, info)
                for info in archive.infolist()
            }
        if members.keys() >= CSR_MEMBERS:
            return _open_csr(path, members, targets)
        key, targets = choose_arrays(members, key, targets, str(path))
        targets = targets.load() if isinstance(targets, _Member) else targets
        array = members[key].rows()
    return ArraySource(array, str(path), "npz", targets=targets, files=[path])


def _open_csr(path: Path, members: dict[str, _Member], targets: Any) -> Source:
    kind = members["format"].load().item()
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind != "csr":
        raise SourceError(f"{path}: sparse rows must be in CSR, got {kind!r}; save X.tocsr()")
    shape = tuple(map(int, members["shape"].load()))
    if len(shape) != 2:
        raise SourceError(f"{path}: rows must be a 2-D array, got shape {shape}")
    data, indices, indptr = (members[k].rows() for k in ("data", "indices", "indptr"))
    return CSRSource(
        data, indices, indptr, shape, str(path), "csr npz", targets=targets, files=[path]
    )
