"""Fitted models on disk: arrays and JSON in one file, which holds no code."""

from ntksketch.storage.errors import ModelFileError
from ntksketch.storage.models import load, save

__all__ = ["ModelFileError", "load", "save"]
