"""Tree sketch: high tensor products by a binary tree of sketches of products of two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jax.typing import DTypeLike
from scipy import sparse

from .base import ProductSketch, Rows, VectorSketch, check_sizes, densify
from .complex_tensor_srht import ComplexTensorSRHT
from .count_sketch import CountSketch
from .osnap import OSNAP
from .srht import SRHT
from .tensor_srht import TensorSRHT

Node: TypeAlias = TensorSRHT | ComplexTensorSRHT
Span: TypeAlias = tuple[int, int]

BASES = {"osnap": OSNAP, "countsketch": CountSketch, "srht": SRHT}  # kinds of leaves


@register_dataclass
@dataclass(frozen=True)
class TreeSketch(ProductSketch):
    r"""Sketch of the row-wise tensor product of p matrices by a binary tree.

    The node of the factors a, ..., b-1 sketches the product of its two children,

    .. math:: S_{ab} = Q_{ab} (S_{ac} \otimes S_{cb}),

    where c - a is the largest power of two below b - a, and :math:`Q_{ab}` is a TensorSRHT of
    degree two. Its signs are real in hidden nodes, where width costs only time, and real or complex
    in those that come out. A leaf :math:`S_{a,a+1}` is a sparse sketch, or nothing
    where its factor is no wider than the leaves. All sketches are independent, so inner products
    keep their mean. For unit vectors and nodes and leaves of w columns their variance is at most

    .. math:: (1 + 8/w)^{p-1} (1 + 2/w)^p - 1,

    about a multiple of p/w where the product of p sketches has :math:`3^p/w`. (With complex signs
    at the top the 8 of one node is a 6.)

    The powers :math:`x^{\otimes j}` of one vector are the nodes of the first j factors. So one
    tree gives all powers, which share most of their nodes. (As published, a power is the whole
    tree of :math:`x^{\otimes j} \otimes e_1^{\otimes(p-j)}`; leaving out the constant factors
    changes no mean, saves work and adds no variance.)

    Attributes
    ----------
    leaves : tuple of sketches or None
        One for each factor; None for a factor that goes into its node as it is.
    nodes : dict of (int, int) to TensorSRHT or ComplexTensorSRHT
        The sketch :math:`Q_{ab}` of each node (a, b).

    Other Parameters
    ----------------
    n_hidden : int or None, default=None
        Width of the nodes below the top; None: as the sketch.
    leaf_width : int or None, default=None
        Width of the leaves; a factor no wider has none. None: as the nodes below the top.
    base : {"osnap", "countsketch", "srht"}, default="osnap"
        Kind of the leaves.
    complex_to_real : bool, default=False
        Whether the node of the sketch itself has complex signs.

    References
    ----------
    T. D. Ahle, M. Kapralov, J. B. T. Knudsen, R. Pagh, A. Velingker, D. P. Woodruff, A. Zandieh
    (2020). Oblivious sketching of high-degree polynomial kernels. arXiv:1909.01410

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> sketch = TreeSketch.init(jax.random.key(0), n_features=(3, 2, 4), n_components=16)
    >>> sketch.apply(jnp.ones((5, 3)), jnp.ones((5, 2)), jnp.ones((5, 4))).shape
    (5, 16)
    """

    leaves: tuple[Any, ...]
    nodes: dict[Span, Node]

    @property
    def _shape(self) -> tuple[tuple[int, ...], int]:
        widths = {}
        for (start, stop), node in self.nodes.items():
            middle = _middle(start, stop)
            widths |= {(start, middle): node.n_features[0], (middle, stop): node.n_features[1]}
        n_features = tuple(
            widths[k, k + 1] if leaf is None else leaf.n_features
            for k, leaf in enumerate(self.leaves)
        )
        top = self.nodes[0, len(self.leaves)] if self.nodes else self.leaves[0]
        return n_features, top.n_components

    @classmethod
    def _draw(
        cls,
        key,
        n_features,
        n_components,
        dtype,
        *,
        n_hidden: int | None = None,
        leaf_width: int | None = None,
        base: str = "osnap",
        complex_to_real: bool = False,
    ) -> Self:
        if len(n_features) == 1:
            return cls((_kind(base).init(key, n_features[0], n_components, dtype),), {})
        sizes = n_components if n_hidden is None else n_hidden, leaf_width
        columns = {len(n_features): n_components}
        return cls(*_draw_tree(key, n_features, columns, dtype, sizes, base, complex_to_real))

    @classmethod
    def init_powers(
        cls,
        key: jax.Array,
        n_features: int,
        columns: Mapping[int, int],
        dtype: DTypeLike = jnp.float32,
        *,
        n_hidden: int,
        leaf_width: int | None = None,
        base: str = "osnap",
        complex_to_real: bool = False,
    ) -> Self:
        """Draw one sketch for several powers of a vector.

        Parameters
        ----------
        key : jax.random key
            Decides the draw, together with the sizes.
        n_features : int
            Width of the vector.
        columns : mapping of int to int
            Number of columns of each power, for powers of at least 2.
        dtype, n_hidden, leaf_width, base, complex_to_real
            As in `init`.

        Returns
        -------
        TreeSketch

        Raises
        ------
        ValueError
            If a size is below 1, a power below 2 or the base unknown.
        """
        if not columns or min(columns) < 2:
            raise ValueError(f"TreeSketch.init_powers: columns = {columns}, expected powers >= 2.")
        for width in columns.values():
            check_sizes("TreeSketch.init_powers", n_features, width)
        widths, sizes = (n_features,) * max(columns), (n_hidden, leaf_width)
        return cls(*_draw_tree(key, widths, columns, dtype, sizes, base, complex_to_real))

    def _apply(self, *factors: Rows) -> jax.Array | np.ndarray:
        Z = self._values(self.project(*factors))[0, len(self.leaves)]
        return np.asarray(Z) if all(sparse.issparse(X) for X in factors) else Z

    def project(self, *factors: Rows) -> tuple[Any, ...]:
        """Return the factors' leaves: linear in each factor, and dense.

        Parameters
        ----------
        *factors : arrays or SciPy CSR matrices of shapes (n, n_features[k]), floating
            One a leaf; sparse ones are handled on the host.

        Returns
        -------
        tuple of arrays of shape (n, width of the leaf)
        """
        return tuple(
            densify(X) if leaf is None else leaf.apply(X)
            for leaf, X in zip(self.leaves, factors, strict=True)
        )

    def powers(self, projected: Sequence[Any], columns: Mapping[int, int]) -> dict[int, jax.Array]:
        """Return sketches of powers of a vector.

        Parameters
        ----------
        projected : sequence of arrays of shape (n, width of the leaf)
            The vector's leaves, from `project`.
        columns : mapping of int to int
            As in `init_powers`.

        Returns
        -------
        dict of int to array of shape (n, columns[j])
            The sketch of each power j.
        """
        values = self._values(projected)
        return {j: _head(self.nodes[0, j], values[0, j], m) for j, m in columns.items()}

    def _values(self, projected: Sequence[Any]) -> dict[Span, Any]:
        """Return the value of every leaf and node."""
        values = {(k, k + 1): leaf for k, leaf in enumerate(projected)}
        # short spans first: children come before their parents
        for start, stop in sorted(self.nodes, key=lambda span: span[1] - span[0]):
            node, middle = self.nodes[start, stop], _middle(start, stop)
            children = [
                _head(self.nodes.get(span), values[span], width)
                for span, width in zip(
                    ((start, middle), (middle, stop)), node.n_features, strict=True
                )
            ]
            values[start, stop] = node.apply(*map(jnp.asarray, children))
        return values


def _kind(base: str) -> type[VectorSketch]:
    """Return the class of leaves."""
    if base not in BASES:
        raise ValueError(f"TreeSketch: base = {base!r}, expected one of {tuple(BASES)}.")
    return BASES[base]


def _middle(start: int, stop: int) -> int:
    """Return where a span is cut: after the largest power of two below its length."""
    return start + (1 << (stop - start - 1).bit_length() - 1)


def _spans(stop: int, start: int = 0) -> set[Span]:
    """Return the nodes of the tree of a span."""
    if stop - start == 1:
        return set()
    middle = _middle(start, stop)
    return {(start, stop)} | _spans(middle, start) | _spans(stop, middle)


def _draw_tree(
    key: jax.Array,
    n_features: tuple[int, ...],
    columns: Mapping[int, int],
    dtype: DTypeLike,
    sizes: tuple[int, int | None],
    base: str,
    complex_to_real: bool,
) -> tuple[tuple[VectorSketch | None, ...], dict[Span, Node]]:
    """Draw the trees of the first j factors for all powers j, with what they share."""
    kind, (n_hidden, leaf_width) = _kind(base), sizes
    leaf_width = n_hidden if leaf_width is None else leaf_width
    keys = jax.random.split(key, (len(n_features), len(n_features) + 1))
    leaves = tuple(
        None if width <= leaf_width else kind.init(keys[k, k], width, leaf_width, dtype)
        for k, width in enumerate(n_features)
    )
    widths = {(k, k + 1): min(width, leaf_width) for k, width in enumerate(n_features)}
    spans = set().union(*(_spans(j) for j in columns))
    children = {
        child for a, b in spans for child in ((a, _middle(a, b)), (_middle(a, b), b))
    } - set(widths)
    widths |= dict.fromkeys(children, n_hidden)
    nodes: dict[Span, Node] = {}
    for start, stop in sorted(spans):
        middle = _middle(start, stop)
        factors = widths[start, middle], widths[middle, stop]
        # a power that is a node of another one as well serves both, with its first columns
        is_power = start == 0 and stop in columns
        m = max(widths.get((start, stop), 1), columns[stop] if is_power else 1)
        cls = ComplexTensorSRHT if complex_to_real and is_power else TensorSRHT
        nodes[start, stop] = cls.init(keys[start, stop], factors, m, dtype)
    return leaves, nodes


def _head(node: Node | None, Z: Any, n_components: int) -> Any:
    """Return the sketch that a node's first samples make, from its value."""
    m = Z.shape[1]
    if node is None or m == n_components:
        return Z
    if isinstance(node, ComplexTensorSRHT):
        n_draws, imaginary = -(-n_components // 2), -(-m // 2)
        parts = Z[:, :n_draws], Z[:, imaginary : imaginary + n_components - n_draws]
        Z = jnp.concatenate(parts, axis=1)
    else:
        Z = Z[:, :n_components]
    return Z * np.asarray((m / n_components) ** 0.5, Z.dtype)
