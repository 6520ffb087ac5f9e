"""From a source to a file of results, block by block; a run that was stopped goes on."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ntksketch.data.blocks import memory_budget, rows_per_block
from ntksketch.data.checksum import checksum
from ntksketch.data.open import open_source
from ntksketch.data.prefetch import prefetch
from ntksketch.data.reservoir import any_row
from ntksketch.data.sinks.sink import BlockSink, check_path
from ntksketch.data.source import Block, Source, SourceError

_MOST_ROWS = 8192
_COPIES = 4  # a block and its features, and the next block: half the budget, the rest computes
_VERSIONS = ("ntksketch", "numpy", "scipy", "jax", "scikit-learn")


def featurise(
    features: Any,
    source: Any,
    sink: str | Path,
    *,
    resume: bool = False,
    working_memory: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Source:
    """Write the features of all rows of a source to a file.

    The next block is read while one is computed. The file gets its name when it is complete.
    Until then ``<sink>.partial`` and ``<sink>.journal`` keep the finished blocks, so that a run
    that was stopped, even killed, can be resumed and gives the same bytes as one that was not.
    ``<sink>.json`` describes what was done.

    Parameters
    ----------
    features : fitted transformer
        Has `transform`, such as a fitted `NTKFeatures` or a pipeline that ends with one.
    source : Source or whatever `open_source` takes
        The rows.
    sink : path
        A .npy file, or a .zarr folder with a chunk for each block.
    resume : bool, default=False
        Go on with a run that was stopped, if it was the same: the same parameters, features of
        the first block, source, blocks and versions. With nothing to resume it starts; with
        everything done it returns at once. Iterables cannot be resumed.
    working_memory : float, default=None
        Budget in MiB for blocks and temporaries; None reads scikit-learn's setting.
    progress : callable, default=None
        Called after each block with the numbers of rows done and of all rows.

    Returns
    -------
    Source
        The features.

    Raises
    ------
    SourceError
        If a block cannot be read or is not finite; finished blocks are kept.
    FileExistsError
        If the file, or what a run left of it, is there and `resume` is false.
    ValueError
        If what is there came from another run; the message names what differs.
    OSError
        If nothing can be written there, or the disk is full; finished blocks are kept.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> fm = ntk.NTKFeatures(n_components=16, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Z = ntk.data.featurise(fm, X, Path(folder) / "features.npy").read(0, 100)
    >>> bool((Z == fm.transform(X)).all())
    True
    """
    path = _write(features.transform, features, source, sink, resume, working_memory, progress)
    return open_source(path)


def write_predictions(
    model: Any,
    source: Any,
    sink: str | Path,
    *,
    response_method: str = "predict",
    resume: bool = False,
    working_memory: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write what a fitted model says of all rows of a source to a file, as `featurise` does.

    Parameters
    ----------
    model : fitted estimator
        A regressor or classifier.
    source : Source or whatever `open_source` takes
        The rows.
    sink : path
        A .npy file, or a .zarr folder with a chunk for each block. Classes that are strings go to a
        .npy file.
    response_method : str, default="predict"
        The model's method: "predict", or "decision_function" or "predict_proba" if it has them.
    resume : bool, default=False
        Go on with a run that was stopped, if it was the same.
    working_memory : float, default=None
        Budget in MiB for blocks and temporaries; None reads scikit-learn's setting.
    progress : callable, default=None
        Called after each block with the numbers of rows done and of all rows.

    Raises
    ------
    SourceError, FileExistsError, ValueError, OSError
        As `featurise` does.
    TypeError
        If the model does not have the method, or predicts neither numbers nor strings.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import ntksketch as ntk
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> model = ntk.NTKRegressor(n_components=16, random_state=0).fit(X, X[:, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ntk.data.write_predictions(model, X, Path(folder) / "predicted.npy")
    ...     predicted = np.load(Path(folder) / "predicted.npy")
    >>> predicted.shape
    (100,)
    """
    respond = getattr(model, response_method, None)
    if respond is None:
        raise TypeError(f"{type(model).__name__} has no {response_method}")
    _write(respond, model, source, sink, resume, working_memory, progress)


def _write(
    respond: Callable[[Any], Any],
    model: Any,
    source: Any,
    sink: str | Path,
    resume: bool,
    working_memory: float | None,
    progress: Callable[[int, int], object] | None,
) -> Path:
    """Write what a method of a model returns for all rows; return the path."""
    path = Path(sink)
    check_path(path)
    source = source if isinstance(source, Source) else open_source(source)
    if source.shape[0] is None:
        raise SourceError(f"{source.name}: say how many rows will come: open_source(..., n_rows=)")
    if source.shape[0] == 0:
        raise SourceError(f"{source.name}: there are no rows")
    if resume and source.format == "iterable":
        raise SourceError("iterable: its rows cannot be read again to resume; resume=False")
    with memory_budget(working_memory, share=0.5):
        block_rows = _rows_per_block(respond, model, source, working_memory)
        _run(respond, model, source, path, block_rows, resume, progress)
    return path


def _run(
    respond: Callable[[Any], Any],
    model: Any,
    source: Source,
    path: Path,
    block_rows: int,
    resume: bool,
    progress: Callable[[int, int], object] | None,
) -> None:
    n_rows = source.shape[0] or 0
    identity = None if source.format == "iterable" else source.fingerprint()
    blocks = prefetch(source.blocks(block_rows))
    try:
        Z = _respond(respond, next(blocks), source)
        # the results of the first block are the identity of what was fitted: whatever it is
        manifest = {
            "features": _describe(model, respond),
            "first_block": checksum([Z]),
            "source": identity,
            "shape": [n_rows, *Z.shape[1:]],
            "dtype": str(Z.dtype),
            "block_rows": block_rows,
            "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
        }
        output = BlockSink(path, manifest, resume=resume)
        if not output.finished:
            _append(output, Z, n_rows, progress)
        elif not output.complete:
            blocks.close()
            blocks = prefetch(source.blocks(block_rows, start=output.finished * block_rows))
        if not output.complete:
            for block in blocks:
                _append(output, _respond(respond, block, source), n_rows, progress)
    finally:
        blocks.close()


def _rows_per_block(
    respond: Callable[[Any], Any], model: Any, source: Source, working_memory: float | None
) -> int:
    n_components = getattr(model, "n_components", None)
    if not isinstance(n_components, Integral):  # a pipeline
        n_components = np.size(respond(any_row(source)))
    row_bytes = source.row_bytes + int(n_components) * source.dtype.itemsize
    return rows_per_block(_COPIES * row_bytes, working_memory, most=_MOST_ROWS)


def _respond(respond: Callable[[Any], Any], block: Block, source: Source) -> NDArray:
    Z = respond(block.X)
    if sp.issparse(Z):
        raise TypeError(f"{respond.__qualname__} gives sparse features; dense ones are written")
    Z = np.ascontiguousarray(Z)
    if Z.dtype.kind not in "biufU":
        raise TypeError(
            f"{respond.__qualname__} gives values of dtype {Z.dtype}; numbers and strings of fixed "
            "width are written"
        )
    if Z.dtype.kind == "f" and not np.isfinite(Z).all():
        raise FloatingPointError(
            f"{source.name}: the results of rows {block.start} to {block.start + len(Z) - 1} are "
            "not finite; scale the rows"
        )
    return Z


def _append(
    output: BlockSink, Z: NDArray, n_rows: int, progress: Callable[[int, int], object] | None
) -> None:
    output.write(Z)
    if progress is not None:
        progress(min(output.finished * output.manifest["block_rows"], n_rows), n_rows)


def _describe(model: Any, respond: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the class, its method and its parameters as text, without addresses in memory."""
    params = model.get_params() if hasattr(model, "get_params") else {}
    shown = {name: re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(v)) for name, v in params.items()}
    return {
        "class": type(model).__qualname__,
        "method": respond.__name__,
        "parameters": shown,
    }
