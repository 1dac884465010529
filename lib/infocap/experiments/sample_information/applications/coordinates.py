"""Does a kernel over a few random coordinates of the weights rank examples as the full kernel does?"""

import copy
from typing import Any

import torch

from infocap.experiments.sample_information.applications import application
from infocap.experiments.sample_information.detection import Cell, rank_correlation
from infocap.experiments.sample_information.methods.closed_form import at_horizon, to_the_end
from infocap.experiments.sample_information.problem import problem
from infocap.experiments.sample_information.tasks import two_classes
from infocap.sample_information.closed_form import leave_one_out
from infocap.tangent import sampled_ntk


@application("coordinates")
def coordinates(cell: Cell) -> dict[str, Any]:
    """The kernel over a few coordinates of each parameter tensor, and the ranking that follows from it."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = problem(cell, task.inputs, task.targets, task.eval_inputs)
    trainings = {"spearman": to_the_end(cell), "spearman_horizon": at_horizon(cell, cell.n)}
    result: dict[str, list[float]] = {"error": [], "spearman": [], "spearman_horizon": []}
    single = copy.deepcopy(this.model).float()  # its rounding is far below the error of sampling
    images = torch.cat([this.inputs, this.eval_inputs]).float()
    for count in cell.coordinates:
        sampled = sampled_ntk(single, images, coordinates=count, seed=cell.seed)[:, 0, : cell.n, 0].double()
        own, own_eval = sampled.split([cell.n, cell.m])
        result["error"].append(float((own - this.kernel).norm() / this.kernel.norm()))
        for name, training in trainings.items():
            full = this.left_out(**training).functional_sample_information()
            found = leave_one_out(own, this.residual, own_eval, **training).functional_sample_information()
            result[name].append(rank_correlation(found, full))
    return result
