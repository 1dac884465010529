"""The sizes of the synthesis."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infocap.experiments.profiles.generalization import _Classes, _Widths
from infocap.experiments.profiles.strict import Strict

__all__ = ["Measures", "Panel", "Synthesis", "Toys"]


class Panel(Strict):
    """One supersample per seed, whose halves every measure looks at."""

    data: Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|folder:.+)$")]
    classes: _Classes
    side: int = Field(28, ge=1)
    network: Literal["mlp", "cnn"]
    widths: _Widths = ()
    width_factor: int = Field(1, ge=1)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    n: int = Field(ge=2)
    m: int = Field(ge=1)
    draws: int = Field(ge=4)
    looked: int = Field(ge=2)
    label_noise: float = Field(0.0, ge=0, lt=1)
    ridge: float = Field(gt=0)
    limit_beta: float = Field(ge=0)
    limit_epochs: int = Field(ge=1)
    seeds: list[int]

    @model_validator(mode="after")
    def _even(self):
        if self.draws % 2 or self.looked % 2 or self.looked > self.draws:
            came = f"{self.looked} of {self.draws}"
            raise ValueError(
                f"looked, draws: got {came}; accepted: even numbers, as halves come with their complements"
            )
        return self


class Measures(Strict):
    """Clean labels, and labels of which some are wrong."""

    clean: Panel
    noisy: Panel


class Toys(Strict):
    """Learners that can be enumerated."""

    sizes: list[Annotated[int, Field(ge=2, le=3)]]
    strengths: list[Annotated[float, Field(ge=0)]]
    random_seeds: list[int]


class Synthesis(Strict):
    """The panels of the synthesis."""

    measures: Measures
    toys: Toys
