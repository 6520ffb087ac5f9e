"""Errors that the user can mend: one line on stderr and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """What was given cannot be used; the message is one line that says why."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an InputError into a line on stderr and exit status 2; let every other error pass."""
    try:
        yield
    except InputError as error:
        print("ntksketch: " + " ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None
