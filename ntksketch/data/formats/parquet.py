"""Parquet: one file, or a folder of files of one schema. One row group is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.checks import opening
from ntksketch.data.formats.parsed import ParsedSource
from ntksketch.data.optional import require
from ntksketch.data.source import Source, SourceError


def open_file(path: Path, *, targets: Any = None, columns: Sequence[str] | None = None) -> Source:
    """Open Parquet; `columns` name the rows' columns, or one of lists, and `targets` a column."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise SourceError(f"{path}: the folder has no *.parquet files")
    return ParquetSource(path, files, targets=targets, columns=columns)


class ParquetSource(ParsedSource):
    """Rows of numeric columns, or of one column of lists of equal length.

    Parameters
    ----------
    path : Path
        What messages call it.
    files : list of Path
        Its files, in the order of their rows.
    targets : str or array-like, default=None
        Name of a column, or targets stored apart.
    columns : sequence of str, default=None
        Columns of the rows; None takes all but the targets.
    """

    def __init__(
        self,
        path: Path,
        files: list[Path],
        *,
        targets: Any = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        schema, self._groups, heights = _survey(path, files)
        self._ends = np.cumsum([0, *heights])
        self._target = targets if isinstance(targets, str) else None
        names = list(columns or (n for n in schema.names if n != self._target))
        self._columns, wanted = names, [*names, *([self._target] if self._target else [])]
        missing = [name for name in wanted if name not in schema.names]
        if missing:
            raise SourceError(
                f"{path}: there is no column {missing[0]!r}; the columns are "
                f"{', '.join(schema.names[:20])}{', ...' if len(schema.names) > 20 else ''}"
            )
        kind = None if self._target is None else schema.field(self._target).type
        if kind is not None and not _is_number(kind):
            raise SourceError(
                f"{path}: column {self._target!r} has the type {kind}, and targets are numbers; "
                "store the classes as numbers, or give the targets apart"
            )
        self._table: tuple[int, Any] | None = None
        dtype, self._is_list = _value_type(schema, names, path)
        super().__init__(
            str(path),
            "parquet",
            (int(self._ends[-1]), self._width(schema) if self._is_list else len(names)),
            dtype,
            targets=targets if self._target is None else None,
            own_targets=self._target is not None,
            files=files,
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_table": None}

    def _width(self, schema: Any) -> int:
        """Return the length of the lists: that of their type, or of the first."""
        name = self._columns[0]
        kind = schema.field(name).type
        if require("pyarrow.types", "reading Parquet").is_fixed_size_list(kind):
            return kind.list_size
        for number, height in enumerate(np.diff(self._ends)):
            if height:
                return len(self._group(number, [name])[name][0].as_py() or ())
        return 0

    def _parse(self, start: int, stop: int) -> tuple[NDArray, NDArray | None]:
        X = np.empty((stop - start, self.shape[1]), self.dtype)
        own = [self._target] if self._target is not None and self._own_targets else []
        targets = [np.empty(0)]
        for at, table in self._tables(start, stop, [*self._columns, *own]):
            part = X[at : at + len(table)]
            if self._is_list:
                part[:] = self._lists(table, start + at)
            else:
                for j, name in enumerate(self._columns):
                    part[:, j] = self._numbers(table, name)
            targets += [self._numbers(table, name) for name in own]
        return X, np.concatenate(targets[1:] or targets) if own else None

    def _parse_targets(self, start: int, stop: int) -> NDArray:
        name = cast(str, self._target)
        tables = self._tables(start, stop, [name])
        return np.concatenate([self._numbers(table, name) for _, table in tables] or [np.empty(0)])

    def _tables(self, start: int, stop: int, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """Yield the tables of consecutive rows, each with its place among them."""
        first = int(np.searchsorted(self._ends, start, side="right")) - 1
        for number in range(first, len(self._groups)):
            offset = int(self._ends[number])
            begin, end = max(start, offset), min(stop, int(self._ends[number + 1]))
            if offset >= stop:
                return
            if begin < end:
                table = self._group(number, columns)
                yield begin - start, table.slice(begin - offset, end - begin)

    def _group(self, number: int, columns: list[str]) -> Any:
        """Read columns of a row group, unless it is the one that was read last."""
        kept = self._table
        if kept is None or kept[0] != number or not set(columns) <= set(kept[1].column_names):
            kept = self._table = None  # not two of them in memory
            file, group = self._groups[number]
            parquet = require("pyarrow.parquet", "reading Parquet")
            what = f"a row group {group} that can be read"
            with opening(file, what), parquet.ParquetFile(file) as opened:
                kept = self._table = number, opened.read_row_group(group, columns=columns)
        return kept[1]

    def _numbers(self, table: Any, name: str) -> NDArray:
        column = table[name]
        if column.null_count:
            raise SourceError(f"{self.name}: column {name!r} has null entries; fill or drop them")
        return column.to_numpy()

    def _lists(self, table: Any, first_row: int) -> NDArray:
        name, width = self._columns[0], self.shape[1]
        column = table[name].combine_chunks()
        if hasattr(column, "chunks"):
            column = column.chunk(0)
        if column.null_count or column.flatten().null_count:
            raise SourceError(f"{self.name}: column {name!r} has null entries; fill or drop them")
        lengths = np.asarray(
            require("pyarrow.compute", "reading Parquet").list_value_length(column)
        )
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise SourceError(
                f"{self.name}: column {name!r} has a list of {lengths[row]} in row "
                f"{first_row + row}, and the first has {width}"
            )
        values = column.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), width)


def _survey(path: Path, files: list[Path]) -> tuple[Any, list[tuple[Path, int]], list[int]]:
    """Return the schema that files share, their row groups and the rows of each."""
    parquet = require("pyarrow.parquet", f"{path}: reading Parquet")
    schema, groups, heights = None, [], []
    for file in files:
        with opening(file, "a whole Parquet file"):
            metadata = parquet.read_metadata(file)
            found = metadata.schema.to_arrow_schema().remove_metadata()
            names = found.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(f"{file}: two columns are called {twice!r}; rename one")
        schema = found if schema is None else schema
        if not found.equals(schema):
            raise SourceError(
                f"{file}: its columns differ from those of {files[0].name}: "
                f"{_difference(schema, found)}"
            )
        groups += [(file, group) for group in range(metadata.num_row_groups)]
        heights += [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    return schema, groups, heights


def _value_type(schema: Any, names: list[str], path: Path) -> tuple[np.dtype, bool]:
    """Return the common type of the columns, and whether they are one column of lists."""
    types = require("pyarrow.types", "reading Parquet")
    if not names:
        raise SourceError(f"{path}: there are no columns beside the targets")
    kinds = [schema.field(name).type for name in names]
    is_list = len(kinds) == 1 and (
        types.is_list(kinds[0])
        or types.is_large_list(kinds[0])
        or types.is_fixed_size_list(kinds[0])
    )
    if is_list:
        kinds = [kinds[0].value_type]
    for name, kind in zip(names, kinds, strict=True):
        if not _is_number(kind):
            raise SourceError(
                f"{path}: column {name!r} has the type {kind}; rows are numeric columns, or one "
                "column of lists of numbers: name them, columns=[...]"
            )
    single = all(types.is_float32(kind) for kind in kinds)
    return np.dtype(np.float32 if single else np.float64), is_list


def _is_number(kind: Any) -> bool:
    types = require("pyarrow.types", "reading Parquet")
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _difference(schema: Any, found: Any) -> str:
    old = {field.name: str(field.type) for field in schema}
    new = {field.name: str(field.type) for field in found}
    differing = [n for n in {**old, **new} if old.get(n) != new.get(n)]
    if not differing:
        return "their order, or whether they may be null"
    name = differing[0]
    return f"{name!r} is {old.get(name, 'missing')} there and {new.get(name, 'missing')} here"
