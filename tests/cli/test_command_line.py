"""Both commands from arguments to files, every input error, and the entry points."""

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import ntksketch as ntk
from ntksketch.cli import evaluate, main, run
from ntksketch.cli.app import app
from ntksketch.features import Method

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Collect tables, addresses and pictures of a page; see that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.addresses, self.open, self.cell = [], [], [], None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def read_report(folder):
    """Return the table of a report as dicts, and its settings; check the page and the picture."""
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.png"]
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    page = Page(text)
    (address,) = page.addresses
    kind, _, data = address.partition("base64,")
    assert kind == "data:image/png;"
    picture = base64.b64decode(data, validate=True)
    assert picture.startswith(PNG)
    assert picture == (folder / "report.png").read_bytes()
    (heading, *rows), settings, versions = page.tables
    assert dict(versions[1:])["ntksketch"] == ntk.__version__
    return [dict(zip(heading, row, strict=True)) for row in rows], dict(settings[1:])


def percent(text):
    return float(re.fullmatch(r"(\d+\.\d\d)%", text)[1])


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(evaluate, "DRAWS", 2)
    monkeypatch.setattr(evaluate, "CHECKED_ROWS", 100)


@pytest.fixture
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:240] / 16, y[:240]


@pytest.fixture
def quick(few_draws, tmp_path):
    """Return a function that compares one method on a file at one small size."""

    def compare(path, *arguments):
        output = tmp_path / "out"
        fast = ("--method", "random-features", "--components", 40, "--output", output)
        result = invoke("compare", path, *fast, *arguments)
        assert result.exit_code == 0, result.output
        return result, *read_report(output)

    return compare


# ---------------------------------------------------------------------------------------------
# Demo
# ---------------------------------------------------------------------------------------------


def test_demo_writes_a_report(few_draws, tmp_path, monkeypatch):
    X, y = load_digits(return_X_y=True)
    monkeypatch.setattr("ntksketch.cli.demo.load_digits", lambda return_X_y: (X[:600], y[:600]))
    output = tmp_path / "a folder" / "demo"
    result = invoke("demo", "--output", output, "--components", "256,64")
    assert result.exit_code == 0, result.output
    rows, settings = read_report(output)
    methods = [(row["method"], row["components"]) for row in rows]
    assert methods == [
        *((name, m) for name in evaluate.named_methods() for m in ("64", "256")),
        ("exact kernel ridge", ""),
    ]
    assert settings["network"] == repr(ntk.mlp(1))
    accuracy = [percent(row["test accuracy"]) for row in rows]
    assert min(accuracy) > 85
    assert abs(accuracy[1] - accuracy[-1]) < 6
    for row in rows[:-1]:
        value, standard_error = map(float, row["kernel error"].split(" ± "))
        assert 0 < standard_error < value < 0.5
    for row in rows:
        assert float(row["featurise (s)"]) > 0
        assert float(row["fit (s)"]) > 0
        assert f"{row['test accuracy']}" in result.stdout
    assert str((output / "report.html").resolve()) in result.stdout


# ---------------------------------------------------------------------------------------------
# Compare
# ---------------------------------------------------------------------------------------------


def test_compare_npy(quick, digits, tmp_path):
    X, y = digits
    np.save(tmp_path / "table.npy", np.column_stack([X, y]))
    _, last_column, settings = quick(tmp_path / "table.npy", "--no-standardize")
    assert settings["task"] == "classification"
    assert settings["training rows"] == "180"
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y[:, None])
    arguments = ("--no-standardize", "--target", tmp_path / "y.npy")
    _, second_file, _ = quick(tmp_path / "X.npy", *arguments)
    for one, other in zip(last_column, second_file, strict=True):
        assert one["test accuracy"] == other["test accuracy"]
    assert percent(last_column[-1]["test accuracy"]) > 80


def test_compare_npz_with_a_split_of_its_own(quick, digits, tmp_path):
    X, y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "8", "9"])
    parts = {"X_train": X[:200], "y_train": names[y[:200]], "X_test": X[200:]}
    np.savez(tmp_path / "d.npz", **parts, y_test=names[y[200:]])
    _, rows, settings = quick(tmp_path / "d.npz", "--max-exact-rows", 200)
    assert (settings["training rows"], settings["test rows"]) == ("200", "40")
    assert rows[-1]["method"] == "exact kernel ridge"
    assert percent(rows[-1]["test accuracy"]) > 80


def test_compare_leaves_the_exact_kernel_out_and_says_so(quick, digits, tmp_path):
    np.savez(tmp_path / "d.npz", X=digits[0], labels=digits[1])
    result, rows, _ = quick(tmp_path / "d.npz", "--target", "labels", "--max-exact-rows", 100)
    assert [row["method"] for row in rows] == ["random-features"]
    text = "180 training rows are more than --max-exact-rows 100"
    assert text in " ".join(result.stdout.split())
    assert text in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("depth_and_bias", [("1", "0"), ("2", "0.1")])
def test_compare_csv_regression(quick, tmp_path, depth_and_bias):
    depth, bias = depth_and_bias
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) * [1, 100, 0.01]
    lines = [f"{a},{2 * a + b / 100:.4f},{b},{c}" for a, b, c in X]
    path = tmp_path / "t.csv"
    path.write_text("\ufeff" + "\n".join(['a,"the ""y""",b,c', *lines, ""]), encoding="utf-8")
    arguments = ("--target", 'the "y"', "--depth", depth, "--bias", bias)
    _, rows, settings = quick(path, *arguments)
    assert settings["task"] == "regression"
    assert settings["network"] == repr(ntk.mlp(int(depth), bias_std=float(bias)))
    assert 0.9 < float(rows[-1]["test R²"]) <= 1


def test_compare_csv_with_text_classes(quick, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{a},{b},{'long' if a > b else 'short'}" for a, b in rng.standard_normal((100, 2))]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind", *lines]))
    _, rows, settings = quick(tmp_path / "t.csv")
    assert settings["task"] == "classification"
    assert min(percent(row["test accuracy"]) for row in rows) > 85


def test_csv_without_a_header_has_its_target_in_the_last_column(quick, tmp_path):
    X = np.random.default_rng(0).standard_normal((100, 2))
    (tmp_path / "t.csv").write_text("".join(f"{a},{b},{a + b}\n" for a, b in X))
    _, rows, settings = quick(tmp_path / "t.csv", "--no-header")
    assert settings["task"] == "regression"
    assert 0.9 < float(rows[-1]["test R²"]) <= 1


def test_extensions_that_the_contents_belie(tmp_path):
    np.savez(tmp_path / "d.npz", X=ROWS)
    np.save(tmp_path / "e.npy", ROWS)
    (tmp_path / "d.npz").rename(tmp_path / "d.npy")
    (tmp_path / "e.npy").rename(tmp_path / "e.npz")
    for name, text in (("d.npy", "are those of .npz"), ("e.npz", "are those of .npy")):
        result = invoke("compare", tmp_path / name)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert text in result.stderr


def test_task_can_be_overruled(quick, digits, tmp_path):
    np.savez(tmp_path / "d.npz", X=digits[0], y=digits[1])
    _, rows, _ = quick(tmp_path / "d.npz", "--task", "regression")
    assert "test R²" in rows[0]


def test_the_bar_counts_rows_and_tells_the_time_left(quick, digits, tmp_path, monkeypatch):
    screens, counted = [], []

    class Stages(run._Stages):
        def __init__(self, n_stages, screen):
            screen = Console(file=io.StringIO(), force_terminal=True, width=150)
            super().__init__(n_stages, screen)
            screens.append(screen.file)

        def begin(self, name):
            super().begin(name)
            counted.append((name, []))

        def add_rows(self, n_rows, of):
            super().add_rows(n_rows, of)
            counted[-1][1].append((n_rows, of))
            task = self.bar.tasks[0]
            assert len(counted) - 1 < task.completed <= len(counted)
            assert re.fullmatch(r"[\d,]+ rows/s", task.fields["rate"])
            assert task.time_remaining >= 0
            self.bar.refresh()

    monkeypatch.setattr(run, "_Stages", Stages)
    np.savez(tmp_path / "d.npz", X=digits[0], y=digits[1])
    quick(tmp_path / "d.npz")
    assert [name for name, _ in counted] == [
        "exact kernel ridge",
        "random-features, 40 components: kernel error",
        "random-features, 40 components",
    ]
    assert sum(n for n, _ in counted[-1][1]) == 2 * 180
    assert {of for _, of in counted[-1][1]} == {2 * 180}
    text = screens[0].getvalue()
    times = r".*\d:\d\d:\d\d" * 2
    assert re.search(rf"random-features, 40 components .*\D\d/3\D.* rows/s {times}", text)


@pytest.fixture
def refuse_small(monkeypatch):
    init = Method.init

    def refusing(self, *args, n_components, **options):
        if n_components < 20:
            raise ValueError(f"n_components must be at least 20, got {n_components}")
        return init(self, *args, n_components=n_components, **options)

    monkeypatch.setattr(Method, "init", refusing)


def test_what_a_method_refuses_is_left_out_with_its_reason(quick, refuse_small, digits, tmp_path):
    np.savez(tmp_path / "d.npz", X=digits[0], y=digits[1])
    result, rows, _ = quick(tmp_path / "d.npz", "--components", "10,40")
    assert [row["components"] for row in rows] == ["40", ""]
    reason = "with 10 components was left out: n_components must be at least 20, got 10."
    assert f"random-features {reason}" in " ".join(result.stdout.split())


def test_scores_without_kernel_errors(quick, digits, tmp_path, monkeypatch):
    """As where the exact kernel of the rows to be checked would take longer than an hour."""

    def refuse(*args, **options):
        raise ValueError("the exact kernel takes too long")

    monkeypatch.setattr(evaluate.ntk, "check_features", refuse)
    np.savez(tmp_path / "d.npz", X=digits[0], y=digits[1])
    result, rows, _ = quick(tmp_path / "d.npz")
    assert [row["kernel error"] for row in rows] == ["", ""]
    assert min(percent(row["test accuracy"]) for row in rows) > 85
    reason = "with 40 components has no kernel error: the exact kernel takes too long."
    assert f"random-features {reason}" in " ".join(result.stdout.split())


def test_error_if_every_method_refuses(refuse_small, tmp_path):
    np.save(tmp_path / "d.npy", ROWS)
    arguments = ("--components", "10,12", "--max-exact-rows", "0", "--output", tmp_path / "out")
    result = invoke("compare", tmp_path / "d.npy", *arguments)
    assert result.exit_code == 2
    assert "ntkrf with 12 components was left out" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_exact_ridge_fits_the_targets_of_the_classifier(digits):
    X, y = digits
    problem = evaluate.Problem("d", "classification", X, y, X, y)
    classes, targets = evaluate._targets(problem)
    model = ntk.NTKClassifier(n_components=64, random_state=0).fit(X, y)
    assert (model.classes_ == classes).all()
    Z = model.features_.transform(X)
    ridge = ntk.StreamingRidge(model.alpha_).fit(Z, targets)
    np.testing.assert_allclose(model.decision_function(X), ridge.predict(Z), rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------------------------
# Input errors: one line on stderr, status 2
# ---------------------------------------------------------------------------------------------

ROWS = np.random.default_rng(0).standard_normal((20, 3))
WITH_NAN = ROWS.copy()
WITH_NAN[7, 1] = np.nan
CSV = "a,b,y\n" + "1,2,3\n" * 20


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("d.npy", None, [], "there is no such file"),
        ("d.xlsx", "x", [], r"the extension must be one of \.npy, \.npz, \.csv"),
        ("d.npy", "no array", [], "pickles are never loaded"),
        ("d.npy", np.array([[1, "a"]], dtype=object), [], "pickles are never loaded"),
        ("d.npy", ROWS[:, 0], [], "must be 2-D with the target in its last column"),
        ("d.npy", ROWS, ["--target", "y.npy"], "must be a second .npy file"),
        ("d.npy", ROWS[:1], [], "1 row make 1 training and 0 test rows"),
        ("d.npy", WITH_NAN, [], "NaN or infinity in row 7, column 1"),
        ("d.npy", WITH_NAN[:, ::2].T @ ROWS[:, :2] + 1j, [], "must be real numbers"),
        ("d.npy", WITH_NAN[:, [0, 1]], [], "the target of row 7"),
        ("d.npy", np.zeros((20, 3)), ["--task", "classification"], "all training rows are of one"),
        ("d.npy", np.zeros((20, 3)), ["--task", "regression"], "R² has no meaning"),
        ("d.npy", ROWS, ["--task", "classification"], "the targets are fractions"),
        ("d.npy", 1e300 * ROWS, ["--no-standardize"], "too large for float32"),
        ("d.npy", ROWS, ["--test-fraction", "1.5"], "--test-fraction must be between 0 and 1"),
        ("d.npy", ROWS, ["--test-fraction", "0.01"], "at least 5 and 2 are needed"),
        ("d.npy", ROWS, ["--components", "64,many"], "--components 64,many: give whole numbers"),
        ("d.npy", ROWS, ["--components", "0"], "--components 0"),
        ("d.npy", ROWS, ["--method", "magic"], "the methods are nystroem"),
        ("d.npy", ROWS, ["--bias", "-1"], "--bias must be at least 0"),
        ("d.npz", {"X": ROWS}, [], "there is no y; the keys are X"),
        ("d.npz", {"X": ROWS, "y": ROWS[:, 0]}, ["--target", "z"], "there is no z"),
        ("d.npz", {"X": ROWS, "y": ROWS[:9, 0]}, [], "one target for each of 20 rows"),
        ("d.npz", {"X": ROWS, "y": np.array([None] * 20)}, [], "pickles are never loaded"),
        ("d.npz", {"X": ROWS[:, :, None], "y": ROWS[:, 0]}, [], "must be a 2-D array"),
        ("d.npz", {"X_train": ROWS}, [], "there is no y_train and no X_test and no y_test"),
        ("d.npz", {"X_train": ROWS}, ["--target", "y"], "has a split of its own"),
        ("d.npz", {"X": ROWS * 0, "y": np.arange(20) % 2}, [], "no column varies"),
        (
            "d.npz",
            {"X_train": ROWS, "y_train": ROWS[:, 0], "X_test": ROWS[:, :2], "y_test": ROWS[:, 0]},
            [],
            "X_train has 3 columns and X_test 2",
        ),
        ("d.csv", CSV, ["--target", "z"], "there is no column 'z'; the columns are a, b, y"),
        ("d.csv", CSV + "1,red,3\n", [], "line 22: column 'b' is not numeric, it has 'red'"),
        ("d.csv", CSV + "1,,3\n", [], "line 22: column 'b' is empty"),
        ("d.csv", CSV + "1,2\n", [], "line 22: it has 2 cells, the header 3"),
        ("d.csv", CSV + "1,2,3,4\n", [], "line 22: it has 4 cells, the header 3"),
        ("d.csv", "a,b,y\n" + "1,0.1,0.2,1\n" * 20, [], "line 2: it has 4 cells, the header 3"),
        ("d.csv", CSV + "1,nan,3\n", [], "NaN or infinity in row 20, column 'b'"),
        ("d.csv", CSV + "1,2,\n", [], "the target 'y' is empty in row 20"),
        ("d.csv", "1,2,3\n" * 20, [], "it has the number 1"),
        ("d.csv", "1.5,,3\n" + "4,5,6\n" * 20, [], "it has the number 1.5; say --header"),
        ("d.csv", "1,2,4\n" * 20, ["--no-header"], "all training rows are of one class"),
        ("d.csv", CSV, ["--key", "X"], "'key' is no option of this format"),
        ("d.csv", "a,a\n1,2\n", [], "two columns are called 'a'"),
        ("d.csv", "a,b\n", [], "0 rows"),
        ("d.csv", "a\n1\n", [], "at least two columns"),
        ("d.csv", "", [], "at least two columns"),
        ("d.csv", CSV + "1,2,x\n", ["--task", "regression"], "the targets are text"),
        ("d.csv", b"a,\xff\n1,2\n", [], "cannot be read as comma-separated text"),
    ],
)
def test_input_error(tmp_path, name, content, arguments, message):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
    result = invoke("compare", path, "--output", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.startswith("ntksketch: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_output_that_is_a_file_is_refused_before_the_work(tmp_path):
    (tmp_path / "out").write_text("mine")
    result = invoke("demo", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "--output" in result.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_unexpected_errors_keep_their_traceback(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(ntk, "mlp", broken)
    np.save(tmp_path / "d.npy", ROWS)
    result = invoke("compare", tmp_path / "d.npy", "--output", tmp_path / "out")
    assert isinstance(result.exception, RuntimeError)


# ---------------------------------------------------------------------------------------------
# Entry points
# ---------------------------------------------------------------------------------------------


def test_help_names_the_commands():
    result = invoke("--help")
    assert result.exit_code == 0
    assert "demo" in result.stdout
    assert "compare" in result.stdout


@pytest.mark.parametrize("package", ["typer", "rich", "matplotlib"])
def test_hint_where_a_package_is_missing(package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert package in text
    assert "pip install 'ntksketch[cli]'" in text


def test_as_a_process_of_its_own(tmp_path):
    np.savez(tmp_path / "d.npz", X=ROWS, y=ROWS[:, 0])
    command = [sys.executable, "-m", "ntksketch.cli", "compare", "d.npz"]
    arguments = ["--method", "ntkrf", "--components", "16"]
    done = subprocess.run(
        [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows, _ = read_report(tmp_path / "ntksketch-compare")
    assert [row["method"] for row in rows] == ["ntkrf", "exact kernel ridge"]
