"""What do the training of one network and that of many share? The order of examples, and what they refuse."""

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[Any, Tensor], Tensor]


def batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of one batch after another, ``[batch_size]`` or what an epoch leaves over, in a new order for each epoch."""
    while True:
        yield from torch.randperm(n, generator=generator).split(batch_size)


def make_optimizer(make: Callable[..., torch.optim.Optimizer], model: nn.Module) -> torch.optim.Optimizer:
    """The caller's optimizer of the parameters that are trained."""
    if not callable(make):
        raise TypeError(
            f"optimizer: got {type(make).__name__}; accepted: a function of the parameters, such as its class"
        )
    optimizer = make([p for p in model.parameters() if p.requires_grad])
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("optimizer: got LBFGS; accepted: optimizers that step without evaluating the loss again")
    return optimizer


def check_data(inputs: Tensor, targets: Tensor) -> None:
    """Refuses what no training can use: nothing, unequal numbers, integers, NaN."""
    if len(inputs) == 0:
        raise ValueError("inputs: got an empty set; accepted: at least one example")
    if len(inputs) != len(targets):
        raise ValueError(f"targets: got {len(targets)} rows for {len(inputs)} inputs; accepted: one per input")
    if not inputs.is_floating_point():
        raise TypeError(f"inputs: got {inputs.dtype}; accepted: a floating dtype")
    for argument, data in [("inputs", inputs), ("targets", targets)]:
        # The sum is a cheap witness; it may itself overflow, so a bad one is only a reason to look closer.
        if not math.isfinite(data.detach().sum()) and not data.isfinite().all():
            row = int((~data.isfinite()).reshape(len(data), -1).any(1).nonzero()[0])
            raise ValueError(f"{argument}: example {row} has a value that is NaN or infinite; accepted: finite values")


def check_numbers(n: int, steps: int, batch_size: int, **named_steps: Collection[int]) -> None:
    """Refuses numbers of steps and batches that do not fit, and named steps beyond the last."""
    if steps < 1:
        raise ValueError(f"steps: got {steps}; accepted: 1 or more")
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size: got {batch_size}; accepted: 1 to {n}, the number of training examples")
    for argument, chosen in named_steps.items():
        for step in chosen:
            if not 0 <= step <= steps:
                raise ValueError(f"{argument}: got step {step}; accepted: 0 to {steps}")
