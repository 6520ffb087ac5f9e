"""What sketches share: how they are drawn, the checks of their sizes and of their input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from scipy import sparse

Rows: TypeAlias = jax.Array | np.ndarray | sparse.csr_array | sparse.csr_matrix


class VectorSketch:
    """Random linear map of vectors, one a row.

    A sketch is a dataclass of arrays that JAX knows as a pytree. It says its `_shape`, how it is
    drawn, and how it takes dense rows and CSR rows.
    """

    @property
    def n_features(self) -> int:
        """Number of columns that `apply` expects."""
        return self._shape[0]

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self._shape[1]

    @classmethod
    def init(
        cls,
        key: jax.Array,
        n_features: int,
        n_components: int,
        dtype: DTypeLike = jnp.float32,
        **options: Any,
    ) -> Self:
        """Draw a sketch.

        Parameters
        ----------
        key : jax.random key
            Decides the draw, together with the sizes.
        n_features, n_components : int
            Width of the input and of the sketch, at least 1.
        dtype : dtype
            Of the stored floating arrays: the dtype the rows will have. The draw does not depend
            on it.
        **options
            Other parameters of the class.

        Returns
        -------
        sketch

        Raises
        ------
        ValueError
            If a size is below 1.
        """
        check_sizes(f"{cls.__name__}.init", n_features, n_components)
        return cls._draw(key, n_features, n_components, dtype, **options)

    def apply(self, X: Rows) -> jax.Array | np.ndarray:
        """Sketch every row.

        Parameters
        ----------
        X : array or SciPy CSR matrix of shape (n, n_features), floating
            Dense rows are handled by JAX, also under ``jax.jit``; sparse ones on the host, without
            densifying them (other sparse formats are converted).

        Returns
        -------
        jax.Array or ndarray (sparse input) of shape (n, n_components), dtype of `X`

        Raises
        ------
        ValueError
            If `X` is not a matrix with n_features columns.
        """
        shape = cast(tuple[int, ...], X.shape)
        if len(shape) != 2 or shape[1] != self.n_features:
            call = f"{type(self).__name__}.apply"
            raise ValueError(f"{call}: X has shape {shape}, expected (n, {self.n_features}).")
        if sparse.issparse(X):
            return self._apply_sparse(sparse.csr_array(X))
        return _apply_dense(self, jnp.asarray(X))

    @property
    def _shape(self) -> tuple[int, int]:
        raise NotImplementedError

    @classmethod
    def _draw(cls, *args: Any, **options: Any) -> Self:
        raise NotImplementedError

    def _apply_dense(self, X: jax.Array) -> jax.Array:
        raise NotImplementedError

    def _apply_sparse(self, X: sparse.csr_array) -> np.ndarray:
        raise NotImplementedError


@jax.jit
def _apply_dense(sketch: VectorSketch, X: jax.Array) -> jax.Array:
    return sketch._apply_dense(X)


class ProductSketch:
    """Random linear map of the row-wise tensor product of some matrices, which is never formed.

    As a `VectorSketch`, with a width for each factor.
    """

    @property
    def n_features(self) -> tuple[int, ...]:
        """Number of columns of each matrix that `apply` expects."""
        return self._shape[0]

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        return self._shape[1]

    @classmethod
    def init(
        cls,
        key: jax.Array,
        n_features: Sequence[int],
        n_components: int,
        dtype: DTypeLike = jnp.float32,
        **options: Any,
    ) -> Self:
        """Draw a sketch.

        Parameters
        ----------
        key : jax.random key
            Decides the draw, together with the sizes.
        n_features : sequence of int
            Width of each factor, at least 1; one factor or more.
        n_components : int
            Width of the sketch, at least 1.
        dtype : dtype
            Of the stored floating arrays: the dtype the rows will have. The draw does not depend
            on it.
        **options
            Other parameters of the class.

        Returns
        -------
        sketch

        Raises
        ------
        ValueError
            If a size is below 1 or there is no factor.
        """
        call = f"{cls.__name__}.init"
        if len(n_features) < 1:
            raise ValueError(f"{call}: n_features is empty, expected at least one factor's width.")
        for width in n_features:
            check_sizes(call, width, n_components)
        return cls._draw(key, tuple(n_features), n_components, dtype, **options)

    def apply(self, *factors: Rows) -> jax.Array | np.ndarray:
        """Sketch the tensor product of row i of every factor, for every i.

        Parameters
        ----------
        *factors : arrays or SciPy CSR matrices of shapes (n, n_features[k]), floating
            Dense factors are handled by JAX, also under ``jax.jit``; sparse ones on the host.

        Returns
        -------
        jax.Array or ndarray (all factors sparse) of shape (n, n_components), dtype of the factors

        Raises
        ------
        ValueError
            If the factors do not match n_features or differ in their number of rows.
        """
        shapes = [cast(tuple[int, ...], X.shape) for X in factors]
        n_rows = shapes[0][:1] if shapes else ()
        if shapes != [(*n_rows, d) for d in self.n_features]:
            expected = ", ".join(f"(n, {d})" for d in self.n_features)
            raise ValueError(
                f"{type(self).__name__}.apply: factors have shapes {shapes}, expected {expected} "
                "with one n."
            )
        return self._apply(*factors)

    @property
    def _shape(self) -> tuple[tuple[int, ...], int]:
        raise NotImplementedError

    @classmethod
    def _draw(cls, *args: Any, **options: Any) -> Self:
        raise NotImplementedError

    def _apply(self, *factors: Rows) -> jax.Array | np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class FactorwiseSketch(ProductSketch):
    """Sketch of tensor products that combines independent sketches of the factors."""

    factors: tuple[Any, ...]

    _factor: ClassVar[type[VectorSketch]]

    @property
    def _shape(self) -> tuple[tuple[int, ...], int]:
        widths = tuple(factor.n_features for factor in self.factors)
        return widths, self.factors[0].n_components

    @classmethod
    def _draw(cls, key, n_features, n_components, dtype, **options: Any) -> Self:
        keys = jax.random.split(key, len(n_features))
        return cls(
            tuple(
                cls._factor.init(factor_key, width, n_components, dtype, **options)
                for factor_key, width in zip(keys, n_features, strict=True)
            )
        )

    def _apply(self, *factors: Rows) -> jax.Array | np.ndarray:
        sketched = (sketch.apply(X) for sketch, X in zip(self.factors, factors, strict=True))
        return self.combine(*sketched)

    def combine(self, *sketched: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Sketch the tensor product given each factor's own sketch, ``factors[k].apply(X_k)``.

        Parameters
        ----------
        *sketched : arrays of shape (n, n_components)
            One a factor.

        Returns
        -------
        array of shape (n, n_components)
        """
        raise NotImplementedError


def check_sizes(call: str, n_features: int, n_components: int) -> None:
    """Raise ValueError unless both sizes are at least 1."""
    for name, size in (("n_features", n_features), ("n_components", n_components)):
        if size < 1:
            raise ValueError(f"{call}: {name} = {size}, expected at least 1.")


def densify(X: Any) -> Any:
    """Return rows as a dense array."""
    return X.toarray() if sparse.issparse(X) else X
