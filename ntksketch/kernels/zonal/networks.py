"""Networks as zonal kernels: the arc-cosine recursion on the cosine of two rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture, Dense, Rectifier, Relu, mlp, serial
from ntksketch.architectures.layers import as_layers, check_architecture
from ntksketch.kernels.dual import kappa0, kappa1, mix_rectifier
from ntksketch.kernels.zonal.base import ZonalKernel


@dataclass(frozen=True)
class NetworkKernel(ZonalKernel):
    """NTK or NNGP kernel of a network whose hidden layers have no bias.

    Its function is that of the rows after a first Dense layer.

    Parameters
    ----------
    architecture : Architecture
        The network.
    kind : {"ntk", "nngp"}
        Which kernel.
    """

    architecture: Architecture
    kind: str

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate the recursion through the layers."""
        return profile(self.architecture, self.kind, t)


def ntk(depth: int) -> ZonalKernel:
    r"""Return the NTK of a bias-free ReLU network with `depth` hidden layers, as a function of t.

    It is :math:`K_L(t) = \mathrm{NTK}(x, y)` for unit vectors with :math:`\langle x, y\rangle = t`.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.

    Returns
    -------
    ZonalKernel
        Vectorised function with :math:`K_L(1) = L + 1`.

    References
    ----------
    Zandieh et al. (2021), arXiv:2106.07880; Geifman et al. (2020), arXiv:2007.01580.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.zonal.ntk(depth=1)([-1.0, 0.0, 1.0]).round(4)
    array([0.    , 0.3183, 2.    ])
    """
    return NetworkKernel(mlp(depth), "ntk")


def nngp(depth: int) -> ZonalKernel:
    r"""Return the NNGP kernel of a bias-free ReLU network, the `depth`-fold composition of kappa1.

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.

    Returns
    -------
    ZonalKernel
        Vectorised function with value 1 at t = 1.

    References
    ----------
    Cho & Saul (2009), "Kernel methods for deep learning", NeurIPS 22.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> float(ntk.zonal.nngp(depth=3)(1.0))
    1.0
    """
    return NetworkKernel(mlp(depth), "nngp")


def split_input(architecture: Architecture) -> tuple[Dense | None, tuple[Architecture, ...]]:
    """Split off a first Dense layer, the only one whose bias keeps a kernel zonal."""
    first, *rest = as_layers(architecture)
    if isinstance(first, Dense):
        return first, tuple(rest)
    return None, (first, *rest)


def is_zonal(architecture: Architecture) -> bool:
    """Say whether the kernel is zonal in the rows after the first Dense layer."""
    _, rest = split_input(architecture)
    return all(
        isinstance(layer, Rectifier) or (isinstance(layer, Dense) and layer.bias_std == 0)
        for layer in rest
    )


def is_homogeneous(target: Architecture | ZonalKernel) -> bool:
    """Say whether the kernel of scaled rows is the rows' kernel, scaled: zonal, without biases."""
    if isinstance(target, ZonalKernel):
        return True
    first, _ = split_input(target)
    return is_zonal(target) and (first is None or first.bias_std == 0)


def profile(
    architecture: Architecture,
    kind: str,
    t: np.ndarray,
    arc_cosines: Sequence[Callable[[NDArray], NDArray]] = (kappa1, kappa0),
) -> np.ndarray:
    """Return the zonal function f at cosines t of the rows after the first Dense layer.

    float64 or complex, exact: the kernel is f(cos) times the product of those rows' norms. Other
    functions may stand for kappa1 and kappa0.
    """
    of_order_1, of_order_0 = arc_cosines
    first, rest = split_input(architecture)
    nngp_t, ntk_t, variance = t, t if first is not None else np.zeros_like(t), 1.0
    for layer in rest:
        if isinstance(layer, Rectifier):
            cosine = nngp_t / variance if variance > 0 else np.zeros_like(t)
            if not np.iscomplexobj(t):
                cosine = np.clip(cosine, -1, 1)
            orders = of_order_1(cosine), of_order_0(cosine)
            value, slope = mix_rectifier(layer.slope, *orders, cosine)
            nngp_t, ntk_t = variance * value, ntk_t * slope
        else:
            if not isinstance(layer, Dense) or layer.bias_std != 0:
                raise ValueError(f"{serial(*rest)} is not zonal: {layer} stands behind its input")
            weight = layer.weight_std**2
            nngp_t, variance = weight * nngp_t, weight * variance
            ntk_t = weight * ntk_t + nngp_t
    return ntk_t if kind == "ntk" else nngp_t


def zonal_form(target: Architecture | ZonalKernel, kind: str) -> tuple[Dense | None, ZonalKernel]:
    """Return a kernel as a first Dense layer (None: the rows as they are) and a zonal function.

    Raises
    ------
    ValueError
        If the kernel is not zonal, or overflows at unit vectors.
    """
    if isinstance(target, NetworkKernel):
        target, kind = target.architecture, target.kind
    if isinstance(target, ZonalKernel):
        return None, target
    first, _ = split_input(target)
    if not is_zonal(target):
        raise ValueError(
            f"{target} is not zonal: behind its first Dense layer only {serial(Dense(), Relu())} "
            "and the like keep it a function of the cosine; method='nystroem' and "
            "method='random-features' take every architecture"
        )
    zonal = NetworkKernel(target, kind)
    with np.errstate(over="ignore", invalid="ignore"):
        end = float(zonal.evaluate(np.ones(1))[0])
    if not np.isfinite(end):
        raise ValueError(f"the kernel of {target} overflows: scale the standard deviations down")
    return first, zonal


def check_target(value: Any) -> Architecture | ZonalKernel:
    """Return `value` if it stands for a kernel: an architecture or a zonal kernel."""
    return value if isinstance(value, ZonalKernel) else check_architecture(value)
