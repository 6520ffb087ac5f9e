"""The NTK next to the Laplace kernel: eigenvalues on the sphere, and regression on real rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre, roots_legendre

import ntksketch as ntk
from benchmarks.datasets import load, normalised
from ntksketch.diagnostics import exact_ridge
from ntksketch.kernels.zonal import expansion

_DIM = 3
_QUADRATURE = 2000
_GAMMAS = {"Laplace": 1.0, "Gaussian": 2.0}  # exponents of the distance


def kernels(settings: dict[str, Any]) -> dict[str, ntk.zonal.ZonalKernel]:
    """Return the kernels by name."""
    networks = {f"NTK, depth {depth}": ntk.zonal.ntk(depth) for depth in settings["depths"]}
    return {**networks, "Laplace": ntk.zonal.laplace(settings["c"])}


def spectra(settings: dict[str, Any]) -> dict[str, Any]:
    """Return eigenvalues on the sphere in three dimensions, and how fast they fall.

    A network of one hidden layer without biases has none at odd degrees above 1: its exponent, and
    those next to it, are of even degrees; of the other kernels it is that of odd ones, too.
    """
    low, high = settings["fitted"]
    found = {}
    for name, kernel in kernels(settings).items():
        degrees = np.arange(high + 1)
        # the library expands in Legendre polynomials of which degree l has 2 l + 1 harmonics
        eigenvalues = expansion(kernel, _DIM, high) / (2 * degrees + 1)
        checked = [0, 1, 2, low, low + 1, high]
        integrals = funk_hecke(kernel, checked)
        exponents = {}
        for parity in (0, 1):
            taken = degrees[(degrees >= low) & (degrees % 2 == parity)]
            values = eigenvalues[taken]
            exponents["odd" if parity else "even"] = (
                float(np.polyfit(np.log(taken), np.log(values), 1)[0]) if values.all() else None
            )
        found[name] = {
            "eigenvalues": eigenvalues.tolist(),
            "exponents": exponents,
            "deviation": float(np.abs(eigenvalues[checked] - integrals).max() / eigenvalues[0]),
        }
    return {"spectra": found}


def funk_hecke(function: Callable[[NDArray], NDArray], degrees: list[int]) -> NDArray[np.float64]:
    """Return eigenvalues of a zonal kernel on the sphere in three dimensions, by integration.

    The angle is the variable, of which kernels are smooth functions.
    """
    nodes, weights = _nodes()
    angles = np.pi / 2 * (nodes + 1)
    t, measure = np.cos(angles), np.pi / 4 * weights * np.sin(angles)
    values = function(t) * measure
    return np.array([eval_legendre(degree, t) @ values for degree in degrees])


@functools.cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return roots_legendre(_QUADRATURE)


def regression(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the correlation of test predictions of the NTK and of other kernels, on real sets.

    The width of another kernel is the one of which a multiple, with a constant, comes closest to
    the NTK of the training rows: targets have no say in it.
    """
    found = {}
    for name in settings["data"]:
        data = normalised(load(name)).first(settings["rows"], settings["test_rows"])
        X, X_test = data.X_train.astype(np.float64), data.X_test.astype(np.float64)
        target = ntk.zonal.ntk(settings["depth"])
        chosen: dict[str, Any] = {"NTK": (target, None, 0.0)}
        for kind, gamma in _GAMMAS.items():
            chosen[kind] = _closest(ntk.kernel(target, X), X, gamma, settings["widths"])
        predictions = {}
        for kind, (kernel, _, _) in chosen.items():
            fit = exact_ridge(ntk.kernel(kernel, X), data.targets)
            predictions[kind] = fit.predict(ntk.kernel(kernel, X_test, X))
        found[name] = {
            kind: {
                "score": data.scores(predicted)["score"],
                "width": chosen[kind][1],
                "misfit": chosen[kind][2],
                "correlation": _correlation(predicted, predictions["NTK"]),
            }
            for kind, predicted in predictions.items()
        }
    return {"regression": found}


def _closest(
    K: NDArray, X: NDArray, gamma: float, widths: list[float]
) -> tuple[ntk.zonal.ZonalKernel, float, float]:
    """Return the kernel that fits best, its width, and the share of K's variance left."""
    fits = []
    for width in widths:
        kernel = ntk.zonal.gamma_exponential(width, gamma)
        r = np.corrcoef(ntk.kernel(kernel, X).ravel(), K.ravel())[0, 1]
        fits.append((float(1 - r**2), width, kernel))
    misfit, width, kernel = min(fits, key=lambda fit: fit[:2])
    return kernel, width, misfit


def _correlation(A: NDArray, B: NDArray) -> float:
    """Return the correlation of predictions, the mean over targets."""
    pairs = zip(A.T, B.T, strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
