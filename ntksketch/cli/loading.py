"""Data sets from files, whole; nothing in a file is ever executed."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.cli.errors import InputError
from ntksketch.data import SourceError, open_source
from ntksketch.data.blocks import require_memory
from ntksketch.data.formats.csv import is_number
from ntksketch.data.formats.npz import CSR_MEMBERS
from ntksketch.data.open import FORMATS

_SPLIT_KEYS = ("X_train", "y_train", "X_test", "y_test")


@dataclass(frozen=True, eq=False)
class Loaded:
    """Rows and targets of a file.

    Attributes
    ----------
    X : ndarray of shape (n, d), float64
        Rows.
    y : ndarray of shape (n,)
        Targets: numbers, truth values or text.
    test : tuple of (X, y) or None
        Test rows and targets, where the file has them apart.
    """

    X: NDArray[np.float64]
    y: NDArray
    test: tuple[NDArray[np.float64], NDArray] | None = None


def load(
    path: Path, target: str | None = None, key: str | None = None, header: bool | None = None
) -> Loaded:
    """Read a data set.

    Parameters
    ----------
    path : Path
        ``.npy`` (2-D), ``.npz`` (X and y, or X_train, y_train, X_test and y_test), ``.csv`` (with
        a header), or what `open_source` opens.
    target : str, default=None
        Of ``.npy`` a second file, of ``.npz`` a key, of ``.csv`` a column; None is the last column,
        or the key y.
    key : str, default=None
        Of formats with named arrays, the one with the rows; None is X, or the only one.
    header : bool, default=None
        Of ``.csv``: whether the first line names the columns; None takes it for names, and refuses
        what has numbers.

    Returns
    -------
    Loaded
        Finite numbers and usable targets.

    Raises
    ------
    InputError
        If the file or its contents cannot be used.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir():
        return _read_source(path, target, key=key, header=header)
    others = [suffix for suffixes in FORMATS.values() for suffix in suffixes]
    known = list(dict.fromkeys([".npy", ".npz", ".csv", *others]))
    if suffix not in known:
        raise InputError(f"{path}: the extension must be one of {', '.join(known)}")
    if suffix == ".npz" and header is None:
        return _read_npz(path, target, key)
    if suffix == ".npy" and key is None and header is None:
        return _read_npy(path, target)
    if suffix == ".csv" and key is None and header is not False:
        return _read_csv(path, target, header)
    last = suffix == ".csv" and key is None and target is None
    return _read_source(path, -1 if last else target, key=key, header=header)


def _read_source(path: Path, target: str | int | None, **options: Any) -> Loaded:
    """Read a file of another format whole."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        source = open_source(path, targets=target, **given)
        if not source.has_targets:
            raise InputError(f"{path}: it has no targets; say which with --target")
        n = source.shape[0] or 0
        X, y = source.read(0, n), source.read_targets(0, n)
    except (SourceError, ModuleNotFoundError, OSError, TypeError) as error:
        raise InputError(str(error)) from error
    if sp.issparse(X):
        require_memory(8.0 * n * X.shape[1], f"{path} as a full matrix", "see the command fit")
        X = X.toarray()
    return _checked(f"{path}", X, y)


def _read_npy(path: Path, target: str | None) -> Loaded:
    table = _open(path)
    if target is not None:
        second = Path(target)
        if second.suffix.lower() != ".npy" or not second.is_file():
            raise InputError(f"--target {target}: of a .npy file it must be a second .npy file")
        return _checked(f"{path}", table, _open(second))
    if table.ndim != 2 or table.shape[1] < 2:
        raise InputError(
            f"{path}: without --target it must be 2-D with the target in its last column, "
            f"got shape {table.shape}"
        )
    return _checked(f"{path}", table[:, :-1], table[:, -1])


def _read_npz(path: Path, target: str | None, key: str | None) -> Loaded:
    with _open(path, archive=True) as archive:
        if CSR_MEMBERS.issubset(archive.files):
            return _read_source(path, target, key=key)
        split = key is None and "X" not in archive.files and "X_train" in archive.files
        if split and target is not None:
            raise InputError(
                f"--target {target}: {path} has a split of its own, with y_train and y_test"
            )
        keys = _SPLIT_KEYS if split else (key or "X", target or "y")
        missing = [key for key in keys if key not in archive.files]
        if missing:
            raise InputError(
                f"{path}: there is no {' and no '.join(missing)}; the keys are "
                f"{', '.join(archive.files) or 'none'}"
            )
        arrays = {key: _guarded(path, lambda key=key: archive[key]) for key in keys}
    if not split:
        return _checked(f"{path}", *arrays.values())
    train = _checked(f"{path}, X_train", arrays["X_train"], arrays["y_train"])
    test = _checked(f"{path}, X_test", arrays["X_test"], arrays["y_test"])
    if train.X.shape[1] != test.X.shape[1]:
        raise InputError(
            f"{path}: X_train has {train.X.shape[1]} columns and X_test {test.X.shape[1]}"
        )
    if (train.y.dtype.kind == "U") != (test.y.dtype.kind == "U"):
        raise InputError(f"{path}: one of y_train and y_test is text and the other is not")
    return Loaded(train.X, train.y, (test.X, test.y))


def _open(path: Path, *, archive: bool = False) -> Any:
    found = _guarded(path, lambda: np.load(path, allow_pickle=False))
    if isinstance(found, np.ndarray) == archive:
        kind = ".npy: one array" if archive else ".npz: named arrays"
        raise InputError(f"{path}: its contents are those of {kind}; give it that extension")
    return found


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    """Read arrays; pickled objects and broken files are the user's to mend."""
    try:
        return read()
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if "pickle" in str(error).lower():
            raise InputError(
                f"{path}: it holds Python objects, or is no NumPy file, and pickles are never "
                "loaded; save plain numeric arrays"
            ) from None
        raise InputError(f"{path}: it cannot be read: {error}") from None


def _read_csv(path: Path, target: str | None, header: bool | None) -> Loaded:
    try:
        names = _header(path, header)
        column = _target_column(path, names, target)
        features = [j for j in range(len(names)) if j != column]
        for _ in _lines(path, names):  # loadtxt passes over cells behind the last column
            pass
        try:
            X = _columns(path, features, float)
            y = _columns(path, [column], str)[:, 0]
        except ValueError:
            raise _first_fault(path, names, column) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: it cannot be read as comma-separated text: {error}") from None
    y = np.char.strip(y)
    if (y == "").any():
        raise InputError(
            f"{path}: the target {names[column]!r} is empty in row {int(np.argmax(y == ''))} "
            "(rows are counted from 0, without the header)"
        )
    try:
        y = y.astype(np.float64)
    except ValueError:
        y = y.astype(np.str_)  # classes by name
    return _checked(f"{path}", X, y, [repr(names[j]) for j in features])


def _header(path: Path, sure: bool | None) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        names = [name.strip() for name in next(csv.reader(lines), [])]
    if len(names) < 2:
        raise InputError(f"{path}: its header must name at least two columns, got {names}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: two columns are called {twice!r}")
    number = next((name for name in names if is_number(name)), None)
    if number is None or sure:
        return names
    raise InputError(
        f"{path}: the first line must name the columns, and it has the number {number}; say "
        "--header if that is a name, or --no-header if it is a row"
    )


def _target_column(path: Path, names: list[str], target: str | None) -> int:
    if target is None:
        return len(names) - 1
    if target not in names:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise InputError(f"{path}: there is no column {target!r}; the columns are {shown}")
    return names.index(target)


def _columns(path: Path, columns: list[int], dtype: type) -> NDArray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # counted later
        warnings.filterwarnings("ignore", "Input line .* contained no data")  # blank lines
        return np.loadtxt(
            path,
            dtype=dtype,
            delimiter=",",
            skiprows=1,
            usecols=columns,
            ndmin=2,
            quotechar='"',
            comments=None,
            encoding="utf-8-sig",
        )


def _lines(path: Path, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield where each line below the header is, and its cells, as many as the header has."""
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.reader(lines)
        next(reader)
        for cells in reader:
            at = f"{path}, line {reader.line_num}"
            if cells and len(cells) != len(names):
                raise InputError(f"{at}: it has {len(cells)} cells, the header {len(names)}")
            yield at, cells


def _first_fault(path: Path, names: list[str], target: int) -> InputError:
    """Return the error of the first cell that is no number."""
    for at, cells in _lines(path, names):
        for j, cell in enumerate(cells):
            if j == target:
                continue
            if not cell.strip():
                return InputError(f"{at}: column {names[j]!r} is empty; fill it or drop it")
            try:
                float(cell)
            except ValueError:
                return InputError(
                    f"{at}: column {names[j]!r} is not numeric, it has {cell!r}; encode "
                    "categories as numbers first"
                )
    return InputError(f"{path}: it cannot be read as a table of numbers")


def _checked(where: str, X: Any, y: Any, names: list[str] | None = None) -> Loaded:
    """Return rows and targets if they fit together and are usable."""
    if X.ndim != 2 or X.shape[1] < 1:
        raise InputError(f"{where}: the rows must be a 2-D array, got shape {X.shape}")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != len(X):
        raise InputError(
            f"{where}: there must be one target for each of {len(X)} rows, got shape {y.shape}"
        )
    if X.dtype.kind not in "biuf":
        raise InputError(f"{where}: the rows must be real numbers, got dtype {X.dtype}")
    if y.dtype.kind not in "biufU":
        raise InputError(f"{where}: targets must be real numbers or text, got dtype {y.dtype}")
    X = X.astype(np.float64)
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        name = names[column] if names else column
        raise InputError(f"{where}: NaN or infinity in row {row}, column {name} (from 0)")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise InputError(f"{where}: the target of row {row} (from 0) is NaN or infinite")
    return Loaded(X, y)
