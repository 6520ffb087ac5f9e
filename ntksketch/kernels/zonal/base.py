"""What every zonal kernel is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 1e-11  # negative coefficients up to this share of f(1) are rounding


class ZonalKernel:
    """Scalar function f on [-1, 1] that stands for the kernel ``|x||y| f(cos(x, y))``.

    Made by :func:`ntk`, :func:`nngp`, :func:`laplace`, :func:`gamma_exponential`,
    :func:`polynomial` and :func:`from_function`. Accepted where an architecture is, by every method
    that works on zonal kernels. Calling it evaluates the function in float64.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> f = ntk.zonal.ntk(depth=1)
    >>> isinstance(f, ntk.zonal.ZonalKernel), f([-1.0, 0.0, 1.0]).round(4)
    (True, array([0.    , 0.3183, 2.    ]))
    >>> ntk.kernel(f, np.array([[3.0, 0.0]]), np.array([[0.0, 2.0]])).round(4)  # 6 f(0)
    array([[1.9099]])
    """

    def __call__(self, t: Any) -> np.ndarray:
        """Evaluate the function.

        Parameters
        ----------
        t : array-like of float
            Cosines in [-1, 1], of any shape.

        Returns
        -------
        ndarray of float64
            Values, of the same shape.

        Raises
        ------
        ValueError
            If a value is NaN or outside [-1, 1].
        """
        t = np.asarray(t, dtype=np.float64)
        if not np.all(np.abs(t) <= 1):
            worst = t.flat[np.argmax(~(np.abs(t.ravel()) <= 1))]
            raise ValueError(f"t must hold cosines in [-1, 1], got {worst}; divide by the norms")
        return self.evaluate(t)

    def evaluate(self, t: NDArray) -> NDArray:
        """Evaluate without checks, also off the real axis.

        Parameters
        ----------
        t : ndarray
            Cosines in float64, or complex numbers inside the unit circle.

        Returns
        -------
        ndarray
            Values, of the same shape and kind.
        """
        raise NotImplementedError
