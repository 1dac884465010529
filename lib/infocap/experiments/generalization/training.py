"""Table ``generalization/training``: what do the predictions of networks tell about the half that they were trained on?

A cell draws one supersample, trains one network per selector, and keeps the predictions of all of them on all 2 n
images at some epochs. Everything else (gap, bounds, corrections) is computed from these by ``infocap.bounds``, so that
a new bound needs no new training.

Conventions that may surprise: selectors come with their complements; the networks of a cell share initialization and
order of examples unless the panel is ``randomized``; ``label_noise`` flips labels of the supersample once, on both
sides; for ``sgld`` the schedules are those of the papers' code, stretched or compressed to the cell's steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

from infocap import data, networks
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.streams import stream
from infocap.study.fields import AtLeast, Options, Positive, Share
from infocap.supersample import complementary_selectors
from infocap.training.gradients import gradient_variance
from infocap.training.loop import fit, predict
from infocap.training.many import fit_many
from infocap.training.optimizers import SGLD

VARIANCE_DRAWS = 4  # of a supersample, along whose training the spread of gradients is followed
VARIANCE_LOOKS = 40  # along each of them


GRID = {"sets": Options, "seeds": "seed"}
OWN = {"network": ("network", networks.NETWORKS), "data": ("data", data)}


@dataclass(frozen=True, kw_only=True)
class Halves:
    """One supersample of ``2 n`` images, and ``draws`` networks trained on halves of it, here and in the synthesis."""

    panel: str
    data: ImageData
    classes: tuple[int, ...]
    network: Network
    learning_rate: Positive
    batch_size: AtLeast[1]
    draws: AtLeast[2]
    n: AtLeast[2]
    epochs: AtLeast[1]
    seed: int
    device: str
    side: AtLeast[1] = 28
    widths: tuple[AtLeast[1], ...] = ()
    width_factor: AtLeast[1] = 1
    optimizer: Literal["adam", "sgd"] = "adam"
    label_noise: Share = 0.0

    def code(self) -> list[str]:
        """The modules that enter the key beside the cell's own."""
        return [networks.NETWORKS.module(self.network)]


@dataclass(frozen=True, kw_only=True)
class Cell(Halves):
    """Halves whose predictions are kept, at ``looks`` epochs."""

    optimizer: Literal["adam", "sgd", "sgld"] = "adam"
    randomized: bool = False
    looks: AtLeast[1] = 1

    def __post_init__(self):
        if self.draws % 2:
            raise ValueError(f"draws: got {self.draws}; accepted: an even number, as selectors come with complements")


def measure(cell: Cell) -> dict[str, Any]:
    """Selectors ``[k2, n]``, labels ``[n, 2]`` and predictions ``[looks, k2, n, 2]``, at the epochs ``at``."""
    inputs, labels = supersample(cell)
    n = cell.n
    selectors = complementary_selectors(cell.draws, n, stream("selectors", cell.seed))
    subsets = members(selectors)
    batch_size = min(cell.batch_size, n)
    per_epoch = math.ceil(n / batch_size)
    at = sorted({max(1, round(cell.epochs * (look + 1) / cell.looks)) for look in range(cell.looks)})
    steps, looks = cell.epochs * per_epoch, [epoch * per_epoch for epoch in at]
    seeds = [100 * cell.seed + draw if cell.randomized else cell.seed for draw in range(cell.draws)]
    options = {"loss": cross_entropy, "steps": steps, "batch_size": batch_size}
    result: dict[str, Any] = {"at": at, "selectors": selectors.byte(), "labels": labels.view(n, 2).cpu().byte()}

    if cell.optimizer == "sgld":
        runs = [
            sgld(cell, inputs, labels, rows, draw, seeds[draw], looks, options) for draw, rows in enumerate(subsets)
        ]
        predictions = torch.stack([run["predictions"] for run in runs], 1)
        followed = runs[:VARIANCE_DRAWS]
        result |= {
            "learning_rates": followed[0]["learning_rates"],
            "inverse_temperatures": followed[0]["inverse_temperatures"],
            "gradient_variances": torch.stack([run["variances"] for run in followed]),
            "per_epoch": per_epoch,
        }
    else:
        many = fit_many(
            partial(network, cell, inputs.shape[1:]), inputs, labels, subsets, init_seeds=seeds, order_seeds=seeds,
            optimizer=optimizer(cell), record=lambda step, logits: logits.argmax(-1), eval_inputs=inputs,
            record_at=looks, **options,
        )  # fmt: skip
        predictions = torch.stack([many.records[step] for step in looks])
    result["predictions"] = predictions.view(len(at), cell.draws, n, 2).cpu().byte()
    right = predictions[-1].cpu() == labels.cpu()
    trained = torch.zeros_like(right).scatter_(1, subsets, True)
    result["train_error"] = float((~right[trained]).double().mean())
    result["test_error"] = float((~right[~trained]).double().mean())
    return result


def members(selectors: Tensor) -> Tensor:
    """``[draws, n]`` selectors to the rows of the supersample that each draw trains on."""
    return 2 * torch.arange(selectors.shape[1]) + selectors


def supersample(cell: Halves) -> tuple[Tensor, Tensor]:
    """``2 n`` distinct images of the cell's classes, ``[2 n, channels, height, width]``, and class ids from 0.

    Images larger than ``side`` are averaged over squares of whole pixels, down to ``side`` or just above it.

    Raises:
        ValueError: The data lack a class, or have too few images of them.
    """
    source = data.load(cell.data)
    for class_id in cell.classes:
        if not (source.train_labels == class_id).any():
            held = f"0 to {int(source.train_labels.max())}"
            raise ValueError(f"classes: got {class_id}, of which {cell.data} has no image; accepted: ids from {held}")
    rows = torch.isin(source.train_labels, torch.tensor(cell.classes)).nonzero()[:, 0]
    if 2 * cell.n > len(rows):
        raise ValueError(f"n: got {cell.n}; accepted: up to {len(rows) // 2}, half of the images of the classes")
    rows = rows[torch.randperm(len(rows), generator=stream(f"supersample {cell.data}", cell.seed))[: 2 * cell.n]]
    images, labels = source.train_inputs[rows], source.train_labels[rows]
    labels = torch.stack([labels == class_id for class_id in cell.classes], 1).long().argmax(1)
    if cell.label_noise:
        generator = stream("label noise", cell.seed)
        flipped = torch.rand(len(labels), generator=generator) < cell.label_noise
        other = torch.randint(1, len(cell.classes), labels.shape, generator=generator)
        labels = torch.where(flipped, (labels + other) % len(cell.classes), labels)
    return scaled(cell, images, source).to(cell.device), labels.to(cell.device)


def scaled(cell: Halves, images: Tensor, source: data.Dataset) -> Tensor:
    """Some images of a data set at the cell's side, by mean and deviation of all its training images.

    Those of the supersample alone would tell about its other half.
    """
    if cell.side < images.shape[-1]:
        images = avg_pool2d(images, images.shape[-1] // cell.side)
    return (images - source.train_inputs.mean()) / source.train_inputs.std()


def network(cell: Halves, image: Sequence[int] | None = None) -> torch.nn.Module:
    """A new network, drawn from torch's global generator.

    Args:
        cell: Names it; a network of given ``widths`` has no batch norm.
        image: ``(channels, height, width)``; grey images of the cell's side if not given.
    """
    image = (1, cell.side, cell.side) if image is None else image
    plain = {"widths": tuple(cell.width_factor * width for width in cell.widths), "batch_norm": False}
    options = {"width_factor": cell.width_factor} | (plain if cell.widths else {})
    return networks.build_for(cell.network, image, len(cell.classes), **options)


def optimizer(cell: Halves):
    """The panel's optimizer, as a function of the parameters."""
    if cell.optimizer == "sgd":
        return partial(torch.optim.SGD, lr=cell.learning_rate, momentum=0.9)
    return partial(torch.optim.Adam, lr=cell.learning_rate, fused=True)


def schedules(cell: Cell, steps: int) -> tuple[Tensor, Tensor]:
    """Learning rates and inverse temperatures of ``steps`` steps.

    As in the papers' configuration for 1,600 steps: the rate falls by a tenth 16 times, and the inverse temperature
    is ``10 exp(t / 100)`` within ``[100, 4000]``; other lengths stretch or compress both.
    """
    t = torch.arange(steps, dtype=torch.float64) * (1600 / steps)
    return cell.learning_rate * 0.9 ** (t / 100).floor(), (10 * (t / 100).exp()).clamp(100, 4000)


def sgld(cell: Cell, inputs: Tensor, labels: Tensor, rows: Tensor, draw: int, seed: int, looks: list[int],
         options: dict[str, Any]) -> dict[str, Tensor]:  # fmt: skip
    """One network by stochastic gradient Langevin dynamics: its predictions, and the spread of gradients."""
    steps = options["steps"]
    rates, temperatures = schedules(cell, steps)
    own_inputs, own_labels = inputs[rows], labels[rows]
    every = max(1, steps // VARIANCE_LOOKS)
    followed = set(range(0, steps, every)) if draw < VARIANCE_DRAWS else set()
    predictions, spread = {}, {}

    def look(step: int, model: torch.nn.Module) -> None:
        if step in looks:
            predictions[step] = predict(model, inputs).argmax(1)
        if step in followed:
            spread[step] = gradient_variance(model, own_inputs, own_labels, cross_entropy)

    generator = torch.Generator().manual_seed(seed)
    if not cell.randomized:  # the order is shared, but the noise of each draw is its own
        generator = stream(f"langevin {cell.seed}", draw)
    fit(
        networks.seeded(partial(network, cell, inputs.shape[1:]), seed).to(cell.device), own_inputs, own_labels,
        optimizer=partial(SGLD, learning_rates=rates, inverse_temperatures=temperatures), generator=generator,
        record=look, record_at={*looks, *followed}, **options,
    )  # fmt: skip
    variances = torch.tensor([spread.get(step // every * every, math.nan) for step in range(steps)])
    return {
        "predictions": torch.stack([predictions[step] for step in looks]),
        "learning_rates": rates,
        "inverse_temperatures": temperatures,
        "variances": variances.double(),
    }
