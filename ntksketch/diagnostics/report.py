"""Reports of kernel errors: values with standard errors that print, plot and turn into dicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error.

    Attributes
    ----------
    value : float
        The number.
    standard_error : float or None
        Its standard error; None where nothing was sampled.

    Examples
    --------
    >>> from ntksketch.diagnostics import Estimate
    >>> print(Estimate(0.12345, 0.0021))
    0.1235 ± 0.0021
    """

    value: float
    standard_error: float | None = None

    @classmethod
    def from_sample(cls, values: Sequence[float]) -> Estimate:
        """Return the mean of independent values with its standard error.

        Parameters
        ----------
        values : sequence of float
            At least one; a single one has no standard error.

        Returns
        -------
        Estimate
            Mean and standard error.
        """
        if len(values) == 1:
            return cls(float(values[0]))
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))

    def __str__(self) -> str:
        if self.standard_error is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ± {self.standard_error:.2g}"


@dataclass(frozen=True)
class RidgeError:
    """What matters to ridge regression with one penalty.

    Attributes
    ----------
    alpha : float
        The ridge a, relative to trace(K)/n.
    statistical_dimension : Estimate
        tr K (K + aI)^-1.
    spectral_factor : Estimate
        Spectral norm of (K + aI)^-1/2 (ZZ' - K) (K + aI)^-1/2.
    prediction_gap : Estimate
        Distance between the predictions of exact kernel ridge and of ridge on the features on
        held-out rows, relative to the norm of the exact ones.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((40, 3))
    >>> features = ntk.NTKFeatures(n_components=64, random_state=0).fit(X)
    >>> (ridge,) = ntk.check_features(features, X, alphas=[0.1]).ridges
    >>> ridge.alpha, bool(0 < ridge.statistical_dimension.value < 40)
    (0.1, True)
    """

    alpha: float
    statistical_dimension: Estimate
    spectral_factor: Estimate
    prediction_gap: Estimate


@dataclass(frozen=True)
class KernelErrorReport:
    """Errors of features against the exact kernel; made by :func:`check_features`.

    Attributes
    ----------
    description : str
        The features checked.
    n_components : int
        Number of their columns.
    n_rows, n_samples : int
        Rows in each sample, and number of samples; one sample of all rows where they are few.
    frobenius : Estimate
        Frobenius norm of ZZ' - K relative to that of K.
    spectral : Estimate
        Spectral norm of ZZ' - K relative to that of K.
    diagonal : Estimate
        Root mean square error of the diagonal relative to the diagonal's root mean square.
    bias : Estimate
        Mean of the entries of ZZ' - K relative to the mean of K's, averaged over new draws of the
        features.
    truncation : Estimate or None
        Frobenius norm of the difference between the kernel that more columns lead to and K,
        relative to that of K; None where no series was cut off.
    ridges : tuple of RidgeError
        One for each penalty.

    Examples
    --------
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((40, 3))
    >>> features = ntk.NTKFeatures(method="random-features", n_components=64, random_state=0)
    >>> report = ntk.check_features(features.fit(X), X)
    >>> report.n_components, report.n_rows, 0 < report.frobenius.value < 1
    (64, 40, True)
    """

    description: str
    n_components: int
    n_rows: int
    n_samples: int
    frobenius: Estimate
    spectral: Estimate
    diagonal: Estimate
    bias: Estimate
    truncation: Estimate | None
    ridges: tuple[RidgeError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as nested dicts and lists of plain numbers and text.

        Returns
        -------
        dict
            Ready for ``json.dumps``.
        """
        result = asdict(self)
        result["ridges"] = list(result["ridges"])
        return result

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the table's rows.

        Yields
        ------
        name, value : str
            A quantity and its value as text.
        """
        yield "relative Frobenius error", str(self.frobenius)
        yield "relative spectral error", str(self.spectral)
        yield "relative error of the diagonal", str(self.diagonal)
        yield "relative bias over new draws", str(self.bias)
        if self.truncation is not None:
            yield "relative truncation error", str(self.truncation)
        for ridge in self.ridges:
            at = f"at ridge {ridge.alpha:g} trace(K)/n"
            yield f"statistical dimension {at}", str(ridge.statistical_dimension)
            yield f"spectral factor {at}", str(ridge.spectral_factor)
            yield f"prediction gap {at}", str(ridge.prediction_gap)

    def __str__(self) -> str:
        rows = list(self.rows())
        width = max(len(name) for name, _ in rows)
        times = "" if self.n_samples == 1 else f", {self.n_samples} samples"
        head = [self.description, f"{self.n_components} components, {self.n_rows} rows{times}"]
        return "\n".join([*head, *(f"  {name:<{width}}  {value}" for name, value in rows)])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the errors as horizontal bars on a logarithmic axis.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure. Needs matplotlib (``ntksketch[cli]``).

        Returns
        -------
        Axes
            The axes drawn on.
        """
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(7, 0.45 * (4 + 2 * len(self.ridges)) + 1), layout="tight")
        bars = [
            ("Frobenius", self.frobenius),
            ("spectral", self.spectral),
            ("diagonal", self.diagonal),
            ("bias (absolute)", self.bias),
        ]
        if self.truncation is not None:
            bars.append(("truncation", self.truncation))
        for ridge in self.ridges:
            bars.append((f"spectral factor, ridge {ridge.alpha:g}", ridge.spectral_factor))
            bars.append((f"prediction gap, ridge {ridge.alpha:g}", ridge.prediction_gap))
        names = [name for name, _ in bars]
        values = [abs(estimate.value) for _, estimate in bars]
        ax.barh(names, values, xerr=[e.standard_error or 0 for _, e in bars], color="#4477aa")
        ax.invert_yaxis()
        ax.set_xscale("log")
        ax.set_xlabel("error relative to the exact kernel")
        ax.set_title(f"{self.description}\n{self.n_components} components", fontsize=9)
        return ax
