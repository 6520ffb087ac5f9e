"""Parquet: one file, or a folder of files of one schema. One row group is in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.data.optional import require
from ntksketch.data.source import Source, SourceError


def open_file(path: Path, *, targets: Any = None, columns: Sequence[str] | None = None) -> Source:
    """Open Parquet; `columns` name the rows' columns, or one of lists, and `targets` a column."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise SourceError(f"{path}: the folder has no *.parquet files")
    return ParquetSource(path, files, targets=targets, columns=columns)


class ParquetSource(Source):
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
        parquet = require("pyarrow.parquet", f"{path}: reading Parquet")
        self._groups: list[tuple[Path, int]] = []
        heights: list[int] = []
        schema = None
        for file in files:
            try:
                metadata = parquet.read_metadata(file)
            except (ValueError, OSError) as error:  # Arrow's own errors are among them
                raise SourceError(f"{file}: expected a whole Parquet file: {error}") from error
            found = metadata.schema.to_arrow_schema().remove_metadata()
            if schema is None:
                schema = found
            elif not found.equals(schema):
                raise SourceError(
                    f"{file}: its columns differ from those of {files[0].name}: "
                    f"{_difference(schema, found)}"
                )
            self._groups += [(file, g) for g in range(metadata.num_row_groups)]
            heights += [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        self._ends = np.cumsum([0, *heights])
        self._target = targets if isinstance(targets, str) else None
        names = list(columns or (n for n in schema.names if n != self._target))
        for name in [*names, *([self._target] if self._target else [])]:
            if name not in schema.names:
                raise SourceError(
                    f"{path}: there is no column {name!r}; the columns are "
                    f"{', '.join(schema.names[:20])}{', ...' if len(schema.names) > 20 else ''}"
                )
        self._columns = names
        self._table: tuple[int, Any] | None = None
        dtype, self._is_list = _value_type(schema, names, path)
        n = int(self._ends[-1])
        super().__init__(
            str(path),
            "parquet",
            (n, len(names)),
            dtype,
            targets=targets if self._target is None else None,
            files=files,
        )
        if self._is_list:
            first = next((g for g, height in enumerate(heights) if height), None)
            if first is None:
                raise SourceError(f"{path}: the lists have no length, since there are no rows")
            self.shape = n, len(self._group(first)[names[0]][0] or ())

    @property
    def has_targets(self) -> bool:  # noqa: D102
        return self._target is not None or super().has_targets

    def _rows(self, start: int, stop: int) -> NDArray:
        X = np.empty((stop - start, self.shape[1]), self.dtype)
        for at, table in self._tables(start, stop):
            part = X[at : at + len(table)]
            if self._is_list:
                part[:] = self._lists(table, start + at)
            else:
                for j, name in enumerate(self._columns):
                    part[:, j] = self._numbers(table, name)
        return X

    def _target_rows(self, start: int, stop: int) -> Any:
        if self._target is None:
            return super()._target_rows(start, stop)
        parts = [self._numbers(table, self._target) for _, table in self._tables(start, stop)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _tables(self, start: int, stop: int) -> list[tuple[int, Any]]:
        """Return the tables of consecutive rows, each with its place among them."""
        tables = []
        first = int(np.searchsorted(self._ends, start, side="right")) - 1
        while first < len(self._groups) and self._ends[first] < stop:
            begin, end = max(start, self._ends[first]), min(stop, self._ends[first + 1])
            if begin < end:
                rows = self._group(first).slice(begin - self._ends[first], end - begin)
                tables.append((int(begin - start), rows))
            first += 1
        return tables

    def _group(self, number: int) -> Any:
        """Read a row group, unless it is the one that was read last."""
        if self._table is None or self._table[0] != number:
            self._table = None
            file, group = self._groups[number]
            wanted = [*self._columns, *([self._target] if self._target else [])]
            parquet = require("pyarrow.parquet", "reading Parquet")
            try:
                with parquet.ParquetFile(file) as opened:
                    self._table = number, opened.read_row_group(group, columns=wanted)
            except (ValueError, OSError) as error:
                raise SourceError(f"{file}, row group {group}: {error}") from error
        return self._table[1]

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
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise SourceError(
                f"{path}: column {name!r} has the type {kind}; rows are numeric columns, or one "
                "column of lists of numbers: name them, columns=[...]"
            )
    single = all(types.is_float32(kind) for kind in kinds)
    return np.dtype(np.float32 if single else np.float64), is_list


def _difference(schema: Any, found: Any) -> str:
    old = {field.name: str(field.type) for field in schema}
    new = {field.name: str(field.type) for field in found}
    differing = [n for n in {**old, **new} if old.get(n) != new.get(n)]
    if not differing:
        return "their order, or whether they may be null"
    name = differing[0]
    return f"{name!r} is {old.get(name, 'missing')} there and {new.get(name, 'missing')} here"
