"""Rows and targets that lie side by side and are parsed together."""

from __future__ import annotations

from typing import Any, cast

from ntksketch.data.source import Source


class ParsedSource(Source):
    """A source that defines `_parse`; targets wait until they are asked for after their rows.

    Parameters
    ----------
    name, format, shape, dtype, targets, files
        See :class:`Source`.
    own_targets : bool
        Whether `_parse` returns targets.
    """

    _target: Any = None  # the column that has the targets, where it could be another one

    def __init__(self, *args: Any, own_targets: bool, **options: Any) -> None:
        self._own_targets = own_targets
        self._waiting: tuple[tuple[int, int], Any] | None = None
        super().__init__(*args, **options)

    @property
    def has_targets(self) -> bool:  # noqa: D102
        return self._own_targets or super().has_targets

    def with_targets(self, targets: Any) -> Source:  # noqa: D102
        other = cast(ParsedSource, super().with_targets(targets))
        other._own_targets, other._waiting = False, None
        return other

    def targets_fingerprint(self) -> dict[str, Any] | None:  # noqa: D102
        if not self._own_targets:
            return super().targets_fingerprint()
        return None if self._target is None else {"column": self._target}

    def _parse(self, start: int, stop: int) -> tuple[Any, Any]:
        """Return rows, and their targets or None."""
        raise NotImplementedError

    def _parse_targets(self, start: int, stop: int) -> Any:
        """Return targets alone, as `_parse` does unless there is a way that is shorter."""
        return self._parse(start, stop)[1]

    def _rows(self, start: int, stop: int) -> Any:
        X, y = self._parse(start, stop)
        self._waiting = (start, stop), y
        return X

    def _target_rows(self, start: int, stop: int) -> Any:
        if not self._own_targets:
            return super()._target_rows(start, stop)
        waiting = self._waiting
        if waiting is not None and waiting[0] == (start, stop):
            return waiting[1]
        return self._parse_targets(start, stop)
