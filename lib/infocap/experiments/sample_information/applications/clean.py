"""How is information spread over examples with right labels, and do SI and F-SI agree?"""

from typing import Any

from infocap.experiments.sample_information.applications import application
from infocap.experiments.sample_information.detection import Cell, shape
from infocap.experiments.sample_information.methods.closed_form import all_of
from infocap.experiments.sample_information.problem import problem
from infocap.experiments.sample_information.tasks import two_classes


@application("clean")
def clean(cell: Cell) -> dict[str, Any]:
    """Scores of all examples of two classes."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    scores = all_of(cell, problem(cell, task.inputs, task.targets, task.eval_inputs))
    return {"rows": task.rows, "targets": task.targets} | scores | shape(scores)
