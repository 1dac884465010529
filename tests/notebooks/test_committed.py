"""Notebooks are committed clean, and follow one form."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

BOOK = Path(__file__).resolve().parents[2] / "book"
PATHS = [path for path in sorted(BOOK.rglob("*.ipynb")) if not {"_build", ".ipynb_checkpoints"} & set(path.parts)]
NAMES = [path.relative_to(BOOK).with_suffix("").as_posix() for path in PATHS]
EXERCISES = [path for path in PATHS if path.stem == "exercises"]
# The synthesis rests on the chapters: it has neither a paper nor exercises of its own.
STORY = [path for path in PATHS if path.parent != BOOK and path not in EXERCISES]
CHAPTERS = [path for path in STORY if path.parent != BOOK / "synthesis"]
PARAMETERS = {"profile", "settings", "store"}


def cells(path, kind=None):
    return [cell for cell in nbformat.read(path, as_version=4).cells if kind in (None, cell.cell_type)]


def tags(cell):
    return cell.metadata.get("tags", [])


def every_notebook(test):
    return pytest.mark.parametrize("path", PATHS, ids=NAMES)(test)


def test_the_table_of_contents_and_the_folder_agree():
    text = (BOOK / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"(?:file|root): (\S+)", text)
    assert yaml.safe_load(text)["root"] == listed[0]
    sources = {p.relative_to(BOOK).with_suffix("").as_posix() for p in BOOK.rglob("*.md") if "_build" not in p.parts}
    assert len(listed) == len(set(listed))
    assert set(listed) == set(NAMES) | {name for name in sources if not name.startswith("results/")}


@every_notebook
def test_no_outputs_and_no_records_of_a_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert not {"papermill", "execution"} & set(cell.metadata)
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert path.stat().st_size <= 200_000


@every_notebook
def test_runs_in_the_python_that_executes_the_book(path):
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


@every_notebook
def test_one_cell_of_parameters_with_literals_only(path):
    code = cells(path, "code")
    (parameters,) = [cell for cell in code if "parameters" in tags(cell)]
    assert parameters is code[0]
    values = {}
    for statement in ast.parse(parameters.source).body:
        assert isinstance(statement, ast.Assign) and len(statement.targets) == 1
        assert statement.lineno == statement.end_lineno  # the page shows the value that was used in its place
        values[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert set(values) <= PARAMETERS and values["profile"] == "quick"
    assert values.get("settings", []) == [] and values.get("store") is None


def install_cell(path):
    return next((c for c in cells(path, "code") if c.id == "install"), None)


@every_notebook
def test_installs_the_library_where_it_is_not(path):
    cell, code = install_cell(path), cells(path, "code")
    assert cell is not None and code.index(cell) == 1, (
        "copy the cell `install` of another notebook below the parameters"
    )
    assert cell.metadata == {"tags": ["remove-cell"]}  # pages do not show it, nbgrader leaves it alone
    assert cell.source == install_cell(PATHS[0]).source


@pytest.mark.parametrize("found", [True, False])
def test_what_the_install_cell_does(found, monkeypatch, capsys, tmp_path):
    """As on Colab: the repository is cloned, pip gets its library, stored results lie where chapters look."""
    commands, run = [], subprocess.run
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if found else None)
    monkeypatch.chdir(tmp_path)

    def record(command, **options):
        if "clone" in command:
            (tmp_path / "infocap" / "book" / "results" / "full").mkdir(parents=True)
        elif "pip" not in command:
            return run(command, **options)
        commands.append(command)

    monkeypatch.setattr(subprocess, "run", record)
    exec(compile(install_cell(PATHS[0]).source, "install", "exec"), {})
    if found:
        assert not commands and not capsys.readouterr().out and Path.cwd() == tmp_path
        return
    clone, install = commands
    citation = yaml.safe_load((BOOK.parent / "CITATION.cff").read_text(encoding="utf-8"))
    assert clone == ["git", "clone", "-q", "--depth", "1", citation["repository-code"]]
    assert install == [sys.executable, "-m", "pip", "install", "-q", "./infocap/lib"]
    assert (BOOK.parent / "lib" / "pyproject.toml").exists()
    assert Path("../results/full").is_dir()
    assert "packages: infocap " in capsys.readouterr().out


def draws(body, known):
    """Whether statements make a figure: with matplotlib or plots, or by the last expression, which calls what does."""
    called = {ast.unparse(node.func) for part in body for node in ast.walk(part) if isinstance(node, ast.Call)}
    makes = {f"{module}.{name}" for module in ("plt", "plots") for name in ("figure", "subplots")} | {"plt.show"}
    last = body[-1].value if body and isinstance(body[-1], ast.Expr | ast.Return) else None
    name = ast.unparse(last.func) if isinstance(last, ast.Call) else ""
    return bool(called & makes) or name in known or name.split(".")[0] in known


def drawings(path):
    """The code cells of a notebook that draw a figure.

    A figure is made by matplotlib, by ``infocap.study.plots``, by a module called figures, or by a function that the
    notebook defines and that does one of these; a cell that only defines such functions shows nothing.
    """
    known, found = set(), []
    for cell in cells(path, "code"):
        try:
            body = ast.parse(cell.source).body
        except SyntaxError:  # IPython's own syntax
            continue
        for node in ast.walk(ast.Module(body, [])):
            if isinstance(node, ast.ImportFrom | ast.Import):
                inside = "figures" in (getattr(node, "module", None) or "").rsplit(".", 1)[-1]
                known |= {a.asname or a.name for a in node.names if inside or a.name.endswith("figures")}
        for node in body:
            if isinstance(node, ast.FunctionDef) and draws(node.body, known):
                known.add(node.name)
        if draws([node for node in body if not isinstance(node, ast.FunctionDef | ast.ClassDef)], known):
            found.append(cell)
    return found


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["import matplotlib.pyplot as plt", "plt.subplots()"], [1]),
        (["figure, axes = plots.subplots(height=3)\nplots.note(figure, 'exact')"], [0]),
        (
            ["from infocap.experiments.synthesis import figures", "figures.chain(toys)", "Markdown(figures.words(1))"],
            [1],
        ),
        (["from infocap.experiments.part.figures import chain", "chain(toys)"], [1]),
        (["def draw(rows):\n    figure, axes = plots.subplots(height=3)\n    return figure", "draw(1)", "1 + 1"], [1]),
        (["def grid():\n    return plots.subplots(2, height=3)", "def draw():\n    return grid()", "draw()"], [2]),
        (["def draw():\n    return plots.figure(3)\n\n\ndraw()", "print(draw)"], [0]),
        (["plots.runs_note('quick', [1])", "style.show(table)", "!ls"], []),
    ],
)
def test_which_cells_draw(sources, expected, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, tmp_path / "one.ipynb")
    assert [cell.source for cell in drawings(tmp_path / "one.ipynb")] == [sources[place] for place in expected]


@every_notebook
def test_figures_say_in_words_what_they_show(path):
    for cell in drawings(path):
        if "### BEGIN SOLUTION" not in cell.source:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 20, f"no mystnb.image.alt: {cell.source.splitlines()[-1]}"


@every_notebook
def test_code_cells_are_short(path):
    for cell in cells(path, "code"):
        assert len(cell.source.splitlines()) <= 25, cell.source.splitlines()[0]


@every_notebook
def test_the_last_code_cell_prints_the_provenance(path):
    last = cells(path, "code")[-1].source
    assert re.search(r"^print\(.*(book\.provenance|describe|stamp)\(", last, re.MULTILINE), last


def imports(*code):
    """One for each line of import: what it imports from."""
    nodes = [node for cell in code for node in ast.walk(ast.parse(cell.source))]
    froms = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return froms + [node.names[0].name for node in nodes if isinstance(node, ast.Import)]


def machinery(names):
    return [name for name in names if re.match(r"infocap\.(study|experiments)\b", name)]


@pytest.mark.parametrize("path", STORY, ids=str)
def test_a_chapter_begins_with_few_imports(path):
    first = next(c for c in cells(path, "code") if "parameters" not in tags(c) and c.id != "install")
    names = imports(first)
    assert 1 <= len(machinery(names)) <= 3 and len(names) <= 6, first.source
    assert re.search(r"^book = Book\(profile, settings, store\)$", first.source, re.MULTILINE), first.source


def test_chapters_import_little_machinery():
    names = [name for path in STORY for c in cells(path, "code") if c.id != "install" for name in imports(c)]
    assert len(STORY) == 10 and 10 <= len(machinery(names)) <= 30


@pytest.mark.parametrize("path", CHAPTERS, ids=str)
def test_chapters_say_what_they_teach_and_sum_up(path):
    first, *_, last = (cell.source for cell in cells(path, "markdown"))
    assert re.search(
        r"^:::\{admonition\} What you will learn\n:class: note\n\n(- .+\n)+\n\*\*Before you start\.\*\* ", first, re.M
    )
    assert [cell for cell in cells(path, "code") if "book.time_to_run(" in cell.source and "remove-input" in tags(cell)]
    summary = re.search(r"^:::\{admonition\} Summary\n:class: tip\n\n(?:- .+\n)+\n((?:.*\n)+?):::$", last, re.M)[1]
    names = re.findall(r"^\*\*(\w+)\.\*\*", summary, re.M)
    assert names == ["Paper", "Library", "Exercises", "Next"]
    links = re.findall(r"\]\((?!https)(.+?)\)", summary)
    assert "exercises.ipynb" in links and [link for link in links if link.startswith("../api/")]
    assert all((path.parent / link).is_file() for link in links)


@pytest.mark.parametrize("path", CHAPTERS, ids=str)
def test_papers_have_the_address_of_the_bibliography(path):
    (last,) = cells(path, "markdown")[-1:]
    papers = re.findall(r"\{cite:t\}`(\w+)`, \[arXiv ([\d.]+)\]\(https://arxiv\.org/abs/([\d.]+)\)", last.source)
    assert len(papers) >= 2  # the paper and the thesis
    entries = (BOOK / "references.bib").read_text(encoding="utf-8")
    known = dict(re.findall(r"^@\w+\{(\w+),[^@]*?eprint = \{([\d.]+)\}", entries, re.M))
    for key, number, address in papers:
        assert number == address == known[key]


@pytest.mark.parametrize("path", CHAPTERS, ids=str)
def test_figures_have_a_name_and_a_caption(path):
    for cell in drawings(path):
        assert {"name", "caption"} <= set(cell.metadata.get("mystnb", {}).get("figure", {})), cell.source


@pytest.mark.parametrize("path", EXERCISES, ids=str)
def test_exercises_have_marked_solutions_and_grading_metadata(path):
    graded = [cell for cell in cells(path) if "nbgrader" in cell.metadata]
    assert len({cell.metadata.nbgrader.grade_id for cell in graded}) == len(graded) >= 12
    for cell in graded:
        data = cell.metadata.nbgrader
        assert data.schema_version == 3 and not (data.solution and data.locked)
        assert ("points" in data) == data.grade
    for cell in cells(path, "code"):
        marks = re.findall(r"### (BEGIN|END) SOLUTION", cell.source)
        assert marks == ["BEGIN", "END"] * (len(marks) // 2), cell.source
        assert not marks or cell.metadata.get("nbgrader", {}).get("solution"), cell.source
    exercises = [cell for cell in cells(path, "markdown") if "{exercise}" in cell.source]
    solutions = [cell for cell in cells(path, "markdown") if "{solution}" in cell.source]
    assert len(exercises) == len(solutions) >= 6
    tests = [cell for cell in graded if cell.metadata.nbgrader.grade and cell.cell_type == "code"]
    assert len(tests) >= 6 and all("assert" in cell.source for cell in tests if cell.metadata.nbgrader.locked)


LIVE = {"distillation_loss", "fit", "fit_many", "leave_one_out", "limit_losses", "ntk"}  # what trains or measures


@pytest.mark.parametrize("path", STORY, ids=str)
def test_chapters_show_their_experiment(path):
    """One real run in the page's own code on real images, and the code that made the tables, taken from its source."""
    code = [cell for cell in cells(path, "code") if not {"remove-cell", "remove-input"} & set(tags(cell))]
    trees = [ast.parse(cell.source) for cell in cells(path, "code")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    shown = [call for call in calls if ast.unparse(call.func) == "code"]
    assert shown and all(call.args and not any(isinstance(arg, ast.Constant) for arg in call.args) for call in shown)
    visible = {
        ast.unparse(node.func)
        for cell in code
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call)
    }
    assert LIVE & {name.split(".")[-1] for name in visible}
    text = "\n".join(cell.source for cell in code)
    assert re.search(r"fashion-mnist|[\"']mnist|\.cells\(|task|split", text), "on real images"
