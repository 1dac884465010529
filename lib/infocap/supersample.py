"""A table of examples, of which one in each row is trained on, and what networks then predict for both.

This is what a study stores and what the bounds are computed from; ``infocap.bounds`` passes these names on. They live
here because results of trained networks depend on them, and must not depend on any bound.

Conventions that may surprise: ``selectors[z, s, i]`` is 1 if column 1 of row ``i`` was trained on; the loss is the 0-1
loss. Used in book/generalization/fcmi.ipynb.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from infocap import _checks as check

__all__ = ["SupersampleRuns", "complementary_selectors", "generalization_gap"]


@dataclass(frozen=True)
class SupersampleRuns:
    """Predictions of networks that were trained on halves of supersamples, and what they were trained on.

    Attributes:
        selectors: ``[k1, k2, n]`` integers; 1 if column 1 of the row was trained on, 0 if column 0 was.
        predictions: ``[k1, k2, n, 2]`` class ids, for both columns of each row.
        labels: ``[k1, n, 2]`` class ids.
        num_classes: At least 2.

    Raises:
        ValueError: Shapes that disagree, fewer than two draws, selectors other than 0 and 1, or classes out of range.
        TypeError: Not integers.

    Example:
        >>> runs = SupersampleRuns(torch.tensor([[[0], [1]]]), torch.tensor([[[[0, 1]], [[0, 0]]]]),
        ...                        torch.tensor([[[0, 0]]]), 2)
        >>> generalization_gap(runs)  # both trained examples are right, one of two tests is wrong
        tensor([0.5000], dtype=torch.float64)
    """

    selectors: Tensor
    predictions: Tensor
    labels: Tensor
    num_classes: int

    def __post_init__(self):
        classes = check.count("num_classes", self.num_classes, 2)
        for name, high in (("selectors", 1), ("predictions", classes - 1), ("labels", classes - 1)):
            value = check.as_tensor(name, getattr(self, name))
            if value.is_floating_point():
                raise TypeError(f"{name} must be integers, got {value.dtype}")
            if value.numel() == 0:
                raise ValueError(f"{name} must not be empty, got shape {tuple(value.shape)}")
            low, top = map(int, value.aminmax())
            if low < 0 or top > high:
                raise ValueError(f"{name} must lie in [0, {high}], got values from {low} to {top}")
            object.__setattr__(self, name, value.long())
        if self.selectors.ndim != 3 or self.selectors.shape[1] < 2:
            raise ValueError(f"selectors must be [k1, k2, n] with k2 >= 2, got shape {tuple(self.selectors.shape)}")
        k1, _, n = self.selectors.shape
        for name, wanted in (("predictions", (*self.selectors.shape, 2)), ("labels", (k1, n, 2))):
            if getattr(self, name).shape != wanted:
                shape = tuple(getattr(self, name).shape)
                raise ValueError(f"{name} must be {list(wanted)}, as selectors say, got shape {shape}")

    def draws(self, chosen: Tensor) -> "SupersampleRuns":
        """The same supersamples with some of the draws, ``chosen`` ``[k]`` integers; at least two."""
        return SupersampleRuns(self.selectors[:, chosen], self.predictions[:, chosen], self.labels, self.num_classes)

    @cached_property
    def errors(self) -> Tensor:
        """``[k1, k2, n, 2]``, 1 where the prediction is wrong."""
        return (self.predictions != self.labels[:, None]).long()

    @cached_property
    def halves(self) -> Tensor:
        """``[k1, k2, n, 2]``, errors on the example that was trained on, and on the other one."""
        own = torch.stack([self.selectors, 1 - self.selectors], -1)
        return self.errors.gather(-1, own).double()

    @cached_property
    def train_error(self) -> Tensor:
        """``[k1]``."""
        return self.halves[..., 0].mean((1, 2))

    @cached_property
    def test_error(self) -> Tensor:
        """``[k1]``."""
        return self.halves[..., 1].mean((1, 2))


def generalization_gap(runs: SupersampleRuns) -> Tensor:
    """Mean error of the test halves minus that of the training halves, ``[k1]`` float64.

    Example: as in ``SupersampleRuns``.
    """
    return runs.test_error - runs.train_error


def complementary_selectors(num_draws: int, n: int, generator: torch.Generator) -> Tensor:
    """Random selectors, and the complement of each, so that every row was trained on either column equally often.

    The empirical law of the selectors is then exactly fair, so that inequalities between laws hold for the measured
    tables themselves.

    Args:
        num_draws: Even and positive; draw ``s + num_draws / 2`` is the complement of draw ``s``.
        n: Rows of the supersample.
        generator: Decides which.

    Returns:
        int64 ``[num_draws, n]``.

    Example:
        >>> complementary_selectors(4, 3, torch.Generator().manual_seed(0)).sum(0)
        tensor([2, 2, 2])
    """
    if check.count("num_draws", num_draws, 2) % 2:
        raise ValueError(f"num_draws must be even, got {num_draws}")
    half = torch.randint(2, (num_draws // 2, check.count("n", n, 1)), generator=check.generator(generator))
    return torch.cat([half, 1 - half])
