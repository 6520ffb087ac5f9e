"""The command line: ``python -m benchmarks NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import ACCELERATED, NAMES, which_method
from benchmarks.rendering import render
from benchmarks.results import results_path
from benchmarks.runner import run

KNOWN = (*NAMES, "all", *ACCELERATED)
RESULTS = Path(__file__).parent / "results"


def main(
    name: Annotated[str, typer.Argument(help=f"{', '.join(KNOWN)}; or render")],
    rendered: Annotated[str, typer.Argument(help="after render: which one")] = "",
    short: Annotated[bool, typer.Option(help="Tiny sizes, to see that it runs.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    resume: Annotated[bool, typer.Option(help="Keep what the JSON has, measure the rest.")] = False,
    only: Annotated[
        str,
        typer.Option(help='Measure the keys that contain this text; "long" ones if it begins so.'),
    ] = "",
) -> None:
    """Measure one benchmark or all; short results go to the folder's short/ part."""
    rendering = name == "render"
    name = rendered if rendering else name
    if name not in KNOWN or (rendered and not rendering):
        raise typer.BadParameter(
            f"NAME must be one of {', '.join(KNOWN)}, got {name or rendered!r}"
        )
    failed = 0
    for each in NAMES if name == "all" else (name,):
        path = results_path(output, each, short)
        if not rendering:
            failed += run(each, path, short=short, resume=resume, only=only)
        page = which_method.write(path.parent) if each in which_method.SOURCES else []
        for written in [*render(path), *page]:
            typer.echo(written)
    if failed:
        raise typer.Exit(1)


def command() -> Any:
    """Return the command-line application."""
    app = typer.Typer(add_completion=False)
    app.command()(main)
    return app


if __name__ == "__main__":
    command()()
