"""Table ``generalization/toys``: small problems whose bounds can be computed exactly.

| toy | parameter | what is computed |
|---|---|---|
| ``thresholds`` | n | gap, f-CMI bounds for single rows and for all rows, and the VC bound of a learner of thresholds |
| ``counterexample`` | n | the enumeration of ``infocap.counterexample``, with and without its coin |
| ``pairs`` | n | the same algorithm on random supersamples: f-CMI of single rows and of pairs of rows |
| ``bias`` | number of draws | expectations of estimates of the information of two independent fair bits |

Drawn in book/generalization/fcmi.ipynb, tighter_bounds.ipynb and limits.ipynb.
"""

import math
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from infocap.bounds.estimates import CORRECTIONS, correct, fcmi_bound
from infocap.bounds.formulas import vc_bound
from infocap.counterexample import enumerate_counterexample
from infocap.experiments.streams import stream
from infocap.information import mutual_information
from infocap.study.fields import AtLeast
from infocap.supersample import SupersampleRuns, generalization_gap

PANEL = "toy"
GRID = {"parameters": "parameter", "coins": "coin"}


@dataclass(frozen=True)
class Cell:
    """One toy at one value of its parameter; ``draws`` supersamples, or none where all is enumerated."""

    toy: Literal["thresholds", "counterexample", "pairs", "bias"]
    parameter: AtLeast[1]
    draws: AtLeast[0] = 0
    coin: bool = False

    def __post_init__(self):
        most = {"thresholds": 12, "counterexample": 4, "pairs": 12}.get(self.toy, self.parameter)
        if self.parameter > most:
            raise ValueError(f"parameters: got {self.parameter}; accepted: up to {most}, since all is enumerated")


def measure(cell: Cell) -> dict[str, Any]:
    """The numbers of one cell; which ones depends on its toy."""
    return _MEASURES[cell.toy](cell)


def all_selectors(n: int) -> Tensor:
    """``[2^n, n]``, every one once."""
    return torch.arange(2**n)[:, None] >> torch.arange(n) & 1


def information_of_patterns(values: Tensor, others: Tensor) -> float:
    """Mutual information of two functions of the draws, given by integers ``[k2]`` that name their values."""
    (_, value), (_, other) = (part.unique(return_inverse=True) for part in (values, others))
    sizes = int(value.max()) + 1, int(other.max()) + 1
    counts = torch.bincount(value * sizes[1] + other, minlength=sizes[0] * sizes[1]).view(sizes)
    return float(mutual_information(counts))


def thresholds(cell: Cell) -> dict[str, Any]:
    """The smallest consistent threshold on points of [0, 1], for every selector; the true one is drawn too.

    A list for each quantity, one entry per supersample. ``single`` and ``weights`` are the bounds for single rows from
    the predictions on the row and from the threshold itself, ``whole`` that for all rows together.
    """
    n, generator = cell.parameter, stream("thresholds", cell.parameter)
    selectors = all_selectors(n)
    result: dict[str, list[float]] = {"gap": [], "single": [], "whole": [], "weights": [], "information": []}
    for _ in range(cell.draws):
        points = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        labels = (points >= torch.rand((), generator=generator, dtype=torch.float64)).long()
        trained, known = (part.gather(1, selectors.T).T for part in (points, labels))  # [2^n, n]
        cut = torch.where(known == 0, trained, -1.0).amax(1)  # at or below the largest zero all is zero
        predictions = (points > cut[:, None, None]).long()
        runs = SupersampleRuns(selectors[None], predictions[None], labels[None], 2)
        information = information_of_patterns(predictions.flatten(1) @ 2 ** torch.arange(2 * n), torch.arange(2**n))
        result["gap"].append(float(generalization_gap(runs)))
        result["single"].append(float(fcmi_bound(runs)))
        result["whole"].append(math.sqrt(2 / n * information))
        rows = [information_of_patterns(cut.unique(return_inverse=True)[1], selectors[:, i]) for i in range(n)]
        result["weights"].append(sum(math.sqrt(2 * value) for value in rows) / n)
        result["information"].append(information)
    return result | {"vc": vc_bound(n, 1)}


def counterexample(cell: Cell) -> dict[str, Any]:
    """The report of ``enumerate_counterexample``."""
    report = asdict(enumerate_counterexample(cell.parameter, coin=cell.coin))
    gaps = report.pop("gaps")
    return report | {"gap_values": list(gaps), "gap_probabilities": list(gaps.values())}


def pairs(cell: Cell) -> dict[str, Any]:
    """The counterexample's algorithm for all selectors of random supersamples.

    ``single`` is the mean over rows of ``sqrt(2 I)``, ``pair_bound`` the bound on the squared gap from pairs of rows,
    ``squared_gap`` that of the risk, which is 1/2, and the training half, and ``squared_difference`` that of the two
    halves; one entry per supersample.
    """
    n, generator = cell.parameter, stream("pairs", cell.parameter)
    result: dict[str, list[float]] = {"single": [], "pair_bound": [], "squared_gap": [], "squared_difference": []}
    for _ in range(cell.draws):
        runs = construction(n, generator)
        selectors, losses = runs.selectors[0], runs.predictions[0]
        rows, twos = information_of_rows(selectors, losses, 2)
        own = losses.gather(2, selectors[..., None])[..., 0].double().mean(1)
        other = losses.gather(2, 1 - selectors[..., None])[..., 0].double().mean(1)
        result["single"].append(sum(math.sqrt(2 * value) for value in rows) / n)
        result["pair_bound"].append(5 / (2 * n) + 4 / n**2 * sum(math.sqrt(2 * value) for value in twos))
        result["squared_difference"].append(float((other - own).square().mean()))
        result["squared_gap"].append(float((0.5 - own).square().mean()))
    return result


def construction(n: int, generator: torch.Generator) -> SupersampleRuns:
    """The counterexample's algorithm for all selectors of one random supersample; predictions are its losses."""
    selectors = all_selectors(n)
    parity = torch.tensor([number.bit_count() % 2 for number in range(2**n)], dtype=torch.int16)
    vectors = torch.randint(2**n, (n, 2), generator=generator)
    label_bits = torch.randint(2, (n, 2), generator=generator)
    trained = vectors.gather(1, selectors.T).T  # [2^n, n]
    hidden = label_bits.gather(1, selectors.T).sum(0) % 2
    direction = smallest_orthogonal(trained ^ trained[:, :1], parity)
    bit = parity[direction & trained[:, 0]] ^ hidden
    losses = (parity[direction[:, None, None] & vectors] ^ bit[:, None, None]).long()  # [2^n, n, 2]
    return SupersampleRuns(selectors[None], losses[None], torch.zeros(1, n, 2, dtype=torch.long), 2)


def information_of_rows(selectors: Tensor, predictions: Tensor, num_classes: int) -> tuple[list[float], list[float]]:
    """What predictions tell about coins, in nats: those on each row, and those on each two rows together.

    Args:
        selectors: ``[k2, n]``.
        predictions: ``[k2, n, 2]``.
        num_classes: Their number.

    Returns:
        ``n`` and ``n (n - 1) / 2`` numbers, the latter in the order of ``itertools.combinations``.
    """
    n, pattern = selectors.shape[1], num_classes * predictions[..., 0] + predictions[..., 1]
    rows = [information_of_patterns(pattern[:, i], selectors[:, i]) for i in range(n)]
    twos = [
        information_of_patterns(num_classes**2 * pattern[:, i] + pattern[:, k], 2 * selectors[:, i] + selectors[:, k])
        for i, k in combinations(range(n), 2)
    ]
    return rows, twos


def smallest_orthogonal(differences: Tensor, parity: Tensor) -> Tensor:
    """The smallest nonzero vector of bits that is orthogonal to all of ``differences`` ``[..., n]``."""
    found = torch.zeros(differences.shape[0], dtype=torch.long)
    for vector in range(1, len(parity)):
        open_ones = (found == 0).nonzero()[:, 0]
        if len(open_ones) == 0:
            break
        orthogonal = (parity[differences[open_ones] & vector] == 0).all(1)
        found[open_ones[orthogonal]] = vector
    return found


def bias(cell: Cell) -> dict[str, Any]:
    """Exact expectations over all tables of two independent fair bits in so many draws.

    For each correction the mean of the estimate and of ``sqrt(2 estimate)``, both clipped at 0, and the mean without
    clipping.
    """
    total = cell.parameter
    a, b, c = torch.meshgrid(*[torch.arange(total + 1)] * 3, indexing="ij")
    inside = a + b + c <= total
    counts = torch.stack([a[inside], b[inside], c[inside], total - a[inside] - b[inside] - c[inside]], -1)
    weights = math.lgamma(total + 1) - torch.lgamma(counts.double() + 1).sum(-1) - total * math.log(4)
    weights, tables = weights.exp(), counts.view(-1, 2, 2)
    result = {}
    for correction in CORRECTIONS:
        estimate = correct(mutual_information(tables), tables, correction)
        clipped = estimate.clamp(min=0)
        name = correction.replace("-", "_")
        result |= {
            f"{name}_unclipped": float((weights * estimate).sum()),
            f"{name}_information": float((weights * clipped).sum()),
            f"{name}_bound": float((weights * (2 * clipped).sqrt()).sum()),
        }
    return result


_MEASURES = {"thresholds": thresholds, "counterexample": counterexample, "pairs": pairs, "bias": bias}
