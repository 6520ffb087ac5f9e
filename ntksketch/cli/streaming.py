"""What the commands on large files share: options, rows block by block, progress and results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from ntksketch.architectures import Architecture
from ntksketch.cli.errors import InputError, one_line_errors
from ntksketch.cli.evaluate import named_methods
from ntksketch.cli.progress import progress_bar
from ntksketch.data import Source, SourceError, open_source
from ntksketch.storage import ModelFileError

Rows = Annotated[
    Path, typer.Argument(help=".npy, .npz, .zarr, .h5, .parquet, .csv or .libsvm: the rows.")
]
Target = Annotated[
    str | None,
    typer.Option(help="Targets: a .npy file, or the name of an array or of a column in the file."),
]
Key = Annotated[str | None, typer.Option(help="Of .npz, .zarr and .h5: the array of the rows.")]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Of .csv: whether the first line names the columns. [default: unless it has numbers]",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        help="The network, such as 'cnn(3, pooling=2, shape=(32, 32, 3))' or "
        "'rnn(shape=(100, 8))'. [default: mlp of --depth and --bias]"
    ),
]
Depth = Annotated[int, typer.Option(min=1, help="Hidden layers of the network.")]
Bias = Annotated[float, typer.Option(min=0.0, help="Standard deviation of the biases.")]
Kind = Annotated[Literal["ntk", "nngp"], typer.Option(help="Which kernel.")]
MethodName = Annotated[str, typer.Option("--method", help="auto, or one that compare knows.")]
Components = Annotated[int, typer.Option(min=1, help="Number of features.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the features.")]
Memory = Annotated[
    float | None,
    typer.Option(help="MiB for blocks and temporaries. [default: scikit-learn's, 1024]"),
]
Resume = Annotated[bool, typer.Option(help="Go on with a run that was stopped.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]

KEPT = "finished blocks are kept; the same command with --resume goes on"

# what the library raises for input that cannot be used, and nothing else
_USERS = (
    SourceError,
    ModelFileError,
    OSError,
    MemoryError,
    ModuleNotFoundError,
    FloatingPointError,
)


@contextmanager
def user_errors(stopped: str) -> Iterator[None]:
    """Turn documented errors into a line and exit status 2, and Ctrl-C into one and 130."""
    with one_line_errors():
        try:
            yield
        except _USERS as error:
            raise InputError(_text(error)) from error
        except KeyboardInterrupt:
            print(f"ntksketch: stopped; {stopped}", file=sys.stderr)
            raise SystemExit(130) from None


def _text(error: BaseException) -> str:
    """Return a message without the number of the system's error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def open_file(
    path: Path,
    target: str | None = None,
    key: str | None = None,
    header: bool | None = None,
    **options: Any,
) -> Source:
    """Return the rows of a file."""
    options |= {"key": key, "header": header}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return open_source(path, targets=target, **given)
    except TypeError as error:  # an option that the format does not have
        raise InputError(f"{path}: {error}") from error


def method(name: str, network: Architecture) -> Any:
    """Return a method by name, for a network."""
    return name if name == "auto" else named_methods([name], network)[name]


@contextmanager
def refusals() -> Iterator[None]:
    """Let a refusal of parameters or data, as fits raise it, be a line as well."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error


@contextmanager
def row_progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show rows, rate and the time left on a terminal; yield a function that adds rows."""
    with progress_bar(Console(stderr=True)) as progress:
        bar = progress.add_task(what, total=total, rate="")

        def add(n_rows: int) -> None:
            speed = progress.tasks[bar].speed
            rate = "" if speed is None else f"{speed:,.0f} rows/s"
            progress.update(bar, advance=n_rows, rate=rate)

        yield add


def up_to(add: Callable[[int], None]) -> Callable[[int, int], None]:
    """Return a function that is told how many rows are done, for one that adds rows."""
    done = 0

    def progress(finished: int, total: int) -> None:
        nonlocal done
        add(finished - done)
        done = finished

    return progress


def say(text: str) -> None:
    """Tell about the work on stderr."""
    print(text, file=sys.stderr)


def show(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: a line a value, or JSON."""
    if as_json:
        print(json.dumps(result, default=str))
        return
    for name, value in result.items():
        print(f"{name}: {f'{value:,}' if isinstance(value, int) else value}")
