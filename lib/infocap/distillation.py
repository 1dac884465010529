"""How does a student learn from a teacher, and when should the teacher say what?

*Offline* distillation has a finished teacher. *Online* distillation follows its training: the student learns from one
stage of it after another, as early stages are simpler supervision (``infocap.complexity``, whose names are here too).

Conventions that may surprise: soft targets are centred, as the constant part of probabilities looks spuriously simple;
``alpha`` weights the TEACHER, and ``1 - alpha`` the labels; KL is summed over outputs, averaged over the batch and
multiplied by the squared temperature; a network with one output, ``[B, 1]``, is a sigmoid; checkpoints count from 1.
Losses keep the dtype of the logits. Setting: Harutyunyan et al. (2023, arXiv 2301.12245); used in
book/distillation/online_distillation.ipynb.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infocap import _checks as check
from infocap.complexity import (
    MarginBound,
    adjusted_supervision_complexity,
    class_averaged_kernel,
    condition_number,
    kernel_target_alignment,
    margin_bound,
    ntk_similarity,
    supervision_complexity,
)
from infocap.training.loop import predict

__all__ = [
    "Distillation", "MarginBound", "adjusted_supervision_complexity", "cached_logits", "class_averaged_kernel",
    "condition_number", "distillation_loss", "fidelity", "kernel_target_alignment", "margin_bound", "ntk_similarity",
    "predictive_kl", "replay", "soft_targets", "squared_distillation_loss", "supervision_complexity",
    "teacher_checkpoint", "train_along",
]  # fmt: skip


def soft_targets(logits: Tensor, temperature: float) -> Tensor:
    """Centred soft labels: ``softmax(z / tau) - 1/C``, and ``tanh(z / (2 tau))`` for one output.

    Args:
        logits: ``[..., C]``, floating: z.
        temperature: tau, positive.

    Returns:
        As ``logits``; with all digits at high temperatures too, where they tend to ``(z - mean z) / (tau C)`` and
        ``z / (2 tau)``.

    Raises:
        ValueError, TypeError: A temperature that is not positive, no outputs, or logits that are not floating.

    Example:
        >>> soft_targets(torch.tensor([[math.log(3), 0.0]]), 1.0), soft_targets(torch.tensor([[math.log(3)]]), 1.0)
        (tensor([[ 0.2500, -0.2500]]), tensor([[0.5000]]))
    """
    tau = check.positive("temperature", temperature)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise TypeError(f"logits must be a floating tensor, got {getattr(logits, 'dtype', type(logits).__name__)}")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must be [..., C] with C >= 1, got shape {tuple(logits.shape)}")
    if logits.shape[-1] == 1:
        return torch.tanh(logits / (2 * tau))
    excess = torch.expm1((logits - logits.amax(-1, keepdim=True)) / tau)  # of the largest weight over each one
    return (excess - excess.mean(-1, keepdim=True)) / (excess + 1).sum(-1, keepdim=True)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 1.0,
    alpha: float = 1.0,
) -> Tensor:
    """Knowledge distillation: ``(1 - alpha) CE(labels) + alpha tau^2 KL(teacher || student)``, the mean over a batch.

    KL is that of ``softmax(z / tau)``. As tau grows, the gradient at the student's logits tends to the difference of
    the centred logits over C: tau^2 keeps it from vanishing.

    Args:
        student_logits: ``[B, C]``, floating; ``[B, 1]`` are those of a sigmoid.
        teacher_logits: As ``student_logits``; no gradient flows into them.
        labels: ``[B]``, integers in [0, C - 1], of {0, 1} for one output; needed for ``alpha < 1``.
        temperature: tau, positive; labels are compared at temperature 1.
        alpha: Weight of the teacher, in [0, 1]. Some libraries weight the labels with it.

    Returns:
        A scalar with the dtype of the logits.

    Raises:
        ValueError: Numbers out of range, ``alpha < 1`` without labels, wrong shapes, an empty batch, or, outside of
            ``torch.func.vmap``, labels out of range or logits that are not finite.
        TypeError: Logits that are not floating or labels that are not integers.

    Source: Hinton et al. (2015), arXiv 1503.02531.

    Example:
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
        >>> distillation_loss(student, teacher)  # ln 2 - (ln 4 - 3/4 ln 3)
        tensor(0.1308)
    """
    tau, alpha = check.positive("temperature", temperature), check.real("alpha", alpha, 0, 1)
    if labels is None and alpha < 1:
        raise ValueError(f"labels: got None with alpha {alpha:g}; accepted: labels, or alpha 1")
    student, teacher, labels = _pair(student_logits, teacher_logits, labels)
    loss = tau**2 * _kl(student / tau, teacher.detach() / tau)
    return loss if alpha == 1 else (1 - alpha) * F.cross_entropy(student, labels) + alpha * loss


def _pair(student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Checks a batch and returns it with at least two classes: one output z stands for logits ``(0, z)``."""
    if getattr(student, "shape", None) != getattr(teacher, "shape", None):
        shapes = " and ".join(str(tuple(getattr(value, "shape", ()))) for value in (student, teacher))
        raise ValueError(f"student_logits and teacher_logits must have one shape, got {shapes}")
    if isinstance(student, Tensor) and isinstance(teacher, Tensor) and student.ndim == 2 and student.shape[1] == 1:
        student, teacher = (torch.cat([torch.zeros_like(z), z], 1) for z in (student, teacher))
    if labels is None:
        labels = torch.zeros(getattr(student, "shape", (0,))[:1], dtype=torch.long)
    return student, teacher, check.batch(labels, student_logits=student, teacher_logits=teacher)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """``mean_b KL(softmax(teacher) || softmax(student))``."""
    log_p, log_q = F.log_softmax(teacher, -1), F.log_softmax(student, -1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def squared_distillation_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Half the squared distance of the student's outputs from the teacher's soft targets, the mean over a batch.

    Trained on it, a linearized student tends to the function whose norm is the complexity of those targets.

    Arguments, result and errors are those of ``distillation_loss``; the student's logits enter as they are.

    Example:
        >>> squared_distillation_loss(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]))  # (1/16 + 1/16) / 2
        tensor(0.0625)
    """
    _pair(student_logits, teacher_logits)
    error = student_logits - soft_targets(teacher_logits.detach(), temperature)
    return error.square().sum(-1).mean() / 2


def teacher_checkpoint(fraction: float, num_checkpoints: int) -> int:
    """Which of the teacher's checkpoints teaches at a fraction of the student's training: ``floor(fraction T) + 1``.

    Args:
        fraction: In [0, 1); ``fractions.Fraction(step, steps)`` is exact.
        num_checkpoints: T, at least 1.

    Returns:
        1 to T: checkpoint 0, the random initialization, is never used. Numbers out of range are a ValueError.

    Example:
        >>> [teacher_checkpoint(Fraction(step, 6), 3) for step in range(6)]
        [1, 1, 2, 2, 3, 3]
    """
    count = check.count("num_checkpoints", num_checkpoints, 1)
    check.real("fraction", fraction, 0, 1)
    if fraction >= 1:
        raise ValueError(f"fraction must lie in [0, 1), got {fraction}")
    return min(math.floor(fraction * count) + 1, count)


Teacher = Callable[[int, Tensor], Tensor]


class Distillation:
    """A loss for ``fit``, whose ``targets`` are then row numbers, ``torch.arange(len(inputs))``.

    It counts its calls: make a new one for each ``fit``. A batch is seen by the teacher after the student's forward
    pass and before its step. Rows are fixed views of the data: ``augment`` would show the student other ones.

    Args:
        teacher: ``teacher(step, rows) -> logits [B, C]``, steps from 0: made by ``replay`` or ``train_along``.
        labels: ``[N]``, of all rows; handed on to ``loss`` as its third argument if given.
        loss: ``loss(student_logits, teacher_logits)``, or with labels.

    Attributes:
        step: Calls so far.

    Example:
        >>> loss = Distillation(replay(torch.zeros(1, 5, 2), steps=10))
        >>> loss(torch.zeros(3, 2), torch.tensor([0, 4, 2])), loss.step
        (tensor(0.), 1)
    """

    def __init__(self, teacher: Teacher, labels: Tensor | None = None, loss: Callable[..., Tensor] = distillation_loss):
        self.teacher, self.labels, self.loss, self.step = teacher, labels, loss, 0

    def __call__(self, student_logits: Tensor, rows: Tensor) -> Tensor:
        arguments = () if self.labels is None else (self.labels.index_select(0, rows),)
        value = self.loss(student_logits, self.teacher(self.step, rows), *arguments)
        self.step += 1
        return value


def replay(logits: Tensor, steps: int) -> Teacher:
    """A teacher that was trained before: stage k of T of the student's training sees the logits of checkpoint k.

    Args:
        logits: ``[T, N, C]``, of all rows, such as those of ``cached_logits``. ``logits[-1:]`` is offline
            distillation, an earlier checkpoint alone is an early-stopped teacher.
        steps: Of the student.

    Returns:
        A teacher for ``Distillation``, which looks up rows; further steps are a ValueError.

    Raises:
        ValueError, TypeError: Logits of another shape, not floating or not finite; no steps.

    Example:
        >>> teacher = replay(torch.tensor([1.0, 2.0]).view(2, 1, 1), steps=4)
        >>> [teacher(step, torch.tensor([0])).item() for step in range(4)]
        [1.0, 1.0, 2.0, 2.0]
    """
    steps = check.count("steps", steps, 1)
    check.float64("logits", logits)
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim != 3:
        came = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"logits must be a floating tensor [T, N, C], got {came}")

    def teacher(step: int, rows: Tensor) -> Tensor:
        if step >= steps:
            raise ValueError(f"step must be below steps = {steps}, got {step}; make a new loss for each fit")
        return logits[teacher_checkpoint(Fraction(step, steps), len(logits)) - 1].index_select(0, rows)

    return teacher


def train_along(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    optimizer: Callable[..., torch.optim.Optimizer],
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Teacher:
    """A teacher that trains together with the student: one step on the same rows, and then its answer.

    Args:
        model: Trained in place; it answers in evaluation mode, without gradients.
        inputs: ``[N, ...]``, of all rows.
        labels: ``[N, ...]``, of all rows, as ``loss`` takes them; another length is a ValueError.
        optimizer, schedule, loss: As in ``fit``, of the teacher.

    Returns:
        A teacher for ``Distillation``. It costs a step, and one more forward pass.

    Example:
        >>> teacher = train_along(nn.Linear(3, 2), torch.randn(8, 3), torch.arange(8) % 2, optimizer=torch.optim.SGD)
        >>> teacher(0, torch.tensor([1, 5])).shape
        torch.Size([2, 2])
    """
    if len(inputs) != len(labels):
        raise ValueError(f"labels: got {len(labels)} rows for {len(inputs)} inputs; accepted: one per input")
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad])
    scheduler = schedule(optimizer) if schedule else None

    def teacher(step: int, rows: Tensor) -> Tensor:
        batch = inputs.index_select(0, rows)
        model.train()
        value = loss(model(batch), labels.index_select(0, rows))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return predict(model, batch)

    return teacher


def cached_logits(
    model: nn.Module,
    checkpoints: Mapping[int, Mapping[str, Tensor]],
    inputs: Tensor,
    *,
    steps: Collection[int] | None = None,
    batch_size: int = 2048,
) -> Tensor:
    """What a teacher said at the checkpoints of its training, in evaluation mode.

    Args:
        model: The architecture; its own weights and mode are left as they are.
        checkpoints: ``fit(..., keep=...).checkpoints``.
        inputs: ``[N, ...]``, all rows that the student will see: all augmented views, one after another.
        steps: Which checkpoints, in this order; ``None`` means all but the initialization, step 0, ascending.
        batch_size: Rows per forward pass.

    Returns:
        ``[T, N, C]`` float32, after T passes over the inputs.

    Raises:
        ValueError: No checkpoints, one that is missing, or one that does not fit the model.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> cached_logits(net, {0: net.state_dict(), 5: net.state_dict()}, torch.zeros(4, 3)).shape
        torch.Size([1, 4, 2])
    """
    chosen = sorted(set(checkpoints) - {0}) if steps is None else list(steps)
    missing = [step for step in chosen if step not in checkpoints]
    if missing or not chosen:
        wanted = f"step {missing[0]}" if missing else "at least one after step 0"
        raise ValueError(f"checkpoints: got steps {sorted(checkpoints)} and need {wanted}; see keep of fit")
    network, logits = copy.deepcopy(model), []
    for step in chosen:
        try:
            network.load_state_dict(checkpoints[step])
        except RuntimeError as error:
            fault = " ".join(str(error).split())
            raise ValueError(f"checkpoints: step {step} does not fit the model: {fault}") from None
        logits.append(predict(network, inputs, batch_size).float())
    return torch.stack(logits)


def fidelity(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """How often the two, ``[n, C]``, name the same class, or with one output agree in sign.

    Errors as in ``distillation_loss``. Source: Stanton et al. (2021, arXiv 2106.05945).

    Example:
        >>> fidelity(torch.tensor([[1.0], [-1.0]]), torch.tensor([[0.3], [0.2]]))
        0.5
    """
    student, teacher, _ = _pair(student_logits, teacher_logits)
    return float((student.argmax(-1) == teacher.argmax(-1)).double().mean())


def predictive_kl(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """The mean of ``KL(teacher || student)`` over n inputs, in nats, of logits ``[n, C]``.

    Errors as in ``distillation_loss``. Source: Stanton et al. (2021, arXiv 2106.05945).

    Example:
        >>> round(predictive_kl(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])), 4)
        0.1308
    """
    student, teacher, _ = _pair(student_logits, teacher_logits)
    return float(_kl(student.double(), teacher.double()))
