"""Table ``synthesis/measures``: every measure of the book on the same examples and the same network.

A cell draws a supersample of ``2 n`` images and trains one network on each of many random halves of it. The first
``draws`` halves give f-CMI and the memorization score. As many others, held out, give each example's share of the
generalization gap, so that no measure is compared with its own noise. All other measures are means over the training
sets among the first ``looked`` halves that hold the example: what one gets from that many trainings.

Conventions that may surprise: all networks share initialization and order of examples, as in part 3, so that only the
training set differs; halves come with their complements; ``label_noise`` flips labels once, for training and for
errors alike; ``loss``, ``margin`` and ``forgetting`` are those of trained-on examples; the kernel is that of the common
initialization and its training a squared error on one-hot targets, while the networks train on cross-entropy.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from infocap import data, networks
from infocap.complexity import complexity_shares, supervision_complexity
from infocap.experiments.generalization.training import Halves, members, network, optimizer, scaled, supersample
from infocap.experiments.streams import stream
from infocap.label_noise.detection import mislabel_score
from infocap.label_noise.limit import limit_losses
from infocap.memorization import forgetting_events
from infocap.networks.pairs import WithAuxiliary
from infocap.sample_information.closed_form import leave_one_out
from infocap.study.fields import AtLeast, NonNegative, Positive
from infocap.supersample import complementary_selectors
from infocap.tangent import ntk
from infocap.training.loop import predict
from infocap.training.many import fit_many

__all__ = ["Cell", "measure", "pictures"]

GRID = {"seeds": "seed"}
OWN = {"network": ("network", networks.NETWORKS), "data": ("data", data)}


@dataclass(frozen=True, kw_only=True)
class Cell(Halves):
    """One supersample. ``ridge`` is that of the sum of the losses, ``m`` the number of inputs that F-SI looks at."""

    draws: AtLeast[4]
    m: AtLeast[1]
    looked: AtLeast[2]
    ridge: Positive
    limit_beta: NonNegative
    limit_epochs: AtLeast[1]

    def __post_init__(self):
        if self.draws % 2 or self.looked % 2 or self.looked > self.draws:
            came = f"{self.looked} of {self.draws}"
            raise ValueError(f"looked, draws: got {came}; accepted: even numbers, as halves come with complements")


def measure(cell: Cell) -> dict[str, Any]:
    """One number for each example and measure, ``[n, 2]`` each, and the predictions that the others are made of."""
    inputs, labels = supersample(cell)
    clean = supersample(replace(cell, label_noise=0.0))[1]
    halves = [
        complementary_selectors(cell.draws, cell.n, stream(name, cell.seed))
        for name in ("selectors", "held-out selectors")
    ]
    first = torch.arange(cell.looked // 2)
    looked = torch.cat([first, first + cell.draws // 2])
    subsets = [members(part) for part in halves]
    scores = along_training(cell, inputs, labels, subsets[0][looked])
    of_kernel, error = linearized(cell, inputs, labels, subsets[0][looked])
    scores |= of_kernel | {"limit": limit_scores(cell, inputs, labels, subsets[0][looked])}
    predictions = [train(cell, inputs, labels, rows, ["prediction"], last=True) for rows in subsets]
    result: dict[str, Any] = {
        name: mean_over_members(values, subsets[0][looked]).view(-1, 2) for name, values in scores.items()
    }
    for name, part, outcome in zip(("", "held_out_"), halves, predictions, strict=True):
        result[f"{name}selectors"] = part.byte()
        result[f"{name}predictions"] = outcome["prediction"][-1].view(cell.draws, cell.n, 2).cpu().byte()
    result |= {"labels": labels.view(-1, 2).cpu().byte(), "clean": clean.view(-1, 2).cpu().byte()}
    return result | {"identity_error": error}


def mean_over_members(values: Tensor, subsets: Tensor) -> Tensor:
    """Means of ``values [draws, n]`` over the draws that trained on each example, ``[2 n]``."""
    size = 2 * subsets.shape[1]
    total, count = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    flat = subsets.flatten()
    total.scatter_add_(0, flat, values.double().cpu().flatten())
    return total / count.scatter_add_(0, flat, torch.ones(len(flat), dtype=torch.float64))


def train(
    cell: Cell, inputs: Tensor, labels: Tensor, subsets: Tensor, wanted: list[str], last: bool = False
) -> dict[str, Tensor]:
    """One network on each subset: what is ``wanted`` of their logits, ``[looks, draws, 2 n]`` each."""
    per_epoch = -(-cell.n // min(cell.batch_size, cell.n))

    def look(step: int, logits: Tensor) -> dict[str, Tensor]:
        target = labels.expand(len(logits), -1)
        own = logits.gather(2, target[..., None])[..., 0]
        others = logits.scatter(2, target[..., None], -torch.inf).amax(2)
        every = {
            "prediction": logits.argmax(2),
            "loss": cross_entropy(logits.transpose(1, 2), target, reduction="none"),
            "margin": own - others,
        }
        return {name: every[name] for name in wanted}

    many = fit_many(
        partial(network, cell, inputs.shape[1:]), inputs, labels, subsets, init_seeds=[cell.seed] * len(subsets),
        order_seeds=[cell.seed] * len(subsets), loss=cross_entropy, optimizer=optimizer(cell),
        steps=cell.epochs * per_epoch, batch_size=min(cell.batch_size, cell.n), record=look, eval_inputs=inputs,
        record_at=[epoch * per_epoch for epoch in ([cell.epochs] if last else range(1, cell.epochs + 1))],
    )  # fmt: skip
    looks = list(many.records.values())
    return {name: torch.stack([one[name] for one in looks]) for name in wanted}


def along_training(cell: Cell, inputs: Tensor, labels: Tensor, subsets: Tensor) -> dict[str, Tensor]:
    """Final loss, final margin (negated, so that more means harder) and forgetting events, ``[draws, n]`` each."""
    seen = train(cell, inputs, labels, subsets, ["prediction", "loss", "margin"])
    own = subsets.to(inputs.device)
    correct = seen["prediction"] == labels
    return {
        "loss": seen["loss"][-1].gather(1, own),
        "margin": -seen["margin"][-1].gather(1, own),
        "forgetting": forgetting_events(correct.gather(2, own.expand(len(correct), -1, -1))),
    }


def linearized(cell: Cell, inputs: Tensor, labels: Tensor, subsets: Tensor) -> tuple[dict[str, Tensor], float]:
    """SI, F-SI and the share of squared supervision complexity of the linearized network, ``[draws, n]`` each.

    Beside them, for the first subset, the error of the identity that the chapter proves.
    """
    model = networks.seeded(partial(network, cell, inputs.shape[1:]), cell.seed).to(inputs)
    model, inputs = model.double(), inputs.double()
    kernel, kernel_eval = ntk(model, inputs), ntk(model, unlabelled(cell).to(inputs), inputs)
    residual = one_hot(labels, len(cell.classes)) - predict(model, inputs)
    problems = [
        (kernel[rows][:, :, rows], residual[rows], kernel_eval[:, :, rows]) for rows in subsets.to(inputs.device)
    ]
    left_out = [leave_one_out(*problem, ridge=cell.ridge) for problem in problems]
    shares = [complexity_shares(*problem[:2]).additive for problem in problems]
    scores = {
        "si": torch.stack([one.sample_information() for one in left_out]),
        "f_si": torch.stack([one.functional_sample_information() for one in left_out]),
        "complexity": torch.stack([share / share.sum() for share in shares]),
    }
    return scores, identity_error(*problems[0])


def identity_error(kernel: Tensor, residual: Tensor, kernel_eval: Tensor, checked: int = 10) -> float:
    """Largest relative difference between ``||w - w_-i||^2`` and the drop of the squared complexity without i."""
    shift = leave_one_out(kernel, residual, kernel_eval).weight_shift
    total, errors = supervision_complexity(kernel, residual).square(), []
    for i in range(min(checked, len(residual))):
        rest = torch.arange(len(residual), device=kernel.device) != i
        drop = total - supervision_complexity(kernel[rest][:, :, rest], residual[rest]).square()
        errors.append(float((shift[i] - drop).abs() / shift[i]))
    return max(errors)


def unlabelled(cell: Cell) -> Tensor:
    """``m`` test images of the cell's classes, scaled as the supersample; their labels stay unused."""
    source = data.load(cell.data)
    rows = torch.isin(source.test_labels, torch.tensor(cell.classes)).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=stream("unlabelled", cell.seed))[: cell.m]]
    return scaled(cell, source.test_inputs[rows], source)


def limit_scores(cell: Cell, inputs: Tensor, labels: Tensor, subsets: Tensor) -> Tensor:
    """LIMIT (Laplace) on each subset: distance of predicted from actual gradient at its examples, ``[draws, n]``."""

    def loss(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        return sum(limit_losses(*outputs, targets, beta=cell.limit_beta, kind="laplace"))

    def pair() -> WithAuxiliary:
        build = partial(network, cell, inputs.shape[1:])
        return WithAuxiliary(*(networks.seeded(build, seed) for seed in (cell.seed, 10_000 + cell.seed)))

    batch_size = min(cell.batch_size, cell.n)
    many = fit_many(
        pair, inputs, labels, subsets, init_seeds=[cell.seed] * len(subsets), order_seeds=[cell.seed] * len(subsets),
        loss=loss, optimizer=optimizer(cell), steps=cell.limit_epochs * -(-cell.n // batch_size), batch_size=batch_size,
    )  # fmt: skip
    model, scores = pair().to(inputs.device), []
    for place, rows in enumerate(subsets.to(inputs.device)):
        model.load_state_dict(many.state(place))
        scores.append(mislabel_score(predict(model.auxiliary, inputs[rows]), labels[rows]))
    return torch.stack(scores)


def pictures(cell: Cell) -> Tensor:
    """The images of a cell's supersample for a figure, ``[n, 2, channels, H, W]`` from 0 to 1, at full size."""
    height = data.load(cell.data).train_inputs.shape[-1]
    images = supersample(replace(cell, side=height, device="cpu"))[0]
    return ((images - images.min()) / (images.max() - images.min())).view(cell.n, 2, *images.shape[1:])
