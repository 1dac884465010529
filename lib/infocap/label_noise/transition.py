"""What if one knows, or estimates, how labels were corrupted? Forward correction."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks

__all__ = ["estimate_transition", "forward_loss"]


def forward_loss(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """Forward correction ``-mean_b ln (s^T T)_y``: the likelihood of the noisy label if s predicts the true class.

    Args:
        logits: ``[B, K]``, floating.
        labels: ``[B]``, integers in [0, K - 1].
        transition: ``[K, K]``, T, row = true class, column = noisy class; rows sum to 1.

    Returns:
        A scalar with the dtype of ``logits``. Computed from logarithms: where the official code clamps s at 1e-10, this
        keeps the gradient.

    Raises:
        ValueError: for a T that is not row-stochastic or has a class that no row leads to, wrong shapes, an empty
            batch, labels out of range, or logits that are not finite.
        TypeError: for logits that are not floating or labels that are not integers.

    Cost: O(B K + K^2).

    Source: Patrini et al. (2017), arXiv 1609.03683, section on forward correction.

    Example:
        >>> forward_loss(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])).exp()
        tensor(1.3333)
    """
    labels = _checks.batch(labels, logits=logits)
    transition = _checks.transition(transition, logits.shape[1])
    if (transition.sum(0) == 0).any():
        raise ValueError("transition must lead to every class, got a column of zeros")
    log_column = transition.log().T.to(logits)[labels]
    return -(F.log_softmax(logits, -1) + log_column).logsumexp(-1).mean()


def estimate_transition(logits: Tensor, percentile: float = 97) -> Tensor:
    """The transition matrix that forward correction reads off a network trained on noisy labels.

    Row i is the prediction at the example that most resembles class i: the one with the largest predicted probability
    of i among those strictly below the given percentile of that probability, which leaves outliers out.

    Args:
        logits: ``[n, K]``, floating, of the network on its training set.
        percentile: in [0, 100]; between two examples the higher one counts.

    Returns:
        ``[K, K]`` float64, row = true class, column = noisy class, rows sum to 1.

    Raises:
        ValueError: for a bad ``percentile`` or shape, logits that are not finite, or a class for which no example lies
            below its percentile.
        TypeError: for logits that are not floating.

    Cost: O(n K log n).

    Source: Patrini et al. (2017), arXiv 1609.03683, section on estimating the noise.

    Example:
        >>> sharp = torch.tensor([[8.0, 0.0], [math.log(3), 0.0], [0.0, math.log(4)], [0.0, 8.0]])
        >>> estimate_transition(sharp)
        tensor([[0.7500, 0.2500],
                [0.2000, 0.8000]], dtype=torch.float64)
    """
    percentile = _checks.real("percentile", percentile, 0, 100)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise TypeError(f"logits must be a floating tensor, got {getattr(logits, 'dtype', type(logits).__name__)}")
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must be [n, K] with K >= 2, got shape {tuple(logits.shape)}")
    probabilities = F.softmax(_checks.float64("logits", logits), -1)
    # Sorted, for torch.quantile refuses large tensors. Outliers are masked in a copy: the official code zeroes them in
    # place, which spoils the rows that it reads later.
    ordered = probabilities.sort(0).values
    threshold = ordered[math.ceil(percentile / 100 * (len(logits) - 1))]
    typical = torch.where(probabilities < threshold, probabilities, -1.0)
    best = typical.max(0)
    if (best.values < 0).any():
        raise ValueError(
            f"logits must leave an example below the percentile of every class, got none for class "
            f"{int(best.values.argmin())} among {len(logits)} examples"
        )
    return probabilities[best.indices]
