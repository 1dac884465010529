"""What the tables of part 4 share: the same networks, optimizer and views of the training images."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infocap import networks
from infocap.experiments.augmentation import flip_and_crop
from infocap.experiments.streams import stream
from infocap.tangent import ntk
from infocap.training import Fit, fit

__all__ = ["accuracy", "augmented_views", "kernel", "network", "optimizer", "train"]


def network(name: str, outputs: int, image: tuple[int, ...], purpose: str, seed: int, width: int = 8) -> nn.Module:
    """A network for images ``[channels, side, side]``; ``purpose`` and ``seed`` decide its initialization.

    ``small_cnn`` has ``width`` channels in its first layer; ``mlp`` has two layers of 64 units on 2 x 2 averages;
    ``lenet`` is eight times as wide as LeNet-5.
    """
    channels, side = image[0], image[1]
    options: dict[str, Any] = {"channels": channels, "image_size": side}
    if name == "mlp":
        options = {"in_features": channels * (side // 2) ** 2, "widths": (64, 64), "batch_norm": False}
    elif name == "small_cnn":
        options |= {"width": width}
    elif name == "lenet":
        options |= {"width_factor": 8}
    elif name == "allconv" or name.startswith("resnet"):
        options = {"channels": channels}
    chosen = int(torch.randint(2**62, (), generator=stream(f"initialization {purpose}", seed)))
    model = networks.build(name, outputs, seed=chosen, **options)
    return nn.Sequential(nn.AvgPool2d(2), model) if name == "mlp" else model


def augmented_views(inputs: Tensor, count: int, shift: int, seed: int) -> Tensor:
    """``[count n, ...]``: all images once, mirrored and shifted at random, then all of them again."""
    generator = stream("views", seed)
    return torch.cat([flip_and_crop(inputs, generator, shift) for _ in range(count)])


def optimizer(learning_rate: float, weight_decay: float):
    """Stochastic gradient descent with Nesterov momentum .9, as a function of the parameters."""
    return partial(torch.optim.SGD, lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)


def train(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int, **options: Any) -> Fit:
    """``fit`` with a learning rate that falls to 0 along a cosine."""
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        model.to(memory_format=torch.channels_last)  # faster on CPU
    schedule = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    return fit(model, inputs, targets, steps=steps, schedule=schedule, **options)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of right answers; one output says class 1 if it is positive."""
    answers = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    return float((answers == labels).double().mean())


def kernel(model: nn.Module, inputs: Tensor, inputs2: Tensor | None = None) -> Tensor:
    """The tangent kernel in float64, ``[n, C, m, C]``; the model is left in float64."""
    model.double()
    return ntk(model, inputs.double(), None if inputs2 is None else inputs2.double())
