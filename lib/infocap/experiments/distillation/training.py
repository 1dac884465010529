"""Table ``distillation/training``: do students that learn from a teacher, or along with it, do better?

A cell draws data, trains one teacher and keeps its weights along the way. The teacher's logits on all augmented views
are computed once per checkpoint. Then students learn from labels, from the final teacher, from earlier ones, and from
one checkpoint after another: each way is a function ``method(cell, task, teacher) -> loss`` in
``infocap.experiments.distillation.methods``. Students with the same seed share initialization and order.

Validation and training labels are noisy; test labels are clean and decide nothing. The best early-stopped teacher is
the checkpoint with the best accuracy on noisy validation labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from infocap import data, noise
from infocap._registry import Entry
from infocap.complexity import adjusted_supervision_complexity, class_averaged_kernel, ntk_similarity
from infocap.distillation import (
    Distillation,
    cached_logits,
    distillation_loss,
    fidelity,
    predictive_kl,
    replay,
    soft_targets,
)
from infocap.experiments.distillation.common import (
    accuracy,
    augmented_views,
    draw,
    kernel,
    network,
    optimizer,
    schedule,
    train,
)
from infocap.experiments.distillation.methods import METHODS
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.streams import stream
from infocap.networks import NETWORKS
from infocap.study.fields import AtLeast, NonNegative, Positive, Share, registered
from infocap.training.loop import predict
from infocap.training.many import fit_many

__all__ = ["Cell", "Task", "Teacher", "follow", "learn", "make_task", "measure", "stages", "teach"]

GRID = {"teacher_seeds": "teacher_seed"}
OWN = {"method": ("methods", METHODS), "network": ("student", NETWORKS), "data": ("data", data)}


@dataclass(frozen=True)
class Cell:
    """One teacher and all its students, by each of ``methods``."""

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
    methods: tuple[registered(METHODS), ...] = (
        "none",
        "offline",
        "online",
        "stopped",
        "stopping sweep",
        "update period",
        "squared, offline",
        "squared, online",
    )

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        architectures = [NETWORKS.module(name) for name in (self.teacher, self.student)]
        return architectures + [METHODS.module(name) for name in self.methods]


@dataclass(frozen=True)
class Task:
    """What teacher and students see; ``labels`` and ``validation_labels`` are noisy.

    ``views`` are all images in a first augmented view, then all in a second one; ``view_labels`` are their labels.
    """

    inputs: Tensor
    labels: Tensor
    clean: Tensor
    validation_inputs: Tensor
    validation_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    views: Tensor
    view_labels: Tensor
    classes: int


@dataclass(frozen=True)
class Teacher:
    """What a teacher said at its checkpoints 1 to T: logits ``[T, rows, C]`` of each part of a task.

    Attributes:
        best: The checkpoint that validation labels choose.
        history: A row per checkpoint; see ``teacher_rows``.
        model: The final teacher.
    """

    views: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    best: int
    history: list[dict[str, Any]]
    model: nn.Module


def measure(cell: Cell) -> dict[str, Any]:
    """``teacher_rows``: one per checkpoint; ``students``: one per student; ``along``: accuracy along their training."""
    task = make_task(cell)
    teacher = teach(cell, task)
    reference = kernel(teacher.model.eval(), task.test_inputs[: cell.points])
    students, along = [], []
    planned = list(plan(cell, teacher))
    for seed in cell.student_seeds:
        own = [(method, with_kernel, options) for method, seeds, with_kernel, options in planned if seed in seeds]
        losses = [method.function(cell, task, teacher, **options) for method, _, options in own]
        for (method, with_kernel, options), (student, path) in zip(own, learn(cell, task, seed, losses), strict=True):
            name = {"method": method.name, "student_seed": seed} | options
            along.append(name | {"test_accuracy": path})
            compared = reference if with_kernel and seed == cell.student_seeds[0] else None
            students.append(name | student_row(task, student, teacher, compared, cell.points))
    return {"teacher_rows": teacher.history, "best_checkpoint": teacher.best, "students": students, "along": along}


def plan(cell: Cell, teacher: Teacher) -> Iterator[tuple[Entry, tuple[int, ...], bool, dict[str, Any]]]:
    """Method, student seeds, whether kernels are compared, and the options that the method receives.

    Neighbours that try the same field of the cell take turns: all of them at the first temperature, then at the next.
    """
    entries = [METHODS[name] for name in cell.methods]
    entries = [entry for entry in entries if "asked" not in entry.options or getattr(cell, entry.options["asked"])]
    tried = False
    for axis, group in groupby(entries, partial(_axis, cell)):
        for value, entry in product(getattr(cell, axis) if axis else [None], list(group)):
            tried, options = True, {key: stated for key, stated in entry.options.items() if key != "asked"}
            side = options.pop("side", False)
            with_kernel = options.pop("kernel", not side)
            for key, stated in options.items():
                if isinstance(stated, str):
                    holder = cell if hasattr(cell, stated) else teacher
                    options[key] = value if stated == axis else getattr(holder, stated)
            yield entry, cell.student_seeds[:1] if side else cell.student_seeds, with_kernel, options
    if not tried:
        fields = "temperatures, stopped, periods or squared"
        raise ValueError(f"methods: got {', '.join(cell.methods)} with nothing to try; accepted: with {fields} stated")


def _axis(cell: Cell, entry: Entry) -> str:
    """The field of the cell whose values a method tries one by one, or an empty string."""
    fields = [field for field in entry.options.values() if isinstance(field, str)]
    return next((field for field in fields if isinstance(getattr(cell, field, None), tuple)), "")


def teach(cell: Cell, task: Task) -> Teacher:
    """Trains the teacher on the views, and asks it at each checkpoint."""
    steps = cell.teacher_epochs * -(-cell.n // cell.batch_size)
    at = [round(steps * (k + 1) / cell.checkpoints) for k in range(cell.checkpoints)]
    image = tuple(task.inputs.shape[1:])
    model = network(cell.teacher, task.classes, image, "teacher", cell.teacher_seed).to(cell.device)
    run = train(
        model, task.views, task.view_labels, steps, loss=cross_entropy,
        optimizer=optimizer(cell.teacher_learning_rate, cell.teacher_weight_decay), batch_size=cell.batch_size,
        generator=stream("teacher order", cell.teacher_seed), keep=at,
    )  # fmt: skip
    logits = {
        name: cached_logits(model, run.checkpoints, inputs, batch_size=256)
        for name, inputs in (
            ("views", task.views),
            ("train", task.inputs),
            ("validation", task.validation_inputs),
            ("test", task.test_inputs),
        )
    }
    history = list(teacher_rows(cell, task, logits, at))
    best = max(range(cell.checkpoints), key=lambda place: history[place]["validation_accuracy"]) + 1
    return Teacher(**logits, best=best, history=history, model=model)


def stages(cell: Cell, count: int) -> list[int]:
    """The last checkpoint of each of ``count`` equal parts of the teacher's training."""
    return [round(cell.checkpoints * (k + 1) / count) for k in range(count)]


def follow(
    cell: Cell, teacher: Teacher, checkpoints: list[int], temperature: float, loss: Callable = distillation_loss
) -> Distillation:
    """The loss of a student that hears these checkpoints in turn, each for an equal part of its training."""
    heard = teacher.views[[checkpoint - 1 for checkpoint in checkpoints]]
    return Distillation(replay(heard, student_steps(cell)), loss=partial(loss, temperature=temperature))


def new_student(cell: Cell, task: Task, seed: int) -> nn.Module:
    """A student before its training."""
    image, purpose = tuple(task.inputs.shape[1:]), f"student {cell.teacher_seed}"
    return network(cell.student, task.classes, image, purpose, seed, width=cell.width).to(cell.device)


def student_steps(cell: Cell) -> int:
    """Steps of one student's training."""
    return cell.epochs * -(-cell.n // cell.batch_size)


def learn(cell: Cell, task: Task, seed: int, losses: Sequence[Callable]) -> Iterator[tuple[nn.Module, list[float]]]:
    """Trains a student by each loss, on the same batches; each with its test accuracy along its training, in fifths."""
    steps, count = student_steps(cell), len(losses)
    rows = torch.arange(len(task.views), device=task.views.device)
    order = stream(f"student order {cell.teacher_seed}", seed).initial_seed()
    many = fit_many(
        partial(new_student, cell, task, seed), task.views, rows, rows.expand(count, -1), init_seeds=[seed] * count,
        order_seeds=[order] * count, loss=losses, optimizer=optimizer(cell.learning_rate, cell.weight_decay),
        schedule=schedule(steps), steps=steps, batch_size=cell.batch_size,
        eval_inputs=task.test_inputs, record_at=sorted({max(1, round(steps * (k + 1) / 5)) for k in range(5)}),
        record=lambda step, logits: [accuracy(one, task.test_labels) for one in logits],
    )  # fmt: skip
    for place, path in enumerate(zip(*many.records.values(), strict=True)):
        student = new_student(cell, task, seed)
        student.load_state_dict(many.state(place))
        yield student, list(path)


def student_row(
    task: Task, student: nn.Module, teacher: Teacher, reference: Tensor | None, points: int
) -> dict[str, Any]:
    """Accuracy, and agreement with the final teacher: of answers, of probabilities, and of tangent kernels."""
    tested, trained = predict(student, task.test_inputs), predict(student, task.inputs)
    result = {
        "test_accuracy": accuracy(tested, task.test_labels),
        "train_accuracy": accuracy(trained, task.labels),
        "fidelity": float(fidelity(tested, teacher.test[-1])),
        "train_fidelity": float(fidelity(trained, teacher.train[-1])),
        "predictive_kl": float(predictive_kl(tested, teacher.test[-1])),
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
    points = task.test_inputs[: cell.complexity_points]
    matrix = class_averaged_kernel(kernel(new_student(cell, task, cell.student_seeds[0]), points))
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
    drawn, classes = draw(cell.data, cell.n + cell.n // 4, cell.test_size, cell.teacher_seed)
    clean = drawn.train_labels
    transition = noise.uniform_transition(classes, cell.label_noise)
    labels = noise.corrupt(clean, transition, stream("noise", cell.teacher_seed)) if cell.label_noise else clean
    inputs, clean, labels = (part.to(cell.device) for part in (drawn.train_inputs, clean, labels))
    return Task(
        inputs=inputs[: cell.n],
        labels=labels[: cell.n],
        clean=clean[: cell.n],
        validation_inputs=inputs[cell.n :],
        validation_labels=labels[cell.n :],
        test_inputs=drawn.test_inputs.to(cell.device),
        test_labels=drawn.test_labels.to(cell.device),
        views=augmented_views(inputs[: cell.n], cell.views, cell.shift, cell.teacher_seed),
        view_labels=labels[: cell.n].repeat(cell.views),
        classes=classes,
    )
