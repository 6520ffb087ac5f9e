"""Sufficient statistics of weighted least squares, gathered block by block."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import get_blas_funcs

from ntksketch.linear.eigenvalue import estimate_largest_eigenvalue, power_iteration
from ntksketch.linear.penalty import Penalty

_PARTS = ("gram", "moment", "y_squares", "z_mean", "y_mean")
PIECE_ROWS = 8192  # rows a product: bounds both the memory and the error of float32 sums

_dsyr, _dsyrk = get_blas_funcs(["syr", "syrk"], dtype=np.float64)
(_ssyrk,) = get_blas_funcs(["syrk"], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class GramStatistics:
    """What weighted least squares needs to know about its data.

    With an intercept `gram`, `moment` and `y_squares` are taken about the weighted means;
    without one they are plain sums and the means are zero.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights; the number of rows where none were given.
    n_rows : int
        Number of rows of positive weight.
    z_mean : ndarray of shape (m,), float64
        Weighted mean of the features.
    y_mean : ndarray of shape (k,), float64
        Weighted mean of the targets.
    gram : ndarray of shape (m, m), float64
        Weighted Gram matrix ``Z' W Z`` of the (centred) features, symmetric.
    moment : ndarray of shape (m, k), float64
        Weighted products ``Z' W Y``.
    y_squares : ndarray of shape (k,), float64
        Weighted sum of squares of each target.
    fit_intercept : bool
        Whether the statistics are centred.
    epsilon : float
        Machine epsilon of the least precise products that went in.
    penalty : Penalty or None
        The quadratic penalty of the coefficients; None is the sum of their squares.
    """

    total_weight: float
    n_rows: int
    z_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    gram: NDArray[np.float64]
    moment: NDArray[np.float64]
    y_squares: NDArray[np.float64]
    fit_intercept: bool
    epsilon: float
    penalty: Penalty | None = None

    @functools.cached_property
    def largest_eigenvalue(self) -> float:
        """A lower estimate of the Gram matrix's largest eigenvalue, relative to the penalty."""
        penalty = self.penalty
        if penalty is None:
            return estimate_largest_eigenvalue(self.gram)

        def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            return penalty.whiten(self.gram @ penalty.whiten(vector, transpose=True))

        heaviest = np.argmax(np.diagonal(self.gram))
        return power_iteration(product, penalty.whiten(self.gram[:, heaviest]))

    def columns(self, chosen: slice) -> GramStatistics:
        """Return the statistics of some of the features, as copies."""
        return replace(
            self,
            z_mean=self.z_mean[chosen],
            gram=np.array(self.gram[chosen, chosen], order="F"),
            moment=self.moment[chosen],
            penalty=None if self.penalty is None else self.penalty.columns(chosen),
        )


class GramSums(NamedTuple):
    """Plain weighted sums over rows, in float64, such as an accelerator takes.

    Attributes
    ----------
    n_rows, weight : int, float
        Number of rows of positive weight, and their total weight.
    z, y : ndarray of shapes (m,) and (k,)
        Sums of features and targets.
    gram : ndarray of shape (m, m)
        Sums of products of features; the lower triangle is enough.
    moment : ndarray of shape (m, k)
        Sums of products of features and targets.
    y_squares : ndarray of shape (k,)
        Sums of squares of the targets.
    """

    n_rows: Any
    weight: Any
    z: Any
    y: Any
    gram: Any
    moment: Any
    y_squares: Any


class GramAccumulator:
    r"""Weighted means and co-moments of features and targets, one block at a time.

    A block of total weight :math:`W_b`, mean :math:`\mu_b` and centred Gram matrix
    :math:`G_b` joins the statistics :math:`(W, \mu, G)` as

    .. math:: G \leftarrow G + G_b + \frac{W W_b}{W + W_b} (\mu_b - \mu)(\mu_b - \mu)^\top,

    so that a large mean never cancels [1]_. Blocks of float32 are multiplied in float32, at
    most 8192 rows a product, and added up in float64; all others are multiplied in float64.
    Memory beyond the statistics is one such piece and, for float32, one product.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Take the co-moments about the weighted means. Without it they are plain sums, exact
        for integers within float64.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights so far.
    n_rows : int
        Number of rows of positive weight so far.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub and R. J. LeVeque (1983). Algorithms for computing the
       sample variance: analysis and recommendations. The American Statistician 37(3).
       doi:10.1080/00031305.1983.10483115

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator
    >>> Z, y = np.array([[1.0, 2.0], [3.0, 5.0], [5.0, 2.0]]), np.array([1.0, 2.0, 6.0])
    >>> parts = [GramAccumulator().update(Z[:1], y[:1]), GramAccumulator().update(Z[1:], y[1:])]
    >>> parts[0].merge(parts[1]).finalise().gram
    array([[8., 0.],
           [0., 6.]])
    """

    def __init__(self, fit_intercept: bool = True) -> None:
        self.fit_intercept = fit_intercept
        self.total_weight = 0.0
        self.n_rows = 0
        self._shape: tuple[int, int] | None = None
        self._epsilon = float(np.finfo(np.float64).eps)

    @property
    def n_features(self) -> int:
        """Number of features of the rows so far; 0 before the first."""
        return 0 if self._shape is None else self._shape[0]

    def update(
        self, Z: ArrayLike, Y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> GramAccumulator:
        """Add a block of rows, in place; a block that is refused changes nothing.

        Parameters
        ----------
        Z : array_like of shape (n, m)
            Features, a dense NumPy or JAX array; ``n`` may be zero.
        Y : array_like of shape (n,) or (n, k)
            Targets.
        sample_weight : float or array_like of shape (n,), optional
            Non-negative weights, which count as repetitions of a row. A row of weight zero
            has no influence, whatever it holds.

        Returns
        -------
        GramAccumulator
            The accumulator itself.

        Raises
        ------
        ValueError
            If shapes do not fit each other or earlier blocks, if a weight is negative, or if
            a value is NaN, infinite or so large that its square overflows.
        """
        Z, Y = as_block(Z, Y)
        weight = None if sample_weight is None else as_weights(sample_weight, len(Z))
        shape = (Z.shape[1], Y.shape[1])
        self._require_shape(shape)
        for z, y, w in pieces(Z, Y, weight):
            _require_finite("features Z", z, w)
            with np.errstate(over="ignore"):
                _require_finite("targets Y", y.astype(z.dtype), w)
        self._allocate(shape)
        for z, y, w in pieces(Z, Y, weight):
            self._absorb(z, y, w)
        return self

    def merge(self, other: GramAccumulator) -> GramAccumulator:
        """Add the rows that another accumulator has seen, in place.

        Parameters
        ----------
        other : GramAccumulator
            Statistics of other rows; left as it is.

        Returns
        -------
        GramAccumulator
            The accumulator itself.

        Raises
        ------
        ValueError
            If the two differ in `fit_intercept`, features or targets.
        """
        if other.fit_intercept != self.fit_intercept:
            raise ValueError(
                f"merge: cannot add statistics with fit_intercept={other.fit_intercept} "
                f"to statistics with fit_intercept={self.fit_intercept}"
            )
        if other._shape is None:
            return self
        self._require_shape(other._shape)
        self._allocate(other._shape)
        self._gram += other._gram
        self._moment += other._moment
        self._y_squares += other._y_squares
        self.n_rows += other.n_rows
        self._epsilon = max(self._epsilon, other._epsilon)
        self._move_means(other.total_weight, other._z_mean, other._y_mean)
        return self

    def add_sums(
        self, sums: GramSums, z_shift: NDArray, y_shift: NDArray, epsilon: float
    ) -> GramAccumulator:
        """Add rows of which others took the sums about a shift, in place.

        Parameters
        ----------
        sums : GramSums
            The sums, of rows of which at least one has positive weight.
        z_shift, y_shift : ndarray of shapes (m,) and (k,)
            What was taken from features and targets beforehand; zeros without an intercept. The
            nearer to the means, the less is lost.
        epsilon : float
            Machine epsilon of the products.

        Returns
        -------
        GramAccumulator
            The accumulator itself.

        Raises
        ------
        ValueError
            If shapes do not fit earlier blocks, or a sum is not finite.
        """
        if not (np.isfinite(np.diagonal(sums.gram)).all() and np.isfinite(sums.moment).all()):
            raise ValueError(
                "the features or targets contain NaN or infinity, or their squares overflow; "
                "remove those rows, or rescale them"
            )
        shape = sums.moment.shape
        self._require_shape((shape[0], shape[1]))
        self._allocate((shape[0], shape[1]))
        weight = float(sums.weight)
        z_rest, y_rest = sums.z / weight, sums.y / weight
        self._gram += sums.gram
        self._moment += sums.moment
        self._y_squares += sums.y_squares
        if self.fit_intercept:
            self._add_outer(-weight, z_rest)
            self._moment -= weight * np.outer(z_rest, y_rest)
            self._y_squares -= weight * y_rest**2
        self.n_rows += int(sums.n_rows)
        self._epsilon = max(self._epsilon, epsilon)
        self._move_means(weight, z_shift + z_rest, y_shift + y_rest)
        return self

    def finalise(self, *, copy: bool = True) -> GramStatistics:
        """Return the statistics of the rows so far; more may be added afterwards.

        Parameters
        ----------
        copy : bool, default=True
            Copy the Gram matrix, which is most of the memory. Without, it is that of the
            accumulator: no longer valid once that has another update.

        Returns
        -------
        GramStatistics
            Statistics that later updates leave alone, but for a Gram matrix that is no copy.

        Raises
        ------
        ValueError
            If no row of positive weight has been given.
        """
        if self.n_rows == 0:
            raise ValueError(
                "finalise: no row was given, or the sample weights are all zero; update first"
            )
        gram = self._gram.copy(order="F") if copy else self._gram
        _mirror_lower(gram)  # updates read and write the lower triangle alone
        return GramStatistics(
            total_weight=self.total_weight,
            n_rows=self.n_rows,
            z_mean=self._z_mean.copy(),
            y_mean=self._y_mean.copy(),
            gram=gram,
            moment=self._moment.copy(),
            y_squares=self._y_squares.copy(),
            fit_intercept=self.fit_intercept,
            epsilon=self._epsilon,
        )

    def to_arrays(self) -> dict[str, NDArray]:
        """Return the statistics as arrays, which are not copies; the shapes as well."""
        parts = self._gram, self._moment, self._y_squares, self._z_mean, self._y_mean
        numbers = self.total_weight, self.n_rows, self._epsilon, self.fit_intercept
        return {**dict(zip(_PARTS, parts, strict=True)), "numbers": np.array(numbers, np.float64)}

    def load_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take the statistics that `to_arrays` gave, in place of those so far."""
        parts = [np.array(arrays[name], np.float64) for name in _PARTS]
        total_weight, n_rows, epsilon, fit_intercept = map(float, arrays["numbers"])
        self.total_weight, self.n_rows, self._epsilon = total_weight, int(n_rows), epsilon
        self.fit_intercept = bool(fit_intercept)
        self._gram = np.asfortranarray(parts[0])
        _, self._moment, self._y_squares, self._z_mean, self._y_mean = parts
        self._shape = self._moment.shape[0], self._moment.shape[1]

    def _require_shape(self, shape: tuple[int, int]) -> None:
        if self._shape is not None and shape != self._shape:
            raise ValueError(
                f"the block has {shape[0]} feature columns and {shape[1]} targets; "
                f"the rows before it had {self._shape[0]} and {self._shape[1]}"
            )

    def _allocate(self, shape: tuple[int, int]) -> None:
        if self._shape is None:
            m, k = self._shape = shape
            self._gram = np.zeros((m, m), order="F")  # BLAS updates its lower triangle in place
            self._moment = np.zeros((m, k))
            self._y_squares = np.zeros(k)
            self._z_mean = np.zeros(m)
            self._y_mean = np.zeros(k)

    def _absorb(self, z: NDArray, y: NDArray[np.float64], weight: NDArray | None) -> None:
        """Add one finite piece of at least one row; all its weights are positive."""
        weights = np.ones(len(z)) if weight is None else weight
        total = float(weights.sum())
        z_mean, y_mean = self._z_mean, self._y_mean
        if self.fit_intercept:
            z_mean = (np.einsum("i,ij->j", weights, z) / total).astype(z.dtype)
            y_mean = weights @ y / total
            z, y = z - z_mean, y - y_mean
        if weight is not None:
            root = np.sqrt(weight)[:, None]
            z = np.multiply(z, root.astype(z.dtype), out=z if self.fit_intercept else None)
            y = y * root
        self._add_products(z, y)
        if self.fit_intercept:
            # the mean above is rounded to the block's dtype: take what is left of it out
            rest = np.einsum("i,ij->j", np.sqrt(weights), z) / total
            self._add_outer(-total, rest)
            z_mean = z_mean + rest
        self.n_rows += len(z)
        self._epsilon = max(self._epsilon, float(np.finfo(z.dtype).eps))
        self._move_means(total, z_mean, y_mean)

    def _add_products(self, z: NDArray, y: NDArray[np.float64]) -> None:
        if z.dtype == np.float32:
            self._gram += _ssyrk(1.0, z.T, lower=1)
        else:
            self._gram = _dsyrk(1.0, z.T, beta=1.0, c=self._gram, lower=1, overwrite_c=1)
        self._moment += z.T @ y.astype(z.dtype)
        self._y_squares += np.einsum("ij,ij->j", y, y)

    def _add_outer(self, scale: float, vector: NDArray[np.float64]) -> None:
        self._gram = _dsyr(scale, vector, lower=1, a=self._gram, overwrite_a=1)

    def _move_means(self, weight: float, z_mean: NDArray, y_mean: NDArray) -> None:
        """Account for rows about other means, whose own co-moments are already added."""
        total = self.total_weight + weight
        if self.fit_intercept and weight > 0:
            z_step, y_step = z_mean - self._z_mean, y_mean - self._y_mean
            scale = self.total_weight * weight / total
            self._add_outer(scale, z_step)
            self._moment += scale * np.outer(z_step, y_step)
            self._y_squares += scale * y_step**2
            self._z_mean += z_step * (weight / total)
            self._y_mean += y_step * (weight / total)
        self.total_weight = total


def as_weights(sample_weight: ArrayLike, n: int) -> NDArray[np.float64]:
    """Return weights as a float64 array of shape (n,), or raise ValueError."""
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n, weight)
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, expected a number or shape ({n},)"
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight contains NaN, infinity or a negative number")
    return weight


def as_block(Z: ArrayLike, Y: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return arrays of shapes (n, m) and (n, k), or raise ValueError."""
    Z, Y = np.asarray(Z), np.asarray(Y)
    if Z.ndim != 2 or Z.shape[1] == 0:
        raise ValueError(f"Z has shape {Z.shape}, expected (n, m) with at least one column")
    if Y.ndim not in (1, 2) or len(Y) != len(Z) or 0 in Y.shape[1:]:
        raise ValueError(f"Y has shape {Y.shape}, expected ({len(Z)},) or ({len(Z)}, k)")
    for name, array in (("Z", Z), ("Y", Y)):
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers")
    return Z, Y[:, None] if Y.ndim == 1 else Y


def pieces(
    Z: NDArray, Y: NDArray, weight: NDArray | None
) -> Iterator[tuple[NDArray, NDArray[np.float64], NDArray | None]]:
    """Yield pieces that are not empty, in the dtype of their products, without null rows."""
    dtype = np.float32 if Z.dtype == np.float32 else np.float64
    for start in range(0, len(Z), PIECE_ROWS):
        rows = slice(start, start + PIECE_ROWS)
        z, y, w = Z[rows], Y[rows], None if weight is None else weight[rows]
        if w is not None and not w.all():
            keep = w > 0
            z, y, w = z[keep], y[keep], w[keep]
        if len(z):
            yield np.ascontiguousarray(z, dtype), y.astype(np.float64), w


def _require_finite(name: str, piece: NDArray, weight: NDArray | None) -> None:
    flat = piece.ravel()
    square = float(np.vdot(flat, flat)) * (1.0 if weight is None else weight.max())
    if square <= np.finfo(piece.dtype).max:
        return
    if np.isfinite(flat).all():
        raise ValueError(f"the squares of the {name} overflow {piece.dtype}; rescale them")
    raise ValueError(f"the {name} contain NaN or infinity; remove or impute those rows")


def _mirror_lower(matrix: NDArray, panel: int = 512) -> None:
    """Copy the lower triangle onto the upper one, in place."""
    for start in range(0, len(matrix), panel):
        block = slice(start, start + panel)
        corner = np.tril(matrix[block, block])
        matrix[block, block] = corner + np.tril(corner, -1).T
        matrix[block, start + panel :] = matrix[start + panel :, block].T
