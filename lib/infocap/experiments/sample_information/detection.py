"""Table ``sample_information/detection``: which examples carry much sample information?

| experiment | what differs within the training set | what is measured |
|---|---|---|
| ``mislabelled`` | a share of the labels is flipped | how well each score ranks the flipped ones first |
| ``clean`` | nothing | how heavy the tail of F-SI is, and whether SI and F-SI agree |
| ``subclass`` | a few examples of a rare class share their target with a common one | F-SI of rare over common |
| ``sources`` | half of it is a few images, jittered; apart from that, some get an exact twin | ratios of F-SI |
| ``adversarial`` | a share is attacked by the fast gradient sign method | as ``mislabelled``, at two linearizations |
| ``coordinates`` | nothing, but the kernel is that of random coordinates | error of the kernel and of the ranking |

Each experiment has a file in ``applications``, and each score that competes in ``mislabelled`` is a function
``method(cell, problem) -> [n]`` in ``methods``. Scores are those of a network linearized at its initialization, trained
to the end with a ridge and, where the task has a horizon, also for its steps without one. Evaluation inputs are clean
and their labels are not used; the training set is all that any score sees.
"""

from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from infocap import data, networks
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.sample_information.applications import APPLICATIONS
from infocap.experiments.sample_information.methods import METHODS
from infocap.experiments.streams import stream
from infocap.study.fields import AtLeast, NonNegative, Options, Positive, Share, registered

PANEL = "experiment"
GRID = {"tasks": Options, "seeds": "seed"}
OWN = {"method": ("methods", METHODS), "network": ("network", networks.NETWORKS), "data": ("data", data)}


@dataclass(frozen=True)
class Cell:
    """One task and seed. ``ridge`` is that of the sum of the losses, the learning rate that of their mean.

    ``width`` is that of the fully connected network; other architectures have their own.
    """

    experiment: registered(APPLICATIONS)
    data: ImageData
    classes: tuple[int, ...]
    n: AtLeast[8]
    m: AtLeast[8]
    width: AtLeast[1]
    ridge: Positive
    seed: int
    device: str
    learning_rate: NonNegative = 0.0
    steps: AtLeast[0] = 0
    rate: Share = 0.0
    rare: AtLeast[0] = 0
    copies: AtLeast[0] = 0
    twins: AtLeast[0] = 0
    strength: NonNegative = 0.0
    epochs: AtLeast[0] = 0
    coordinates: tuple[AtLeast[1], ...] = ()
    network: Network = "mlp"
    methods: tuple[registered(METHODS), ...] = ()

    def __post_init__(self):
        if self.methods and self.experiment != "mislabelled":
            raise ValueError(f"methods: got {self.methods}; accepted: none, but with the experiment 'mislabelled'")

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        methods = map(METHODS.module, self.methods)
        return [APPLICATIONS.module(self.experiment), networks.NETWORKS.module(self.network), *methods]


def measure(cell: Cell) -> dict[str, Any]:
    """The numbers of one cell; which ones depends on its experiment. Arrays have one entry per training example."""
    return APPLICATIONS[cell.experiment](cell)


def chosen(cell: Cell, purpose: str) -> Tensor:
    """A random share ``cell.rate`` of the training examples, ``[n]`` boolean."""
    return torch.randperm(cell.n, generator=stream(purpose, cell.seed)) < round(cell.rate * cell.n)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's, of two scores."""
    return float(spearmanr(a.cpu(), b.cpu()).statistic)


def auc(score: Tensor, positive: Tensor) -> float:
    """The probability that a positive example has a larger score than another one."""
    from sklearn.metrics import roc_auc_score  # here, because chapters import this module and measure nothing

    return float(roc_auc_score(positive.cpu(), score.cpu()))


def shape(scores: dict[str, Tensor]) -> dict[str, float]:
    """Of F-SI, to the end and at the horizon, the share of its largest tenth and the agreement with SI."""
    result = {}
    for ending in ("", "_horizon"):
        if f"f_si{ending}" in scores and f"si{ending}" in scores:
            f_si = scores[f"f_si{ending}"]
            result |= {
                f"spearman{ending}": rank_correlation(scores[f"si{ending}"], f_si),
                f"top_share{ending}": top_share(f_si),
            }
    return result


def top_share(score: Tensor, fraction: float = 0.1) -> float:
    """The share of the sum that the largest tenth of the values holds."""
    largest = score.sort(descending=True).values[: round(fraction * len(score))]
    return float(largest.sum() / score.sum())
