"""The command line: ``ntksketch demo``, ``compare``, ``featurize``, ``fit`` and ``predict``."""

from ntksketch.cli.entry import main

__all__ = ["main"]
