"""``ntksketch fit``: a model of a file, in one pass over it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

import ntksketch as ntk
from ntksketch.cli import streaming as s
from ntksketch.cli.architecture import network as build
from ntksketch.cli.errors import InputError
from ntksketch.estimators.cost import fit_cost
from ntksketch.storage.container import require_safetensors


def fit(
    rows: s.Rows,
    output: Annotated[Path, typer.Argument(help="Where to save the model (.safetensors).")],
    target: s.Target = None,
    key: s.Key = None,
    header: s.Header = None,
    task: Annotated[
        Literal["regression", "classification"], typer.Option(help="What the targets are.")
    ] = "regression",
    network: s.Network = None,
    depth: s.Depth = 1,
    bias: s.Bias = 0.0,
    kind: s.Kind = "ntk",
    method: s.MethodName = "auto",
    components: s.Components = 1024,
    alpha: Annotated[
        list[float] | None,
        typer.Option(help="Penalty; several are chosen from. [default: a grid, by GCV]"),
    ] = None,
    seed: s.Seed = 0,
    resume: Annotated[
        bool, typer.Option(help="Keep the state of the pass beside OUTPUT, and go on with it.")
    ] = False,
    memory: s.Memory = None,
    json: s.Json = False,
) -> None:
    """Fit ridge regression or classification on NTK features, and save the model.

    The rows are read twice at most, and never are more than some blocks of them in memory. With
    --resume a run that was stopped, even killed, goes on where its state was last saved.
    """
    kept = "the same command goes on" if resume else "with --resume it could go on"
    with s.user_errors(f"nothing was written to {output}; {kept}"):
        source = s.open_file(rows, target, key, header)
        if not source.has_targets:
            raise InputError(f"{rows}: it has no targets; say which with --target")
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise InputError(f"{output}: it must be a file in a folder that is there")
        require_safetensors()
        estimator = ntk.NTKClassifier if task == "classification" else ntk.NTKRegressor
        with s.refusals():
            architecture = build(network, depth, bias)
            model = estimator(
                architecture,
                s.method(method, architecture),
                components,
                kind=kind,
                alphas=np.array(alpha) if alpha else "auto",
                working_memory=memory,
                random_state=seed,
            )
            n_rows, n_columns = source.shape
            cost = fit_cost(source, components, memory)
            s.say(f"{n_rows or 'some'} rows of {n_columns} columns; {cost}")
            with s.row_progress("pass", source.shape[0]) as add:
                state = output.with_name(f"{output.name}.pass") if resume else None
                model.fit(source, progress=add, checkpoint=state)
            ntk.save(model, output)
        s.show(
            {
                "output": str(output),
                "rows": model.ridge_.n_samples_seen_,
                "components": components,
                "alpha": float(model.alpha_),
                "seconds": {name: round(t, 3) for name, t in model.fit_seconds_.items()},
            },
            json,
        )
