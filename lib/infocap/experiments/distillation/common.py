"""What the tables of part 4 share: the same draws of images, networks, optimizer, views and kernel students."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infocap import data, networks
from infocap.data import Dataset
from infocap.experiments.augmentation import flip_and_crop
from infocap.experiments.streams import initialization, stream
from infocap.tangent import ntk
from infocap.training.loop import Fit, fit

__all__ = [
    "accuracy", "augmented_views", "binary_task", "draw", "error", "interpolant", "kernel", "network", "optimizer",
    "schedule", "train",
]  # fmt: skip

_OPTIONS = {"lenet": {"width_factor": 8}, "mlp": {"widths": (64, 64), "batch_norm": False}}


def draw(name: str, n: int, test_size: int, seed: int) -> tuple[Dataset, int]:
    """``n`` training images, up to ``test_size`` test images, which all seeds share, and the number of classes.

    Images are standardized by mean and deviation of all training images; labels are those of the data set.
    """
    source = data.load(name)
    chosen = torch.randperm(len(source.train_labels), generator=stream("data", seed))[:n]
    if len(chosen) < n:
        raise ValueError(f"n: got {n} images, those for validation included; accepted: up to {len(chosen)}, of {name}")
    tested = torch.randperm(len(source.test_labels), generator=stream("test", 0))[:test_size]
    mean, deviation = source.train_inputs.mean(), source.train_inputs.std()
    drawn = Dataset(
        (source.train_inputs[chosen] - mean) / deviation,
        source.train_labels[chosen],
        (source.test_inputs[tested] - mean) / deviation,
        source.test_labels[tested],
    )
    return drawn, int(source.train_labels.max()) + 1


def binary_task(cell: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels +-1 (int64) of training and test examples of a cell; +1 for its classes ``positive``."""
    drawn, classes = draw(cell.data, cell.n, cell.test_size, cell.seed)
    if not 0 < len(set(cell.positive)) < classes or not set(cell.positive) <= set(range(classes)):
        raise ValueError(f"positive: got {cell.positive}; accepted: some, not all, of the classes 0 to {classes - 1}")
    positive = torch.tensor(cell.positive)
    parts = (
        drawn.train_inputs,
        2 * torch.isin(drawn.train_labels, positive).long() - 1,
        drawn.test_inputs,
        2 * torch.isin(drawn.test_labels, positive).long() - 1,
    )
    return tuple(part.to(cell.device) for part in parts)


def network(name: str, outputs: int, image: tuple[int, ...], purpose: str, seed: int, width: int = 8) -> nn.Module:
    """A network for images ``[channels, height, width]``; ``purpose`` and ``seed`` decide its initialization.

    ``small_cnn`` has ``width`` channels in its first layer; ``mlp`` has two layers of 64 units on 2 x 2 averages;
    ``lenet`` is eight times as wide as LeNet-5; all others are as ``infocap.networks`` builds them.
    """
    options: dict[str, Any] = {"width": width} if name == "small_cnn" else _OPTIONS.get(name, {})
    channels, *sides = image
    seen = (channels, *(side // 2 for side in sides)) if name == "mlp" else image
    seed = initialization(seed, f"initialization {purpose}")
    model = networks.build_for(name, seen, outputs, seed=seed, **options)
    return nn.Sequential(nn.AvgPool2d(2), model) if name == "mlp" else model


def augmented_views(inputs: Tensor, count: int, shift: int, seed: int) -> Tensor:
    """``[count n, ...]``: all images once, mirrored and shifted at random, then all of them again."""
    generator = stream("views", seed)
    return torch.cat([flip_and_crop(inputs, generator, shift) for _ in range(count)])


def optimizer(learning_rate: float, weight_decay: float):
    """Stochastic gradient descent with Nesterov momentum .9, as a function of the parameters."""
    return partial(torch.optim.SGD, lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)


def schedule(steps: int):
    """A learning rate that falls to 0 along a cosine, as a function of the optimizer."""
    return partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)


def train(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int, **options: Any) -> Fit:
    """``fit`` with the falling learning rate of ``schedule``."""
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        model.to(memory_format=torch.channels_last)  # faster on CPU
    return fit(model, inputs, targets, steps=steps, schedule=schedule(steps), **options)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of right answers; one output says class 1 if it is positive."""
    answers = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    return float((answers == labels).double().mean())


def error(outputs: Tensor, labels: Tensor) -> float:
    """Share of outputs whose sign is not that of the label."""
    return float((outputs.sign() != labels.sign()).double().mean())


def kernel(model: nn.Module, inputs: Tensor, inputs2: Tensor | None = None) -> Tensor:
    """The tangent kernel in float64, ``[n, C, m, C]``; the model is left in float64."""
    model.double()
    return ntk(model, inputs.double(), None if inputs2 is None else inputs2.double())


def interpolant(
    model: nn.Module, inputs: Tensor, test_inputs: Tensor
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """A student that interpolates its targets with the network's tangent kernel, from the network's outputs on.

    Returns:
        The kernel ``[n, n]`` of the inputs, that of the test inputs with them, ``[m, n]``, and a function from targets
        ``[n]`` to the student's outputs at the test inputs, ``[m]``. For networks with one output.
    """
    matrix, cross = (kernel(model, part, inputs)[:, 0, :, 0] for part in (inputs, test_inputs))
    with torch.no_grad():
        start, test_start = (model(part.double())[:, 0] for part in (inputs, test_inputs))
    return matrix, cross, lambda targets: test_start + cross @ torch.linalg.solve(matrix, targets - start)
