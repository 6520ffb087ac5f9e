"""What holds for the whole tree: direction of imports, import time, docstrings, sizes."""

import ast
import dataclasses
import functools
import importlib
import inspect
import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpydoc.docscrape
import numpydoc.validate
import pytest

import ntksketch

ROOT = Path(ntksketch.__file__).parent
REPOSITORY = ROOT.parent
MODULES = sorted(ROOT.rglob("*.py"))

# ---------------------------------------------------------------------------------------------
# Direction of imports
# ---------------------------------------------------------------------------------------------

# A package may import itself and packages of smaller rank; equal ranks never import each other.
RANKS = {
    "architectures": 0,
    "sketches": 0,
    "linear": 0,
    "data": 0,
    "kernels": 1,
    "networks": 1,
    "features": 2,
    "dynamics": 3,
    "diagnostics": 3,
    "distributed": 3,
    "solvers": 3,
    "estimators": 4,
    "storage": 5,
    "ntksketch": 6,  # the package itself, whose __init__ only re-exports
    "cli": 7,
}


def package_of(module):
    """Return the part of the library to which a dotted module name belongs."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANKS else parts[0]


def dotted_name(path):
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source, module, is_package=False):
    """Yield every module that a source imports, at any depth and under TYPE_CHECKING as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") + ([""] if is_package else [])
                base = ".".join(filter(None, [*parents[: -node.level], base]))
            # a name may be a submodule
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(source, module, is_package=False):
    """Return the imports of a module that point the wrong way."""
    here = package_of(module)
    return [
        f"{module} imports {target}"
        for target in imported_modules(source, module, is_package)
        if target.split(".")[0] == "ntksketch"
        and (there := package_of(target)) != here
        and RANKS[there] >= RANKS[here]
    ]


def test_every_package_has_a_rank():
    packages = {p.parent.name for p in ROOT.glob("*/*.py")}
    assert packages <= set(RANKS)


def test_imports_point_one_way():
    wrong = [
        line
        for path in MODULES
        for line in violations(path.read_text(), dotted_name(path), path.name == "__init__.py")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ntksketch.sketches.srht", "from ntksketch.kernels import kernel"),
        ("ntksketch.sketches.srht", "from ntksketch import kernels"),
        ("ntksketch.sketches.srht", "from ntksketch.linear.gram import GramAccumulator"),
        ("ntksketch.sketches.srht", "import ntksketch"),
        ("ntksketch.sketches.srht", "from ..linear import gram"),
        ("ntksketch.sketches.srht", "from .. import linear"),
        ("ntksketch.kernels.gram", "def f():\n    import ntksketch.networks.apply"),
        (
            "ntksketch.features.layout",
            "if TYPE_CHECKING:\n    from ntksketch.estimators import NTKFeatures",
        ),
        ("ntksketch.diagnostics.errors", "from ntksketch.estimators.features import NTKFeatures"),
    ],
)
def test_the_import_check_sees_violations(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ntksketch.sketches.srht", "from .hadamard import transform\nimport numpy"),
        ("ntksketch.kernels.gram", "from ntksketch.data.blocks import pad_rows"),
        ("ntksketch.kernels.gram", "from ..data import blocks"),
        ("ntksketch.cli.demo", "import ntksketch as ntk\nfrom ntksketch import features"),
    ],
)
def test_the_import_check_lets_the_right_ones_pass(module, source):
    assert violations(source, module) == []


# ---------------------------------------------------------------------------------------------
# What an import loads
# ---------------------------------------------------------------------------------------------

# scikit-learn itself looks for pandas and rich, so that sys.modules would say nothing: the
# finder refuses these packages to everybody and remembers who asked.
REFUSE_AND_REMEMBER = """
import sys
optional = {"matplotlib", "pandas", "polars", "dask", "distributed", "rich", "typer", "h5py",
            "zarr", "pyarrow", "safetensors"}
askers = set()

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in optional:
            frame = sys._getframe(1)
            while frame.f_globals["__name__"].startswith(("importlib", "_frozen_importlib")):
                frame = frame.f_back
            askers.add((frame.f_globals["__name__"], name))
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Finder())
import ntksketch
print([asker for asker in sorted(askers) if asker[0].startswith(("ntksketch", "__main__"))])
"""


@pytest.mark.parametrize("extra", ["", "import matplotlib, pandas\n"])
def test_import_needs_no_optional_package(extra):
    # the second source asks for two of them itself, to show that the check would see it
    source = REFUSE_AND_REMEMBER.replace("import ntksketch\n", extra + "import ntksketch\n")
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    if extra:
        assert "ModuleNotFoundError: matplotlib" in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("[]\n", "")


# ---------------------------------------------------------------------------------------------
# Sources
# ---------------------------------------------------------------------------------------------


@functools.cache
def syntax_tree(path):
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=dotted_name)
def test_source_keeps_the_rules(path):
    assert len(path.read_text().splitlines()) <= 500
    nodes = list(ast.walk(syntax_tree(path)))
    assert not [n.lineno for n in nodes if isinstance(n, ast.Assert)], "raise an error instead"
    if package_of(dotted_name(path)) != "cli":
        prints = [n.lineno for n in nodes if isinstance(n, ast.Name) and n.id == "print"]
        assert not prints, "the library returns, the command line prints"


@pytest.mark.parametrize("path", MODULES, ids=dotted_name)
def test_no_private_interface_of_a_dependency(path):
    module, is_package = dotted_name(path), path.name == "__init__.py"
    foreign = [
        name
        for name in imported_modules(path.read_text(), module, is_package)
        if name.split(".")[0] not in ("ntksketch", "__future__")
    ]
    private = [n for n in foreign if re.search(r"(^|\.)_(?!_)", n)]
    private += [
        f"jax._src at line {node.lineno}"
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "_src"
    ]
    assert private == []


def n_lines(folder):
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py"))


def test_tests_are_at_least_four_fifths_of_the_code():
    assert n_lines(REPOSITORY / "tests") >= 0.8 * n_lines(ROOT)


# ---------------------------------------------------------------------------------------------
# Docstrings
# ---------------------------------------------------------------------------------------------

# numpydoc's checks (https://numpydoc.readthedocs.io/en/stable/validation.html) that hold here.
CHECKS = {
    "GL03",  # no double blank lines
    "GL05",  # no tabs
    "GL06",  # no unknown section
    "GL07",  # sections in numpydoc's order
    "GL08",  # there is a docstring
    "GL10",  # directives have two colons
    "SS01",  # there is a summary
    "SS02",  # which starts with a capital letter
    "SS03",  # ends with a full stop
    "SS04",  # has no leading spaces
    "SS06",  # and fits one line
    "PR01",  # every parameter of the signature is documented
    "PR02",  # and no other
    "PR03",  # in the order of the signature
    "PR04",  # with a type
    "PR05",  # that ends without a full stop
    "PR06",  # and has Python's spelling
    "PR07",  # with a description
    "PR10",  # and a space before the colon
    "RT01",  # what returns something says what
    "RT03",  # and describes it
    "SA04",  # entries of See Also are described
    "EX01",  # there is an example: objects only, methods are shown in their class's
}
# Not asked for: GL01 and GL02 (where the quotes stand is ruff's matter), GL09 (deprecations), SS05
# (reads nouns as verbs), ES01 and SA01 (a section with nothing to say), PR08 and PR09 (descriptions
# start with a symbol and end with a formula), RT02 (names of single return values), YD01.

# Dataclasses that functions return list attributes, every field, in place of parameters.
RESULTS = {"KernelCost", "KernelErrorReport", "KernelRidgeSolution", "MonteCarloKernel"}


def public_objects():
    """Yield dotted names of public classes, functions, and public functions of public modules."""
    for name in ntksketch.__all__:
        value = getattr(ntksketch, name)
        if inspect.ismodule(value):
            yield from (f"{value.__name__}.{inner}" for inner in value.__all__)
        else:
            yield f"ntksketch.{name}"


def resolve(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def public_methods():
    """Yield dotted names of the methods that the library itself gives its public classes."""
    for dotted in public_objects():
        value = resolve(dotted)
        if not inspect.isclass(value):
            continue
        for name in dir(value):
            owner = next((c for c in value.__mro__ if name in vars(c)), None)
            ours = owner is not None and owner.__module__.startswith("ntksketch")
            if not name.startswith("_") and ours and inspect.isroutine(getattr(value, name)):
                yield f"{dotted}.{name}"


def complaints(dotted, checks):
    found = numpydoc.validate.validate(dotted)["errors"]
    return [f"{code}: {text}" for code, text in found if code in checks]


def badly_documented(rows, columns):
    """lead on

    Parameters
    ----------
    columns
    """
    return rows + columns


def test_the_docstring_check_sees_faults():
    codes = {line.partition(":")[0] for line in complaints(f"{__name__}.badly_documented", CHECKS)}
    assert codes == {"SS02", "SS03", "PR01", "PR04", "PR07", "RT01", "EX01"}


@pytest.mark.parametrize("dotted", list(public_objects()))
def test_docstring_of_public_object(dotted):
    name = dotted.rpartition(".")[2]
    exempt = {"PR01"} if name in RESULTS else set()
    assert complaints(dotted, CHECKS - exempt) == []


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_docstring_of_a_result_lists_its_fields(name):
    value = getattr(ntksketch, name)
    attributes = numpydoc.docscrape.ClassDoc(value)["Attributes"]
    documented = [part for entry in attributes for part in entry.name.split(", ")]
    assert documented == [field.name for field in dataclasses.fields(value)]
    assert all(entry.type and entry.desc for entry in attributes)


@pytest.mark.parametrize("dotted", list(public_methods()))
def test_docstring_of_public_method(dotted):
    assert complaints(dotted, CHECKS - {"EX01"}) == []


def test_public_names_are_sorted_and_in_the_reference():
    assert sorted(ntksketch.__all__) == ntksketch.__all__
    reference = (REPOSITORY / "docs/reference/index.md").read_text()
    listed = set(re.findall(r"^ *([\w.]+)$", reference, flags=re.MULTILINE))
    modules = {n for n in ntksketch.__all__ if inspect.ismodule(getattr(ntksketch, n))}
    wanted = set(ntksketch.__all__) - modules
    wanted |= {f"{m}.{n}" for m in modules for n in getattr(ntksketch, m).__all__}
    assert wanted <= listed


# ---------------------------------------------------------------------------------------------
# Code in prose
# ---------------------------------------------------------------------------------------------

INSTALL = "python -m pip install -e '.[all]' && ntksketch demo"
CHECK = "python -m pip install -e '.[test]' && python -m pytest"
README = REPOSITORY / "README.md"
PROSE = [README, *sorted((REPOSITORY / "docs/user_guide").glob("*.md"))]


def blocks(path, *languages):
    """Return the fenced code blocks of a page in some languages."""
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```$"
    return re.findall(pattern, path.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(page, id=page.name, marks=() if page == README else pytest.mark.slow)
        for page in PROSE
    ],
)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for number, block in enumerate(blocks(path, "python"), start=1):
        exec(compile(block, f"{path.name}, block {number}", "exec"), namespace)


def readme_commands():
    text = "".join(blocks(README, "bash", "console"))
    return [line.removeprefix("$ ") for line in text.splitlines() if line.strip()]


def test_set_up_commands_are_the_same_everywhere():
    assert readme_commands()[:2] == [INSTALL, CHECK]
    assert f'"{CHECK}" README.md' in (REPOSITORY / ".ci/run").read_text()
    for page in ("docs/index.md", "CONTRIBUTING.md"):
        commands = "".join(blocks(REPOSITORY / page, "bash")).splitlines()
        installs = [line for line in commands if "pip install" in line]
        assert set(installs) <= {INSTALL, CHECK}
        assert installs


def test_readme_shows_the_measured_table():
    def rows(path):
        return [line for line in path.read_text().splitlines() if line.startswith("| ")]

    results = REPOSITORY / "benchmarks/results"
    tables = (rows(results / f"{name}.md") for name in ("main", "frontier", "cifar10"))
    measured = [row for table in tables for row in table]
    shown = [row for row in rows(README) if row.startswith("| digits")]
    assert len(shown) == 2
    assert set(rows(README)) <= set(measured)


def test_readme_and_guide_say_what_was_measured():
    def measured(name):
        found = json.loads((REPOSITORY / f"benchmarks/results/{name}.json").read_text())
        return {row["key"]: row for row in found["measurements"]}

    frontier, pixels, scale = measured("frontier"), measured("pixels"), measured("scale")
    mnist = frontier["default mnist 8192"]
    pairs = [
        [frontier[f"{method} {data} 2048"]["score"] for method in ("default", "rbf-nystroem")]
        for data in ("protein", "california", "kin40k")
    ]
    slower = measured("cifar10")["pace"]["ratio"]["nystroem-256 1024"]
    flow, ridge = (scale[f"flow 400000 4096 {what}"] for what in ("flow", "ridge"))
    readme = [
        f"reaches {100 * mnist['score']:.2f} % on MNIST",
        f"{mnist['stages']['pass'] / mnist['bare_gram']:.2f} times a bare Gram matrix",
        f"0.05 takes it {frontier['reach default']['total']:.2f} s",
        f"random features about {frontier['reach ntkrf']['total']:.0f} s",
        *(f"{ours:.3f} against {theirs:.3f}" for ours, theirs in pairs),
        f"{pixels['exact 32']['each']:.2f} s a pair against",
        f"an image takes it {slower:.0f} times as long as the second row's",
        f"against {1000 * pixels['features 32']['each']:.0f} ms an image at 32 x 32",
    ]
    dynamics = [
        f"took {flow['seconds']['fit'] / ridge['seconds']['fit']:.2f} times as long as ridge",
        f"and {flow['peak_memory'] / ridge['peak_memory']:.2f} times its memory",
    ]
    pages = {README: readme, REPOSITORY / "docs/user_guide/dynamics.md": dynamics}
    for page, wanted in pages.items():
        text = " ".join(page.read_text().split())
        assert [sentence for sentence in wanted if sentence not in text] == []


def test_readme_commands_run(tmp_path):
    for command in readme_commands()[2:]:
        program, *arguments = shlex.split(command)
        assert program == "ntksketch"
        script = Path(sys.executable).with_name(program)
        subprocess.run([script, *arguments], check=True, cwd=tmp_path, timeout=300)


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        textwrap.dedent(
            """\
            ```python
            x = 1
            ```
            ```text
            no code
            ```
            ```bash
            ls
            ```
            """
        )
    )
    assert blocks(page, "python") == ["x = 1\n"]
    assert blocks(page, "bash", "console") == ["ls\n"]
