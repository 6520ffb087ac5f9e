"""How many features a wanted kernel error needs, from pilot runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.diagnostics.report import Estimate
from ntksketch.features import Method, resolve_method, transform_blocks
from ntksketch.kernels import ZonalKernel, kernel, resolve_target
from ntksketch.kernels.cost import DEFAULT_SECONDS
from ntksketch.kernels.gram import check_rows

_BOOTSTRAP = 1000


@dataclass(frozen=True)
class ComponentsSuggestion:
    """A number of features for a wanted error; made by :func:`suggest_n_components`.

    Attributes
    ----------
    n_components : int
        The suggestion.
    interval : tuple of int
        Where it lies with 90 % confidence, as far as the pilot runs can tell.
    target_error : float
        The relative Frobenius error wanted.
    exponent : Estimate
        The fitted power of n_components with which the error falls; -1/2 for random features.
    pilots : tuple of (int, Estimate)
        Numbers of components tried and the errors measured.
    extrapolated : bool
        Whether the suggestion lies beyond the pilots.

    Examples
    --------
    >>> from ntksketch.diagnostics import ComponentsSuggestion, Estimate
    >>> pilots = ((64, Estimate(0.2, 0.02)), (256, Estimate(0.1, 0.01)))
    >>> print(ComponentsSuggestion(1024, (700, 1500), 0.05, Estimate(-0.5, 0.1), pilots, True))
    1024 components for a relative error of 0.05 (90 % interval 700 to 1500, beyond the pilot runs)
      error ~ n_components ^ -0.5 ± 0.1
            64 components: error 0.2 ± 0.02
           256 components: error 0.1 ± 0.01
    """

    n_components: int
    interval: tuple[int, int]
    target_error: float
    exponent: Estimate
    pilots: tuple[tuple[int, Estimate], ...]
    extrapolated: bool

    def __str__(self) -> str:
        low, high = self.interval
        beyond = ", beyond the pilot runs" if self.extrapolated else ""
        lines = [
            f"{self.n_components} components for a relative error of {self.target_error:g} "
            f"(90 % interval {low} to {high}{beyond})",
            f"  error ~ n_components ^ {self.exponent}",
            *(f"  {m:>8} components: error {error}" for m, error in self.pilots),
        ]
        return "\n".join(lines)


def suggest_n_components(
    architecture: Architecture | ZonalKernel,
    X: Any,
    method: str | Method = "auto",
    target_error: float = 0.05,
    *,
    kind: str = "ntk",
    pilots: Sequence[int] = (128, 256, 512, 1024),
    n_draws: int = 5,
    n_rows: int = 1000,
    random_state: int = 0,
    max_seconds: float = DEFAULT_SECONDS,
) -> ComponentsSuggestion:
    """Estimate how many components a wanted relative Frobenius error needs.

    Draws features of each pilot size several times, measures their errors on a sample of rows, fits
    a power law to the errors, and solves it for the target. The interval comes from resampling the
    draws.

    Parameters
    ----------
    architecture : Architecture or ZonalKernel
        The network.
    X : array-like or sparse matrix of shape (n, d)
        Rows.
    method : str or Method, default="auto"
        The features.
    target_error : float, default=0.05
        Wanted Frobenius norm of ZZ' - K relative to that of K, in (0, 1).
    kind : {"ntk", "nngp"}, default="ntk"
        Which kernel.
    pilots : sequence of int, default=(128, 256, 512, 1024)
        Numbers of components tried; at least two different ones.
    n_draws : int, default=5
        Draws for each, at least 2.
    n_rows : int, default=1000
        Largest number of rows that errors are measured on, at most half of all; the maps are drawn
        from the others.
    random_state : int, default=0
        Seed.
    max_seconds : float, default=3600
        How long the kernel of a network on images may take, as :func:`kernel_cost` estimates it;
        ``math.inf`` sets no limit.

    Returns
    -------
    ComponentsSuggestion
        Prints as a short table.

    Raises
    ------
    ValueError
        If an argument cannot be used, or the errors do not fall with the number of components.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> found = ntk.suggest_n_components(ntk.mlp(depth=1), X, target_error=0.1, n_rows=200)
    >>> found.interval[0] <= found.n_components <= found.interval[1]
    True
    """
    if not 0 < target_error < 1:
        raise ValueError(f"target_error must be in (0, 1), got {target_error!r}")
    sizes = sorted({int(m) for m in pilots})
    if len(sizes) < 2 or n_draws < 2:
        raise ValueError(
            f"pilots and n_draws must give at least two sizes and two draws of each, got "
            f"pilots={pilots!r} and n_draws={n_draws!r}"
        )
    architecture, kind = resolve_target(architecture, kind)
    rng = np.random.default_rng(random_state)
    X = check_rows(X)
    order = rng.permutation(X.shape[0])
    n_checked = min(n_rows, -(-len(order) // 2))
    checked, others = X[np.sort(order[:n_checked])], X[np.sort(order[n_checked:])]
    drawn_from = others if others.shape[0] else checked  # landmarks are not checked themselves
    K = kernel(architecture, checked.astype(np.float64), kind=kind, max_seconds=max_seconds)
    if not K.any():
        raise ValueError("the exact kernel is zero on these rows: there is nothing to compare")
    errors = _pilot_errors(
        rng, architecture, checked, K, drawn_from, resolve_method(method), kind, sizes, n_draws
    )
    log_m = np.log(sizes)
    slope, _ = np.polyfit(log_m, np.log(errors.mean(axis=1)), 1)
    if slope >= 0:
        raise ValueError(
            f"the error does not fall with n_components: {errors.mean(axis=1).tolist()} at {sizes}"
        )
    picks = rng.integers(n_draws, size=(_BOOTSTRAP, len(sizes), n_draws))
    resampled = np.take_along_axis(errors[None], picks, axis=2).mean(axis=2)
    slopes, solved = _solve(log_m, np.vstack([errors.mean(axis=1), resampled]), target_error)
    low, high = np.quantile(solved[1:], [0.05, 0.95])
    suggestion = int(np.ceil(solved[0]))
    return ComponentsSuggestion(
        n_components=suggestion,
        interval=(min(int(low), suggestion), max(int(np.ceil(high)), suggestion)),
        target_error=float(target_error),
        exponent=Estimate(float(slopes[0]), float(slopes[1:].std(ddof=1))),
        pilots=tuple(zip(sizes, map(Estimate.from_sample, errors), strict=True)),
        extrapolated=not sizes[0] <= suggestion <= sizes[-1],
    )


def _pilot_errors(
    rng: np.random.Generator,
    architecture: Architecture | ZonalKernel,
    X: Any,
    K: NDArray,
    drawn_from: Any,
    method: Method,
    kind: str,
    sizes: list[int],
    n_draws: int,
) -> NDArray[np.float64]:
    """Return errors relative to the kernel K of rows X, of shape (len(sizes), n_draws)."""
    norm = np.linalg.norm(K)
    errors = np.empty((len(sizes), n_draws))
    for i, m in enumerate(sizes):
        for j in range(n_draws):
            feature_map = method.init(
                jax.random.key(int(rng.integers(2**31))),
                architecture,
                drawn_from,
                kind=kind,
                n_components=m,
            )
            Z = transform_blocks(feature_map, X)
            errors[i, j] = np.linalg.norm(Z @ Z.T - K) / norm
    return errors


def _solve(
    log_m: NDArray, errors: NDArray, target: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a power law to each row of errors; return the exponents and the sizes for the target."""
    centred = log_m - log_m.mean()
    logs = np.log(errors)
    slopes = np.minimum(logs @ centred / (centred @ centred), -1e-3)
    exponent = (np.log(target) - logs.mean(axis=1)) / slopes + log_m.mean()
    return slopes, np.exp(np.minimum(exponent, np.log(1e12)))
