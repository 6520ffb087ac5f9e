"""Made-up data and results of the benchmarks."""

import numpy as np

from benchmarks.results import Results


def saved(folder, module, settings, measured):
    """Save configurations with their outcomes as the runner does; return the whole."""
    name = module.__name__.rpartition(".")[2]
    results = Results(folder / f"{name}.json", name, settings, resume=False)
    for configuration, outcome in measured:
        results.add(configuration, outcome, 0.0)
    return results.data


def with_images_and_series(folder):
    """Put images there that are bright above or below, by their class, and series of two shapes."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.integers(0, 60, (60, 32, 32, 3))
    X[y == 0, :16] += 150
    X[y == 1, 16:] += 150
    parts = {"X_train": X[:40], "X_test": X[40:]}
    arrays = {name: part.astype(np.uint8) for name, part in parts.items()}
    np.savez(folder / "cifar10.npz", **arrays, y_train=y[:40], y_test=y[40:])
    (folder / "ucr").mkdir()
    steps = np.linspace(0, 1, 12)
    series = np.where(y[:, None] == 0, np.sin(6 * steps), np.cos(6 * steps))
    series = (series + 0.1 * rng.standard_normal(series.shape) + 5).astype(np.float32)
    named = {"X_train": series[:20], "y_train": y[:20], "X_test": series[20:], "y_test": y[20:]}
    np.savez(folder / "ucr/CBF.npz", **named)
    return folder
