"""Supervision complexity and distillation: many targets for one kernel, a student's step, and the chapter's figure.

Limits on one core. One factorization of a kernel with N = 1,500 takes N^3 / 3, 1.1 GFLOP in float64, and each set of
targets N^2, 2 MFLOP: fifty add a tenth. A step with cached logits adds to one of cross-entropy the look-up of a batch
of rows and a second softmax, both small beside the network. The figure trains a teacher and two students, and nearly
all of its time is their arithmetic; the reference is the teacher alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from harness import Row, agree, alternate, row, seconds
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from infocap.distillation import Distillation, distillation_loss, replay, supervision_complexity
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.distillation import supervision
from infocap.experiments.distillation.common import augmented_views, binary_task, network, optimizer, train
from infocap.experiments.streams import stream
from infocap.networks import build
from infocap.training import fit


def rows() -> Iterator[Row]:
    yield target_sets()
    yield student_step()
    yield figure()


def target_sets() -> Row:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(1500, 3000, dtype=torch.float64, generator=generator)
    kernel = factor @ factor.T
    targets = torch.randn(50, 1500, dtype=torch.float64, generator=generator)
    exact = (targets.T * torch.linalg.solve(kernel, targets.T)).sum(0).sqrt()
    agree("complexity", supervision_complexity(kernel, targets), exact, 1e-9)
    ours, reference = alternate(
        lambda: seconds(lambda: supervision_complexity(kernel, targets)),
        lambda: seconds(lambda: supervision_complexity(kernel, targets[0])),
        repetitions=9,
    )
    return row("complexity of 50 target sets / of one, N = 1,500", ours, reference, at_most=1.5)


def student_step() -> Row:
    """The student of the chapter, batch 64: logits of ten checkpoints on 8,000 views against labels."""
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(8000, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (8000,), generator=generator)
    logits, steps = torch.randn(10, 8000, 10, generator=generator), 100
    options = {"optimizer": optimizer(0.02, 1e-4), "steps": steps, "batch_size": 64}

    def run(targets, loss) -> float:
        student = build("small_cnn", 10, seed=0)
        order = torch.Generator().manual_seed(0)
        return seconds(lambda: fit(student, views, targets, loss=loss, generator=order, **options)) / steps

    def taught() -> float:
        teacher = replay(logits, steps)
        return run(torch.arange(8000), Distillation(teacher, loss=partial(distillation_loss, temperature=4.0)))

    ours, reference = alternate(taught, lambda: run(labels, cross_entropy), repetitions=15)
    return row("student step, cached logits / cross-entropy, batch 64", ours, reference, at_most=1.15)


def figure() -> Row:
    cell = replace(CATALOGUE.load_profile("quick").cells("distillation/supervision")[0], device="cpu")

    def teacher() -> None:
        inputs, labels, _, _ = binary_task(cell)
        views = augmented_views(inputs, cell.views, cell.shift, cell.seed)
        train(
            network(cell.teacher, 1, tuple(inputs.shape[1:]), "teacher", cell.seed), views,
            (labels.repeat(cell.views) > 0).float()[:, None], cell.teacher_epochs * -(-cell.n // cell.batch_size),
            loss=binary_cross_entropy_with_logits, optimizer=optimizer(cell.teacher_learning_rate, 5e-4),
            batch_size=cell.batch_size, generator=stream("order", cell.seed),
        )  # fmt: skip

    ours, reference = alternate(
        lambda: seconds(lambda: supervision.measure(cell)), lambda: seconds(teacher), repetitions=1
    )
    label = f"complexity at {cell.checkpoints} checkpoints, {len(cell.students)} students / the teacher alone"
    return row(label, ours, reference, limit_s=40)
