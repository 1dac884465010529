"""Table ``sample_information/summarization``: which examples can be removed at the least cost in accuracy?

| order | which examples go first |
|---|---|
| ``bottom`` | those with the least F-SI, scored once |
| ``top`` | those with the most |
| ``iterative`` | the lowest 5 % of those that are left, scored again after each round |
| ``random`` | any; the mean over several orders |

Accuracy is that on all test images of the two classes, of the linearized network (panel ``linearized``) or of the
network itself (panel ``network``), trained from one initialization on what is left. F-SI is averaged over other
training images of the data set, so that no test image takes part in the choice.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from infocap import data, networks
from infocap.experiments.fields import ImageData
from infocap.experiments.sample_information.problem import Problem, problem
from infocap.experiments.sample_information.tasks import normalize, two_classes
from infocap.experiments.streams import stream
from infocap.sample_information.closed_form import leave_one_out, train_linearized
from infocap.study.fields import AtLeast, NonNegative, Options, Positive, Share
from infocap.tangent import ntk
from infocap.training.loop import predict
from infocap.training.many import fit_many

GRID = {"tasks": Options, "seeds": "seed"}
OWN = {"data": ("data", data)}

ORDERS = ("iterative", "bottom", "random", "top")
_DROPPED = 0.05  # share of what is left that a round of the iterative order removes


@dataclass(frozen=True)
class Cell:
    """One task and seed. ``ridge`` is that of the sum of the losses, the learning rate that of their mean.

    The closed form goes to the end with the ridge, or for ``steps`` steps without one. Networks take
    ``training_steps`` steps of Adam.
    """

    panel: str
    data: ImageData
    classes: tuple[int, int]
    n: AtLeast[8]
    m: AtLeast[8]
    width: AtLeast[1]
    ridge: Positive
    removed: tuple[Share, ...]
    random_orders: AtLeast[1]
    seed: int
    device: str
    learning_rate: NonNegative = 0.0
    steps: AtLeast[0] = 0
    training_steps: AtLeast[0] = 0

    network = "mlp"  # a constant, no field

    def __post_init__(self):
        if self.panel == "network" and not self.training_steps:
            raise ValueError("training_steps: got 0; accepted: 1 or more, for networks")

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        return [networks.NETWORKS.module(self.network)]


def measure(cell: Cell) -> dict[str, Any]:
    """Accuracies by order, one for each share of removed examples; scores and the iterative order as arrays."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = problem(cell, task.inputs, task.targets, task.eval_inputs)
    test_inputs = normalize(cell.data, task.test_inputs).to(this.inputs)
    truth = task.test_targets.to(cell.device) > 0.5
    kernel, kernel_eval, residual = this.kernel, this.kernel_eval, this.residual

    def f_si(left: Tensor) -> Tensor:
        return leave_one_out(
            kernel[left][:, left], residual[left], kernel_eval[:, left], **_training(cell, len(left), leaving=True)
        ).functional_sample_information()

    scores = f_si(torch.arange(cell.n))
    ascending = scores.argsort(stable=True).cpu()
    iterative = iterative_order(cell.n, f_si)
    generator = stream("random removal", cell.seed)
    drawn = [torch.randperm(cell.n, generator=generator) for _ in range(cell.random_orders)]
    orders = [iterative, ascending, ascending.flip(0), *drawn]

    if cell.panel == "linearized":
        kernel_test = ntk(this.model, test_inputs, this.inputs)[:, 0, :, 0]
        start = predict(this.model, test_inputs)[:, 0]

        def outputs(subsets: Tensor) -> Tensor:
            training, duals = _training(cell, subsets.shape[1]), torch.zeros(len(subsets), cell.n).to(kernel)
            unit = torch.eye(subsets.shape[1]).to(kernel)  # in place of a kernel it gives the dual coefficients
            for dual, left in zip(duals, subsets, strict=True):
                dual[left] = train_linearized(kernel[left][:, left], residual[left], unit, **training)
            return start + duals @ kernel_test.T
    else:

        def outputs(subsets: Tensor) -> Tensor:
            return trained_outputs(cell, this, test_inputs, subsets)

    accuracies = []
    for share in cell.removed:
        subsets = torch.stack([order[round(share * cell.n) :] for order in orders])
        accuracies.append(((outputs(subsets) > 0.5) == truth).double().mean(1))
    by_order = torch.stack(accuracies).T
    return {
        "iterative": by_order[0].tolist(),
        "bottom": by_order[1].tolist(),
        "top": by_order[2].tolist(),
        "random": by_order[3:].mean(0).tolist(),
        "rows": task.rows,
        "targets": task.targets,
        "f_si": scores,
        "iterative_order": iterative,
    }


def _training(cell: Cell, count: int, leaving: bool = False) -> dict[str, float]:
    """How the linearized network is trained on ``count`` examples; the left-out ones have one less."""
    if not cell.steps:
        return {"ridge": cell.ridge}
    training = {"learning_rate": cell.learning_rate / count, "steps": cell.steps}
    return training | ({"leave_out_factor": count / (count - 1)} if leaving else {})


def iterative_order(n: int, score) -> Tensor:
    """All ``n`` examples, the first to go first.

    Args:
        n: How many.
        score: ``score(left [k]) -> [k]``, of the examples that are left.

    Returns:
        ``[n]``; in each round the lowest 5 % of what is left go, at least one, until 95 % are gone.
    """
    left, gone = torch.arange(n), []
    while len(left) > max(_DROPPED * n, 2):
        ranks = score(left).argsort(stable=True).cpu()
        count = max(1, round(_DROPPED * len(left)))
        gone.append(left[ranks[:count]])
        left = left[ranks[count:].sort().values]
    return torch.cat([*gone, left])


def trained_outputs(cell: Cell, this: Problem, test_inputs: Tensor, subsets: Tensor) -> Tensor:
    """Outputs of real networks at the test inputs, one for each subset, ``[M, m]``."""
    count, start = len(subsets), copy.deepcopy(this.model).float()
    many = fit_many(
        partial(copy.deepcopy, start), this.inputs.float(), this.targets[:, None].float(), subsets,
        init_seeds=[0] * count, order_seeds=[cell.seed] * count,  # all start from the network that was scored
        loss=mse_loss, optimizer=partial(torch.optim.Adam, lr=1e-3), steps=cell.training_steps,
        batch_size=min(50, subsets.shape[1]), record=lambda step, outputs: outputs[..., 0],
        record_at=[cell.training_steps], eval_inputs=test_inputs.float(),
    )  # fmt: skip
    return many.records[cell.training_steps]
