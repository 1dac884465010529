"""Which loss is blind to how labels were corrupted? Determinant mutual information."""

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks
from infocap.label_noise._parts import onehot

__all__ = ["dmi_loss"]


def dmi_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Determinant mutual information ``-ln(|det(Y^T S)| + 1e-3)``, Y the one-hot labels and S the predictions.

    Not divided by the batch size. A batch that lacks a class has determinant 0: the loss is 6.9078 and teaches nothing.

    Args:
        logits: ``[B, K]``, floating.
        labels: ``[B]``, integers in [0, K - 1].

    Returns:
        A scalar with the dtype of ``logits``.

    Raises:
        ValueError: for wrong shapes, an empty batch, labels out of range, or logits that are not finite.
        TypeError: for logits that are not floating or labels that are not integers.

    Cost: O(B K^2 + K^3).

    Source: Xu et al. (2019), arXiv 1909.03388, section on the loss.

    Example:
        >>> sure = torch.tensor([[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]])
        >>> dmi_loss(sure, torch.tensor([0, 1, 1]))  # -ln(1 * 2 + 0.001)
        tensor(-0.6936)
    """
    labels = _checks.batch(labels, logits=logits)
    table = onehot(labels, logits).T @ F.softmax(logits, -1)
    return -(torch.linalg.det(table).abs() + 1e-3).log()
