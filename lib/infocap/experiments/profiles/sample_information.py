"""The sizes of part 2."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infocap.experiments.profiles.strict import Strict

__all__ = [
    "Detection",
    "DetectionPanel",
    "Dynamics",
    "Retraining",
    "RetrainingPanel",
    "SampleInformation",
    "Summarization",
    "SummarizationPanel",
    "Toys",
]

_Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]  # TOML has lists only
_Classes = Annotated[tuple[int, int], Field(strict=False)]


class RetrainingPanel(Strict):
    """Networks that are trained again without some of their examples: every width, weight decay and seed."""

    data: Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|folder:.+)$")]
    classes: _Classes
    side: int = Field(28, ge=1)
    network: Literal["mlp", "cnn"] = "mlp"
    widths: list[_Widths]
    pretrained: Literal["", "mnist", "fashion-mnist"] = ""
    pretraining_steps: int = Field(0, ge=0)
    n: int = Field(ge=3)
    m: int = Field(ge=1)
    left_out: int = Field(ge=3)
    learning_rate: float = Field(gt=0)
    relative: bool = False
    steps: int = Field(ge=1)
    weight_decays: list[Annotated[float, Field(ge=0)]]
    seeds: list[int]

    @model_validator(mode="after")
    def _left_out_of_n(self):
        if self.left_out > self.n:
            raise ValueError(f"left_out: got {self.left_out}; accepted: up to n = {self.n}")
        return self


class Retraining(Strict):
    """Where the closed form meets real retraining."""

    width: RetrainingPanel
    ridge: RetrainingPanel
    mlp: RetrainingPanel
    cnn: RetrainingPanel
    cnn_pretrained: RetrainingPanel


class Toys(Strict):
    """Small problems with exact answers or simulations."""

    n: int = Field(ge=6)
    m: int = Field(ge=2)
    width: int = Field(ge=1)
    chains: int = Field(ge=2)
    learning_rates: list[Annotated[float, Field(gt=0)]]
    draws: int = Field(ge=2)
    bound_n: int = Field(ge=4)
    bound_width: int = Field(ge=1)


class DetectionTask(Strict):
    """Two classes, or for sub-classes three: common, rare, other; ``steps = 0`` is training to the end only."""

    data: Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|folder:.+)$")]
    classes: Annotated[tuple[int, ...], Field(strict=False)]
    n: int = Field(ge=8)
    width: int = Field(ge=1)
    ridge: float = Field(gt=0)
    learning_rate: float = Field(0.0, ge=0)
    steps: int = Field(0, ge=0)


class DetectionPanel(Strict):
    """Tasks that share their number of evaluation inputs."""

    m: int = Field(ge=8)
    tasks: list[DetectionTask]
    seeds: list[int]


class Mislabelled(DetectionPanel):
    """A share of the labels is flipped."""

    rate: float = Field(gt=0, lt=1)


class Subclass(DetectionPanel):
    """``n`` examples of a common class, ``rare`` of a rare one, ``n`` of the other class."""

    rare: int = Field(ge=1)


class Sources(DetectionPanel):
    """``n`` distinct images beside jittered copies of ``n / copies`` others; then ``twins`` get an exact twin."""

    copies: int = Field(ge=2)
    twins: int = Field(ge=1)


class Adversarial(DetectionPanel):
    """A share of the training images is moved by ``strength`` against a network trained for some epochs."""

    rate: float = Field(gt=0, lt=1)
    strength: float = Field(gt=0)
    epochs: int = Field(ge=1)


class Coordinates(DetectionPanel):
    """Kernels over random coordinates, so many per parameter tensor."""

    coordinates: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]


class Detection(Strict):
    """Which examples carry much sample information?"""

    mislabelled: Mislabelled
    clean: DetectionPanel
    subclass: Subclass
    sources: Sources
    adversarial: Adversarial
    coordinates: Coordinates


class SummarizationPanel(Strict):
    """Which examples can be removed? ``m`` inputs choose; each share of ``removed`` is a point of the curves."""

    m: int = Field(ge=8)
    removed: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(strict=False)]
    random_orders: int = Field(ge=1)
    training_steps: int = Field(0, ge=0)
    tasks: list[DetectionTask]
    seeds: list[int]


class Summarization(Strict):
    """Linearized networks, and the networks themselves."""

    linearized: SummarizationPanel
    network: SummarizationPanel

    @model_validator(mode="after")
    def _networks_are_trained(self):
        if not self.network.training_steps:
            raise ValueError("network: training_steps: got 0; accepted: 1 or more")
        return self


class Dynamics(Strict):
    """Networks beside their linearization: every width and seed, and the widest network at ``other_rates``."""

    data: Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|folder:.+)$")]
    classes: _Classes
    side: int = Field(28, ge=1)
    widths: list[Annotated[int, Field(ge=1)]]
    n: int = Field(ge=2)
    m: int = Field(ge=2)
    shown: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=2)
    steps: int = Field(ge=1)
    other_rates: list[Annotated[float, Field(gt=0)]]
    other_steps: int = Field(ge=1)
    seeds: list[int]


class SampleInformation(Strict):
    """The panels of part 2."""

    retraining: Retraining
    toys: Toys
    dynamics: Dynamics
    detection: Detection
    summarization: Summarization
