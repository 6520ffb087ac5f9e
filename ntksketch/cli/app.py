"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

import ntksketch as ntk
from ntksketch.cli.compare import compare
from ntksketch.cli.demo import demo
from ntksketch.cli.featurize import featurize
from ntksketch.cli.fit import fit
from ntksketch.cli.predict import predict

app = typer.Typer(
    help="Neural tangent kernel features and models of them, compared with the exact kernel.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # an unexpected error keeps Python's own traceback
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(ntk.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Neural tangent kernel features and models of them, compared with the exact kernel."""


app.command()(demo)
for command in (compare, featurize, fit, predict):
    app.command()(command)
