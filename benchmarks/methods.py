"""Every way to make features that the benchmarks compare, by name."""

from __future__ import annotations

from typing import Any

import ntksketch as ntk
from benchmarks import peers

LIBRARY: dict[str, tuple[str, str, dict[str, Any]]] = {  # label, class or classmethod, parameters
    "random-features": ("random features", "RandomFeatures", {}),
    "ntkrf": ("NTKRF, as published", "RandomFeatures.published", {}),
    "ntksketch-2": ("NTKSketch, as published, q = 2", "PolynomialSketch.published", {"degree": 2}),
    "ntksketch-8": ("NTKSketch, as published, q = 8", "PolynomialSketch.published", {"degree": 8}),
    "polynomial-sketch": ("polynomial sketch, degree 8", "PolynomialSketch", {"degree": 8}),
    "gegenbauer": ("Gegenbauer", "Gegenbauer", {}),
    "gegenbauer-structured": (
        "Gegenbauer, structured directions",
        "Gegenbauer",
        {"directions": "structured"},
    ),
    "nystroem": ("Nyström, uniform", "Nystroem", {"landmarks": "uniform"}),
    "nystroem-rpcholesky": ("Nyström, RPCholesky", "Nystroem", {"landmarks": "rpcholesky"}),
    "nystroem-kmeans": ("Nyström, k-means", "Nystroem", {"landmarks": "kmeans"}),
    "nystroem-leverage": ("Nyström, leverage scores", "Nystroem", {"landmarks": "leverage"}),
    "resampled": ("random features, resampled", "Resampled", {}),
    "gradient": ("gradients, width 1,024", "GradientFeatures", {"width": 1024}),
    "gradrf": ("GradRF, as published", "GradientFeatures.published", {}),
}
PEERS = {
    "rbf-sampler": ("scikit-learn RBFSampler", peers.rbf_sampler),
    "rbf-nystroem": ("scikit-learn Nystroem, RBF", peers.rbf_nystroem),
    "count-sketch": ("scikit-learn PolynomialCountSketch", peers.polynomial_count_sketch),
}
SKLEARN_NTK = "sklearn-nystroem"
DEFAULT = "default"
PINNED = ("ntkrf", "ntksketch-2", "ntksketch-8", "gradrf")
LABELS = {
    **{name: label for name, (label, _, _) in LIBRARY.items()},
    SKLEARN_NTK: "scikit-learn Nystroem, exact NTK",
    **{name: label for name, (label, _) in PEERS.items()},
    DEFAULT: 'default, method="auto"',
}
COLOURS = {
    "random-features": "#0b6fb8",
    "ntkrf": "#d1622b",
    "ntksketch-2": "#e0a080",
    "ntksketch-8": "#b04a6a",
    "polynomial-sketch": "#8a5fb0",
    "gegenbauer": "#2a9d8f",
    "gegenbauer-structured": "#7fd1c7",
    "nystroem": "#333333",
    "nystroem-rpcholesky": "#777777",
    "nystroem-kmeans": "#aaaaaa",
    "nystroem-leverage": "#555577",
    "resampled": "#6fb0dd",
    "gradient": "#6b4f2a",
    "gradrf": "#b59a6f",
    SKLEARN_NTK: "#c2a01e",
    "rbf-sampler": "#5f8f2f",
    "rbf-nystroem": "#9bbf3f",
    "count-sketch": "#c94f9a",
    DEFAULT: "#000000",
}


def approximates_ntk(name: str) -> bool:
    """Tell whether the features are for the NTK, so that its error can be measured."""
    return name not in PEERS


def library_method(name: str) -> Any:
    """Return the value, or the name, that NTKFeatures takes as `method`.

    Raises
    ------
    RuntimeError
        If this version of the library does not have it.
    """
    if name == DEFAULT:
        return "auto"
    _, path, parameters = LIBRARY[name]
    return made(path, parameters)


def made(path: str, parameters: dict[str, Any]) -> Any:
    """Return what a class or classmethod of the library makes of parameters.

    Raises
    ------
    RuntimeError
        If this version of the library does not have it.
    """
    found: Any = ntk
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise RuntimeError(f"this version of ntksketch has no {path}")
    return found(**parameters)


def draw(name: str, depth: int, n_components: int, seed: int, X: Any, gamma: Any = None) -> Any:
    """Return features fitted to rows; `gamma` is the width of the kernel of a peer."""
    if name in PEERS:
        return PEERS[name][1](gamma, n_components, seed).fit(X)
    if name == SKLEARN_NTK:
        return peers.NTKNystroem(ntk.mlp(depth), n_components, seed).fit(X)
    return ntk.NTKFeatures(
        ntk.mlp(depth), library_method(name), n_components, random_state=seed
    ).fit(X)
