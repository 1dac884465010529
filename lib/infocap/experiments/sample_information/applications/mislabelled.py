"""Which scores rank examples with a flipped label first?"""

from typing import Any

import torch

from infocap.experiments.sample_information.applications import application
from infocap.experiments.sample_information.detection import Cell, auc, chosen, shape
from infocap.experiments.sample_information.methods import METHODS
from infocap.experiments.sample_information.problem import problem
from infocap.experiments.sample_information.tasks import two_classes


@application("mislabelled")
def mislabelled(cell: Cell) -> dict[str, Any]:
    """A share of the targets is flipped; each of the cell's methods scores all examples."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    flipped = chosen(cell, "flipped labels")
    targets = torch.where(flipped, 1 - task.targets, task.targets)
    this = problem(cell, task.inputs, targets, task.eval_inputs)
    scores = {METHODS[name].__name__: torch.as_tensor(METHODS[name](cell, this)) for name in cell.methods}
    for name, score in scores.items():
        if score.shape != targets.shape or not score.isfinite().all():
            raise ValueError(f"{name}: got {list(score.shape)}; accepted: a finite score for each of {cell.n} examples")
    result = {"rows": task.rows, "targets": targets, "flipped": flipped.long()} | scores | shape(scores)
    return result | {f"auc_{name}": auc(score, flipped) for name, score in scores.items()}
