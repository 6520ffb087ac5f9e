"""Functions of parameters, replaced by their first-order expansion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def linearize(f: Callable[..., Any], params0: Any) -> Callable[..., Any]:
    r"""First-order expansion of a function in its parameters.

    .. math:: g(\theta, x) = f(\theta_0, x)
        + \frac{\partial f(\theta_0, x)}{\partial \theta} (\theta - \theta_0)

    Trained by gradient descent, g follows the NTK of f at the initial parameters exactly, which a
    wide f itself does up to its width.

    Parameters
    ----------
    f : callable
        ``f(params, ...)``, a function of parameters and anything else, written in JAX.
    params0 : pytree of array
        The parameters about which it is expanded; floating-point numbers, real or complex.

    Returns
    -------
    callable
        ``g(params, ...)``: a pure function that can be differentiated, compiled and trained as f
        can. It takes the derivative along one direction, at twice the cost of f or a little more,
        and never has a Jacobian.

    Raises
    ------
    TypeError
        If `params0` hold integers or anything else that has no derivative.
    ValueError
        By the function returned, if its parameters are not of the shapes of `params0`.

    References
    ----------
    Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein, Pennington (2019), "Wide neural networks of
    any depth evolve as linear models under gradient descent", arXiv:1902.06720.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import ntksketch as ntk
    >>> g = ntk.linearize(lambda w, x: w**2 * x, jnp.array(3.0))
    >>> float(g(jnp.array(4.0), 1.0))  # 9 + 6 (4 - 3)
    15.0
    """
    _require_floats(params0)
    shapes = _shapes(params0)

    def linearized(params: Any, *args: Any, **kwargs: Any) -> Any:
        if _shapes(params) != shapes:
            raise ValueError(
                f"params must have the structure of those of the expansion, {shapes}, got "
                f"{_shapes(params)}"
            )
        change = jax.tree.map(lambda a, b: a - b, params, params0)
        values, slopes = jax.jvp(lambda p: f(p, *args, **kwargs), (params0,), (change,))
        return jax.tree.map(lambda a, b: a + b, values, slopes)

    return linearized


def _require_floats(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if not jax.numpy.issubdtype(dtype, jax.numpy.inexact):
            raise TypeError(
                f"params0 must be floating-point numbers, got {dtype} at "
                f"{jax.tree_util.keystr(path) or 'the top'}: what is not trained belongs into f, "
                "or among its other arguments"
            )


def _shapes(params: Any) -> Any:
    leaves, tree = jax.tree.flatten(params)
    return tree, [np.shape(leaf) for leaf in leaves]
