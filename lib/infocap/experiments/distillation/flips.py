"""Table ``distillation/flips``: does a student generalize worse where its supervision is more complex?

A share of the labels of a binary task is flipped. Two students fit them: the interpolant of the tangent kernel of an
untrained network, and that network, trained. Beside their errors stands the complexity of the flipped labels.

A teacher by kernel ridge regression on the labels at one rate shows self-distillation: the student is the interpolant
of its predictions, and so predicts as the teacher does.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch.nn.functional import mse_loss

from infocap import data
from infocap.complexity import adjusted_supervision_complexity, kernel_target_alignment, supervision_complexity
from infocap.experiments.distillation.common import binary_task, error, interpolant, network, train
from infocap.experiments.fields import ImageData
from infocap.experiments.streams import stream
from infocap.networks import NETWORKS
from infocap.study.fields import AtLeast, NonNegative, Positive
from infocap.training.loop import predict

__all__ = ["Cell", "measure"]

GRID = {"seeds": "seed"}
OWN = {"data": ("data", data)}

_STUDENT = "small_cnn"


@dataclass(frozen=True)
class Cell:
    """One draw of data, flips and network; every rate and ridge."""

    panel: str
    data: ImageData
    positive: tuple[int, ...]
    n: AtLeast[2]
    test_size: AtLeast[2]
    rates: tuple[Annotated[float, Field(ge=0, le=0.5)], ...]
    epochs: AtLeast[1]
    learning_rate: Positive
    batch_size: AtLeast[1]
    ridges: tuple[NonNegative, ...]
    seed: int
    device: str

    def code(self) -> list[str]:
        """The module that computes this cell beside this one."""
        return [NETWORKS.module(_STUDENT)]


def measure(cell: Cell) -> dict[str, Any]:
    """A list for each quantity, one entry per rate; and one per ridge at the middle rate for the ridge teachers."""
    inputs, labels, test_inputs, test_labels = binary_task(cell)
    make = partial(network, _STUDENT, 1, tuple(inputs.shape[1:]), "student", cell.seed, width=4)
    matrix, cross, outputs = interpolant(make().to(cell.device), inputs, test_inputs)
    uniform = torch.rand(cell.n, generator=stream("flips", cell.seed)).to(labels.device)
    result: dict[str, Any] = {name: [] for name in ("adjusted", "complexity", "alignment", "kernel_error",
                                                    "network_train_error", "network_error")}  # fmt: skip
    for rate in cell.rates:
        targets = torch.where(uniform < rate, -labels, labels).double()  # a label that is flipped stays so
        result["adjusted"].append(float(adjusted_supervision_complexity(matrix, targets)))
        result["complexity"].append(float(supervision_complexity(matrix, targets)))
        result["alignment"].append(float(kernel_target_alignment(matrix, targets)))
        result["kernel_error"].append(error(outputs(targets), test_labels))
        student = make().to(cell.device)
        train(
            student, inputs, targets.float()[:, None], steps=cell.epochs * -(-cell.n // cell.batch_size),
            loss=mse_loss, optimizer=partial(torch.optim.Adam, lr=cell.learning_rate, fused=True),
            batch_size=cell.batch_size, generator=stream("order", cell.seed),
        )  # fmt: skip
        result["network_train_error"].append(error(predict(student, inputs)[:, 0], targets))
        result["network_error"].append(error(predict(student, test_inputs)[:, 0], test_labels))

    rate = cell.rates[len(cell.rates) // 2]
    targets = torch.where(uniform < rate, -labels, labels).double()
    result |= {"ridge_rate": rate, "ridge_adjusted": [], "ridge_error": [], "ridge_agreement": []}
    for ridge in cell.ridges:
        scale = ridge * matrix.diagonal().mean()
        teacher = matrix @ torch.linalg.solve(matrix + scale * torch.eye(cell.n, device=matrix.device), targets)
        result["ridge_adjusted"].append(float(adjusted_supervision_complexity(matrix, teacher)))
        result["ridge_error"].append(error(cross @ torch.linalg.solve(matrix, teacher), test_labels))
        result["ridge_agreement"].append(1 - error(teacher, targets))
    return result
