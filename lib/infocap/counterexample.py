"""Why can no bound on the squared gap be made of what the hypothesis knows about single examples?

Here is an algorithm whose hypothesis is independent of every single training example, and whose gap is 1/2 in absolute
value on every training set. So a bound on the squared gap, a PAC-Bayes bound or a single-draw bound needs the
information of at least two examples together. All quantities are exact: all training sets are enumerated.

An example is a vector v of k bits and a label bit y, all fair. A hypothesis is a direction a != 0 and a bit b, with
loss ``<a, v> xor b``, so that its risk is 1/2. The algorithm takes the smallest a that is orthogonal to all
differences of the training vectors, and b such that the loss on every training example is the parity of the labels.

Conventions that may surprise: training sets hold repeated examples; information is in nats. The construction is this
project's own, with the properties that the theorem of Harutyunyan et al. (2022, arXiv 2205.06915) asks for. Derived in
book/generalization/limits.ipynb.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from infocap import _checks as check
from infocap.information import entropy, mutual_information

__all__ = ["Counterexample", "enumerate_counterexample", "pair_bound", "pair_information_uniform"]

_LARGEST = 2**22  # training sets that are enumerated


@dataclass(frozen=True)
class Counterexample:
    """Exact properties of the construction.

    Attributes:
        n: Training examples.
        k: Bits of a vector.
        samples: Number of training sets.
        hypotheses: Number of hypotheses that occur.
        single_information: The largest ``I(W; Z_i)``.
        pair_information: The largest ``I(W; Z_i, Z_j)``.
        hypothesis_entropy: ``H(W)``; equals ``I(W; S)`` for the deterministic algorithm.
        mean_gap: Mean of risk minus training error.
        mean_squared_gap: Mean of its square.
        mean_squared_posterior_gap: Mean over training sets of the squared gap of the average hypothesis, which is what
            a PAC-Bayes bound speaks of.
        gaps: Probability of each gap.
        pair_bound: A bound on the mean squared gap from pairs, ``1/n + (1 - 1/n) sqrt(2 pair_information)``.
        full_bound: One from the whole training set, ``(I(W; S) + ln 3) / n``.
    """

    n: int
    k: int
    samples: int
    hypotheses: int
    single_information: float
    pair_information: float
    hypothesis_entropy: float
    mean_gap: float
    mean_squared_gap: float
    mean_squared_posterior_gap: float
    gaps: dict[float, float]
    pair_bound: float
    full_bound: float


def enumerate_counterexample(n: int, k: int | None = None, *, coin: bool = False) -> Counterexample:
    """Runs the algorithm on every training set.

    Args:
        n: Training examples, at least 2.
        k: Bits of a vector, at least n, so that a direction orthogonal to all differences exists; n by default.
        coin: If true, examples have no label and a fair coin takes the place of the labels' parity, so that the
            algorithm is random.

    Returns:
        Exact numbers, up to rounding.

    Raises:
        ValueError: ``n`` or ``k`` too small, or more than 4 million training sets.

    Cost: ``2^(n (k + 1))`` training sets, all at once: 0.5 s and some 200 MB for n = 4.

    Example:
        >>> report = enumerate_counterexample(2)
        >>> report.single_information, report.mean_squared_gap, round(report.pair_information, 6)
        (0.0, 0.25, 1.732868)
    """
    n, k = check.count("n", n, 2), n if k is None else check.count("k", k, n)
    bits = k if coin else k + 1  # of an example; the label is the lowest bit
    free_bits = n * bits + coin  # the coin is drawn like one more bit
    if 2**free_bits > _LARGEST:
        raise ValueError(f"n: got {n} with k = {k}, 2^{free_bits} training sets; accepted: up to {_LARGEST:,}")
    everything = torch.arange(2**free_bits, dtype=torch.int32)
    examples = [everything >> (i * bits) & (2**bits - 1) for i in range(n)]
    vectors = examples if coin else [example >> 1 for example in examples]
    parity = torch.tensor([number.bit_count() % 2 for number in range(2**k)], dtype=torch.int32)

    direction = torch.zeros_like(everything)
    for a in range(2**k - 1, 0, -1):  # the smallest comes last and stays
        orthogonal = sum(parity[a & (vector ^ vectors[0])] for vector in vectors[1:]) == 0
        direction = torch.where(orthogonal, a, direction)
    hidden = everything >> (n * bits) if coin else sum(example & 1 for example in examples) % 2
    bit = parity[direction & vectors[0]] ^ hidden
    hypothesis = 2 * direction + bit
    errors = torch.stack([parity[direction & vector] ^ bit for vector in vectors]).double()
    gap = 0.5 - errors.mean(0)

    size = 2 ** (k + 1)
    single = max(_information(hypothesis, size, example, 2**bits) for example in examples)
    pairs = [_information(hypothesis, size, one * 2**bits + other, 4**bits) for one, other in combinations(examples, 2)]
    law = torch.bincount(hypothesis, minlength=size) / len(everything)
    of_sets = float(entropy(law)) - (math.log(2) if coin else 0.0)  # I(W; S) = H(W) - H(W | S)
    posterior = gap.view(1 + coin, -1).mean(0)  # the coin is the highest bit
    values, counts = gap.unique(return_counts=True)
    return Counterexample(
        n=n,
        k=k,
        samples=2 ** (n * bits),
        hypotheses=int((law > 0).sum()),
        single_information=single,
        pair_information=max(pairs),
        hypothesis_entropy=float(entropy(law)),
        mean_gap=float(gap.mean()),
        mean_squared_gap=float(gap.square().mean()),
        mean_squared_posterior_gap=float(posterior.square().mean()),
        gaps=dict(zip(values.tolist(), (counts / len(gap)).tolist(), strict=True)),
        pair_bound=pair_bound(n, max(pairs)),
        full_bound=(of_sets + math.log(3)) / n,
    )


def pair_bound(n: int, information: float) -> float:
    """A bound on the expected squared gap of a loss in [0, 1]: ``1/n + (1 - 1/n) sqrt(2 I(W; Z_i, Z_j))``.

    Args:
        n: Training examples.
        information: The same for every pair, or the largest; nats.

    Source: Harutyunyan et al. (2022), bound from pairs of examples.

    Example:
        >>> pair_bound(2, 0.5)
        1.0
    """
    n, information = check.count("n", n, 2), check.real("information", information, 0)
    return 1 / n + (1 - 1 / n) * math.sqrt(2 * information)


def pair_information_uniform(n: int, k: int) -> float:
    """``I(W; Z_1, Z_2)`` where the direction is drawn uniformly from those that are orthogonal to all differences.

    ``(1 - 2^-k) ln((2^k - 1) / (2^(k - 1) - 1))``, which tends to ln 2. It does not depend on n otherwise.

    Args:
        n: Training examples, at least 3: with two, the label parity adds information.
        k: Bits of a vector, at least n.

    Example:
        >>> round(pair_information_uniform(10, 10), 6)
        0.693447
    """
    n = check.count("n", n, 3)
    k = check.count("k", k, n)
    if k > 1000:
        return math.log(2)
    return (1 - 0.5**k) * math.log((2**k - 1) / (2 ** (k - 1) - 1))


def _information(hypothesis: Tensor, size: int, other: Tensor, values: int) -> float:
    """Of two functions of a training set, given by their values on each of the equally likely ones."""
    table = torch.bincount(hypothesis.long() * values + other, minlength=size * values).view(size, values)
    return float(mutual_information(table))
