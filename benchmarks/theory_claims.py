"""The claims of theory, and whether what was measured bears them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.rendering import measurements, number

_HALF = 0.05  # how far an exponent may be from -1/2 for one network's error
_FEWER_DRAWS = 0.1  # and where draws are few
_RATE = 0.05  # how far exponents of eigenvalues may be from the proved one
_WITHIN = 0.05  # relative error of the closed form
_ROUNDING = 1e-10
_ALIKE = 0.99  # correlation of predictions
_POINTS = 0.005  # of accuracy, and of rows with another label
_LEARNED, _FAILED = 0.1, 0.9  # squared errors of targets of variance 1


@dataclass(frozen=True)
class Claim:
    """A claim, its source, what was measured, and why it is missed: empty if it is not."""

    claim: str
    source: str
    measured: str
    miss: str

    @property
    def verdict(self) -> str:
        """Whether it holds."""
        return f"missed: {self.miss}" if self.miss else "confirmed"


def claims(results: dict[str, Any]) -> list[Claim]:
    """Return the claims of all experiments that were made."""
    found = []
    for key, judge in _JUDGES.items():
        for m in measurements(results, key=key):
            found += judge(results["settings"]["experiments"][key], m)
    return found


def plus_minus(value: dict[str, Any], form: str = "{:.2f}") -> str:
    """Return a mean with its standard error."""
    mean, error = form.format(value["mean"]), value["standard_error"]
    return mean if error is None else f"{mean} ± {form.format(error)}"


def within(m: dict[str, Any]) -> int:
    """Return at how many of the times, from the first on, the exact kernel is close enough."""
    errors = [value["mean"] for value in m["errors"]["exact kernel"][-1]]
    return next((i for i, error in enumerate(errors) if error >= _WITHIN), len(errors))


def _convergence(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    found = m["inits"]["gaussian"]
    first, last = found["errors"][0]["mean"], found["errors"][-1]["mean"]
    return [
        Claim(
            "The NTK of one random network tends to the infinite one, its relative error falling "
            "as width^(-1/2)",
            "Jacot et al. (2018), arXiv:1806.07572",
            f"exponent {plus_minus(found['slope'])}, depth {s['depth']}; error {first:.1%} at "
            f"width {m['widths'][0]:,}, {last:.2%} at {m['widths'][-1]:,}",
            _far(found["slope"], -0.5, _HALF),
        )
    ]


def _far(slope: dict[str, Any], wanted: float, margin: float) -> str:
    distance = abs(slope["mean"] - wanted)
    return "" if distance <= margin else f"the exponent is {distance:.2f} from {wanted:g}"


def _initialisation(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    inits = m["inits"]
    parts = [
        f"{name} weights: exponent {plus_minus(found['slope'])}, error "
        f"{found['errors'][-1]['mean']:.1%}, of the mean over {s['draws']} draws "
        f"{found['errors_of_mean'][-1]:.1%}"
        for name, found in inits.items()
    ]
    misses = [
        f"{n}: {far}" for n, f in inits.items() if (far := _far(f["slope"], -0.5, _FEWER_DRAWS))
    ]
    return [
        Claim(
            "With orthogonal weights the NTK has the same limit as with Gaussian ones",
            "Huang, Du, Xu (2021), arXiv:2004.05867",
            f"depth {s['depth']}, at width {m['widths'][-1]:,}; {'; '.join(parts)}",
            "; ".join(misses),
        )
    ]


def _drift(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    exponent, first, last = m["slope"]["mean"], m["changes"][0]["mean"], m["changes"][-1]["mean"]
    return [
        Claim(
            "Gradient descent changes the NTK by a share of at most width^(-1/2)",
            "Lee et al. (2019), arXiv:1902.06720",
            f"depth {s['depth']}: exponent {plus_minus(m['slope'])}; {first:.0%} at width "
            f"{m['widths'][0]:,}, {last:.2%} at {m['widths'][-1]:,}",
            "" if exponent <= -0.5 else f"it falls as width^({exponent:.2f})",
        )
    ]


def _closed_form(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    exact, own = (m["errors"][name][-1] for name in ("exact kernel", "empirical kernel"))
    times, width, count = m["times"], m["widths"][-1], within(m)
    at = sorted({max(count - 1, 0), len(times) - 1})
    measured = [
        f"{_percent(exact[i])} after {times[i]:,} steps (training loss {m['loss'][-1][i]:.3f}, "
        f"{m['right'][-1][i]:.1%} of the training rows right)"
        for i in at
    ]
    miss = (
        f"after more than {times[count - 1]:,} steps" if count else "from the first step on"
    ) + ", since training changes the kernel: the network's own one at the start is off by "
    return [
        Claim(
            "A linearised network under gradient descent follows the closed form of its own kernel",
            "Lee et al. (2019), arXiv:1902.06720",
            f"test outputs differ by {m['linearised_and_flow']:.0e} at most, over all widths and "
            "times",
            "" if m["linearised_and_flow"] < _ROUNDING else "they differ by more than rounding",
        ),
        Claim(
            f"The closed form of the exact kernel predicts the test outputs of a trained network "
            f"of width {width:,} within {_WITHIN:.0%}",
            "Lee et al. (2019), arXiv:1902.06720",
            f"relative error {'; '.join(measured)}",
            f"{miss}{_percent(own[-1])} at the end" if count < len(times) else "",
        ),
    ]


def _percent(value: dict[str, Any]) -> str:
    mean, error = value["mean"], value["standard_error"]
    return f"{mean:.2%}" if error is None else f"{100 * mean:.2f} ± {100 * error:.2f} %"


def _spectra(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    exponents = {
        f"{name}, {parity} degrees": value
        for name, found in m["spectra"].items()
        for parity, value in found["exponents"].items()
        if value is not None
    }
    far = [name for name, value in exponents.items() if abs(value + 3) > _RATE]
    low, high = min(exponents.values()), max(exponents.values())
    deviation = max(found["deviation"] for found in m["spectra"].values())
    return [
        Claim(
            "On the sphere in d dimensions eigenvalues of the NTK and of the Laplace kernel fall "
            "at one rate, as degree^(-d), whatever the depth",
            "Geifman et al. (2020), arXiv:2007.01580; Bietti and Bach (2021), arXiv:2009.14397",
            f"d = 3, degrees {s['fitted'][0]} to {s['fitted'][1]}: exponents {low:.3f} to "
            f"{high:.3f} of {', '.join(m['spectra'])}; the library's coefficients and integrals "
            f"differ by {deviation:.0e} of the first",
            f"another exponent for {', '.join(far)}" if far else "",
        )
    ]


def _regression(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    laplace = {name: found["Laplace"] for name, found in m["regression"].items()}
    far = {name: found for name, found in laplace.items() if found["correlation"] < _ALIKE}
    return [
        Claim(
            "Regression with the Laplace kernel predicts what regression with the NTK does",
            "Geifman et al. (2020), arXiv:2007.01580",
            "correlation of test predictions "
            + ", ".join(f"{found['correlation']:.4f} ({name})" for name, found in laplace.items()),
            "; ".join(
                f"of {name} the width that fits best leaves {found['misfit']:.1%} of the variance "
                f"of the NTK's entries"
                for name, found in far.items()
            ),
        )
    ]


def _mnist(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    network, exact = m["found"]["network"], m["found"]["exact kernel"]
    name = s["methods"][0]
    ours = m["found"][name]
    misses = []
    if abs(ours["accuracy"] - network["accuracy"]) > _POINTS:
        misses.append("accuracies differ")
    if 1 - ours["same_labels"] > _POINTS:
        misses.append("labels differ")
    if ours["error"] > exact["error"] + 0.01:
        misses.append(f"the exact kernel has an error of {exact['error']:.1%}")
    return [
        Claim(
            "Features of the NTK stand in for a trained network as the exact kernel does (MNIST, "
            "0 against 1)",
            "Zandieh et al. (2021), arXiv:2106.07880; Lee et al. (2019), arXiv:1902.06720",
            f"accuracy: network of width {s['width']:,} {network['accuracy']:.2%}, "
            f"{s['n_components']:,} features {ours['accuracy']:.2%}, exact kernel "
            f"{exact['accuracy']:.2%}; same label as the "
            f"network {ours['same_labels']:.2%}; outputs differ from the network's by "
            f"{ours['error']:.1%} (exact kernel: {exact['error']:.1%})",
            "; ".join(misses),
        )
    ]


def _parity(s: dict[str, Any], m: dict[str, Any]) -> list[Claim]:
    kernel, network, n = m["errors"]["kernel"], m["errors"]["network"], m["sizes"][-1]
    slack = [2 * (value["standard_error"] or 0) for value in kernel]
    least = [v["mean"] + e - b for v, e, b in zip(kernel, slack, m["bounds"], strict=True)]
    misses = []
    if min(least) < 0 or kernel[-1]["mean"] < _FAILED:
        misses.append("the kernel does better")
    if network[-1]["mean"] > _LEARNED:
        misses.append("the network does not learn it")
    return [
        Claim(
            "From n rows no kernel learns a random parity of k of d signs to an expected squared "
            "error below 1 - n/C(d, k); a network trained by gradient descent does",
            "Malach, Kamath, Abbe, Srebro (2021), arXiv:2103.01210; Daniely and Malach (2020), "
            "arXiv:2002.07400",
            f"d = {s['dim']}, k = {s['order']}, n = {n:,}: NTK {plus_minus(kernel[-1])} (bound "
            f"{number(m['bounds'][-1])}), network of width {s['width']} in the standard "
            f"parameterization, by Adam on batches of {s['batch']}, "
            f"{plus_minus(network[-1], '{:.3f}')}",
            "; ".join(misses),
        )
    ]


_JUDGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[Claim]]] = {
    "convergence": _convergence,
    "initialisation": _initialisation,
    "drift 1": _drift,
    "drift 2": _drift,
    "closed form": _closed_form,
    "spectra": _spectra,
    "regression": _regression,
    "mnist": _mnist,
    "parity": _parity,
}
