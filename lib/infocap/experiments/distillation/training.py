"""Table ``distillation/training``: do students that learn from a teacher, or along with it, do better?

A cell draws data, trains one teacher and keeps its weights along the way. The teacher's logits on all augmented views
are computed once per checkpoint. Then students learn from labels, from the final teacher, from earlier ones, and from
one checkpoint after another. Students with the same seed share initialization and order.

Validation and training labels are noisy; test labels are clean and decide nothing. The best early-stopped teacher is
the checkpoint with the best accuracy on noisy validation labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from infocap import data, noise
from infocap.distillation import (
    Distillation,
    adjusted_supervision_complexity,
    cached_logits,
    class_averaged_kernel,
    distillation_loss,
    fidelity,
    ntk_similarity,
    predictive_kl,
    replay,
    soft_targets,
    squared_distillation_loss,
)
from infocap.experiments.distillation.common import accuracy, augmented_views, kernel, network, optimizer, train
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.streams import stream
from infocap.study.fields import AtLeast, NonNegative, Positive, Share
from infocap.training import predict

__all__ = ["Cell", "measure"]


GRID = {"teacher_seeds": "teacher_seed"}


@dataclass(frozen=True)
class Cell:
    """One teacher and all its students."""

    panel: str
    data: ImageData
    n: AtLeast[8]
    test_size: AtLeast[2]
    label_noise: Share
    views: AtLeast[1]
    shift: AtLeast[0]
    teacher: Network
    teacher_epochs: AtLeast[1]
    teacher_learning_rate: Positive
    teacher_weight_decay: NonNegative
    checkpoints: AtLeast[1]
    student: Network
    epochs: AtLeast[1]
    learning_rate: Positive
    weight_decay: NonNegative
    batch_size: AtLeast[1]
    temperatures: tuple[Positive, ...]
    points: AtLeast[2]
    complexity_points: AtLeast[2]
    student_seeds: tuple[int, ...]
    teacher_seed: int
    device: str
    width: AtLeast[1] = 8
    stopped: tuple[AtLeast[1], ...] = ()
    periods: tuple[AtLeast[2], ...] = ()
    squared: bool = False


@dataclass(frozen=True)
class Task:
    """What teacher and students see; ``labels`` and ``validation_labels`` are noisy."""

    inputs: Tensor
    labels: Tensor
    clean: Tensor
    validation_inputs: Tensor
    validation_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    views: Tensor
    classes: int


def measure(cell: Cell) -> dict[str, Any]:
    """``teacher``: a row per checkpoint; ``students``: a row per student; ``along``: accuracy along their training."""
    task = make_task(cell)
    image = tuple(task.inputs.shape[1:])
    steps = cell.teacher_epochs * -(-cell.n // cell.batch_size)
    at = [round(steps * (k + 1) / cell.checkpoints) for k in range(cell.checkpoints)]
    teacher = network(cell.teacher, task.classes, image, "teacher", cell.teacher_seed).to(cell.device)
    run = train(
        teacher, task.views, task.labels.repeat(cell.views), steps, loss=cross_entropy,
        optimizer=optimizer(cell.teacher_learning_rate, cell.teacher_weight_decay), batch_size=cell.batch_size,
        generator=stream("teacher order", cell.teacher_seed), keep=at,
    )  # fmt: skip
    logits = {
        name: cached_logits(teacher, run.checkpoints, inputs, batch_size=256)
        for name, inputs in (
            ("views", task.views),
            ("train", task.inputs),
            ("validation", task.validation_inputs),
            ("test", task.test_inputs),
        )
    }
    history = list(teacher_rows(cell, task, logits, at))
    best = max(range(cell.checkpoints), key=lambda place: history[place]["validation_accuracy"]) + 1
    reference = kernel(teacher.eval(), task.test_inputs[: cell.points])

    students, along = [], []
    for method, seeds, options in methods(cell, best):
        for seed in seeds:
            name = {"method": method, "student_seed": seed} | options
            student = network(
                cell.student, task.classes, image, f"student {cell.teacher_seed}", seed, width=cell.width
            ).to(cell.device)
            path = learn(cell, task, student, seed, loss_of(cell, task, logits["views"], method, options))
            along.append(name | {"test_accuracy": path})
            with_similarity = seed == cell.student_seeds[0] and method in ("none", "offline", "online")
            row = student_row(task, student, logits, reference if with_similarity else None, cell.points)
            students.append(name | row)
    return {"teacher": history, "best_checkpoint": best, "students": students, "along": along}


def methods(cell: Cell, best: int) -> Iterator[tuple[str, tuple[int, ...], dict[str, Any]]]:
    """Name, student seeds and options of everything that is tried; side studies have the first seed only."""
    last, first = cell.checkpoints, cell.student_seeds[:1]
    yield "none", cell.student_seeds, {}
    for temperature in cell.temperatures:
        yield "offline", cell.student_seeds, {"temperature": temperature, "checkpoint": last}
        yield "online", cell.student_seeds, {"temperature": temperature, "count": last}
    yield "stopped", cell.student_seeds, {"temperature": 1.0, "checkpoint": best}
    for checkpoint in cell.stopped:
        yield "stopping sweep", first, {"temperature": 1.0, "checkpoint": checkpoint}
    for count in cell.periods:
        yield "update period", first, {"temperature": 1.0, "count": count}
    if cell.squared:
        yield "squared, offline", first, {"temperature": 1.0, "checkpoint": last}
        yield "squared, online", first, {"temperature": 1.0, "count": last}


def loss_of(cell: Cell, task: Task, logits: Tensor, method: str, options: dict[str, Any]) -> Callable:
    """The loss of a student whose targets are row numbers of the views; ``logits`` is ``[checkpoints, rows, C]``."""
    if method == "none":
        labels = task.labels.repeat(cell.views)
        return lambda outputs, rows: cross_entropy(outputs, labels[rows])
    if "checkpoint" in options:
        chosen = [options["checkpoint"] - 1]
    else:  # the last of each of ``count`` stages
        chosen = [round(cell.checkpoints * (k + 1) / options["count"]) - 1 for k in range(options["count"])]
    kind = squared_distillation_loss if method.startswith("squared") else distillation_loss
    return Distillation(
        replay(logits[chosen], student_steps(cell)), loss=partial(kind, temperature=options["temperature"])
    )


def student_steps(cell: Cell) -> int:
    return cell.epochs * -(-cell.n // cell.batch_size)


def learn(cell: Cell, task: Task, student: nn.Module, seed: int, loss: Callable) -> list[float]:
    """Trains a student; its test accuracy after each of five parts of its training."""
    steps = student_steps(cell)
    rows = torch.arange(len(task.views), device=task.views.device)
    run = train(
        student, task.views, rows, steps, loss=loss, optimizer=optimizer(cell.learning_rate, cell.weight_decay),
        batch_size=cell.batch_size, generator=stream(f"student order {cell.teacher_seed}", seed),
        record=lambda step, model: accuracy(predict(model, task.test_inputs), task.test_labels),
        record_at=sorted({max(1, round(steps * (k + 1) / 5)) for k in range(5)}),
    )  # fmt: skip
    return list(run.records.values())


def student_row(
    task: Task, student: nn.Module, logits: dict[str, Tensor], reference: Tensor | None, points: int
) -> dict[str, Any]:
    """Accuracy, and agreement with the final teacher: of answers, of probabilities, and of tangent kernels."""
    tested, trained = predict(student, task.test_inputs), predict(student, task.inputs)
    result = {
        "test_accuracy": accuracy(tested, task.test_labels),
        "train_accuracy": accuracy(trained, task.labels),
        "fidelity": float(fidelity(tested, logits["test"][-1])),
        "train_fidelity": float(fidelity(trained, logits["train"][-1])),
        "predictive_kl": float(predictive_kl(tested, logits["test"][-1])),
    }
    if reference is not None:
        own = kernel(student.eval(), task.test_inputs[:points])
        student.float()
        averaged = class_averaged_kernel(own), class_averaged_kernel(reference)
        result |= {
            "similarity": float(ntk_similarity(own, reference)),
            "similarity_centered": float(ntk_similarity(own, reference, centered=True)),
            "similarity_averaged": float(ntk_similarity(*averaged)),
        }
    return result


def teacher_rows(cell: Cell, task: Task, logits: dict[str, Tensor], at: list[int]) -> Iterator[dict[str, Any]]:
    """Along the teacher's training: accuracies, the share of wrong labels that it fits, and its complexity.

    Complexity is that of centred targets on test points, for the class-averaged kernel of the first student before its
    training; the row has the value for each temperature, and that of the true labels beside them.
    """
    image = tuple(task.inputs.shape[1:])
    points = task.test_inputs[: cell.complexity_points]
    student = network(
        cell.student, task.classes, image, f"student {cell.teacher_seed}", cell.student_seeds[0], width=cell.width
    ).to(cell.device)
    matrix = class_averaged_kernel(kernel(student, points))
    wrong = task.labels != task.clean
    for place, step in enumerate(at):
        own = logits["train"][place].argmax(1)
        row = {
            "checkpoint": place + 1,
            "step": step,
            "test_accuracy": accuracy(logits["test"][place], task.test_labels),
            "validation_accuracy": accuracy(logits["validation"][place], task.validation_labels),
            "train_accuracy": accuracy(logits["train"][place], task.labels),
            "wrong_fitted": float((own == task.labels)[wrong].double().mean()) if wrong.any() else None,
        }
        for temperature in cell.temperatures:
            targets = soft_targets(logits["test"][place][: cell.complexity_points].double(), temperature)
            row[f"complexity_{temperature:g}"] = complexity(matrix, targets)
        labels = task.test_labels[: cell.complexity_points]
        row["complexity_labels"] = complexity(matrix, one_hot(labels, task.classes).double() - 1 / task.classes)
        yield row


def complexity(matrix: Tensor, targets: Tensor) -> float:
    """Adjusted complexity of ``[m, C]`` targets for a kernel ``[m, m]`` that all classes share."""
    values = adjusted_supervision_complexity(matrix, targets.T.contiguous())
    weights = targets.square().sum(0)
    return float((values.square() * weights).sum().div(weights.sum()).sqrt())


def make_task(cell: Cell) -> Task:
    """``n`` training and ``n / 4`` validation examples with noisy labels, test examples, and the augmented views."""
    source = data.load(cell.data)
    chosen = torch.randperm(len(source.train_labels), generator=stream("data", cell.teacher_seed))
    chosen = chosen[: cell.n + cell.n // 4]
    if len(chosen) < cell.n + cell.n // 4:
        raise ValueError(f"n: got {cell.n}; accepted: up to {len(source.train_labels) * 4 // 5}, validation needs more")
    tested = torch.randperm(len(source.test_labels), generator=stream("test", 0))[: cell.test_size]
    mean, deviation = source.train_inputs.mean(), source.train_inputs.std()
    inputs, test_inputs = (
        ((images - mean) / deviation).to(cell.device)
        for images in (source.train_inputs[chosen], source.test_inputs[tested])
    )
    clean, classes = source.train_labels[chosen], int(source.train_labels.max()) + 1
    transition = noise.uniform_transition(classes, cell.label_noise)
    labels = noise.corrupt(clean, transition, stream("noise", cell.teacher_seed)) if cell.label_noise else clean
    clean, labels = clean.to(cell.device), labels.to(cell.device)
    return Task(
        inputs=inputs[: cell.n],
        labels=labels[: cell.n],
        clean=clean[: cell.n],
        validation_inputs=inputs[cell.n :],
        validation_labels=labels[cell.n :],
        test_inputs=test_inputs,
        test_labels=source.test_labels[tested].to(cell.device),
        views=augmented_views(inputs[: cell.n], cell.views, cell.shift, cell.teacher_seed),
        classes=classes,
    )
