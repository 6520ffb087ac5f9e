r"""Random features resampled by their leverage on the rows."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.features.base import FeatureMap, Method
from ntksketch.features.methods import resolve_method
from ntksketch.features.principal import sample_rows
from ntksketch.features.restriction import restrict
from ntksketch.features.transform import transform_blocks
from ntksketch.kernels import ZonalKernel
from ntksketch.sketches.draws import generator

SCHEMES = ("systematic", "with-replacement")
_CANDIDATES = 4  # for each column that is kept
_DIMENSION = 1 / 16  # statistical dimension for each column, where no ridge is given
_SAMPLE = 2048  # rows that the scores are taken from
_ROUNDING = 1e-10  # eigenvalues below this share of the largest one are rounding
_FLOOR = 0.1  # of the mean score, added to each: no weight is large


@dataclass(frozen=True, repr=False)
class Resampled(Method):
    r"""Columns of another method, kept by their ridge leverage scores on the rows.

    Another method draws more columns :math:`z_1, \dots, z_s` than are wanted. On a sample of the
    rows they have the scores

    .. math::

        \ell_i = \bigl[Z^\top Z\,(Z^\top Z + \lambda I)^{-1}\bigr]_{ii},

    and of columns kept with probabilities :math:`p_i` the kernel estimate is

    .. math::

        \langle z(x), z(y)\rangle = \sum_{i\ \text{kept}} z_i(x)\, z_i(y) / p_i,

    which has the mean of all s columns' for every x and y, seen or not: the choice knows rows, but
    no targets.

    Parameters
    ----------
    method : str or Method, default="random-features"
        What draws the candidates, by name or as an instance.
    n_candidates : int, default=None
        How many are drawn, at least `n_components`; None takes four times as many.
    scheme : {"systematic", "with-replacement"}, default="systematic"
        How columns are kept. "systematic" keeps different ones, with :math:`p_i = \min(1, c\,
        (\ell_i + \bar\ell/10))`, which sum to `n_components`: a column that counts is kept for
        certain and unweighted, and none has a large weight. "with-replacement" is the published
        one, m independent draws in proportion to :math:`\ell_i`, with :math:`p_i = m \ell_i /
        \sum_j \ell_j`; columns that are zero on all rows of the sample are then lost.
    ridge : float, default=None
        The ridge :math:`\lambda` relative to the trace of :math:`Z^\top Z`, as published; None
        takes that of statistical dimension :math:`\sum_i \ell_i = m/16`.

    Notes
    -----
    The scores come from at most 2,048 rows, and cost the features of these and an
    eigendecomposition of their Gram matrix. Rows that come later cost only the columns that are
    kept where those are made one by one: Gegenbauer features with orthogonal directions, and the
    last layer of random features with TensorSRHT, except for its steps. Other methods compute all
    candidates.

    References
    ----------
    Li, Ton, Oglic, Sejdinovic (2019), "Towards a unified analysis of random Fourier features",
    arXiv:1806.09178, Algorithm 1. Bach (2017), "On the equivalence between kernel quadrature rules
    and random feature expansions", arXiv:1502.06800. Madow (1949), "On the theory of systematic
    sampling, II", doi:10.1214/aoms/1177729988.

    Examples
    --------
    >>> import ntksketch as ntk
    >>> ntk.Resampled("gegenbauer", n_candidates=8192)
    Resampled(method='gegenbauer', n_candidates=8192)
    """

    method: str | Method = "random-features"
    n_candidates: int | None = None
    scheme: str = "systematic"
    ridge: float | None = None

    def __post_init__(self) -> None:
        resolve_method(self.method)
        count, ridge = self.n_candidates, self.ridge
        whole = isinstance(count, Integral) and not isinstance(count, bool)
        if count is not None and not (whole and int(count) >= 1):
            raise ValueError(f"n_candidates must be a whole number of at least 1, got {count!r}")
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {SCHEMES}, got {self.scheme!r}")
        real = isinstance(ridge, Real) and not isinstance(ridge, bool)
        if ridge is not None and not (real and 0 < float(ridge) < np.inf):
            raise ValueError(f"ridge must be a positive number or None, got {ridge!r}")

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Raise ValueError if the method whose columns are kept has no features of a kernel."""
        resolve_method(self.method)._check_target(target)

    def _sample_size(self, n_components: int) -> int:
        inner = resolve_method(self.method).sample_size(self._count(n_components))
        return max(_SAMPLE, inner)

    def _count(self, n_components: int) -> int:
        """Return the number of candidates."""
        count = self.n_candidates
        return _CANDIDATES * n_components if count is None else int(count)

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> ResampledMap:
        count = self._count(n_components)
        if count < n_components:
            raise ValueError(
                f"n_candidates={count} is less than n_components={n_components}: draw more "
                "candidates, or None for four times as many"
            )
        key, sample_key, choice_key = jax.random.split(key, 3)
        method = resolve_method(self.method)
        candidates = method.init(
            key, target, X, kind=kind, n_components=count, sample_weight=sample_weight
        )
        scores = np.ones(count)
        if count > n_components or self.scheme != "systematic":
            Z = weighted_features(generator(sample_key), candidates, X, sample_weight)
            scores = leverage_scores(Z, self.ridge, _DIMENSION * n_components)
        rng = generator(choice_key)
        if self.scheme == "systematic":
            probabilities = inclusion_probabilities(scores, n_components)
            kept = systematic_sample(rng, probabilities, n_components)
        else:
            probabilities = n_components * scores / scores.sum()
            kept = rng.choice(count, n_components, p=scores / scores.sum())
        different, repeats = np.unique(kept, return_inverse=True)
        inner, positions, factors = restrict(candidates, different)
        weights = (factors / np.sqrt(probabilities[different]))[repeats].astype(X.dtype)
        return ResampledMap(inner, (inner.params, positions[repeats].astype(np.int32), weights))


class ResampledMap(NamedTuple):
    """A drawn map of which some columns are kept.

    Attributes
    ----------
    inner : FeatureMap
        The map of the candidates, or of those that are kept and as few others as it can do with.
    params : tuple
        Its arrays, the columns that are kept, and their weights.
    """

    inner: FeatureMap
    params: Any

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return len(self.params[1])

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        return self.inner.row_entries + 2 * self.n_components

    @property
    def expected(self) -> ZonalKernel | None:
        """What the candidates have on average."""
        return self.inner.expected

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        return self.inner.is_homogeneous

    def apply(self, X: Any) -> jax.Array:
        """Return the features of a block of rows, shape (n, n_components), in its dtype."""
        params, kept, weights = self.params
        return _keep(self.inner._replace(params=params).apply(X), kept, weights)


@jax.jit
def _keep(Z: jax.Array, kept: jax.Array, weights: jax.Array) -> jax.Array:
    return Z[:, kept] * weights


def weighted_features(
    rng: np.random.Generator, candidates: FeatureMap, X: Any, sample_weight: NDArray | None
) -> NDArray[np.float64]:
    """Return the features of a sample of rows, each times the root of its weight."""
    chosen, weight = sample_rows(rng, X, _SAMPLE + 1, sample_weight)
    if len(chosen) > _SAMPLE:  # not all rows: the draw was in proportion to the weights
        chosen, weight = chosen[:_SAMPLE], np.ones(_SAMPLE)
    return transform_blocks(candidates, X[chosen]) * np.sqrt(weight)[:, None]


def leverage_scores(Z: NDArray, ridge: float | None, dimension: float = 1.0) -> NDArray[np.float64]:
    r"""Return the ridge leverage scores of columns, the diagonal of :math:`G(G + \lambda I)^{-1}`.

    Parameters
    ----------
    Z : ndarray of shape (n, s)
        Rows' features, with the Gram matrix :math:`G = Z^\top Z`.
    ridge : float or None
        :math:`\lambda` relative to the trace of G.
    dimension : float, default=1.0
        What the scores sum to if there is no ridge: less where the rank does not suffice.

    Returns
    -------
    ndarray of shape (s,)
        Scores in [0, 1]; ones if all features are zero.
    """
    Z = Z.astype(np.float64)
    wide = Z.shape[1] > Z.shape[0]
    values, vectors = scipy.linalg.eigh(Z @ Z.T if wide else Z.T @ Z)
    values = np.maximum(values, 0)
    total = float(values.sum())
    if total == 0:
        return np.ones(Z.shape[1])
    absolute = total * ridge if ridge is not None else ridge_of_dimension(values, dimension)
    if wide:  # z_i' (ZZ' + ridge I)^-1 z_i
        return np.square((vectors / np.sqrt(values + absolute)).T @ Z).sum(axis=0)
    return np.square(vectors) @ (values / (values + absolute))


def ridge_of_dimension(values: NDArray[np.float64], dimension: float) -> float:
    r"""Return the ridge at which :math:`\sum_j v_j/(v_j + \lambda)` is `dimension`.

    It is not below what is rounding of the largest value: the rank bounds the dimension.
    """

    def excess(logarithm: float) -> float:
        return float((values / (values + np.exp(logarithm))).sum()) - dimension

    least = float(np.log(_ROUNDING * values.max()))
    most = float(np.log(values.sum() / dimension))
    if excess(least) <= 0 or most <= least:
        return float(np.exp(least))
    return float(np.exp(scipy.optimize.root_scalar(excess, bracket=(least, most), xtol=1e-6).root))


def inclusion_probabilities(scores: NDArray, n_kept: int) -> NDArray[np.float64]:
    """Return min(1, c (score + a tenth of the mean score)) with the c for which they sum to n_kept.

    Parameters
    ----------
    scores : ndarray of shape (s,)
        Non-negative, not all zero.
    n_kept : int
        How many are kept, at most s.

    Returns
    -------
    ndarray of shape (s,)
        Probabilities in (0, 1].
    """
    sizes = scores + _FLOOR * scores.mean()
    probabilities = np.zeros(len(sizes))
    while True:  # those that would exceed 1 are certain, which raises the others
        certain = probabilities >= 1
        if certain.all() or n_kept == len(sizes):
            return np.ones(len(sizes))
        share = (n_kept - certain.sum()) / sizes[~certain].sum()
        probabilities = np.where(certain, 1.0, sizes * share)
        if ((probabilities >= 1) == certain).all():
            return probabilities


def systematic_sample(
    rng: np.random.Generator, probabilities: NDArray[np.float64], n_kept: int
) -> NDArray[np.intp]:
    """Draw `n_kept` different columns with given inclusion probabilities, of that sum.

    Points at distance 1, with one random offset, fall on intervals as long as the probabilities.
    """
    certain = np.flatnonzero(probabilities >= 1)
    others = np.flatnonzero(probabilities < 1)
    n_drawn = n_kept - len(certain)
    if not n_drawn:
        return certain
    ends = np.cumsum(probabilities[others])
    ends *= n_drawn / ends[-1]  # up to rounding
    drawn = np.searchsorted(ends, rng.random() + np.arange(n_drawn), side="right")
    return np.sort(np.concatenate([certain, others[np.minimum(drawn, len(others) - 1)]]))
