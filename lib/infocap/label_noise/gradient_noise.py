"""Does noise in the gradient keep a network from storing labels?"""

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks
from infocap.label_noise._parts import KINDS, draw_noise, gradient_only

__all__ = ["noisy_gradient_loss"]


def noisy_gradient_loss(
    logits: Tensor, labels: Tensor, *, noise_std: float, kind: str, generator: torch.Generator
) -> Tensor:
    """Cross-entropy whose gradient at the logits is ``(s - onehot(y)) / B + noise``.

    The noise comes after the 1/B of the mean, as in the paper: at B = 256 a ``noise_std`` of 0.01 is 2.56 in the units
    of one example. :func:`~infocap.label_noise.limit.limit_losses` counts its ``noise_std`` in those units instead.

    Args:
        logits: ``[B, K]``, floating.
        labels: ``[B]``, integers in [0, K - 1].
        noise_std: standard deviation of each entry of the noise, not negative.
        kind: ``"gaussian"`` or ``"laplace"``, the law of the noise.
        generator: the source of randomness.

    Returns:
        A scalar with the dtype of ``logits``: the plain cross-entropy, mean over the batch, in nats.

    Raises:
        ValueError: for a bad ``kind`` or ``noise_std``, wrong shapes, an empty batch, labels out of range, or logits
            that are not finite.
        TypeError: for a generator that is not one, logits that are not floating or labels that are not integers.

    Cost: O(B K).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, baselines with noisy gradients.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits, labels = torch.zeros(1, 2), torch.tensor([0])
        >>> noisy_gradient_loss(logits, labels, noise_std=0.1, kind="laplace", generator=generator)
        tensor(0.6931)
    """
    labels = _checks.batch(labels, logits=logits)
    _checks.choice("kind", kind, KINDS)
    noise = draw_noise(logits, _checks.real("noise_std", noise_std, 0), kind, generator)
    return F.cross_entropy(logits, labels) + gradient_only(logits, noise)
