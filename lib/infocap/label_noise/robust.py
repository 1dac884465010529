"""Which losses hardly listen to labels that a network finds implausible? Mean absolute error, and its kin."""

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks

__all__ = ["gce_loss", "mae_loss"]


def mae_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute error ``mean_b ||s - onehot(y)||_1 = mean_b 2 (1 - s_y)``.

    Its gradient at the logits is ``2 s_y (s - onehot(y)) / B``: examples that the network finds hard hardly count.

    Args:
        logits: ``[B, K]``, floating.
        labels: ``[B]``, integers in [0, K - 1].

    Returns:
        A scalar with the dtype of ``logits``.

    Raises:
        ValueError: for wrong shapes, an empty batch, labels out of range, or logits that are not finite.
        TypeError: for logits that are not floating or labels that are not integers.

    Cost: O(B K).

    Source: Ghosh et al. (2017), arXiv 1712.09482, section on symmetric losses; scale of Harutyunyan et al. (2020).

    Example:
        >>> mae_loss(torch.zeros(1, 4), torch.tensor([2]))
        tensor(1.5000)
    """
    labels = _checks.batch(labels, logits=logits)
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    return (-2 * torch.expm1(-cross_entropy)).mean()


def gce_loss(logits: Tensor, labels: Tensor, q: float = 0.7) -> Tensor:
    """Generalized cross-entropy ``mean_b (1 - s_y^q) / q``: cross-entropy as q goes to 0, half of MAE at q = 1.

    Args:
        logits: ``[B, K]``, floating.
        labels: ``[B]``, integers in [0, K - 1].
        q: the exponent, in (0, 1].

    Returns:
        A scalar with the dtype of ``logits``.

    Raises:
        ValueError: for q outside (0, 1], wrong shapes, an empty batch, labels out of range, or logits that are not
            finite.
        TypeError: for logits that are not floating or labels that are not integers.

    Cost: O(B K).

    Source: Zhang and Sabuncu (2018), arXiv 1805.07836, section on the generalized cross-entropy.

    Example:
        >>> gce_loss(torch.zeros(1, 4), torch.tensor([2]), q=1.0)
        tensor(0.7500)
    """
    labels = _checks.batch(labels, logits=logits)
    if _checks.real("q", q, 0, 1) == 0:
        raise ValueError("q must lie in (0, 1], got 0; its limit there is the cross-entropy")
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    return (-torch.expm1(-q * cross_entropy) / q).mean()
