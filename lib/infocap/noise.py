"""Which wrong label does an example get, and how often?

Conventions that may surprise: a transition matrix has one row per true class and one column per noisy class; ``rate``
is the probability of a wrong label, the true class excluded, so K classes are pure chance at ``rate = (K - 1) / K``,
not at 1. Labels are drawn independently, so the realized rate fluctuates. Used from
book/noisy_labels/memorization.ipynb on.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from infocap import _checks

__all__ = ["corrupt", "pair_transition", "uniform_transition"]


def uniform_transition(num_classes: int, rate: float) -> Tensor:
    """Every class keeps its label with probability ``1 - rate`` and is otherwise any other class, all alike.

    Args:
        num_classes: K, at least 2.
        rate: probability of a wrong label, in [0, 1].

    Returns:
        ``[K, K]`` float64, row = true class, column = noisy class.

    Raises:
        ValueError: for a rate outside [0, 1] or fewer than two classes.
        TypeError: for an argument that is not a number.

    Cost: O(K^2).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, experiments section.

    Example:
        >>> uniform_transition(3, 0.5)
        tensor([[0.5000, 0.2500, 0.2500],
                [0.2500, 0.5000, 0.2500],
                [0.2500, 0.2500, 0.5000]], dtype=torch.float64)
    """
    num_classes = _checks.count("num_classes", num_classes, 2)
    rate = _checks.real("rate", rate, 0, 1)
    transition = torch.full((num_classes, num_classes), rate / (num_classes - 1), dtype=torch.float64)
    return transition.fill_diagonal_(1 - rate)


def pair_transition(num_classes: int, rate: float, pairs: Mapping[int, int]) -> Tensor:
    """Some classes turn into one other class each, with probability ``rate``; the others stay clean.

    Args:
        num_classes: K, at least 2.
        rate: probability of a wrong label within a source class, in [0, 1].
        pairs: source class to target class. One way only: ``{3: 5}`` leaves class 5 clean.

    Returns:
        ``[K, K]`` float64, row = true class, column = noisy class.

    Raises:
        ValueError: for a rate outside [0, 1], classes out of range, a class paired with itself, or no pairs.
        TypeError: for ``pairs`` that is not a mapping of integers, or an argument that is not a number.

    Cost: O(K^2).

    Source: Patrini et al. (2017), arXiv 1609.03683, experiments section.

    Example:
        >>> pair_transition(3, 0.25, {0: 2})
        tensor([[0.7500, 0.0000, 0.2500],
                [0.0000, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    """
    num_classes = _checks.count("num_classes", num_classes, 2)
    rate = _checks.real("rate", rate, 0, 1)
    if not isinstance(pairs, Mapping):
        raise TypeError(f"pairs must map source classes to target classes, got {type(pairs).__name__}")
    if not pairs:
        raise ValueError("pairs must not be empty, got no pair")
    sources = _checks.labels(list(pairs.keys()), num_classes, "sources of pairs")
    targets = _checks.labels(list(pairs.values()), num_classes, "targets of pairs")
    if (sources == targets).any():
        raise ValueError(f"pairs must join two different classes, got {dict(pairs)}")
    transition = torch.eye(num_classes, dtype=torch.float64)
    transition[sources, sources] = 1 - rate
    transition[sources, targets] = rate
    return transition


def corrupt(labels: Tensor, transition: Tensor, generator: torch.Generator) -> Tensor:
    """Noisy labels, each drawn independently from its true class's row. The input is untouched.

    Args:
        labels: ``[n]`` true classes, any integer dtype.
        transition: ``[K, K]``, rows sum to 1 within 1e-6, row = true class, column = noisy class.
        generator: the source of randomness, on the CPU.

    Returns:
        ``[n]``, a new tensor with the dtype and device of ``labels``.

    Raises:
        ValueError: for labels out of range, no labels, or a matrix that is not row-stochastic.
        TypeError: for labels that are not integers or a generator that is not one.

    Cost: O(n K).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, experiments section.

    Example:
        >>> swap = pair_transition(2, 1.0, {0: 1, 1: 0})
        >>> corrupt(torch.tensor([0, 1, 1]), swap, torch.Generator().manual_seed(0))
        tensor([1, 0, 0])
    """
    transition = _checks.transition(transition).cpu()
    labels = _checks.labels(labels, len(transition))
    noisy = torch.multinomial(transition[labels.long().cpu()], 1, generator=_checks.generator(generator))
    return noisy.squeeze(1).to(labels)
