"""The console script, which also runs where the command line's packages are missing."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

_EXTRA = ("typer", "rich", "matplotlib")


def main() -> None:
    """Run the command line, or say how to install what it needs and exit with status 1."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        hint = "python -m pip install 'ntksketch[cli]'"
        print(f"the command line needs {', '.join(missing)}; install with {hint}", file=sys.stderr)
        raise SystemExit(1)
    importlib.import_module("ntksketch.cli.app").app(prog_name="ntksketch")
