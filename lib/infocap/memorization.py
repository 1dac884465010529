"""Which examples does a network get right only because it was trained on them?

The memorization score of an example is the drop of its accuracy when it leaves the training set, with all other
examples left to chance: many networks are trained on random subsets, and the ones with the example are compared with
the ones without it. It needs no theory of the network and many trainings, so it is the reference for cheaper measures.

Conventions that may surprise: with 0-1 errors the mean score is the expected generalization gap, each score being
the share of its example; scores may be negative. Derived in book/synthesis/one_picture.ipynb from Feldman and Zhang
(2020, arXiv 2008.03703); forgetting events are those of Toneva et al. (2019, arXiv 1812.05159).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from infocap import _checks as check

__all__ = ["Memorization", "forgetting_events", "memorization_score"]


@dataclass(frozen=True)
class Memorization:
    """What ``memorization_score`` returns; ``[N]`` float64 each.

    Attributes:
        score: Accuracy on the example of the networks that were trained on it, minus that of the others; in [-1, 1].
        standard_error: Of the score, as for two independent groups of networks.
    """

    score: Tensor
    standard_error: Tensor


def memorization_score(members: Tensor, correct: Tensor) -> Memorization:
    """How much more often an example is right when it was trained on.

    Args:
        members: ``[k, N]`` of 0 and 1 (or bool): whether network ``s`` was trained on example ``i``.
        correct: ``[k, N]`` of 0 and 1 (or bool): whether network ``s`` is right on example ``i``.

    Returns:
        Scores and their standard errors.

    Raises:
        ValueError: Shapes that disagree, other values than 0 and 1, or an example with fewer than two networks that
            were trained on it, or that were not.

    Cost: O(k N); the trainings are the caller's.

    Source: Feldman and Zhang (2020, arXiv 2008.03703), estimated from random subsets as they do.

    Example:
        >>> members = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]])
        >>> memorization_score(members, correct=torch.tensor([[1, 1], [1, 1], [0, 1], [0, 1]])).score
        tensor([1., 0.], dtype=torch.float64)
    """
    members, correct = _binary("members", members), _binary("correct", correct)
    if members.ndim != 2 or members.shape != correct.shape:
        shapes = f"{tuple(members.shape)} and {tuple(correct.shape)}"
        raise ValueError(f"members, correct must both be [k, N], got shapes {shapes}")
    rates, errors = [], []
    for group in (members, 1 - members):
        size = group.sum(0)
        if (size < 2).any():
            example = int((size < 2).nonzero()[0])
            raise ValueError(f"members must have two networks with and two without each example, not so {example}")
        rate = (group * correct).sum(0) / size
        rates.append(rate)
        errors.append(rate * (1 - rate) / (size - 1))
    return Memorization(rates[0] - rates[1], (errors[0] + errors[1]).sqrt())


def forgetting_events(correct: Tensor) -> Tensor:
    """How often an example that was right at one look is wrong at the next.

    Args:
        correct: ``[looks, ..., N]`` of 0 and 1 (or bool), in the order of training.

    Returns:
        ``[..., N]`` int64. An example that was never right counts ``looks``, more than any other can have.

    Raises:
        ValueError: Other values than 0 and 1, or no looks.

    Source: Toneva et al. (2019, arXiv 1812.05159); they look whenever the example is in a batch.

    Example:
        >>> forgetting_events(torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]))
        tensor([0, 2, 4])
    """
    correct = _binary("correct", correct)
    if correct.ndim < 2 or not len(correct):
        raise ValueError(f"correct must be [looks, ..., N], got shape {tuple(correct.shape)}")
    events = (correct[:-1] > correct[1:]).sum(0)
    return torch.where(correct.any(0), events, len(correct))


def _binary(name: str, value: Tensor) -> Tensor:
    table = check.float64(name, value.double() if value.dtype == torch.bool else value)
    if not ((table == 0) | (table == 1)).all():
        raise ValueError(f"{name} must hold 0 and 1 only, got {float(table[(table != 0) & (table != 1)][0]):g}")
    return table
