"""The sizes of part 4."""

from typing import Annotated, Literal

from pydantic import Field

from infocap.experiments.profiles.strict import Strict

__all__ = ["Distillation", "Flips", "FlipsPanel", "Supervision", "SupervisionPanel", "Training", "TrainingPanel"]

_Data = Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|cifar100|folder:.+)$")]
_Classes = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]  # TOML has lists only
_Positive = Annotated[float, Field(gt=0)]
_Teacher = Literal["allconv", "resnet20", "resnet56"]
_Student = Literal["small_cnn", "mlp", "lenet", "resnet20"]


class SupervisionPanel(Strict):
    """A binary task: one teacher per seed, and the kernels of its students at the start and after training."""

    data: _Data
    positive: _Classes
    n: int = Field(ge=2)
    views: int = Field(ge=1)
    shift: int = Field(ge=0)
    points: int = Field(ge=2)
    test_size: int = Field(ge=2)
    teacher: _Teacher
    teacher_epochs: int = Field(ge=1)
    teacher_learning_rate: _Positive
    checkpoints: int = Field(ge=1)
    students: Annotated[tuple[_Student, ...], Field(strict=False, min_length=1)]
    epochs: int = Field(ge=1)
    learning_rate: _Positive
    batch_size: int = Field(ge=1)
    temperatures: Annotated[tuple[_Positive, ...], Field(strict=False, min_length=1)]
    random_draws: int = Field(ge=2)
    kernel_n: int = Field(ge=2)
    seeds: list[int]


class Supervision(Strict):
    """How complex is supervision for a student?"""

    small: SupervisionPanel
    cifar100: SupervisionPanel


class FlipsPanel(Strict):
    """Flipped labels: complexity beside the error of a kernel and of a network that fit them."""

    data: _Data
    positive: _Classes
    n: int = Field(ge=2)
    test_size: int = Field(ge=2)
    rates: Annotated[tuple[Annotated[float, Field(ge=0, le=0.5)], ...], Field(strict=False, min_length=2)]
    epochs: int = Field(ge=1)
    learning_rate: _Positive
    batch_size: int = Field(ge=1)
    ridges: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False, min_length=1)]
    seeds: list[int]


class Flips(Strict):
    """Complexity against the generalization gap."""

    small: FlipsPanel


class TrainingPanel(Strict):
    """One teacher per seed, and the students that learn from it in every way."""

    data: _Data
    n: int = Field(ge=8)
    test_size: int = Field(ge=2)
    label_noise: float = Field(ge=0, lt=1)
    views: int = Field(ge=1)
    shift: int = Field(ge=0)
    teacher: _Teacher
    teacher_epochs: int = Field(ge=1)
    teacher_learning_rate: _Positive
    teacher_weight_decay: float = Field(ge=0)
    checkpoints: int = Field(ge=1)
    student: _Student
    width: int = Field(8, ge=1)
    epochs: int = Field(ge=1)
    learning_rate: _Positive
    weight_decay: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    temperatures: Annotated[tuple[_Positive, ...], Field(strict=False, min_length=1)]
    stopped: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = ()
    periods: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)] = ()
    squared: bool = False
    points: int = Field(ge=2)
    complexity_points: int = Field(ge=2)
    teacher_seeds: list[int]
    student_seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]


class Training(Strict):
    """Where students are trained."""

    clean: TrainingPanel
    noisy: TrainingPanel
    cifar10_lenet: TrainingPanel
    cifar10_resnet20: TrainingPanel
    cifar100_lenet: TrainingPanel
    cifar100_resnet20: TrainingPanel


class Distillation(Strict):
    """The panels of part 4."""

    supervision: Supervision
    flips: Flips
    training: Training
