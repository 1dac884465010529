"""Two classes, a few hundred images: the tasks on which sample information is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from infocap import data
from infocap.experiments.streams import stream

__all__ = ["Task", "normalize", "rows_of_classes", "task_name", "two_classes"]

_FASHION = (
    "T-shirts", "trousers", "pullovers", "dresses", "coats", "sandals", "shirts", "sneakers", "bags", "boots",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Images in float32 and targets 0 and 1. No two parts share an image.

    Attributes:
        inputs: ``[n, channels, H, W]``, training images.
        targets: ``[n]``.
        rows: ``[n]``, the training images' places in the data set.
        eval_inputs: ``[m, channels, H, W]``, over which F-SI is averaged; training images of the data set.
        test_inputs: ``[..., channels, H, W]``, all its test images of the two classes.
        test_targets: Theirs.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    eval_inputs: Tensor
    test_inputs: Tensor
    test_targets: Tensor


def two_classes(name: str, classes: Sequence[int], n: int, m: int, seed: int, side: int | None = None) -> Task:
    """Draws ``n`` training and ``m`` evaluation images of two classes; target 1 is the second class.

    Args:
        name: A data set of ``infocap.data``.
        classes: Its two class ids.
        n, m: Numbers of training and evaluation images.
        seed: Decides which.
        side: Images are averaged down to ``side x side``; must divide their size. ``None`` leaves them as they are.

    Raises:
        ValueError: There are not two classes, the data set lacks one of them or has too few images, or ``side`` does
            not divide them.

    Example:
        >>> task = two_classes("fashion-mnist", (2, 4), n=6, m=3, seed=0, side=7)
        >>> task.inputs.shape, task.eval_inputs.shape
        (torch.Size([6, 1, 7, 7]), torch.Size([3, 1, 7, 7]))
    """
    if len(classes) != 2:
        raise ValueError(f"classes: got {tuple(classes)}; accepted: two class ids")
    dataset = data.load(name)
    rows = _shuffled(rows_of_classes(name, dataset.train_labels, classes), stream(f"sample information {name}", seed))
    if n + m > len(rows):
        raise ValueError(f"n, m: got {n} and {m}; accepted: up to {len(rows)} images together")
    tested = _shuffled(rows_of_classes(name, dataset.test_labels, classes), stream("test", 0))
    train, evaluation = rows[:n], rows[n : n + m]

    def targets(labels: Tensor) -> Tensor:
        return (labels == classes[1]).float()

    return Task(
        inputs=_pooled(dataset.train_inputs[train], side),
        targets=targets(dataset.train_labels[train]),
        rows=train,
        eval_inputs=_pooled(dataset.train_inputs[evaluation], side),
        test_inputs=_pooled(dataset.test_inputs[tested], side),
        test_targets=targets(dataset.test_labels[tested]),
    )


def rows_of_classes(name: str, labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Where the labels are among the classes, in the data set's order.

    Raises:
        ValueError: The labels lack one of the classes.
    """
    for class_id in classes:
        if not (labels == class_id).any():
            raise ValueError(f"classes: {name!r} has no class {class_id}; accepted: 0 to {int(labels.max())}")
    return torch.isin(labels, torch.tensor(classes)).nonzero()[:, 0]


def normalize(name: str, images: Tensor) -> Tensor:
    """MNIST as in the paper's configuration; other images as they are, from 0 to 1."""
    return (images - 0.456) / 0.224 if name == "mnist" else images


def task_name(row: Mapping[str, Any]) -> str:
    """The classes of a row's task, such as ``pullovers, coats`` or ``digits 4, 9``."""
    if row["data"] == "fashion-mnist":
        return ", ".join(_FASHION[class_id] for class_id in row["classes"])
    source = "digits" if row["data"] == "mnist" else row["data"]
    return f"{source} {', '.join(map(str, row['classes']))}"


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _pooled(images: Tensor, side: int | None) -> Tensor:
    if side is None:
        return images
    height, width = images.shape[2:]
    if height != width or height % side:
        raise ValueError(f"side: got {side} for images of {height} x {width} pixels; accepted: a divisor of both")
    return avg_pool2d(images, height // side)
