"""Dynamic time warping of series of one length: all pairs at once, a diagonal at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ENTRIES = 2**18  # of an array at a time: stays in the cache


def warped_distances(X: NDArray, Y: NDArray, window: int) -> NDArray[np.float64]:
    """Return the least sums of squared differences over all alignments, of shape (n, p).

    Parameters
    ----------
    X, Y : ndarray of shape (n, T), (p, T)
        Series.
    window : int
        How many steps aligned values may be apart, at least 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1 step, got {window}")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(f"series must have one length, got {X.shape[1]} and {Y.shape[1]}")
    pairs = max(1, _ENTRIES // X.shape[1])
    left, right = (a.ravel() for a in np.divmod(np.arange(len(X) * len(Y)), len(Y)))
    found = np.empty(len(left))
    for start in range(0, len(left), pairs):
        part = slice(start, start + pairs)
        found[part] = _warped(X[left[part]].T, Y[right[part]].T, window)
    return found.reshape(len(X), len(Y))


def _warped(x: NDArray, y: NDArray, window: int) -> NDArray[np.float64]:
    """Return the distances of pairs, one a column: x[i] and y[k - i] are diagonal k."""
    steps, pairs = x.shape
    x, backwards = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y[::-1], np.float64)
    now, before, twice = (np.full((steps + 2, pairs), np.inf) for _ in range(3))  # i from -1 on
    before[0] = twice[0] = 0.0  # so that the first of both costs its difference alone
    for k in range(2 * steps - 1):
        low = max(0, k - steps + 1, (k - window + 1) // 2)
        high = min(steps - 1, k, (k + window) // 2) + 1
        offset = steps - 1 - k
        gaps = x[low:high] - backwards[low + offset : high + offset]
        best = np.minimum(before[low:high], before[low + 1 : high + 1])
        np.minimum(best, twice[low:high], out=best)
        np.add(best, gaps * gaps, out=now[low + 1 : high + 1])
        now[low] = now[high + 1] = np.inf  # what the next two see beside the band
        now, before, twice = twice, now, before
        if k == 0:
            twice[0] = np.inf
    return before[steps]
