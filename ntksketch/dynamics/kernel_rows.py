"""Training rows of which functions are kernels, and the kernels of other rows with them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import block_slices, require_memory, rows_per_block
from ntksketch.dynamics.ensemble import ensemble_covariance, responses
from ntksketch.dynamics.flow import SpectralFlow, flow_on_kernel, kernel_epsilon
from ntksketch.kernels import ZonalKernel, kernel, kernel_diag

_COPIES = 3  # of a block of the kernel: itself, in float64, and what is computed of it
_MOST_ROWS = 4096


@dataclass(frozen=True, eq=False)
class KernelRows:
    """Training rows of positive weight, and what has their kernel.

    Attributes
    ----------
    target : Architecture, ZonalKernel or None
        What has the kernel; None where kernels are given in place of rows.
    kind : str
        Which kernel of a network.
    X : ndarray or CSR of shape (n, d), or None
        The rows, unless kernels are given.
    used : ndarray of shape (n,), int
        Columns of a given kernel that are of these rows.
    weight : ndarray of shape (n,), float64, or None
        Their weights; None for ones.
    """

    target: Architecture | ZonalKernel | None
    kind: str
    X: Any
    used: NDArray[np.intp]
    weight: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.used)

    def solve(
        self,
        residual: NDArray[np.float64],
        K: NDArray | None,
        cutoff: float | None,
        working_memory: float | None,
    ) -> SpectralFlow:
        """Return the flow from the residual at the start; K is of all rows, where it is given."""
        n = len(self)
        require_memory(
            2 * 8.0 * n**2,
            f"the kernel of {n:,} rows and its eigenvectors, in float64,",
            "give fewer rows, or a method: features take memory that does not grow with the rows",
        )
        if K is None:
            K = kernel(self.target, self.X, kind=self.kind, working_memory=working_memory)  # pyright: ignore[reportArgumentType]
            epsilon = kernel_epsilon(K)
            K = np.asarray(K.T, np.float64)  # symmetric: its transpose is in the order of LAPACK
        else:
            epsilon = kernel_epsilon(K)
            K = np.array(
                K if n == len(K) else K[np.ix_(self.used, self.used)], np.float64, order="F"
            )
        return flow_on_kernel(K, residual, weight=self.weight, cutoff=cutoff, epsilon=epsilon)

    def blocks(
        self, X: Any, working_memory: float | None
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield rows and their kernel with the training rows; given kernels come as rows."""
        height = rows_per_block(_COPIES * 8 * len(self), working_memory, most=_MOST_ROWS)
        for rows in block_slices(X.shape[0], height):
            yield rows, self.across(X[rows], self.kind, working_memory)

    def across(self, X: Any, kind: str, working_memory: float | None) -> NDArray[np.float64]:
        """Return the kernel between rows and the training rows, in float64."""
        if self.target is not None:
            budgets = {"working_memory": working_memory, "max_seconds": math.inf}  # as the fit's
            K = kernel(self.target, X, self.X, kind=kind, **budgets)
        else:
            K = X if len(self) == X.shape[1] else X[:, self.used]
        return np.asarray(K, np.float64)

    def predict(
        self, X: Any, coef: NDArray[np.float64], working_memory: float | None
    ) -> NDArray[np.float64]:
        """Return values of functions whose coefficients are the rows of `coef`: (rows, q)."""
        result = np.empty((X.shape[0], len(coef)))
        for rows, K in self.blocks(X, working_memory):
            np.matmul(K, coef.T, out=result[rows])
        return result

    def covariance(
        self,
        flow: SpectralFlow,
        X: Any,
        times: NDArray[np.float64],
        learning_rate: float | None,
        working_memory: float | None,
        *,
        diagonal: bool,
    ) -> NDArray[np.float64]:
        """Return covariances of trained networks at rows, or variances, with an axis of times."""
        target: Any = self.target
        options: dict[str, Any] = {"kind": "nngp", "working_memory": working_memory}
        unlimited = functools.partial(kernel, target, **options, max_seconds=math.inf)
        train = unlimited(self.X).astype(np.float64, copy=False)

        def of(rows: Any, across: NDArray[np.float64], new: NDArray) -> NDArray[np.float64]:
            between = self.across(rows, "nngp", working_memory)
            answers = responses(flow, across, times, learning_rate, self.weight)
            new = new.astype(np.float64, copy=False)
            return np.stack([ensemble_covariance(A, train, between, new) for A in answers])

        if not diagonal:
            return of(X, self.across(X, self.kind, working_memory), unlimited(X))
        blocks = (
            of(X[rows], across, kernel_diag(target, X[rows], **options))
            for rows, across in self.blocks(X, working_memory)
        )
        return np.concatenate(list(blocks), axis=1)
