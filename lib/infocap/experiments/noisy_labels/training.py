"""Table ``noisy_labels/training``: one network trained on noisy labels by one method, measured along training.

A method is a function ``method(cell, split)`` in ``infocap.experiments.noisy_labels.methods``, which returns what
``train`` returned. Data, noise, initialization and order have a seed each, so that methods which are compared share
them. Nothing is chosen on test data: *selected* means the checkpoint with the best accuracy on noisy validation labels.
``peak`` is the best test accuracy along training, an oracle for diagnosis.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap import data, information, networks, noise
from infocap.experiments.augmentation import flip_and_crop
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.noisy_labels.methods import METHODS
from infocap.experiments.streams import initialization, stream
from infocap.label_noise.detection import mislabel_score
from infocap.study.fields import AtLeast, Fraction, NonNegative, Options, Positive, Share, registered
from infocap.training.loop import Fit, fit, predict

SECTION = "noisy_labels"
GRID = {
    "sizes": "n",
    "rates": "rate",
    "methods": Options,
    "seeds": ("data_seed", "noise_seed", "init_seed", "order_seed"),
}
OWN = {"method": ("method", METHODS), "network": ("network", networks.NETWORKS), "data": ("data", data)}

PAIRS = {
    "fashion-mnist": {0: 6, 2: 4, 7: 5, 9: 7},  # T-shirt to shirt, pullover to coat, sneaker to sandal, boot to sneaker
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5},  # truck to automobile, bird to airplane, deer to horse, cat to dog
}


@dataclass(frozen=True)
class Cell:
    """One training run. What has a default belongs to a method's options; each method reads its own."""

    data: ImageData
    network: Network
    n: AtLeast[8]
    test_size: AtLeast[1]
    noise: Literal["uniform", "pair"]
    rate: Fraction
    epochs: AtLeast[1]
    batch_size: AtLeast[2]
    method: registered(METHODS)
    data_seed: int
    noise_seed: int
    init_seed: int
    order_seed: int
    device: str
    widths: tuple[AtLeast[1], ...] = ()
    augment: bool = False
    beta: NonNegative = 0.0
    lam: NonNegative = 0.0
    noise_std: NonNegative = 0.0
    noise_kind: Literal["gaussian", "laplace"] = "gaussian"
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    dropout: Share = 0.0
    warm_up: AtLeast[0] = 0
    initialized: bool = False

    def __post_init__(self):
        if self.dropout and self.network in networks.NETWORKS:  # a reader's own is known where it is built
            _check_dropout(self)
        if self.noise == "pair" and self.data not in PAIRS:
            raise ValueError(f"noise: got 'pair'; accepted: for {' and '.join(PAIRS)}, not for {self.data!r}")

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        return [METHODS.module(self.method), networks.NETWORKS.module(self.network)]


@dataclass(frozen=True)
class Split:
    """What one run sees: training and validation labels are noisy, test labels are clean."""

    inputs: Tensor
    labels: Tensor
    clean: Tensor
    rows: Tensor
    validation_inputs: Tensor
    validation_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    transition: Tensor


def measure(cell: Cell) -> dict[str, Any]:
    """Trains and returns final, selected and peak accuracy, what was memorized, detection, and the whole history."""
    split = make_split(cell)
    run = METHODS[cell.method](cell, split)
    if not isinstance(run, Fit):
        raise TypeError(f"method: {cell.method!r} returned {type(run).__name__}; accepted: the Fit that train returns")
    history, scores = history_of(run)
    selected = int(np.argmax(history["validation_accuracy"]))
    entropy = float(information.entropy(split.transition)[split.clean].mean())
    classes = len(split.transition)
    information_at_end = information.memorized_information(entropy, history["train_error"][-1], classes)
    return {
        "final_accuracy": history["test_accuracy"][-1],
        "selected_accuracy": history["test_accuracy"][selected],
        "selected_epoch": history["epoch"][selected],
        "peak_accuracy": max(history["test_accuracy"]),
        "final_validation_accuracy": history["validation_accuracy"][-1],
        "selected_validation_accuracy": history["validation_accuracy"][selected],
        "train_error": history["train_error"][-1],
        "memorized_fraction": history["memorized_fraction"][-1],
        "recovered_fraction": history["recovered_fraction"][-1],
        "noise_entropy": entropy,
        "memorized_information": float(information_at_end),
        "memorized_by_loss": max(0.0, entropy - history["train_loss"][-1]),
        "auc": history["auc"][-1],
        "auc_selected": history["auc"][selected],
        "precision_at_100": history["precision_at_100"][-1],
        "precision_at_100_selected": history["precision_at_100"][selected],
        "realized_rate": float((split.labels != split.clean).double().mean()),
        "history": history,
        "rows": split.rows,
        "noisy_labels": split.labels,
        "clean_labels": split.clean,
        "score": scores[-1],
        "score_selected": scores[selected],
    }


def make_split(cell: Cell) -> Split:
    """Draws ``n`` training and ``n / 4`` validation examples and corrupts their labels; the test images are shared."""
    dataset = data.load(cell.data)  # a fifth of a second; kept in memory, it would look like a leak to the pool
    total = len(dataset.train_labels)
    if cell.n + cell.n // 4 > total:
        raise ValueError(f"n: got {cell.n}; accepted: up to {total * 4 // 5}, a quarter more is needed for validation")
    order = torch.randperm(total, generator=stream("data", cell.data_seed))[: cell.n + cell.n // 4]
    num_classes = int(dataset.train_labels.max()) + 1
    if cell.noise == "pair":
        transition = noise.pair_transition(num_classes, cell.rate, PAIRS[cell.data])
    else:
        transition = noise.uniform_transition(num_classes, cell.rate)
    clean = dataset.train_labels[order]
    noisy = noise.corrupt(clean, transition, stream("noise", cell.noise_seed))
    inputs = normalize(dataset.train_inputs[order])
    train, validation = slice(0, cell.n), slice(cell.n, None)
    tested = torch.randperm(len(dataset.test_labels), generator=stream("test", 0))[: cell.test_size]
    parts = {
        "inputs": inputs[train],
        "labels": noisy[train],
        "clean": clean[train],
        "rows": order[train],
        "validation_inputs": inputs[validation],
        "validation_labels": noisy[validation],
        "test_inputs": normalize(dataset.test_inputs[tested]),
        "test_labels": dataset.test_labels[tested],
        "transition": transition,
    }
    return Split(**{name: part.to(cell.device) for name, part in parts.items()})


def normalize(images: Tensor) -> Tensor:
    """Pixels as the networks of this part see them."""
    return (images - 0.456) / 0.224  # the constants of the LIMIT paper's configuration


def _check_dropout(cell: Cell) -> None:
    architecture = networks.NETWORKS[cell.network].function
    if cell.dropout and "dropout" not in inspect.signature(architecture).parameters:
        raise ValueError(f"dropout: got {cell.dropout:g}; accepted: 0 with network {cell.network!r}, which has none")


def network(cell: Cell, split: Split, member: int = 0) -> nn.Module:
    """The cell's architecture; ``member`` tells the networks of one run apart."""
    _check_dropout(cell)
    image = tuple(split.inputs.shape[1:])
    offered = {"widths": cell.widths, "dropout": cell.dropout, "small_images": image[1] <= 64}
    seed = initialization(cell.init_seed, f"initialization {member}")
    return networks.build_for(cell.network, image, len(split.transition), seed=seed, **offered).to(cell.device)


def train(
    cell: Cell,
    split: Split,
    model: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    *,
    targets: Tensor | None = None,
    inputs: Tensor | None = None,
    learning_rate: float | None = None,
    evaluate: Callable[[nn.Module], dict[str, Any]] | None = None,
    keep: bool = False,
) -> Fit:
    """One ``fit`` with the cell's settings; evaluates at the epochs of ``checkpoints``."""
    inputs = split.inputs if inputs is None else inputs
    targets = split.labels if targets is None else targets
    per_epoch = -(-len(inputs) // cell.batch_size)
    at = {epoch * per_epoch: epoch for epoch in checkpoints(cell.epochs)}
    evaluate = evaluate or partial(evaluation, split)
    return fit(
        model,
        inputs,
        targets,
        loss=loss,
        optimizer=partial(adam, learning_rate=learning_rate or cell.learning_rate, weight_decay=cell.weight_decay),
        steps=cell.epochs * per_epoch,
        batch_size=min(cell.batch_size, len(inputs)),
        generator=stream("order", cell.order_seed),
        augment=flip_and_crop if cell.augment else None,
        record=lambda step, model: {"epoch": at[step]} | evaluate(model),
        record_at=at,
        keep=at if keep else (),
    )


def checkpoints(epochs: int) -> list[int]:
    """Epochs at which a run is measured: the first, the last, and between them each at most 1.6 times the one before.

    Cross-entropy peaks within a few epochs and LIMIT late, so that the looks are close where things change fast.
    """
    count = max(8, math.ceil(math.log(epochs) / math.log(1.6)))
    return sorted({math.ceil(epochs ** (k / count) - 1e-9) for k in range(count + 1)})


def adam(parameters: list[nn.Parameter], *, learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    """Adam whose weight decay leaves biases and batch-norm alone."""
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1]},
    ]
    return torch.optim.Adam(groups, lr=learning_rate, fused=True)


def evaluation(split: Split, model: nn.Module) -> dict[str, Any]:
    """All curves at one moment. The mislabel score uses the auxiliary network if the method has one."""
    classifier = getattr(model, "classifier", model)
    scorer = getattr(model, "auxiliary", classifier)
    logits = predict(classifier, split.inputs).double()
    score = mislabel_score(logits if scorer is classifier else predict(scorer, split.inputs), split.labels)
    prediction = logits.argmax(1)
    wrong = split.labels != split.clean
    result = {
        "train_loss": float(cross_entropy(logits, split.labels)),
        "train_error": mean_of(prediction != split.labels),
        "memorized_fraction": mean_of((prediction == split.labels)[wrong]),
        "recovered_fraction": mean_of((prediction == split.clean)[wrong]),
        "validation_accuracy": accuracy(classifier, split.validation_inputs, split.validation_labels),
        "test_accuracy": accuracy(classifier, split.test_inputs, split.test_labels),
    }
    return result | detection(score, wrong)


def detection(score: Tensor, wrong: Tensor) -> dict[str, Any]:
    """How well a score ranks the wrong labels first: area under the ROC curve, and precision among the top 100."""
    from sklearn.metrics import roc_auc_score  # here, because chapters import this module and measure nothing

    score, wrong = score.double().cpu(), wrong.cpu()
    some = 0 < int(wrong.sum()) < len(wrong)
    top = score.argsort(descending=True, stable=True)[:100]
    return {
        "auc": float(roc_auc_score(wrong, score)) if some else float("nan"),
        "precision_at_100": mean_of(wrong[top]),
        "score": score.float(),
    }


def history_of(run: Fit) -> tuple[dict[str, list], list[Tensor]]:
    """The records of a run as one list per curve, and the scores at each of them."""
    records = list(run.records.values())
    history = {name: [record[name] for record in records] for name in records[0] if name != "score"}
    return history, [record["score"] for record in records]


def mean_of(hits: Tensor) -> float:
    """The share of hits; NaN of none."""
    return float(hits.double().mean()) if hits.numel() else float("nan")


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The share of inputs whose largest logit is the label's."""
    return mean_of(predict(model, inputs).argmax(1) == labels)


def cross_entropy_start(cell: Cell, split: Split) -> nn.Module:
    """A network trained by cross-entropy, at the checkpoint that noisy validation labels select."""
    model = network(cell, split)

    def look(model: nn.Module) -> dict[str, float]:
        return {"validation": accuracy(model, split.validation_inputs, split.validation_labels)}

    run = train(cell, split, model, cross_entropy, learning_rate=1e-3, evaluate=look, keep=True)
    best = max(run.records, key=lambda step: run.records[step]["validation"])
    model.load_state_dict(run.checkpoints[best])
    return model
