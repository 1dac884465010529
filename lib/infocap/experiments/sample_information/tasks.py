"""Two classes, a few hundred images: the tasks on which sample information is measured."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from infocap import data
from infocap.experiments.streams import stream

__all__ = ["Task", "images_of", "two_classes"]


@dataclass(frozen=True)
class Task:
    """Images in float32 and targets 0 and 1. No two parts share an image.

    Attributes:
        inputs: ``[n, 1, H, W]``, training images.
        targets: ``[n]``.
        rows: ``[n]``, the training images' places in the data set.
        eval_inputs: ``[m, 1, H, W]``, over which F-SI is averaged; training images of the data set.
        test_inputs: ``[..., 1, H, W]``, all its test images of the two classes.
        test_targets: Theirs.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    eval_inputs: Tensor
    test_inputs: Tensor
    test_targets: Tensor


def two_classes(name: str, classes: tuple[int, int], n: int, m: int, seed: int, side: int = 28) -> Task:
    """Draws ``n`` training and ``m`` evaluation images of two classes; target 1 is the second class.

    Args:
        name: A data set of ``infocap.data``.
        classes: Its two class ids.
        n, m: Numbers of training and evaluation images.
        seed: Decides which.
        side: Images are averaged down to ``side x side``; must divide their size.
    """
    dataset = data.load(name)
    rows = _rows(dataset.train_labels, classes, stream(f"sample information {name}", seed))
    if n + m > len(rows):
        raise ValueError(f"n, m: got {n} and {m}; accepted: up to {len(rows)} images together")
    tested = _rows(dataset.test_labels, classes, stream("test", 0))
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


def images_of(name: str, rows: Tensor) -> Tensor:
    """The training images at some rows, ``[k, 1, H, W]``, for a figure."""
    return data.load(name).train_inputs[rows]


def _rows(labels: Tensor, classes: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Where the labels are among the classes, in random order."""
    rows = torch.isin(labels, torch.tensor(classes)).nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=generator)]


def _pooled(images: Tensor, side: int) -> Tensor:
    height = images.shape[-1]
    if height % side:
        raise ValueError(f"side: got {side}; accepted: a divisor of {height}")
    return avg_pool2d(images, height // side)
