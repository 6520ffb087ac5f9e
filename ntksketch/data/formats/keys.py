"""Choice among the named arrays of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntksketch.data.source import SourceError


def choose_arrays(
    arrays: Mapping[str, Any], key: str | None, targets: Any, name: str
) -> tuple[str, Any]:
    """Return the name of the rows' array and the targets.

    Parameters
    ----------
    arrays : mapping of str to array
        What the file holds; only shapes are looked at.
    key : str or None
        Name of the rows; None takes the only array of at least two axes beside the targets, or "X".
    targets : str, array-like or None
        Name of the targets, or what stands for itself.
    name : str
        Path of the file.
    """
    for wanted in (key, targets):
        if isinstance(wanted, str) and wanted not in arrays:
            raise SourceError(f"{name}: there is no {wanted!r}; the keys are {_listed(arrays)}")
    target_key = targets if isinstance(targets, str) else None
    if key is None:
        tables = [k for k, a in arrays.items() if len(a.shape) >= 2 and k != target_key]
        if "X" in tables:
            key = "X"
        elif len(tables) == 1:
            key = tables[0]
        else:
            raise SourceError(
                f"{name}: say which array has the rows, key=...; the keys are {_listed(arrays)}"
            )
    return key, targets if target_key is None else arrays[target_key]


def _listed(arrays: Mapping[str, Any]) -> str:
    shown = [f"{k!r} {tuple(a.shape)}" for k, a in sorted(arrays.items())[:20]]
    return (", ".join(shown) + (", ..." if len(arrays) > 20 else "")) or "none"
