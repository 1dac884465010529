"""Table ``distillation/supervision``: how complex is a teacher's supervision for a student, and random or true labels?

A cell is a binary task, a teacher with checkpoints along its training, and students with their tangent kernels: of
the network as initialized and after training on labels. Complexity is measured on test points, on which no training
residual is zero; the kernel student is trained and tested as usual.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from infocap import data
from infocap.complexity import (
    adjusted_supervision_complexity,
    condition_number,
    margin_bound,
    supervision_complexity,
)
from infocap.distillation import soft_targets
from infocap.experiments.distillation.common import (
    augmented_views,
    binary_task,
    error,
    interpolant,
    kernel,
    network,
    optimizer,
    train,
)
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.streams import stream
from infocap.networks import NETWORKS
from infocap.study.fields import AtLeast, Positive
from infocap.training.loop import predict

__all__ = ["Cell", "measure"]

MARGIN, DELTA = 1.0, 0.05  # of the bound that is evaluated for the kernel student
LOOKS = (0.0, 0.1, 0.3, 1.0)  # shares of a student's training at which its kernel's condition number is measured

GRID = {"seeds": "seed"}
OWN = {"network": ("students", NETWORKS), "data": ("data", data)}


@dataclass(frozen=True)
class Cell:
    """One teacher and its students."""

    panel: str
    data: ImageData
    positive: tuple[int, ...]
    n: AtLeast[2]
    views: AtLeast[1]
    shift: AtLeast[0]
    points: AtLeast[2]
    test_size: AtLeast[2]
    teacher: Network
    teacher_epochs: AtLeast[1]
    teacher_learning_rate: Positive
    checkpoints: AtLeast[1]
    students: tuple[Network, ...]
    epochs: AtLeast[1]
    learning_rate: Positive
    batch_size: AtLeast[1]
    temperatures: tuple[Positive, ...]
    random_draws: AtLeast[2]
    kernel_n: AtLeast[2]
    seed: int
    device: str

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        return [NETWORKS.module(name) for name in (self.teacher, *self.students)]


def measure(cell: Cell) -> dict[str, Any]:
    """``complexity``, ``condition`` and ``kernel_student``: lists of rows, as their functions say."""
    inputs, labels, test_inputs, test_labels = binary_task(cell)
    image = tuple(inputs.shape[1:])
    steps = cell.teacher_epochs * -(-cell.n // cell.batch_size)
    at = [round(steps * (k + 1) / cell.checkpoints) for k in range(cell.checkpoints)]
    views = augmented_views(inputs, cell.views, cell.shift, cell.seed)
    teacher = network(cell.teacher, 1, image, "teacher", cell.seed).to(cell.device)
    run = train(
        teacher, views, (labels.repeat(cell.views) > 0).float()[:, None], steps, loss=binary_cross_entropy_with_logits,
        optimizer=optimizer(cell.teacher_learning_rate, 5e-4), batch_size=cell.batch_size,
        generator=stream("order", cell.seed), keep=at,
    )  # fmt: skip
    test_logits, few_logits = [], []
    for step in at:
        teacher.load_state_dict(run.checkpoints[step])
        test_logits.append(predict(teacher, test_inputs))
        few_logits.append(predict(teacher, inputs[: cell.kernel_n]))
    result: dict[str, Any] = {
        "teacher_error": [error(logits[:, 0], test_labels) for logits in test_logits],
        "complexity": [], "condition": [], "kernel_student": [],
    }  # fmt: skip
    points = slice(0, cell.points)
    for name in cell.students:
        student = network(name, 1, image, "student", cell.seed, width=4).to(cell.device)
        if name == cell.students[-1]:
            result["kernel_student"] = kernel_student(
                cell, student, inputs[: cell.kernel_n], labels[: cell.kernel_n], test_inputs, test_labels, few_logits,
                test_logits,
            )  # fmt: skip
            student.float()
        kernels = {}
        for share, matrix, outputs in along_training(cell, student, inputs, labels, test_inputs[points]):
            result["condition"].append({"student": name, "share": share, "condition": float(condition_number(matrix))})
            kernels[share] = matrix, outputs
        for share, when in ((0.0, "initial"), (1.0, "trained")):
            for row in complexities(cell, *kernels[share], test_labels[points], [part[points] for part in test_logits]):
                result["complexity"].append({"student": name, "kernel": when} | row)
    return result


def along_training(cell: Cell, student, inputs: Tensor, labels: Tensor, points: Tensor):
    """Trains on labels by squared error; yields share of training, kernel ``[m, m]`` and outputs ``[m]``."""
    steps = cell.epochs * -(-len(inputs) // cell.batch_size)
    at: dict[int, float] = {}
    for share in LOOKS:
        at.setdefault(round(share * steps), share)  # a run of a few steps has fewer looks
    run = train(
        student, inputs, labels.float()[:, None], steps, loss=mse_loss,
        optimizer=optimizer(cell.learning_rate, 0.0), batch_size=cell.batch_size,
        generator=stream("order", cell.seed), keep=at,
    )  # fmt: skip
    for step, share in at.items():
        student.load_state_dict(run.checkpoints[step])
        matrix = kernel(student, points)[:, 0, :, 0]
        with torch.no_grad():
            outputs = student(points.double())[:, 0]
        student.float()
        yield share, matrix, outputs


def complexities(cell: Cell, matrix: Tensor, outputs: Tensor, labels: Tensor, teacher: list[Tensor]):
    """Adjusted and plain complexity of each target, and the plain one of targets minus outputs (residual)."""
    generator = stream("random labels", cell.seed)
    random = 2 * torch.randint(2, (cell.random_draws, len(labels)), generator=generator) - 1
    named: list[tuple[dict[str, Any], Tensor]] = [
        ({"targets": "random"}, random.to(matrix)), ({"targets": "labels"}, labels.to(matrix)[None])
    ]  # fmt: skip
    for checkpoint, logits in enumerate(teacher, 1):
        for temperature in cell.temperatures:
            targets = soft_targets(logits.double(), temperature)[:, 0]
            named.append(({"targets": "teacher", "checkpoint": checkpoint, "temperature": temperature}, targets[None]))
    every = torch.cat([targets for _, targets in named])
    adjusted = adjusted_supervision_complexity(matrix, every)
    plain, residual = (supervision_complexity(matrix, every, start) for start in (None, outputs))
    place = 0
    for row, targets in named:
        part = slice(place, place + len(targets))
        place += len(targets)
        yield row | {
            "adjusted": float(adjusted[part].mean()),
            "plain": float(plain[part].mean()),
            "residual": float(residual[part].mean()),
        }


def kernel_student(
    cell: Cell, student, inputs: Tensor, labels: Tensor, test_inputs: Tensor, test_labels: Tensor,
    teacher: list[Tensor], teacher_test: list[Tensor],
) -> list[dict[str, Any]]:  # fmt: skip
    """The interpolant of each target with the student's initial kernel: every part of the trade-off, and its error."""
    matrix, _, outputs = interpolant(student, inputs, test_inputs)
    looks = sorted({0, len(teacher) // 4, len(teacher) // 2, len(teacher) - 1})
    wanted: list[tuple[dict[str, Any], Tensor]] = [({"targets": "labels"}, labels.double())]
    for place in looks:
        for temperature in cell.temperatures[:2] if place == looks[-1] else cell.temperatures[:1]:
            row = {"targets": "teacher", "checkpoint": place + 1, "temperature": temperature}
            row["teacher_error"] = error(teacher_test[place][:, 0], test_labels)
            wanted.append((row, soft_targets(teacher[place].double(), temperature)[:, 0]))
    lines = []
    for row, targets in wanted:
        bound = margin_bound(matrix, targets, labels, margin=MARGIN, delta=DELTA)
        lines.append(
            row
            | {
                "agreement": 1 - error(targets, labels),
                "adjusted": float(adjusted_supervision_complexity(matrix, targets)),
                "normalized": float(supervision_complexity(matrix, targets) * matrix.trace().sqrt() / len(targets)),
                "bound": float(bound.total),
                "student_error": error(outputs(targets), test_labels),
            }
        )
    return lines
