"""The sizes of part 1."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infocap.experiments.noisy_labels.training import PAIRS
from infocap.experiments.profiles.strict import Strict

__all__ = ["Method", "NoisyLabels", "Panel"]


class Method(Strict):
    """A method of part 1 and its hyper-parameters; each method reads its own."""

    method: Literal[
        "cross_entropy", "mae", "gce", "forward_true", "forward_estimated", "dmi", "soft_penalty",
        "limit_gaussian", "limit_laplace", "elr", "co_teaching", "cleanlab",
    ]  # fmt: skip
    beta: float = Field(0.0, ge=0)
    lam: float = Field(0.0, ge=0)
    noise_std: float = Field(0.0, ge=0)
    noise_kind: Literal["gaussian", "laplace"] = "gaussian"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    warm_up: int = Field(0, ge=0)
    initialized: bool = False


class Panel(Strict):
    """A grid of trainings: every size, noise rate, method and seed."""

    data: Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|cifar100|folder:.+)$")]
    network: Literal["mlp", "cnn", "lenet", "resnet20", "resnet56", "resnet18", "resnet34", "resnet50"]
    widths: Annotated[tuple[int, ...], Field(strict=False)] = ()  # TOML has lists only
    sizes: list[Annotated[int, Field(ge=8)]]
    test_size: int = Field(ge=1)
    noise: Literal["uniform", "pair"]
    rates: list[Annotated[float, Field(ge=0, le=1)]]
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    augment: bool = False
    seeds: list[int]
    methods: list[Method]

    @model_validator(mode="after")
    def _options_fit_the_network(self):
        if self.network != "mlp" and any(method.dropout for method in self.methods):
            raise ValueError(f"dropout needs the network 'mlp', not {self.network!r}")
        return self

    @model_validator(mode="after")
    def _pairs_are_known(self):
        if self.noise == "pair" and self.data not in PAIRS:
            raise ValueError(f"pair noise is defined for {' and '.join(PAIRS)}, not for {self.data!r}")
        return self


class NoisyLabels(Strict):
    """The panels of part 1."""

    memorization: Panel
    main: Panel
    high_noise: Panel
    high_noise_small: Panel
    pair: Panel
    clean: Panel
    beta: Panel
    cifar10_uniform: Panel
    cifar10_pair: Panel
    cifar100: Panel
    clothing1m: Panel

    @model_validator(mode="after")
    def _what_the_chapters_draw_is_run(self):
        for name in ("memorization", "main", "high_noise", "high_noise_small", "pair", "clean", "beta"):
            panel = getattr(self, name)
            if not (panel.sizes and panel.rates and panel.seeds and panel.methods):
                raise ValueError(f"{name}: the chapters draw this panel; sizes, rates, seeds and methods need an entry")
        if 0.5 not in self.main.rates:
            raise ValueError("main: the claims read the rate 0.5, which rates must contain")
        return self
