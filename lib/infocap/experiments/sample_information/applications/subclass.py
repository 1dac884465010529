"""Does an example of a rare class tell more, if the network never hears that its class is one of its own?"""

from typing import Any

import torch

from infocap import data
from infocap.experiments.sample_information.applications import application
from infocap.experiments.sample_information.detection import Cell, auc
from infocap.experiments.sample_information.methods.closed_form import all_of
from infocap.experiments.sample_information.problem import problem
from infocap.experiments.sample_information.tasks import rows_of_classes
from infocap.experiments.streams import stream


@application("subclass")
def subclass(cell: Cell) -> dict[str, Any]:
    """``n`` examples of a common class and ``rare`` ones of another share a target, against ``n`` of a third class.

    The evaluation inputs have the composition of the training set.
    """
    if len(cell.classes) != 3:
        raise ValueError(f"classes: got {cell.classes}; accepted: three class ids, common, rare and other")
    dataset = data.load(cell.data)
    total = 2 * cell.n + cell.rare
    training, evaluation = [], []
    for place, (class_id, count) in enumerate(zip(cell.classes, (cell.n, cell.rare, cell.n), strict=True)):
        rows = rows_of_classes(cell.data, dataset.train_labels, [class_id])
        asked = count + round(cell.m * count / total)
        if asked > len(rows):
            raise ValueError(f"n, m: ask for {asked} images of class {class_id}; accepted: up to {len(rows)}")
        order = torch.randperm(len(rows), generator=stream(f"subclass {cell.data} {place}", cell.seed))
        training.append(rows[order[:count]])
        evaluation.append(rows[order[count:asked]])
    kind = torch.repeat_interleave(torch.arange(3), torch.tensor([len(part) for part in training]))
    rows = torch.cat(training)
    images = dataset.train_inputs
    scores = all_of(cell, problem(cell, images[rows], (kind < 2).double(), images[torch.cat(evaluation)]))
    f_si, one_target = scores["f_si"].cpu(), kind < 2
    return {
        "rows": rows,
        "kind": kind,
        **scores,
        "ratio": float(f_si[kind == 1].mean() / f_si[kind == 0].mean()),
        "auc": auc(f_si[one_target], kind[one_target] == 1),
    }
