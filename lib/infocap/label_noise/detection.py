"""Which labels look wrong? Those whose gradient is far from the predicted one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks
from infocap.label_noise._parts import onehot

__all__ = ["mislabel_score"]


def mislabel_score(auxiliary_logits: Tensor, labels: Tensor) -> Tensor:
    """How far the predicted gradient is from the actual one, ``||q - onehot(y)||_2``: large where a label looks wrong.

    Args:
        auxiliary_logits: ``[B, K]``, floating: the auxiliary network's.
        labels: ``[B]``, integers in [0, K - 1].

    Returns:
        ``[B]`` float64, in [0, sqrt 2].

    Raises:
        ValueError: for wrong shapes, an empty batch, labels out of range, or logits that are not finite.
        TypeError: for logits that are not floating or labels that are not integers.

    Cost: O(B K).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, section on detecting mislabeled examples.

    Example:
        >>> import math
        >>> mislabel_score(torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]]), torch.tensor([1, 0])).square()
        tensor([0.1250, 1.1250], dtype=torch.float64)
    """
    labels = _checks.batch(labels, auxiliary_logits=auxiliary_logits)
    q = F.softmax(auxiliary_logits.double(), -1)
    return torch.linalg.vector_norm(q - onehot(labels, q), dim=-1)
