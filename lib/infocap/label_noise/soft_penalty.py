"""What if the predicted gradient is no substitute for the label, but a penalty? LIMIT's first form."""

import torch.nn.functional as F
from torch import Tensor

from infocap import _checks
from infocap.label_noise._parts import onehot

__all__ = ["soft_penalty_loss"]


def soft_penalty_loss(
    features: Tensor, logits: Tensor, auxiliary_logits: Tensor, labels: Tensor, *, lam: float, beta: float
) -> Tensor:
    """LIMIT as a soft penalty on the error and the length of the predicted last-layer gradient.

    ``CE + mean_b ||z||_2^2 (lam ||onehot(y) - q||_2^2 + beta ||s - q||_2^2)``, z the input of the last layer: its
    weights have gradient ``(s - onehot(y)) z^T``, predicted as ``(s - q) z^T``. Nothing is held constant, so the
    classifier still sees labels, and shrinking z lowers the penalty without forgetting any.

    Args:
        features: ``[B, d]``, floating: z.
        logits: ``[B, K]``, floating: the classifier's.
        auxiliary_logits: ``[B, K]``, floating: the auxiliary network's.
        labels: ``[B]``, integers in [0, K - 1].
        lam: weight of the error of the predicted gradient, not negative.
        beta: weight of its squared length, not negative.

    Returns:
        A scalar with the dtype of ``logits``.

    Raises:
        ValueError: for a bad ``lam`` or ``beta``, wrong shapes, an empty batch, labels out of range, or logits that are
            not finite.
        TypeError: for features or logits that are not floating or labels that are not integers.

    Cost: O(B (K + d)).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, section on penalizing the last layer's information.

    Example:
        >>> import torch
        >>> z, zeros = torch.tensor([[2.0]]), torch.zeros(1, 2)
        >>> soft_penalty_loss(z, zeros, zeros, torch.tensor([0]), lam=0.5, beta=1.0)  # ln 2 + 4 * 0.5 * (1/4 + 1/4)
        tensor(1.6931)
    """
    labels = _checks.batch(labels, logits=logits, auxiliary_logits=auxiliary_logits)
    lam, beta = _checks.real("lam", lam, 0), _checks.real("beta", beta, 0)
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise TypeError(
            f"features must be a floating tensor, got {getattr(features, 'dtype', type(features).__name__)}"
        )
    if features.ndim != 2 or len(features) != len(logits):
        raise ValueError(f"features must be [{len(logits)}, d], got shape {tuple(features.shape)}")
    s, q = F.softmax(logits, -1), F.softmax(auxiliary_logits, -1)
    error = (q - onehot(labels, q)).square().sum(-1)
    length = (s - q).square().sum(-1)
    penalty = (features.square().sum(-1) * (lam * error + beta * length)).mean()
    return F.cross_entropy(logits, labels) + penalty
