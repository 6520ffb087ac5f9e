"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any


def require(package: str, purpose: str) -> Any:
    """Import a package of the extra ``io``, or say how to install it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs the package {package.partition('.')[0]}: "
            "python -m pip install 'ntksketch[io]'",
            name=error.name,
        ) from error
