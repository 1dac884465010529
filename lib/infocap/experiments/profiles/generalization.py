"""The sizes of part 3."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infocap.experiments.profiles.strict import Strict

__all__ = ["Generalization", "Panel", "Toys", "Training", "TrainingSet"]

_Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]  # TOML has lists only
_Classes = Annotated[tuple[int, ...], Field(strict=False, min_length=2)]


class TrainingSet(Strict):
    """One size of the training set, and the supersamples (seeds) on which it is tried."""

    n: int = Field(ge=2)
    epochs: int = Field(ge=1)
    seeds: list[int]


class Panel(Strict):
    """Networks that are trained on halves of supersamples: ``draws`` of them on each."""

    data: Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|folder:.+)$")]
    classes: _Classes
    side: int = Field(28, ge=1)
    network: Literal["mlp", "cnn", "resnet50"]
    widths: _Widths = ()
    width_factor: int = Field(1, ge=1)
    optimizer: Literal["adam", "sgd", "sgld"] = "adam"
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    draws: int = Field(ge=2)
    randomized: bool = False
    label_noise: float = Field(0.0, ge=0, lt=1)
    looks: int = Field(1, ge=1)
    sets: list[TrainingSet]

    @model_validator(mode="after")
    def _even(self):
        if self.draws % 2:
            raise ValueError(f"draws: got {self.draws}; accepted: an even number, as selectors come with complements")
        return self


class Training(Strict):
    """Where the bounds are computed."""

    paper: Panel
    paper_randomized: Panel
    paper_wide: Panel
    cifar10: Panel
    cifar10_sgld: Panel
    easy: Panel
    hard: Panel
    randomized: Panel
    wide: Panel
    noise: Panel
    three: Panel
    draws: Panel
    sgld: Panel


class Toys(Strict):
    """Small problems with exact answers."""

    thresholds_n: list[Annotated[int, Field(ge=1, le=12)]]
    thresholds_draws: int = Field(ge=2)
    counterexample_n: list[Annotated[int, Field(ge=2, le=4)]]
    pairs_n: list[Annotated[int, Field(ge=2, le=12)]]
    pairs_draws: int = Field(ge=2)
    bias_draws: list[Annotated[int, Field(ge=2)]]


class Generalization(Strict):
    """The panels of part 3."""

    training: Training
    toys: Toys
