"""Hand-outs and nbgrader's course folder, made from the exercises' master copies, and graded."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from infocap.study import runner, teaching

BOOK = Path(__file__).parents[2] / "book"
NAMES = sorted(path.relative_to(BOOK).with_suffix("").as_posix() for path in BOOK.glob("*/exercises.ipynb"))
PIXEL = b64encode(b"stands for a figure").decode()


def read(path):
    return nbformat.read(path, as_version=4)


def draws(cell):
    return "alt" in cell.metadata.get("mystnb", {}).get("image", {})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the book whose exercises seem to have been run."""
    folder = tmp_path_factory.mktemp("project")
    book = shutil.copytree(BOOK, folder / "book", ignore=shutil.ignore_patterns("_build"))
    shutil.copy(BOOK.parent / "CITATION.cff", folder)
    for name in NAMES:
        notebook = read(book / f"{name}.ipynb")
        for cell in notebook.cells:
            if draws(cell):
                cell.outputs = [new_output("display_data", {"image/png": PIXEL})]
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = cell.source.replace('profile = "quick"', "profile = 'smoke'")
        staged = book / "_build" / "stage" / f"{name}.ipynb"
        staged.parent.mkdir(parents=True)
        nbformat.write(notebook, staged)
    return book


@pytest.fixture(scope="module")
def handouts(project):
    folder = teaching.student(project, "smoke")
    return {name: read(folder / f"{name}.ipynb") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_hand_out_is_plain_and_shows_the_figures_to_expect(name, handouts):
    cells = handouts[name].cells
    for cell in cells:
        assert "SOLUTION" not in cell.source and "HIDDEN TESTS" not in cell.source, cell.id
        if cell.cell_type == "markdown":
            assert not re.search(r"\{[a-z:]+\}`|```|\\E\b|\\KL\b|\]\((?!https:|attachment:)", cell.source), cell.source
    assert any("<summary>Hint</summary>" in cell.source for cell in cells)
    assert 'profile = "smoke"' in next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    drawn = [index for index, cell in enumerate(cells) if draws(cell)]
    assert len(drawn) >= 2
    for index in drawn:
        shown = cells[index - 1]
        assert shown.source.startswith("**Expected figure"), cells[index].id
        assert shown.attachments["expected.png"] == {"image/png": PIXEL}
        assert cells[index].metadata.mystnb.image.alt in shown.source


def test_hand_outs_are_zipped(handouts, project):
    shutil.unpack_archive(project / "_build" / "student.zip", project / "_build" / "unzipped")
    assert {path.parent.name for path in (project / "_build" / "unzipped").glob("*/exercises.ipynb")} == {
        name.split("/")[0] for name in NAMES
    }


def test_figures_of_another_profile_or_of_an_older_source_are_drawn_again(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "execute", lambda book, name, parameters, _: f"{name} {parameters}")
    teaching.handout(project, NAMES[0], "smoke")
    with pytest.raises(runner.ChapterError, match=f"{NAMES[0]} .*quick"):
        teaching.handout(project, NAMES[0], "quick")
    book = shutil.copytree(project, tmp_path / "book")
    shutil.copy(project.parent / "CITATION.cff", tmp_path)
    source = book / f"{NAMES[0]}.ipynb"
    source.write_text(source.read_text(encoding="utf-8").replace("def ", "def  ", 1), encoding="utf-8")
    with pytest.raises(runner.ChapterError, match="smoke"):
        teaching.handout(book, NAMES[0], "smoke")
    assert capsys.readouterr().out.count("running it with the") == 2


def test_a_second_assignment_leaves_the_course_alone(project, tmp_path):
    teaching.assignment(project, tmp_path, "smoke")
    config, notebook = tmp_path / "nbgrader_config.py", tmp_path / "source" / f"{NAMES[0]}.ipynb"
    before = notebook.read_bytes()
    config.write_text("# mine")
    notebook.write_text("old")
    (tmp_path / "gradebook.db").write_text("grades")
    teaching.assignment(project, tmp_path, "smoke")
    assert config.read_text() == "# mine" and (tmp_path / "gradebook.db").read_text() == "grades"
    assert notebook.read_bytes() == before


def test_the_teaching_page_lists_every_exercise_as_it_is():
    rows, parts = {}, []
    for name in NAMES:
        for cell in read(BOOK / f"{name}.ipynb").cells:
            if "{exercise}" in cell.source:
                pattern = r"{exercise} (.+)\n:label: (\S+)\n\n\*Level ([1-5]), (\d+) minutes\. Goal: (.+)\.\*\n"
                title, label, level, minutes, goal = re.search(pattern, cell.source).groups()
                rows[label] = [f"{{ref}}`{title} <{label}>`", level, int(minutes), 0, goal]
                parts.append((name, label))
            if rows:
                rows[label][3] += cell.metadata.get("nbgrader", {}).get("points", 0)
    page = (BOOK / "teaching.md").read_text(encoding="utf-8")
    for row in rows.values():
        line = f"| {' | '.join(map(str, row))} |"
        assert page.count(line) == 1, f"missing in teaching.md: {line}"
    for name in NAMES:
        own = [rows[label] for part, label in parts if part == name]
        total = f"| all | | {sum(row[2] for row in own)} | {sum(row[3] for row in own)} | |"
        assert total in page, f"missing in teaching.md: {total}"
        assert sorted(row[1] for row in own)[0] == "1" and sorted(row[1] for row in own)[-1] == "5", name
    for minutes, label in re.findall(r"^\| (\d+) \| \{ref\}`[^`]+<(\S+)>` \|$", page, re.MULTILINE):
        assert int(minutes) == rows[label][2], f"the plan for one evening: {label}"


GRADE = """
import shutil, sys
from nbgrader.apps import NbGraderAPI
from traitlets.config.loader import PyFileConfigLoader

api = NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py").load_config())
for part in sys.argv[1:]:
    outcomes = [api.generate_assignment(part)]
    for student, folder in (("ada", "source"), ("ben", "release")):
        shutil.copytree(f"{folder}/{part}", f"submitted/{student}/{part}")
        outcomes.append(api.autograde(part, student))
    for outcome in outcomes:
        if not outcome["success"]:
            sys.exit(outcome["error"] + outcome["log"])
"""
SCORES = """
    SELECT grade_cells.max_score, grade.auto_score, base_cell.name, grade.needs_manual_grade
    FROM grade JOIN grade_cells ON grade.cell_id = grade_cells.id JOIN base_cell ON base_cell.id = grade_cells.id
    JOIN submitted_notebook ON grade.notebook_id = submitted_notebook.id
    JOIN submitted_assignment ON submitted_notebook.assignment_id = submitted_assignment.id
    JOIN assignment ON submitted_assignment.assignment_id = assignment.id
    WHERE submitted_assignment.student_id = ? AND assignment.name = ? AND grade_cells.cell_type = 'code'
"""


@pytest.fixture(scope="module")
def course(project, tmp_path_factory):
    """All assignments, generated and graded in one process: Ada hands in the solutions, Ben what he was given."""
    folder = teaching.assignment(project, tmp_path_factory.mktemp("course"), "smoke")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # nbgrader calls alembic by name
    command = [sys.executable, "-c", GRADE, *(name.split("/")[0] for name in NAMES)]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_gives_the_solution_all_points_and_the_released_version_none(name, course):
    part = name.split("/")[0]
    cells = [
        cell.metadata.get("nbgrader", {}) for cell in read(BOOK / f"{name}.ipynb").cells if cell.cell_type == "code"
    ]
    points = {cell["grade_id"]: cell["points"] for cell in cells if cell.get("grade")}
    with closing(sqlite3.connect(course / "gradebook.db")) as database:
        ada, ben = (database.execute(SCORES, [student, part]).fetchall() for student in ("ada", "ben"))
    assert {cell: most for most, _, cell, _ in ada} == points and len(ben) == len(ada) == len(points)
    assert [row for row in ada if row[0] != row[1] or row[3]] == []
    assert [row for row in ben if row[1] != 0 or row[3]] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_solutions_run_without_a_warning_and_draw(name, course):
    for cell in read(course / "autograded" / "ada" / f"{name}.ipynb").cells:
        outputs = cell.get("outputs", [])
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], cell.id
        if draws(cell):
            kinds = {kind for output in outputs for kind in output.get("data", {})}
            assert kinds & {"image/png", "image/svg+xml"}, cell.id
    assert "commit: " in outputs[0].text  # the last cell's
