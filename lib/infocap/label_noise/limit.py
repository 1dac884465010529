"""How does a classifier learn from labels that it never sees? LIMIT, whose helper predicts the gradient.

Labels enter training only through the gradient at the logits, ``softmax - onehot``. LIMIT never shows that gradient to
the classifier: an auxiliary network, which does not see the label as input either, predicts it.

s and q are the softmax of the classifier and of the auxiliary network; distances sum over classes, losses average over
the batch. Harutyunyan et al. (2020, arXiv 2002.07933); derived in book/noisy_labels/limit.ipynb.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks
from infocap.label_noise._parts import KINDS, draw_noise, gradient_only, onehot

__all__ = ["limit_losses", "optimal_auxiliary"]


def limit_losses(
    logits: Tensor,
    auxiliary_logits: Tensor,
    labels: Tensor,
    *,
    beta: float,
    kind: str,
    noise_std: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """LIMIT: the classifier follows a predicted gradient, the auxiliary network learns to predict it.

    With s and q the two softmaxes, and s held constant in the second line,

    - ``classifier``: the gradient at ``logits`` is ``(s - q) / B``, the value the cross-entropy of s against q;
    - ``auxiliary = mean_b ||q - onehot(y)||_2^2 + beta mean_b ||s - q||_2^2``, with ``||.||_1`` in its first term for
      ``"laplace"``. Since ``(s - onehot(y)) - (s - q) = q - onehot(y)``, the first term is the error of the predicted
      gradient and the second its squared length.

    Labels do not reach the classifier, and nothing from the classifier's loss reaches the auxiliary network. Add the
    two and take a step with one optimizer over both networks.

    Args:
        logits: ``[B, K]``, floating: the classifier's.
        auxiliary_logits: ``[B, K]``, floating: the auxiliary network's.
        labels: ``[B]``, integers in [0, K - 1].
        beta: weight of the squared length, not negative.
        kind: ``"gaussian"`` (squared error) or ``"laplace"`` (absolute error).
        noise_std: standard deviation of noise, normal or Laplace by ``kind``, that is added to the predicted gradient
            in the units of one example: the gradient is then ``(s - q + noise) / B``. The values do not change.
        generator: the source of that noise; needed only if ``noise_std > 0``.

    Returns:
        ``(classifier, auxiliary)``, scalars with the dtype of the logits.

    Raises:
        ValueError: for a bad ``kind``, ``beta`` or ``noise_std``, wrong shapes, an empty batch, labels out of range, or
            logits that are not finite.
        TypeError: for a missing generator, logits that are not floating or labels that are not integers.

    Cost: O(B K).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, section on the algorithm. The official code does not divide the
        predicted gradient by B.

    Example:
        >>> import math
        >>> logits, auxiliary_logits = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
        >>> classifier, auxiliary = limit_losses(logits, auxiliary_logits, torch.tensor([1]), beta=8.0, kind="laplace")
        >>> auxiliary  # 2 (1 - 3/4) + 8 * 2 (1/4)^2
        tensor(1.5000)
    """
    labels = _checks.batch(labels, logits=logits, auxiliary_logits=auxiliary_logits)
    beta = _checks.real("beta", beta, 0)
    _checks.choice("kind", kind, KINDS)
    log_s = F.log_softmax(logits, -1)
    q = F.softmax(auxiliary_logits, -1)

    classifier = -(q.detach() * log_s).sum(-1).mean()
    if _checks.real("noise_std", noise_std, 0) > 0:
        classifier = classifier + gradient_only(logits, draw_noise(logits, noise_std, kind, generator) / len(logits))

    error = q - onehot(labels, q)
    distance = error.square() if kind == "gaussian" else error.abs()
    length = (log_s.detach().exp() - q).square()
    return classifier, (distance + beta * length).sum(-1).mean()


def optimal_auxiliary(label_distribution: Tensor, prediction: Tensor, *, beta: float, kind: str) -> Tensor:
    """The q on the simplex that minimizes LIMIT's expected auxiliary loss for one input.

    For labels y with law P and a prediction s, the minimizer of ``E d(q, onehot(y)) + beta ||s - q||_2^2`` is
    ``(P + beta s) / (1 + beta)`` for the squared distance (``"gaussian"``) and the projection of ``s + P / beta`` on
    the simplex for the absolute one (``"laplace"``), whose expectation is ``2 (1 - q . P)``. At ``beta = 0`` the latter
    is the most likely class; classes that tie share it equally, one minimizer of many.

    Args:
        label_distribution: ``[..., K]``, P; sums to 1.
        prediction: ``[..., K]``, s; sums to 1.
        beta: weight of the squared length of the predicted gradient, not negative.
        kind: ``"gaussian"`` or ``"laplace"``.

    Returns:
        ``[..., K]`` float64, the two tensors broadcast.

    Raises:
        ValueError: for a bad ``kind`` or ``beta``, tensors that do not broadcast, or probabilities that are negative,
            not finite or do not sum to 1.
        TypeError: for anything but numbers.

    Cost: O(K) per input for ``"gaussian"``, O(K log K) for ``"laplace"``.

    Source: derived from the objective of Harutyunyan et al. (2020), arXiv 2002.07933; projection of Duchi et al.
        (2008), *Efficient projections onto the l1-ball for learning in high dimensions*, ICML.

    Example:
        >>> noisy, prediction = [0.5, 0.25, 0.25], [0.2, 0.3, 0.5]
        >>> optimal_auxiliary(noisy, prediction, beta=1.0, kind="gaussian")
        tensor([0.3500, 0.2750, 0.3750], dtype=torch.float64)
        >>> optimal_auxiliary(noisy, prediction, beta=1.0, kind="laplace")
        tensor([0.3667, 0.2167, 0.4167], dtype=torch.float64)
    """
    p = _checks.distribution("label_distribution", label_distribution)
    s = _checks.distribution("prediction", prediction)
    beta = _checks.real("beta", beta, 0)
    _checks.choice("kind", kind, KINDS)
    try:
        p, s = torch.broadcast_tensors(p, s)
    except RuntimeError:
        raise ValueError(
            f"prediction must broadcast with label_distribution {tuple(p.shape)}, got shape {tuple(s.shape)}"
        ) from None
    if kind == "gaussian":
        return (p + beta * s) / (1 + beta)
    top = p.amax(-1, keepdim=True)
    if beta == 0:
        best = (p == top).to(p.dtype)
        return best / best.sum(-1, keepdim=True)
    # the projection ignores a common shift, and this one keeps the digits of s when beta is tiny
    return _project_on_simplex(s + (p - top) / beta)


def _project_on_simplex(v: Tensor) -> Tensor:
    """The nearest probability vector: ``max(v - theta, 0)``, theta such that it sums to 1."""
    ordered = v.sort(-1, descending=True).values
    size = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    theta = (ordered.cumsum(-1) - 1) / size  # if the k largest entries stay positive
    support = (ordered > theta).sum(-1, keepdim=True)
    return (v - theta.gather(-1, support - 1)).clamp(min=0)
