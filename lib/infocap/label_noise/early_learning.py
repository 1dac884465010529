"""What if a network is held to what it predicted early? Early-learning regularization."""

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks

__all__ = ["EarlyLearningRegularization"]


class EarlyLearningRegularization:
    """Cross-entropy that is pulled towards each example's own earlier predictions.

    ``CE + strength mean_b ln(1 - <t_i, s>)``, where ``t_i <- momentum t_i + (1 - momentum) s`` (s held constant) is
    updated at each call: call it once per training step, and not under ``torch.func``, for it keeps state.

    Args:
        num_examples: n, size of the training set.
        num_classes: K, at least 2.
        momentum: of the running mean, in [0, 1].
        strength: weight of the regularizer, not negative.

    Attributes:
        targets: ``[n, K]`` float32, the running means t, zero at first.

    Raises:
        ValueError: for arguments out of range; in a call, for wrong shapes, an empty batch, labels or indices out of
            range, or logits that are not finite.
        TypeError: for arguments that are not numbers; in a call, for logits that are not floating or labels that are
            not integers.

    Cost: O(B K) per call, O(n K) memory.

    Source: Liu et al. (2020), arXiv 2007.00151, section on early-learning regularization.

    Example:
        >>> loss = EarlyLearningRegularization(num_examples=10, num_classes=2, momentum=0.5, strength=1.0)
        >>> loss(torch.zeros(1, 2), torch.tensor([[1, 7]]))  # ln 2 + ln(1 - 1/4), of label 1 and example 7
        tensor(0.4055)
        >>> loss.targets[7]
        tensor([0.2500, 0.2500])
    """

    def __init__(self, num_examples: int, num_classes: int, *, momentum: float = 0.7, strength: float = 3.0):
        shape = _checks.count("num_examples", num_examples, 1), _checks.count("num_classes", num_classes, 2)
        self.momentum = _checks.real("momentum", momentum, 0, 1)
        self.strength = _checks.real("strength", strength, 0)
        self.targets = torch.zeros(shape)

    def __call__(self, logits: Tensor, labels_and_indices: Tensor) -> Tensor:
        """The loss of a batch: ``logits [B, K]`` and int64 ``[B, 2]`` with columns label and example index."""
        if getattr(labels_and_indices, "ndim", None) != 2 or labels_and_indices.shape[1] != 2:
            came = getattr(labels_and_indices, "shape", None)
            raise ValueError(
                "labels_and_indices must be [B, 2], columns label and example index, "
                f"got {type(labels_and_indices).__name__ if came is None else f'shape {tuple(came)}'}"
            )
        labels = _checks.batch(labels_and_indices[:, 0], logits=logits)
        indices = _checks.labels(labels_and_indices[:, 1], len(self.targets), "indices").long()
        if logits.shape[1] != self.targets.shape[1]:
            raise ValueError(f"logits must have {self.targets.shape[1]} columns, got shape {tuple(logits.shape)}")
        self.targets = self.targets.to(logits.device)
        s = F.softmax(logits, -1)
        mean = self.momentum * self.targets[indices] + (1 - self.momentum) * s.detach().float()
        self.targets[indices] = mean
        agreement = (
            (mean.to(s) * s).sum(-1).clamp(max=1 - 1e-4)
        )  # a saturated softmax would make the logarithm infinite
        return F.cross_entropy(logits, labels) + self.strength * torch.log1p(-agreement).mean()
