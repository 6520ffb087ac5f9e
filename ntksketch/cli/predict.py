"""``ntksketch predict``: what a saved model says of a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import ntksketch as ntk
from ntksketch.cli import streaming as s
from ntksketch.cli.errors import InputError
from ntksketch.cli.scores import score
from ntksketch.data import write_predictions
from ntksketch.data.mapped import MappedArray
from ntksketch.data.open import FORMATS


def predict(
    model: Annotated[Path, typer.Argument(help="The model that fit saved.")],
    rows: s.Rows,
    output: Annotated[Path, typer.Argument(help=".npy file or .zarr folder of the predictions.")],
    target: s.Target = None,
    key: s.Key = None,
    header: s.Header = None,
    scores: Annotated[
        bool, typer.Option(help="Of a classifier, write scores rather than classes.")
    ] = False,
    resume: s.Resume = False,
    memory: s.Memory = None,
    json: s.Json = False,
) -> None:
    """Predict the targets of all rows; with --target, tell how well.

    A run that was stopped, even killed, goes on with --resume and gives the same bytes.
    """
    with s.user_errors(s.KEPT):
        fitted = ntk.load(model)
        if not isinstance(fitted, (ntk.NTKRegressor, ntk.NTKClassifier)):
            raise InputError(f"{model}: it holds a {type(fitted).__name__}, which does not predict")
        classifier = isinstance(fitted, ntk.NTKClassifier)
        if scores and not classifier:
            raise InputError(f"{model}: it holds a regressor, which has no scores")
        width = int(vars(fitted)["n_features_in_"])
        source = s.open_file(rows, target, key, header, **_width(rows, width))
        fitted.set_params(working_memory=memory)
        with s.refusals(), s.row_progress("predictions", source.shape[0]) as add:
            write_predictions(
                fitted,
                source,
                output,
                response_method="decision_function" if scores else "predict",
                resume=resume,
                working_memory=memory,
                progress=s.up_to(add),
            )
        n_rows = source.shape[0] or 0
        result = {"output": str(output), "rows": n_rows}
        if source.has_targets and not scores:
            predicted = _open(output)
            result |= score(source, predicted, classifier=classifier, working_memory=memory)
        s.show(result, json)


def _width(rows: Path, n_features: int) -> dict[str, int]:
    """Return the number of columns for a format that may leave the last ones out."""
    return {"n_features": n_features} if rows.suffix.lower() in FORMATS["libsvm"] else {}


def _open(path: Path) -> Any:
    """Return the predictions of a file, of which no more is in memory than is being read."""
    if path.suffix == ".npy":
        return MappedArray(functools.partial(np.load, path, mmap_mode="r"))
    import zarr

    return zarr.open_array(str(path), mode="r")
