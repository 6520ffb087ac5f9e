"""What a feature method is, and the map that it draws."""

from __future__ import annotations

from typing import Any, Protocol

import jax
from numpy.typing import NDArray

from ntksketch.architectures import Architecture
from ntksketch.architectures.layers import short_repr
from ntksketch.architectures.spatial import has_lengths, is_recurrent, is_spatial
from ntksketch.kernels import ZonalKernel, resolve_target
from ntksketch.kernels.gram import check_squares, in_range
from ntksketch.kernels.inputs import with_input
from ntksketch.kernels.zonal import is_homogeneous


class FeatureMap(Protocol):
    """A drawn feature map: a named tuple, so that it pickles and compiled code sees its arrays."""

    @property
    def params(self) -> Any:
        """Arrays (a pytree): floating ones are cast to the rows' dtype; CSR stays on the host."""
        ...

    @property
    def n_components(self) -> int:
        """Number of columns that `apply` returns."""
        ...

    @property
    def row_entries(self) -> int:
        """Bound on the entries that a row takes in `apply`, its features included."""
        ...

    @property
    def expected(self) -> ZonalKernel | None:
        """The kernel that more columns lead to, where a series was cut off; else None."""
        ...

    @property
    def is_homogeneous(self) -> bool:
        """Whether the features of c x are c times those of x, for every c > 0."""
        ...

    def apply(self, X: Any) -> Any:
        """Return the features of a block of rows, dense or CSR, in its dtype."""
        ...

    def _replace(self, **fields: Any) -> Any: ...


def check_layers(method: Method, target: Any) -> None:
    """Raise ValueError if a network has layers that no method goes through one by one."""
    if is_recurrent(target):
        raise ValueError(
            f"{method} has no features of {target}, which is recurrent: take method='nystroem'"
        )
    check_lengths(method, target)


def check_lengths(method: Method, target: Any) -> None:
    """Raise ValueError if a network takes sequences of different lengths."""
    if has_lengths(target):
        raise ValueError(
            f"{method} has no features of {target}, which takes sequences of different lengths: "
            "take method='nystroem'"
        )


class Method:
    """Base class of the feature methods: frozen values that draw a map for rows."""

    def __repr__(self) -> str:
        return short_repr(self)

    def _check_choices(self, **choices: tuple[str, ...]) -> None:
        """Raise ValueError if a parameter is none of what it can be."""
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")

    def _check_target(self, target: Architecture | ZonalKernel) -> None:
        """Raise ValueError if the method has no features of a kernel, of images for most."""
        if is_spatial(target):
            raise ValueError(
                f"{self} has no features of {target}, which works on images or signals: take "
                "method='layerwise-nystroem', or method='nystroem', which takes every kernel"
            )

    def takes(self, target: Architecture | ZonalKernel) -> bool:
        """Say whether the method has features of what a kernel takes: rows, images or signals.

        Parameters
        ----------
        target : Architecture or ZonalKernel
            What has the kernel.

        Returns
        -------
        bool
            Whether :meth:`init` does not refuse the kind of rows.
        """
        try:
            self._check_target(target)
        except ValueError:
            return False
        return True

    def sample_size(self, n_components: int) -> int:
        """Return how many rows a draw looks at, at most.

        Parameters
        ----------
        n_components : int
            Number of columns.

        Returns
        -------
        int
            One where only the rows' width and dtype matter.
        """
        return self._sample_size(n_components)

    def _sample_size(self, n_components: int) -> int:
        """Return the number of rows: what methods that look at data define."""
        return 1

    def init(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        X: Any,
        *,
        kind: str,
        n_components: int,
        sample_weight: Any = None,
    ) -> FeatureMap:
        """Draw a map.

        Parameters
        ----------
        key : jax.Array
            Random key; the draw does not depend on the rows' dtype.
        target : Architecture or ZonalKernel
            What has the kernel.
        X : ndarray or CSR of shape (n, d)
            Validated rows, or a sample of them. Methods that do not look at data take their width
            and dtype alone.
        kind : {"ntk", "nngp"}
            Which kernel, of an architecture.
        n_components : int
            Number of columns.
        sample_weight : ndarray of shape (n,), default=None
            Weights, which count as repetitions of a row.

        Returns
        -------
        FeatureMap
            Plan and parameters.

        Raises
        ------
        ValueError
            If the method cannot approximate this kernel, `n_components` is too small, or rows that
            the method looks at are so long that their squares overflow.
        """
        target, kind = resolve_target(target, kind)
        self._check_target(target)
        target, X = with_input(target, X)
        if self.sample_size(n_components) > 1 and not is_spatial(target):
            check_squares(X)
        if is_homogeneous(target):
            X = in_range(X)
        return self._draw(key, target, kind, X, n_components, sample_weight)

    def _draw(
        self,
        key: jax.Array,
        target: Architecture | ZonalKernel,
        kind: str,
        X: Any,
        n_components: int,
        sample_weight: NDArray | None,
    ) -> FeatureMap:
        """Draw a map for a checked target: what every method defines."""
        raise NotImplementedError
