"""Sufficient statistics of weighted least squares, gathered block by block."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import get_blas_funcs

from ntksketch.linear.eigenvalue import estimate_largest_eigenvalue, power_iteration
from ntksketch.linear.penalty import Penalty
from ntksketch.linear.rows import PIECE_ROWS, as_block, as_weights, pieces, require_finite
from ntksketch.linear.sums import GramSums, SingleSums, shifted, weighted_mean
from ntksketch.linear.triangles import add_lower, mirror_lower

_PARTS = ("gram", "moment", "y_squares", "z_mean", "y_mean")

_dsyr, _dsyrk = get_blas_funcs(["syr", "syrk"], dtype=np.float64)


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

    Examples
    --------
    >>> import numpy as np
    >>> from ntksketch.linear import GramAccumulator
    >>> rows, targets = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([1.0, 5.0])
    >>> stats = GramAccumulator().update(rows, targets).finalise()
    >>> stats.z_mean, stats.gram.tolist(), stats.moment.tolist()
    (array([2., 2.]), [[2.0, 0.0], [0.0, 0.0]], [[4.0], [0.0]])
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
        with self.batch() as batch:
            batch.update(Z, Y, sample_weight)
        return self

    def batch(self) -> GramBatch:
        """Return a context in which blocks are added, for less than by one update after another.

        Products of float32 go on in float32 from block to block, as far as they would within one,
        and reach the statistics at the latest when the context is left.

        Examples
        --------
        >>> import numpy as np
        >>> from ntksketch.linear import GramAccumulator
        >>> accumulator = GramAccumulator(fit_intercept=False)
        >>> with accumulator.batch() as batch:
        ...     for Z in (np.ones((3, 1), np.float32), np.ones((4, 1), np.float32)):
        ...         batch.update(Z, np.ones(len(Z)))
        >>> accumulator.finalise().gram
        array([[7.]])
        """
        return GramBatch(self)

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
        zeros = np.zeros(other._shape[0]), np.zeros(other._shape[1])
        found = other.n_rows, other.total_weight, *zeros
        sums = GramSums(*found, other._gram, other._moment, other._y_squares)
        return self.add_sums(sums, other._z_mean, other._y_mean, other._epsilon)

    def add_sums(
        self, sums: GramSums, z_shift: NDArray, y_shift: NDArray, epsilon: float
    ) -> GramAccumulator:
        """Add rows of which others took the sums about a shift, in place.

        Parameters
        ----------
        sums : GramSums
            The sums.
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
        add_lower(self._gram, sums.gram)
        self._moment += sums.moment
        self._y_squares += sums.y_squares
        self._epsilon = max(self._epsilon, epsilon)
        self._join(int(sums.n_rows), float(sums.weight), sums.z, sums.y, z_shift, y_shift)
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
        mirror_lower(gram)  # updates read and write the lower triangle alone
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
        """Add one finite piece of float64, of at least one row; all its weights are positive."""
        total = float(len(z) if weight is None else weight.sum())
        shift = np.zeros(z.shape[1]), np.zeros(y.shape[1])
        if self.fit_intercept:
            shift = weighted_mean(z, weight), weighted_mean(y, weight)
        z, y, root = shifted(z, y, weight, shift if self.fit_intercept else None)
        self._gram = _dsyrk(1.0, z.T, beta=1.0, c=self._gram, lower=1, overwrite_c=1)
        self._moment += z.T @ y
        self._y_squares += np.einsum("ij,ij->j", y, y)
        self._join(len(z), total, root @ z, root @ y, *shift)

    def _join(
        self,
        n_rows: int,
        weight: float,
        z_sum: NDArray,
        y_sum: NDArray,
        z_shift: NDArray,
        y_shift: NDArray,
    ) -> None:
        """Take products about a shift, which are already added, to be about the means."""
        self.n_rows += n_rows
        total = self.total_weight + weight
        if self.fit_intercept and weight > 0:
            z_rest, y_rest = z_sum / weight, y_sum / weight
            self._move_products(-weight, z_rest, y_rest)
            z_step = z_shift + z_rest - self._z_mean
            y_step = y_shift + y_rest - self._y_mean
            self._move_products(self.total_weight * weight / total, z_step, y_step)
            self._z_mean += z_step * (weight / total)
            self._y_mean += y_step * (weight / total)
        self.total_weight = total

    def _move_products(self, scale: float, z: NDArray, y: NDArray) -> None:
        """Add the products of one vector of features and one of targets."""
        if scale and z.any():
            self._gram = _dsyr(scale, z, lower=1, a=self._gram, overwrite_a=1)
        self._moment += scale * np.outer(z, y)
        self._y_squares += scale * y**2


class GramBatch:
    """A context in which blocks are added to statistics; made by `GramAccumulator.batch`.

    Blocks of float32 are summed about the mean of the rows before them. There are never more of
    them than rows before, and at most 8192, until the sums are added up in float64: a mean that
    drifts costs no digits.
    """

    def __init__(self, accumulator: GramAccumulator) -> None:
        self._accumulator = accumulator
        self._sums: SingleSums | None = None

    @property
    def settled(self) -> bool:
        """Whether all rows have reached the statistics."""
        return self._sums is None or self._sums.n_rows == 0

    def update(
        self,
        Z: ArrayLike,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Add a block of rows as :meth:`GramAccumulator.update` does, which see.

        With `overwrite` the memory of float32 features may be used for what is computed of them.
        """
        accumulator = self._accumulator
        Z, Y = as_block(Z, Y)
        weight = None if sample_weight is None else as_weights(sample_weight, len(Z))
        shape = (Z.shape[1], Y.shape[1])
        accumulator._require_shape(shape)
        for z, y, w in pieces(Z, Y, weight):
            require_finite("features Z", z, w)
            with np.errstate(over="ignore"):
                require_finite("targets Y", y.astype(z.dtype), w)
        accumulator._allocate(shape)
        for z, y, w in pieces(Z, Y, weight):
            if z.dtype == np.float32:
                self._add(z, y, w, overwrite and z.flags.writeable)
            else:
                accumulator._absorb(z, y, w)

    def settle(self) -> None:
        """Add up in float64 what is summed in float32."""
        if self._sums is not None and self._sums.n_rows:
            sums, shift = self._sums.take()
            self._accumulator.add_sums(sums, *shift, float(np.finfo(np.float32).eps))

    def _add(
        self, z: NDArray, y: NDArray[np.float64], weight: NDArray | None, overwrite: bool
    ) -> None:
        accumulator = self._accumulator
        if self._sums is None:
            self._sums = SingleSums(z.shape[1], y.shape[1])
        sums, most = self._sums, PIECE_ROWS
        if accumulator.fit_intercept:
            most = min(most, accumulator.n_rows)
        if sums.n_rows + len(z) > most:
            self.settle()
        if sums.n_rows == 0:
            shift = None
            if accumulator.fit_intercept:
                shift = accumulator._z_mean, accumulator._y_mean
                if accumulator.n_rows < len(z):
                    shift = weighted_mean(z, weight), weighted_mean(y, weight)
            sums.begin(shift)
        sums.add(z, y, weight, overwrite)
        if sums.n_rows >= most:
            self.settle()

    def __enter__(self) -> GramBatch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.settle()
        self._sums = None
