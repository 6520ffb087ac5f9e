"""The scikit-learn faces."""

from ntksketch.estimators.streaming_ridge import StreamingRidge

__all__ = ["StreamingRidge"]
