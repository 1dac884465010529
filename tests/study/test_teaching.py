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


def nbgrader(course, *arguments):
    command = [sys.executable, "-m", "nbgrader", *arguments]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it starts alembic by its name
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def scores(course):
    """For each student and cell that nbgrader grades by itself: what it gave, and the most it could give."""
    query = """
        SELECT submitted_assignment.student_id, grade_cell.max_score, grade.auto_score, base_cell.name
        FROM grade JOIN grade_cell ON grade.cell_id = grade_cell.id JOIN base_cell ON base_cell.id = grade_cell.id
        JOIN submitted_notebook ON grade.notebook_id = submitted_notebook.id
        JOIN submitted_assignment ON submitted_notebook.assignment_id = submitted_assignment.id
        WHERE grade_cell.cell_type = 'code'
    """
    with closing(sqlite3.connect(course / "gradebook.db")) as database:
        return database.execute(query).fetchall()


@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_gives_the_solution_all_points_and_the_released_version_none(name, project, tmp_path):
    part = name.split("/")[0]
    teaching.assignment(project, tmp_path, "smoke")
    nbgrader(tmp_path, "generate_assignment", part)
    for student, folder in (("ada", "source"), ("ben", "release")):
        shutil.copytree(tmp_path / folder / part, tmp_path / "submitted" / student / part)
    nbgrader(tmp_path, "autograde", part)
    found = scores(tmp_path)
    master = [cell for cell in read(BOOK / f"{name}.ipynb").cells if cell.cell_type == "code"]
    points = {
        c.metadata.nbgrader.grade_id: c.metadata.nbgrader.get("points") for c in master if "nbgrader" in c.metadata
    }
    for student, most, given, cell in found:
        assert most == points[cell] and given == (most if student == "ada" else 0), (student, cell, given)
    assert len(found) == 2 * sum(points is not None for points in points.values())
    solved = read(tmp_path / "autograded" / "ada" / part / "exercises.ipynb")
    for cell in solved.cells:
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error" or o.get("name") == "stderr"]
        assert not errors, (cell.id, errors)
        if draws(cell):
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.id
    assert "commit: " in solved.cells[-1].outputs[0].text
