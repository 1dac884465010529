"""What if two networks tell each other which labels to trust? Co-teaching."""

import torch.nn.functional as F
from torch import Tensor

from infocap import _checks

__all__ = ["co_teaching_loss"]


def co_teaching_loss(logits_a: Tensor, logits_b: Tensor, labels: Tensor, *, forget_rate: float) -> Tensor:
    """Two networks teach each other: each learns from the examples on which the other has the smallest loss.

    Args:
        logits_a: ``[B, K]``, floating: the first network's.
        logits_b: ``[B, K]``, floating: the second network's.
        labels: ``[B]``, integers in [0, K - 1].
        forget_rate: fraction of the batch that is left out, in [0, 1]. At least one example stays.

    Returns:
        A scalar with the dtype of the logits: the sum of the two networks' mean cross-entropy on what they are given.

    Raises:
        ValueError: for a bad ``forget_rate``, wrong shapes, an empty batch, labels out of range, or logits that are not
            finite.
        TypeError: for logits that are not floating or labels that are not integers.

    Cost: O(B K + B log B).

    Source: Han et al. (2018), arXiv 1804.06872, algorithm section.

    Example:
        >>> import torch
        >>> a = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
        >>> b = torch.tensor([[0.0, 0.0], [0.0, 9.0]])
        >>> co_teaching_loss(a, b, torch.tensor([0, 0]), forget_rate=0.5)  # a gets row 0 from b, b gets row 1 from a
        tensor(9.6933)
    """
    labels = _checks.batch(labels, logits_a=logits_a, logits_b=logits_b)
    keep = max(1, round((1 - _checks.real("forget_rate", forget_rate, 0, 1)) * len(logits_a)))
    loss_a = F.cross_entropy(logits_a, labels, reduction="none")
    loss_b = F.cross_entropy(logits_b, labels, reduction="none")
    easy_for_a = loss_a.detach().topk(keep, largest=False).indices
    easy_for_b = loss_b.detach().topk(keep, largest=False).indices
    return loss_a.gather(0, easy_for_b).mean() + loss_b.gather(0, easy_for_a).mean()
