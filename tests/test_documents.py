"""Notebooks are stored executed, the reference has examples, and the notation's names exist."""

import importlib
import json
import re
from pathlib import Path

import numpydoc.docscrape
import pytest

import ntksketch

REPOSITORY = Path(ntksketch.__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
NOTEBOOK_BYTES = 300 * 1024


def find(dotted):
    """Return an object by its name below ``ntksketch``, whose modules are imported on the way."""
    found = ntksketch
    for part in dotted.split("."):
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


# ---------------------------------------------------------------------------------------------
# Notebooks
# ---------------------------------------------------------------------------------------------


def complaints(notebook):
    """Return what is wrong with a notebook as it is stored."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    found = []
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        found.append("not executed once, from the first cell to the last")
    if any(output["output_type"] == "error" for output in outputs):
        found.append("an error among the outputs")
    if any(output.get("name") == "stderr" for output in outputs):
        found.append("warnings or messages among the outputs")
    if re.search(r"/(home|root|tmp|usr|Users|work)/", json.dumps(outputs)):
        found.append("a path of a machine among the outputs")
    if not any("image/png" in output.get("data", {}) for output in outputs):
        found.append("no picture")
    if not (code and code[-1]["outputs"]):
        found.append("no result at the end")
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    if kinds[:1] + kinds[-1:] != ["markdown", "markdown"]:
        found.append("no prose at the beginning and the end")
    return found


def cell(count, *outputs):
    return {"cell_type": "code", "execution_count": count, "outputs": list(outputs)}


PICTURE = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}}
PROSE = {"cell_type": "markdown"}


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([PROSE, cell(None, PICTURE), PROSE], "not executed"),
        ([PROSE, cell(2), cell(1, PICTURE), PROSE], "not executed"),
        ([PROSE, cell(1, PICTURE, {"output_type": "error"}), PROSE], "an error"),
        ([PROSE, cell(1, PICTURE, {"output_type": "stream", "name": "stderr"}), PROSE], "warnings"),
        ([PROSE, cell(1, PICTURE, {"output_type": "stream", "text": "/tmp/a"}), PROSE], "a path"),
        ([PROSE, cell(1, {"output_type": "stream", "name": "stdout"}), PROSE], "no picture"),
        ([PROSE, cell(1, PICTURE), cell(2), PROSE], "no result"),
        ([PROSE, cell(1, PICTURE)], "no prose"),
    ],
)
def test_the_check_of_notebooks_sees_faults(cells, fault):
    (found,) = complaints({"cells": cells})
    assert found.startswith(fault)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_executed(path):
    assert complaints(json.loads(path.read_text())) == []
    assert path.stat().st_size < NOTEBOOK_BYTES


def test_notebooks_are_listed_and_in_the_contents():
    page = (REPOSITORY / "docs/notebooks.md").read_text()
    linked = set(re.findall(r"\(generated/(\w+)\.ipynb\)", page))
    assert linked == {path.stem for path in NOTEBOOKS}
    contents = page + (REPOSITORY / "docs/index.md").read_text()
    assert sorted(re.findall(r"^generated/(\w+)$", contents, flags=re.MULTILINE)) == sorted(linked)


# ---------------------------------------------------------------------------------------------
# Reference and notation
# ---------------------------------------------------------------------------------------------


def reference():
    """Return the names that the reference lists, below ``ntksketch``."""
    page = (REPOSITORY / "docs/reference/index.md").read_text()
    tables = re.findall(r":toctree: generated\n\n(.*?)\n```", page, flags=re.DOTALL)
    return [name for table in tables for name in table.split()]


@pytest.mark.parametrize("name", reference())
def test_reference_has_an_example(name):
    # pytest's --doctest-modules runs them
    examples = numpydoc.docscrape.get_doc_object(find(name))["Examples"]
    assert any(line.startswith(">>> ") for line in examples)


def test_reference_is_read_whole():
    assert set(ntksketch.__all__) - {"data", "distributed", "zonal"} <= set(reference())
    assert len(reference()) == len(set(reference())) > 100


def notation():
    """Yield the names that the notation's tables give, and the keywords that they are given."""
    page = (REPOSITORY / "docs/user_guide/notation.md").read_text()
    for code in re.findall(r"`(ntk(?:sketch)?\.[^`]*)`", page):
        dotted, arguments = re.fullmatch(r"ntk(?:sketch)?\.([\w.]+)(?:\((.*?)\))?.*", code).groups()
        yield dotted, re.findall(r"(\w+)(?==|,|$)", re.sub(r'="\w+"', "=", arguments or ""))


@pytest.mark.parametrize(("dotted", "arguments"), list(notation()))
def test_notation_names_what_there_is(dotted, arguments):
    documented = {
        name.strip()
        for entry in numpydoc.docscrape.get_doc_object(find(dotted))["Parameters"]
        for name in entry.name.split(",")
    }
    assert set(arguments) - {"arch"} <= documented


def test_notation_names_attributes_that_there_are():
    page = (REPOSITORY / "docs/user_guide/notation.md").read_text()
    found = re.findall(r"`(\w+)` of `ntk\.([\w.]+)`", page)
    assert len(found) >= 4
    for attribute, owner in found:
        documented = numpydoc.docscrape.get_doc_object(find(owner))["Attributes"]
        assert attribute in {entry.name for entry in documented}, (attribute, owner)


def test_notation_is_read_whole():
    names = dict(notation())
    assert len(names) > 30
    assert names["kernel"] == ["arch", "X", "Y", "kind"]
