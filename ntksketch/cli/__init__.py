"""The command line: ``ntksketch demo`` and ``ntksketch compare``."""

from ntksketch.cli.entry import main

__all__ = ["main"]
