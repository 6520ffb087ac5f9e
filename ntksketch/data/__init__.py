"""Data larger than memory: sources of row blocks, and files of features and predictions."""

from ntksketch.data.featurise import featurise, write_predictions
from ntksketch.data.open import open_source
from ntksketch.data.prefetch import prefetch
from ntksketch.data.reservoir import reservoir
from ntksketch.data.source import Block, Source, SourceError

__all__ = [
    "Block",
    "Source",
    "SourceError",
    "featurise",
    "open_source",
    "prefetch",
    "reservoir",
    "write_predictions",
]
