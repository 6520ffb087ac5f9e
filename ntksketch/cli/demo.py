"""``ntksketch demo``: the whole path on handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.datasets import load_digits

import ntksketch as ntk
from ntksketch.cli.errors import one_line_errors
from ntksketch.cli.evaluate import named_methods
from ntksketch.cli.loading import Loaded
from ntksketch.cli.problem import make_problem
from ntksketch.cli.run import parse_sizes, run

_SPLIT_SEED = 0


def demo(
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("ntksketch-demo"),
    components: Annotated[
        str, typer.Option(help="Numbers of features, separated by commas.")
    ] = "256,1024,2048",
    depth: Annotated[int, typer.Option(min=1, help="Hidden layers of the network.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random features.")] = 0,
) -> None:
    """Classify handwritten digits with NTK features and with the exact NTK.

    The data come with scikit-learn, and the split is fixed. Compares the library's features, the
    published ones (ntkrf) and exact kernel ridge regression, and writes a report.
    """
    with one_line_errors():
        X, y = map(np.asarray, load_digits(return_X_y=True))
        problem = make_problem(
            "digits",
            Loaded(X / 16, y),
            task="classification",
            test_fraction=0.25,
            standardize=False,
            seed=_SPLIT_SEED,
        )
        run(
            problem,
            ntk.mlp(depth),
            named_methods(),
            parse_sizes(components),
            output,
            seed=seed,
            max_exact_rows=len(X),
            settings={"seed of the split": _SPLIT_SEED, "rows": "8 x 8 pixels, divided by 16"},
        )
