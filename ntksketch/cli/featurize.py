"""``ntksketch featurize``: the features of a file, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ntksketch as ntk
from ntksketch.cli import streaming as s
from ntksketch.cli.architecture import network as build
from ntksketch.storage.container import require_safetensors


def featurize(
    rows: s.Rows,
    output: Annotated[Path, typer.Argument(help=".npy file or .zarr folder of the features.")],
    key: s.Key = None,
    header: s.Header = None,
    model: Annotated[
        Path | None, typer.Option(help="Features that were saved; then no options below count.")
    ] = None,
    network: s.Network = None,
    depth: s.Depth = 1,
    bias: s.Bias = 0.0,
    kind: s.Kind = "ntk",
    method: s.MethodName = "auto",
    components: s.Components = 1024,
    seed: s.Seed = 0,
    save: Annotated[Path | None, typer.Option(help="Where to save the features' draw.")] = None,
    resume: s.Resume = False,
    memory: s.Memory = None,
    json: s.Json = False,
) -> None:
    """Write the NTK features of all rows to a file, block by block.

    A run that was stopped, even killed, goes on with --resume and gives the same bytes.
    """
    with s.user_errors(s.KEPT):
        source = s.open_file(rows, key=key, header=header)
        if save is not None:
            require_safetensors()
        with s.refusals():
            if model:
                features = _features(model)
            else:
                architecture = build(network, depth, bias)
                features = ntk.NTKFeatures(
                    architecture,
                    s.method(method, architecture),
                    components,
                    kind=kind,
                    working_memory=memory,
                    random_state=seed,
                ).fit(source)
            if save is not None:
                ntk.save(features, save)
            with s.row_progress("features", source.shape[0]) as add:
                written = ntk.data.featurise(
                    features,
                    source,
                    output,
                    resume=resume,
                    working_memory=memory,
                    progress=s.up_to(add),
                )
        s.show(
            {
                "output": str(output),
                "rows": written.shape[0],
                "components": written.shape[1],
                "dtype": str(written.dtype),
            },
            json,
        )


def _features(path: Path) -> ntk.NTKFeatures:
    model = ntk.load(path)
    if isinstance(model, (ntk.NTKRegressor, ntk.NTKClassifier)):
        return model.features_
    if not isinstance(model, ntk.NTKFeatures):
        raise TypeError(f"{path}: it holds a {type(model).__name__}, which has no features")
    return model
