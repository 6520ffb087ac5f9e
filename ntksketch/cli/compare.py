"""``ntksketch compare``: the methods on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import sklearn
import typer

from ntksketch.cli.architecture import network as build
from ntksketch.cli.errors import one_line_errors
from ntksketch.cli.evaluate import named_methods
from ntksketch.cli.loading import load
from ntksketch.cli.problem import make_problem
from ntksketch.cli.run import parse_sizes, run
from ntksketch.cli.streaming import Header, Json, Key, Memory, Network

_TARGET = (
    "Target: of .csv a column (default the last), of .npz a key (default y), of .npy a second "
    ".npy file (default the last column)."
)
_TASK = "auto: text, true/false or at most 20 different whole numbers are classes."


def compare(
    data: Annotated[
        Path,
        typer.Argument(help=".npy, .npz (X, y or X_train, y_train, ...), .csv, or what fit takes."),
    ],
    target: Annotated[str | None, typer.Option(help=_TARGET)] = None,
    key: Key = None,
    header: Header = None,
    task: Annotated[
        Literal["auto", "regression", "classification"], typer.Option(help=_TASK)
    ] = "auto",
    network: Network = None,
    depth: Annotated[int, typer.Option(min=1, help="Hidden layers of the network.")] = 1,
    bias: Annotated[float, typer.Option(help="Standard deviation of the biases.")] = 0.0,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method; may be repeated. [default: all, and ntkrf as published]"),
    ] = None,
    components: Annotated[
        str, typer.Option(help="Numbers of features, separated by commas.")
    ] = "256,1024,2048",
    test_fraction: Annotated[
        float, typer.Option(help="Part of the rows kept for testing, unless the file has a split.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split and of the features.")] = 0,
    standardize: Annotated[
        bool, typer.Option(help="Scale columns to mean 0 and variance 1 on the training rows.")
    ] = True,
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("ntksketch-compare"),
    max_exact_rows: Annotated[
        int,
        typer.Option(min=0, help="Leave exact kernel ridge out with more training rows than this."),
    ] = 5000,
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Compare methods on your data: kernel error, test score and time of each.

    The exact kernel is the yardstick where it fits. Writes a report with table and picture.
    """
    config = {} if memory is None else {"working_memory": memory}
    with one_line_errors(), sklearn.config_context(**config):
        architecture = build(network, depth, bias)
        methods, sizes = named_methods(method, architecture), parse_sizes(components)
        problem = make_problem(
            data.name,
            load(data, target, key, header),
            task=task,
            test_fraction=test_fraction,
            standardize=standardize,
            seed=seed,
        )
        run(
            problem,
            architecture,
            methods,
            sizes,
            output,
            seed=seed,
            max_exact_rows=max_exact_rows,
            settings={"standardised columns": "yes" if standardize else "no"},
            as_json=as_json,
        )
