"""How does a classifier learn from wrong labels without storing them? LIMIT, and the losses it is compared with.

Labels enter training only through the gradient at the logits, ``softmax - onehot``. LIMIT never shows that gradient to
the classifier: an auxiliary network, which does not see the label as input either, predicts it.

Conventions that may surprise: s and q are the softmax of the classifier and of the auxiliary network; distances sum
over classes, losses average over the batch, so MAE is ``2 (1 - p_y)``, twice the usual, and DMI is not divided by the
batch size. Losses keep the dtype of the logits, everything else returns float64. Losses work under ``torch.func``
transforms; inside ``vmap`` the values of labels and logits cannot be checked. Derived in book/noisy_labels/limit.ipynb.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from infocap import _checks

__all__ = [
    "EarlyLearningRegularization",
    "co_teaching_loss",
    "dmi_loss",
    "estimate_transition",
    "forward_loss",
    "gce_loss",
    "limit_losses",
    "mae_loss",
    "mislabel_score",
    "noisy_gradient_loss",
    "optimal_auxiliary",
    "soft_penalty_loss",
]

KINDS = ("gaussian", "laplace")


def _onehot(labels: Tensor, like: Tensor) -> Tensor:
    return (labels.unsqueeze(-1) == torch.arange(like.shape[-1], device=like.device)).to(like.dtype)


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
    table = _onehot(labels, logits).T @ F.softmax(logits, -1)
    return -(torch.linalg.det(table).abs() + 1e-3).log()


def noisy_gradient_loss(
    logits: Tensor, labels: Tensor, *, noise_std: float, kind: str, generator: torch.Generator
) -> Tensor:
    """Cross-entropy whose gradient at the logits is ``(s - onehot(y)) / B + noise``.

    The noise comes after the 1/B of the mean, as in the paper: at B = 256 a ``noise_std`` of 0.01 is 2.56 in the units
    of one example. :func:`limit_losses` counts its ``noise_std`` in those units instead.

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
    noise = _noise(logits, _checks.real("noise_std", noise_std, 0), kind, generator)
    return F.cross_entropy(logits, labels) + _gradient_only(logits, noise)


def _noise(like: Tensor, std: float, kind: str, generator: torch.Generator) -> Tensor:
    generator = _checks.generator(generator)

    def empty() -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, device=generator.device)

    if kind == "gaussian":
        noise = std * empty().normal_(generator=generator)
    else:  # the difference of two unit exponentials is Laplace with variance 2
        noise = (
            std / math.sqrt(2) * (empty().exponential_(generator=generator) - empty().exponential_(generator=generator))
        )
    return noise.to(like.device)


def _gradient_only(logits: Tensor, gradient: Tensor) -> Tensor:
    """A term of value zero whose gradient with respect to the logits is the given one."""
    return (gradient * (logits - logits.detach())).sum()


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
        classifier = classifier + _gradient_only(logits, _noise(logits, noise_std, kind, generator) / len(logits))

    error = q - _onehot(labels, q)
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
    error = (q - _onehot(labels, q)).square().sum(-1)
    length = (s - q).square().sum(-1)
    penalty = (features.square().sum(-1) * (lam * error + beta * length)).mean()
    return F.cross_entropy(logits, labels) + penalty


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
        >>> mislabel_score(torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]]), torch.tensor([1, 0])).square()
        tensor([0.1250, 1.1250], dtype=torch.float64)
    """
    labels = _checks.batch(labels, auxiliary_logits=auxiliary_logits)
    q = F.softmax(auxiliary_logits.double(), -1)
    return torch.linalg.vector_norm(q - _onehot(labels, q), dim=-1)


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
