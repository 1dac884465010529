"""The exercises' master copies and the student copies that `make student` writes from them."""

from pathlib import Path

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import ClearSolutions

BOOK = Path(__file__).parents[2] / "book"
NOTEBOOKS = sorted(BOOK.glob("*/exercises.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.parent.name)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_answer(cell):
    return cell.metadata.get("nbgrader", {}).get("solution", False)


def test_metadata_is_nbgraders_and_ids_are_unique(path):
    notebook = nbformat.read(path, as_version=4)
    MetadataValidator().validate_nb(notebook)
    ids = [cell.metadata["nbgrader"]["grade_id"] for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert len(ids) == len(set(ids))


def test_each_answer_is_marked_folded_and_checked(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert any(is_answer(cell) for cell in cells)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        assert ("### BEGIN SOLUTION" in cell.source) == is_answer(cell), cell.id
        if is_answer(cell):
            assert "hide-input" in cell.metadata["tags"], cell.id
            grade = following.metadata["nbgrader"]
            assert grade["grade"] and grade["locked"] and grade["points"] > 0, cell.id
            assert "assert" in following.source, following.id


def test_a_student_copy_stops_at_the_first_open_answer(path):
    master = code_cells(nbformat.read(path, as_version=4))
    student, _ = ClearSolutions().preprocess(nbformat.read(path, as_version=4), {})
    for cell in student.cells:
        assert "SOLUTION" not in cell.source, cell.id
        assert "{solution" not in cell.source, cell.id
        if cell.cell_type == "code":
            compile(cell.source, cell.id, "exec")
    namespace = {}
    for before, cell in zip(master, code_cells(student), strict=True):
        if is_answer(cell):
            assert "raise NotImplementedError()" in cell.source, cell.id
            break
        assert before.source == cell.source, cell.id
        exec(cell.source, namespace)
    with pytest.raises(NotImplementedError):
        exec(cell.source, namespace)  # a script raises here, a function when its check calls it
        exec(code_cells(student)[code_cells(student).index(cell) + 1].source, namespace)
