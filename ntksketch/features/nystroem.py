"""The Nystroem method: the kernel with landmark rows, whitened."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, get_blas_funcs

from ntksketch.architectures import Architecture
from ntksketch.data.blocks import block_slices
from ntksketch.features.base import Method
from ntksketch.features.landmarks import SELECTIONS
from ntksketch.features.principal import leading_eigenvectors, sample_rows
from ntksketch.features.whitening import INDEFINITE, factorise, jitters, whitening
from ntksketch.kernels import ZonalKernel, kernel
from ntksketch.kernels.gram import (
    check_rows,
    entry_bytes,
    in_range,
    kernel_block,
    squared_norms,
)
from ntksketch.kernels.zonal import is_homogeneous
from ntksketch.linear.penalty import Penalty
from ntksketch.sketches.draws import generator

(_dsyr2k,) = get_blas_funcs(["syr2k"], dtype=np.float64)

_ROWS_PER_LANDMARK = 8  # among which landmarks are chosen
_PADDED = 1024  # columns up to which zeros among them cost little
_DEFLATED = 64  # leading directions that are whitened for sums in float32
_ENTRIES = 2**24  # of temporaries of a row's kernels with landmarks that are computed together


@dataclass(frozen=True, repr=False, eq=False)
class Nystroem(Method):
    r"""Nystroem features: the exact kernel with m landmark rows, whitened.

    .. math:: z(x) = L^{-1} K(Z, x), \qquad K(Z, Z) + \delta I = L L^\top,

    so that :math:`\langle z(x), z(y)\rangle` is the kernel of the projections onto the landmarks'
    span: exact at the landmarks (up to the jitter :math:`\delta`), never above the kernel on the
    diagonal. Every kernel that :func:`~ntksketch.kernel` computes will do.

    Parameters
    ----------
    landmarks : {"kmeans", "uniform", "leverage", "rpcholesky"} or array-like of shape (m, d)
        How landmarks are chosen, or the landmarks themselves. "kmeans" takes centroids after one
        pass of mini-batch k-means (the rows next to them of sequences of different lengths, which
        have no means, and of sparse rows so wide that means would take more memory than the
        candidates), "uniform" random rows, "leverage" recursive ridge leverage scores,
        "rpcholesky" accelerated randomly pivoted Cholesky.
    n_candidates : int, default=None
        Number of random rows among which landmarks are chosen; None takes 8 for each landmark.

    Notes
    -----
    The jitter is the rounding of the rows' dtype times the largest eigenvalue of the landmarks'
    kernel, so that duplicates and near-singular kernels do no harm: their directions
    count as noise. The map reports it, and the numerical rank beside it, as ``feature_map_.jitter``
    and ``feature_map_.rank``. With fewer different rows than components all rows are
    landmarks, and the columns beyond them are zero: the kernel of these rows is then exact.

    References
    ----------
    Williams, Seeger (2001), "Using the Nyström method to speed up kernel machines", NeurIPS 13.
    Zhang, Tsang, Kwok (2008), ICML (centroids). Musco, Musco (2017), arXiv:1605.07583 (leverage).
    Chen, Epperly, Tropp, Webber (2022), arXiv:2207.06503 (randomly pivoted Cholesky).

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.Nystroem(landmarks="rpcholesky")
    Nystroem(landmarks='rpcholesky')
    """

    landmarks: Any = "kmeans"
    n_candidates: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.landmarks, str):
            if self.landmarks not in SELECTIONS:
                raise ValueError(
                    f"landmarks must be one of {tuple(SELECTIONS)} or an array of rows, "
                    f"got {self.landmarks!r}"
                )
        else:
            object.__setattr__(self, "landmarks", check_rows(self.landmarks, "landmarks"))
        count = self.n_candidates
        whole = isinstance(count, Integral) and not isinstance(count, bool)
        if count is not None and not (whole and int(count) >= 1):
            raise ValueError(f"n_candidates must be a whole number of at least 1, got {count!r}")

    def __repr__(self) -> str:
        if isinstance(self.landmarks, str):
            return super().__repr__()
        return f"Nystroem(landmarks=<{self.landmarks.shape[0]} rows>)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Nystroem) or self.n_candidates != other.n_candidates:
            return False
        mine, theirs = self.landmarks, other.landmarks
        if isinstance(mine, str) or isinstance(theirs, str):
            return isinstance(mine, str) and isinstance(theirs, str) and mine == theirs
        if mine.shape != theirs.shape or sp.issparse(mine) != sp.issparse(theirs):
            return False
        return not (mine != theirs).sum()

    def __hash__(self) -> int:
        named = isinstance(self.landmarks, str)
        return hash((self.landmarks if named else self.landmarks.shape, self.n_candidates))

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> NystroemMap:
        landmarks = self._choose(key, target, kind, X, n_components, sample_weight)
        return NystroemMap(NystroemPlan(target, kind, n_components), landmarks)

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Take every kernel."""

    def _sample_size(self, n_components: int) -> int:
        if not isinstance(self.landmarks, str):
            return 1
        return max(self.n_candidates or _ROWS_PER_LANDMARK * n_components, n_components)

    def _choose(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> Any:
        """Return at most `n_components` landmarks in the rows' dtype."""
        if not isinstance(self.landmarks, str):
            shape = self.landmarks.shape
            if shape[1] != X.shape[1] or shape[0] > n_components:
                raise ValueError(
                    f"landmarks has shape {shape}, expected at most n_components={n_components} "
                    f"rows of {X.shape[1]} columns"
                )
            landmarks = self.landmarks.astype(X.dtype, copy=False)
            return in_range(landmarks) if is_homogeneous(target) else landmarks
        rng = generator(key)
        chosen, weight = sample_rows(rng, X, self.sample_size(n_components), sample_weight)
        candidates = X[chosen]
        if len(chosen) <= n_components:
            return candidates
        select = SELECTIONS[self.landmarks]
        return select(rng, target, kind, candidates, n_components, weight)


class NystroemPlan(NamedTuple):
    """What is fixed beside the landmarks, hashable.

    Attributes
    ----------
    target : Architecture or ZonalKernel
    kind : str
        The kernel.
    n_components : int
        Number of columns that come out.
    """

    target: Architecture | ZonalKernel
    kind: str
    n_components: int


class NystroemParams(NamedTuple):
    """Arrays of a Nystroem map.

    Attributes
    ----------
    landmarks : ndarray or CSR of shape (l, d)
    squares : array of shape (l,)
        Their squared norms.
    linear : tuple of arrays
        What follows the kernel: the whitening matrix, or the deflation.
    """

    landmarks: Any
    squares: Any
    linear: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class NystroemMap:
    """A chosen set of landmarks; its whitening is computed when it is first needed.

    Attributes
    ----------
    plan : NystroemPlan
    landmarks : ndarray or CSR of shape (l, d)
        Landmarks in the dtype of the rows, l at most n_components.
    """

    plan: NystroemPlan
    landmarks: Any

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.plan.n_components

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        return _row_entries(self.plan, self.landmarks)

    @property
    def expected(self) -> None:
        """None: nothing is cut off."""
        return None

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return is_homogeneous(self.plan.target)

    @property
    def rank(self) -> int:
        """Numerical rank of the landmarks' kernel: pivots well above jitter and rounding."""
        return self._whitening[2]

    @property
    def jitter(self) -> float:
        """What was added to the diagonal of the landmarks' kernel."""
        return self._whitening[1]

    @property
    def is_small(self) -> bool:
        """Whether whitening block by block, and columns of zeros, cost next to nothing."""
        return self.landmarks.shape[0] <= 4 * _DEFLATED and self.n_components <= _PADDED

    @property
    def params(self) -> NystroemParams:
        """Landmarks, their squared norms and the whitening matrix."""
        return self._with(self._whitening[0])

    def factorise(self) -> tuple[NDArray[np.float64], float, int]:
        """Return the lower Cholesky factor of the landmarks' kernel, the jitter and the rank."""
        return factorise(self._kernel(), self.landmarks.dtype)

    @functools.cached_property
    def _whitening(self) -> tuple[NDArray, float, int]:
        return whitening(self._kernel(), self.landmarks.dtype)

    def before_whitening(self) -> tuple[AppliedNystroem, Penalty]:
        r"""Return a map that costs no product of width m, and the penalty that makes up for it.

        With the kernel's features :math:`k` and a penalty matrix P, ridge regression on
        :math:`k` with :math:`\alpha c^\top P c` is ridge on the whitened features. The leading
        eigendirections of the landmarks' kernel are scaled down, so that sums in float32
        do not lose the small ones beside them.

        Returns
        -------
        map : AppliedNystroem
            It returns a column for each landmark.
        penalty : Penalty
            P, positive definite.
        """
        K = self._kernel()
        n = len(K)
        if n <= 2 * _DEFLATED:
            vectors, scales = np.zeros((n, 1)), np.zeros(1)
        else:
            values, vectors = leading_eigenvectors(K, _DEFLATED)
            values = np.maximum(values, jitters(K, self.landmarks.dtype)[0])  # above rounding
            scales = np.sqrt(values[-1] / values) - 1
        # T (K + jitter) T = K + jitter + U W' + W U' with T = I + V S V' and U = V S
        scaled, products = vectors * scales, K @ vectors
        half = products + scaled @ (vectors.T @ products) / 2
        for jitter in jitters(K, self.landmarks.dtype):
            shifted = half + vectors * (jitter * (1 + scales / 2))
            matrix = _dsyr2k(1.0, scaled, shifted, beta=1.0, c=K, lower=1)
            matrix.flat[:: n + 1] += jitter
            try:
                penalty = Penalty(matrix)
                break
            except LinAlgError:
                continue
        else:
            raise ValueError(INDEFINITE)
        dtype = self.landmarks.dtype
        linear = vectors.astype(dtype), scaled.T.astype(dtype)
        plan = self.plan._replace(n_components=n)
        return AppliedNystroem(plan, self._with(*linear)), penalty

    def apply(self, X: Any) -> Any:
        """Return the features of a block of rows, shape (n, n_components), in its dtype."""
        return self._replace(params=self.params).apply(X)

    def _replace(self, **fields: Any) -> AppliedNystroem:
        return AppliedNystroem(self.plan, fields["params"])

    def _with(self, *linear: NDArray) -> NystroemParams:
        return NystroemParams(self.landmarks, squared_norms(self.landmarks), linear)

    def _kernel(self) -> NDArray[np.float64]:
        """Return the landmarks' kernel."""
        K = kernel(self.plan.target, self.landmarks, kind=self.plan.kind, max_seconds=math.inf)
        return K.T.astype(np.float64)  # symmetric: its transpose is in the order of LAPACK


class AppliedNystroem(NamedTuple):
    """The kernel with the landmarks, and the linear map behind it."""

    plan: NystroemPlan
    params: NystroemParams

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self.plan.n_components

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        return _row_entries(self.plan, self.params.landmarks)

    @property
    def expected(self) -> None:
        """None: nothing is cut off."""
        return None

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return is_homogeneous(self.plan.target)

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of rows, in its dtype."""
        landmarks, squares, linear = self.params
        block = functools.partial(kernel_block, self.plan.target, self.plan.kind, X)
        norms, n, together = squared_norms(X), landmarks.shape[0], _together(self.plan)
        if n <= together:  # without copies of the landmarks
            K = block(landmarks, norms, squares)
        else:
            slices = block_slices(n, together)
            K = jnp.hstack([block(landmarks[s], norms, squares[s]) for s in slices])
        return _behind(self.plan.n_components, K, linear)


def _pair_entries(plan: NystroemPlan) -> float:
    """Return how many entries of temporaries the kernel of a row and a landmark takes."""
    return entry_bytes(plan.target, np.float32) / np.dtype(np.float32).itemsize


def _together(plan: NystroemPlan) -> int:
    """Return with how many landmarks a row's kernel is computed at a time.

    With all, but for images, of which each pair takes as many arrays as there are pairs of pixels.
    """
    return min(plan.n_components, max(int(_ENTRIES / _pair_entries(plan)), 1))


def _row_entries(plan: NystroemPlan, landmarks: Any) -> int:
    """Return how many entries a row takes: its kernel with landmarks, and what becomes of it."""
    kernels = math.ceil(_pair_entries(plan) * _together(plan))
    return kernels + 2 * plan.n_components + 2 * landmarks.shape[1]


@functools.partial(jax.jit, static_argnums=0)
def _behind(n_components: int, K: jax.Array, linear: tuple[jax.Array, ...]) -> jax.Array:
    """Whiten the kernel with the landmarks, or add its deflation, and pad to the width."""
    features = K
    for factor in linear:
        features = jnp.matmul(features, factor, precision=jax.lax.Precision.HIGHEST)
    if len(linear) > 1:
        features = K + features
    return jnp.pad(features, ((0, 0), (0, n_components - features.shape[1])))
