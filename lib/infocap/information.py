"""How much does one variable tell about another, and how much must a network have stored to make so few errors?

Conventions that may surprise: every result is in nats; probabilities lie along the last axis, a joint table along the
last two, and axes in front are a batch. An integer table holds counts, a floating one probabilities. Results are
float64. The Fano bounds count errors against the training labels, the noisy ones. Derived in
book/noisy_labels/memorization.ipynb.
"""

import math

import torch
from torch import Tensor

from infocap import _checks

__all__ = [
    "binary_entropy",
    "entropy",
    "expected_mutual_information",
    "memorized_information",
    "minimum_error_rate",
    "mutual_information",
]


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy along the last axis, with ``0 log 0 = 0``.

    Args:
        probabilities: ``[..., K]``, each row sums to 1 within 1e-6.

    Returns:
        ``[...]`` float64, nats.

    Raises:
        ValueError: for negative or non-finite entries, rows that do not sum to 1, or an empty tensor.
        TypeError: for anything but integers and real numbers.

    Cost: O(size of the input).

    Source: Cover and Thomas (2006), *Elements of Information Theory*, section 2.1.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64))
        tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    return torch.special.entr(_checks.distribution("probabilities", probabilities)).sum(-1)


def binary_entropy(rate: Tensor) -> Tensor:
    """Entropy of a coin, elementwise: ``h(r) = -r ln r - (1 - r) ln(1 - r)``.

    Args:
        rate: any shape, in [0, 1].

    Returns:
        float64 of the same shape, nats.

    Raises:
        ValueError: for a rate outside [0, 1], NaN, or an empty tensor.
        TypeError: for anything but integers and real numbers.

    Cost: O(size of the input).

    Source: Cover and Thomas (2006), *Elements of Information Theory*, section 2.1.

    Example:
        >>> binary_entropy(0.5)
        tensor(0.6931, dtype=torch.float64)
    """
    return _binary_entropy(_checks.float64("rate", rate, 0, 1))


def _binary_entropy(rate: Tensor) -> Tensor:
    return torch.special.entr(rate) + torch.special.entr(1 - rate)


def mutual_information(joint: Tensor) -> Tensor:
    """Mutual information of a two-way table, ``H(row) + H(column) - H(joint)``.

    Args:
        joint: ``[..., R, C]``. Integer dtype: counts, normalized inside, which makes the result the plug-in estimate.
            Floating dtype: probabilities, each table sums to 1 within 1e-6, and the result is exact.

    Returns:
        ``[...]`` float64, nats, not negative.

    Raises:
        ValueError: for negative or non-finite entries, a table without counts, probabilities that do not sum to 1, or
            fewer than two axes.
        TypeError: for anything but integers and real numbers.

    Cost: O(size of the input).

    Source: Cover and Thomas (2006), *Elements of Information Theory*, section 2.3.

    Example:
        >>> mutual_information(torch.tensor([[3, 0], [0, 3]]))
        tensor(0.6931, dtype=torch.float64)
        >>> mutual_information(torch.full((2, 2), 0.25))
        tensor(0., dtype=torch.float64)
    """
    joint = _checks.as_tensor("joint", joint)
    if joint.is_floating_point():
        table = _checks.distribution("joint", joint, axes=2)
    else:
        table = _counts("joint", joint)
        table = table / table.sum((-2, -1), keepdim=True)
    entr = torch.special.entr
    information = entr(table.sum(-1)).sum(-1) + entr(table.sum(-2)).sum(-1) - entr(table).sum((-2, -1))
    return information.clamp(min=0)  # rounding may leave -1e-17 for an independent table


def _counts(name: str, value: Tensor) -> Tensor:
    table = _checks.float64(name, value, low=0)
    if table.ndim < 2:
        raise ValueError(f"{name} must have at least 2 axes, got shape {tuple(table.shape)}")
    if (table.sum((-2, -1)) == 0).any():
        raise ValueError(f"{name} must hold at least one count in each table, got a table of zeros")
    return table


def expected_mutual_information(counts: Tensor) -> Tensor:
    """What the plug-in estimate is on average when rows and columns are independent and both margins are held fixed.

    Under that null each count is hypergeometric, so with margins a, b and N counts in all::

        E I = sum_ij sum_n P(n; N, a_i, b_j) (n / N) ln(N n / (a_i b_j))

    This is the estimate's bias for independent variables: subtract it from ``mutual_information(counts)``.

    Args:
        counts: ``[..., R, C]``, integer dtype.

    Returns:
        ``[...]`` float64, nats.

    Raises:
        ValueError: for negative counts, a table without counts, or fewer than two axes.
        TypeError: for a floating dtype.

    Cost: time and memory O(tables R C L), L the largest margin that a row shares with a column.

    Source: Vinh, Epps and Bailey (2010), *Information theoretic measures for clusterings comparison*, JMLR 11,
        section 4.

    Example:
        >>> counts = torch.tensor([[1, 1], [1, 1]])  # swapping two labels gives 0 or ln 2 nats, odds 2 to 1
        >>> expected_mutual_information(counts) * 3 / math.log(2)
        tensor(1., dtype=torch.float64)
    """
    counts = _checks.as_tensor("counts", counts)
    if counts.is_floating_point():
        raise TypeError(f"counts must be integers, got {counts.dtype}")
    table = _counts("counts", counts)
    a = table.sum(-1)[..., :, None, None]
    b = table.sum(-2)[..., None, :, None]
    total = table.sum((-2, -1))[..., None, None, None]
    n = torch.arange(1, int(torch.minimum(a, b).max()) + 1, dtype=torch.float64, device=table.device)

    # lgamma is infinite at 0, -1, -2...: an impossible n gets log-probability -inf from the factorials below it.
    def log_factorial(x: Tensor) -> Tensor:
        return torch.lgamma(x + 1)

    ways = [log_factorial(x) for x in (a, b, total - a, total - b)]
    log_p = sum(ways) - sum(log_factorial(x) for x in (total, n, a - n, b - n, total - a - b + n))
    value = n / total * (total * n).log() - n / total * (a * b).clamp(min=1).log()  # an empty margin has log_p = -inf
    return (log_p.exp() * value).sum((-3, -2, -1))


def _fano_inputs(noise_entropy: Tensor, num_classes: int, minimum: int) -> tuple[Tensor, int]:
    num_classes = _checks.count("num_classes", num_classes, minimum)
    noise_entropy = _checks.float64("noise_entropy", noise_entropy, low=0)
    if noise_entropy.max() > math.log(num_classes) + _checks.SUM_TOLERANCE:
        raise ValueError(
            f"noise_entropy must not exceed ln(num_classes) = {math.log(num_classes):.6g} nats, "
            f"got {noise_entropy.max():.6g}"
        )
    return noise_entropy, num_classes


def minimum_error_rate(noise_entropy: Tensor, information: Tensor, num_classes: int) -> Tensor:
    """The smallest error rate on the noisy training labels that so much stored information allows.

    It is the smallest r with ``h(r) + r ln(K - 1) >= noise_entropy - information``. The left side increases on
    [0, (K - 1) / K], so bisection finds it. Without information, uniform noise gives its own rate back,
    if that is at most (K - 1) / K.

    Args:
        noise_entropy: entropy of a label given its input, nats per label, in [0, ln K].
        information: information about the labels in the weights, nats per label, not negative.
        num_classes: K, at least 3: with two classes ``ln(K - 1)`` vanishes and so does the bound in the thesis' form.

    Returns:
        float64, the two tensors broadcast.

    Raises:
        ValueError: for values out of range, NaN, empty tensors, or ``num_classes < 3``.
        TypeError: for anything but numbers, or ``num_classes`` that is not an integer.

    Cost: O(64 times the broadcast size).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, section on Fano's inequality for training errors.

    Example:
        >>> noise = entropy(torch.tensor([0.2] + [0.8 / 9] * 9, dtype=torch.float64))
        >>> minimum_error_rate(noise, torch.tensor([0.0, math.log(2)]), num_classes=10)
        tensor([0.8000, 0.4051], dtype=torch.float64)
    """
    noise_entropy, num_classes = _fano_inputs(noise_entropy, num_classes, minimum=3)
    needed = noise_entropy - _checks.float64("information", information, low=0)
    low = torch.zeros_like(needed)
    high = torch.full_like(needed, (num_classes - 1) / num_classes)
    for _ in range(64):
        middle = (low + high) / 2
        enough = _binary_entropy(middle) + middle * math.log(num_classes - 1) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.where(needed > 0, high, 0.0)


def memorized_information(noise_entropy: Tensor, error_rate: Tensor, num_classes: int) -> Tensor:
    """Nats per training label that the weights store at least, read off the error rate on the noisy labels.

    The inverse of :func:`minimum_error_rate`: ``max(0, noise_entropy - h(r) - r ln(K - 1))``. Zero does not prove that
    nothing is stored, and one run estimates an expectation.

    Args:
        noise_entropy: entropy of a label given its input, nats per label, in [0, ln K].
        error_rate: errors against the noisy training labels, in [0, 1].
        num_classes: K, at least 2.

    Returns:
        float64, the two tensors broadcast.

    Raises:
        ValueError: for values out of range, NaN, empty tensors, or ``num_classes < 2``.
        TypeError: for anything but numbers, or ``num_classes`` that is not an integer.

    Cost: O(broadcast size).

    Source: Harutyunyan et al. (2020), arXiv 2002.07933, section on Fano's inequality for training errors.

    Example:
        >>> memorized_information(math.log(10), [0.0, 0.9], num_classes=10)
        tensor([2.3026, 0.0000], dtype=torch.float64)
    """
    noise_entropy, num_classes = _fano_inputs(noise_entropy, num_classes, minimum=2)
    rate = _checks.float64("error_rate", error_rate, 0, 1)
    return (noise_entropy - _binary_entropy(rate) - rate * math.log(num_classes - 1)).clamp(min=0)
