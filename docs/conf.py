"""Sphinx configuration: `python -m sphinx -W -b html docs docs/_build`."""

import shutil
from pathlib import Path

import ntksketch

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
GENERATED = HERE / "generated"
# of which the pages show results
BENCHMARKS = (
    "main",
    "frontier",
    "cifar10",
    "pixels",
    "convergence",
    "theory",
    "uci",
    "ucr",
    "sparse",
    "sparse_quality",
    "speed",
    "scale",
    "mesh",
)
MISSING = "No results are recorded yet.\n"

project = "ntksketch"
author = "The ntksketch developers"
copyright = author
release = version = ntksketch.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = [
    "_build",
    "_templates",
    "generated/benchmark_*.md",
    "generated/which_method.md",
]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "ntksketch"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "show_prev_next": False}

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks are stored with their output, and CI runs them

autosummary_generate = True
autodoc_typehints = "none"  # types are in the docstrings, with shapes
numpydoc_show_class_members = False  # _templates/autosummary/class.rst lists them
suppress_warnings = ["myst.header"]  # an included page begins at a level of its own


def gather(app):
    """Copy what lies elsewhere in the repository to where Sphinx finds it."""
    GENERATED.mkdir(exist_ok=True)
    for notebook in REPOSITORY.glob("notebooks/*.ipynb"):
        shutil.copy(notebook, GENERATED)
    results = REPOSITORY / "benchmarks" / "results"
    for name in BENCHMARKS:
        (GENERATED / f"benchmark_{name}.md").write_text(report(results, name))
    page = results / "which_method.md"
    (GENERATED / "which_method.md").write_text(page.read_text() if page.exists() else MISSING)


def report(results, name):
    """Return the table of a benchmark, its plot copied and added; or that there is none."""
    table, plot = results / f"{name}.md", results / f"{name}.png"
    if not table.exists():
        return MISSING
    text = table.read_text()
    if plot.exists():
        shutil.copy(plot, GENERATED)
        if plot.name not in text:
            text += f"\n![What was measured, as curves]({plot.name})\n"
    return text


def setup(app):
    app.connect("config-inited", lambda app, config: gather(app))
