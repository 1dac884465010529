"""Table ``noisy_labels/training``: one network trained on noisy labels by one method, measured along training.

Every method is a loss that ``infocap.training.fit`` minimizes. Data, noise, initialization and order have a seed each,
so that methods which are compared share them. Nothing is chosen on test data: *selected* means the checkpoint with the
best accuracy on noisy validation labels. ``peak`` is the best test accuracy along training, an oracle for diagnosis.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap import data, information, networks, noise
from infocap.experiments.augmentation import flip_and_crop
from infocap.experiments.streams import stream
from infocap.label_noise import (
    EarlyLearningRegularization,
    co_teaching_loss,
    dmi_loss,
    estimate_transition,
    forward_loss,
    gce_loss,
    limit_losses,
    mae_loss,
    mislabel_score,
    noisy_gradient_loss,
    soft_penalty_loss,
)
from infocap.networks.pairs import WithAuxiliary, WithFeatures
from infocap.training import fit, predict

PAIRS = {
    "fashion-mnist": {0: 6, 2: 4, 7: 5, 9: 7},  # T-shirt to shirt, pullover to coat, sneaker to sandal, boot to sneaker
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5},  # truck to automobile, bird to airplane, deer to horse, cat to dog
}


@dataclass(frozen=True)
class Cell:
    """One training run. ``beta``, ``noise_std``, ``lam``, ... are read by the methods that have them."""

    data: str
    network: str
    widths: tuple[int, ...]
    n: int
    test_size: int
    noise: str
    rate: float
    epochs: int
    batch_size: int
    augment: bool
    method: str
    beta: float
    lam: float
    noise_std: float
    noise_kind: str
    learning_rate: float
    weight_decay: float
    dropout: float
    warm_up: int
    initialized: bool
    data_seed: int
    noise_seed: int
    init_seed: int
    order_seed: int
    device: str


def cells(profile: Any) -> list[Cell]:
    """The cells of all panels; a cell that two panels share is computed once."""
    return [cell for name in type(profile.noisy_labels).model_fields for cell in panel_cells(profile, name)]


def panel_cells(profile: Any, name: str) -> list[Cell]:
    """The cells of one panel of the profile: every size, rate, method and seed."""
    panel = getattr(profile.noisy_labels, name)
    shared = panel.model_dump(
        include={"data", "network", "widths", "test_size", "noise", "epochs", "batch_size", "augment"}
    )
    return [
        Cell(
            **shared,
            **method.model_dump(),
            n=n,
            rate=rate,
            data_seed=seed,
            noise_seed=seed,
            init_seed=seed,
            order_seed=seed,
            device=profile.device,
        )
        for n in panel.sizes
        for rate in panel.rates
        for method in panel.methods
        for seed in panel.seeds
    ]


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
    history, scores = METHODS[cell.method](cell, split)
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
    inputs = _normalize(dataset.train_inputs[order])
    train, validation = slice(0, cell.n), slice(cell.n, None)
    tested = torch.randperm(len(dataset.test_labels), generator=stream("test", 0))[: cell.test_size]
    parts = {
        "inputs": inputs[train],
        "labels": noisy[train],
        "clean": clean[train],
        "rows": order[train],
        "validation_inputs": inputs[validation],
        "validation_labels": noisy[validation],
        "test_inputs": _normalize(dataset.test_inputs[tested]),
        "test_labels": dataset.test_labels[tested],
        "transition": transition,
    }
    return Split(**{name: part.to(cell.device) for name, part in parts.items()})


def _normalize(images: Tensor) -> Tensor:
    return (images - 0.456) / 0.224  # the constants of the LIMIT paper's configuration


def network(cell: Cell, split: Split, member: int = 0, **options) -> nn.Module:
    """The cell's architecture; ``member`` tells the networks of one run apart."""
    channels, height = split.inputs.shape[1:3]
    if cell.network == "mlp":
        options |= {"in_features": split.inputs[0].numel(), "widths": cell.widths, "dropout": cell.dropout}
    elif cell.network in ("cnn", "lenet"):
        options |= {"channels": channels, "image_size": height}
    else:
        options |= {"channels": channels}
        if cell.network in ("resnet18", "resnet34", "resnet50"):
            options |= {"small_images": height <= 64}
    seed = int(torch.randint(2**62, (), generator=stream(f"initialization {member}", cell.init_seed)))
    return networks.build(cell.network, len(split.transition), seed=seed, **options).to(cell.device)


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
):
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
        "train_error": _mean(prediction != split.labels),
        "memorized_fraction": _mean((prediction == split.labels)[wrong]),
        "recovered_fraction": _mean((prediction == split.clean)[wrong]),
        "validation_accuracy": _accuracy(classifier, split.validation_inputs, split.validation_labels),
        "test_accuracy": _accuracy(classifier, split.test_inputs, split.test_labels),
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
        "precision_at_100": _mean(wrong[top]),
        "score": score.float(),
    }


def history_of(run: Any) -> tuple[dict[str, list], list[Tensor]]:
    """The records of a run as one list per curve, and the scores at each of them."""
    records = list(run.records.values())
    history = {name: [record[name] for record in records] for name in records[0] if name != "score"}
    return history, [record["score"] for record in records]


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean()) if hits.numel() else float("nan")


def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    return _mean(predict(model, inputs).argmax(1) == labels)


def cross_entropy_start(cell: Cell, split: Split) -> nn.Module:
    """A network trained by cross-entropy, at the checkpoint that noisy validation labels select."""
    model = network(cell, split)

    def look(model: nn.Module) -> dict[str, float]:
        return {"validation": _accuracy(model, split.validation_inputs, split.validation_labels)}

    run = train(cell, split, model, cross_entropy, learning_rate=1e-3, evaluate=look, keep=True)
    best = max(run.records, key=lambda step: run.records[step]["validation"])
    model.load_state_dict(run.checkpoints[best])
    return model


def plain(loss: Callable[[Cell, Split], Callable[[Tensor, Tensor], Tensor]]):
    """A method with one network and one loss."""

    def method(cell: Cell, split: Split):
        return history_of(train(cell, split, network(cell, split), loss(cell, split)))

    return method


def cross_entropy_method(cell: Cell, split: Split):
    """Cross-entropy; with ``noise_std`` its gradient at the logits is noisy."""
    loss = cross_entropy
    if cell.noise_std:
        generator = torch.Generator(cell.device).manual_seed(stream("gradient", cell.order_seed).initial_seed())
        loss = partial(noisy_gradient_loss, noise_std=cell.noise_std, kind=cell.noise_kind, generator=generator)
    return history_of(train(cell, split, network(cell, split), loss))


def forward_estimated(cell: Cell, split: Split):
    """Forward correction with the transition that a cross-entropy network suggests, starting from that network."""
    model = cross_entropy_start(cell, split)
    transition = estimate_transition(predict(model, split.inputs)).to(split.inputs.dtype)
    return history_of(train(cell, split, model, partial(forward_loss, transition=transition)))


def dmi(cell: Cell, split: Split):
    """Determinant-based mutual information, starting from the best cross-entropy network, as in its paper."""
    return history_of(train(cell, split, cross_entropy_start(cell, split), dmi_loss))


def soft_penalty(cell: Cell, split: Split):
    """The paper's first idea: penalize the distance of the last layer's gradient to a label-free prediction."""
    model = WithFeatures(network(cell, split), network(cell, split, member=1)).to(cell.device)

    def loss(outputs: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
        return soft_penalty_loss(*outputs, labels, lam=cell.lam, beta=cell.beta)

    return history_of(train(cell, split, model, loss))


def limit(kind: str):
    """LIMIT: the classifier follows gradients that the auxiliary network predicts without seeing the label."""

    def method(cell: Cell, split: Split):
        auxiliary = network(cell, split, member=1)
        if cell.initialized:
            auxiliary.load_state_dict(cross_entropy_start(cell, split).state_dict())
        model = WithAuxiliary(network(cell, split), auxiliary)
        generator = torch.Generator(cell.device).manual_seed(stream("gradient", cell.order_seed).initial_seed())
        options = {"beta": cell.beta, "kind": kind, "noise_std": cell.noise_std, "generator": generator}
        warm_up_steps = cell.warm_up * -(-cell.n // cell.batch_size)
        taken = 0

        def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
            nonlocal taken
            taken += 1
            classifier_loss, auxiliary_loss = limit_losses(*outputs, labels, **options)
            return auxiliary_loss if taken <= warm_up_steps else classifier_loss + auxiliary_loss

        return history_of(train(cell, split, model, loss))

    return method


def elr(cell: Cell, split: Split):
    """Early-learning regularization: a pull towards the running mean of each example's own predictions."""
    loss = EarlyLearningRegularization(cell.n, len(split.transition))
    targets = torch.stack([split.labels, torch.arange(cell.n, device=cell.device)], dim=1)
    return history_of(train(cell, split, network(cell, split), loss, targets=targets))


def co_teaching(cell: Cell, split: Split):
    """Two networks that teach each other their small-loss examples; the forget rate is the true noise rate."""
    model = WithAuxiliary(network(cell, split), network(cell, split, member=1))
    per_epoch = -(-cell.n // cell.batch_size)
    forget = float((1 - split.transition.diagonal()).mean())
    taken = 0

    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        nonlocal taken
        rate = forget * min(taken // per_epoch / 10, 1.0)  # rises over ten epochs, as in its paper
        taken += 1
        return co_teaching_loss(*outputs, labels, forget_rate=rate)

    return history_of(train(cell, split, model, loss))


def cleanlab(cell: Cell, split: Split):
    """cleanlab ranks by out-of-sample probabilities, prunes what it calls an issue, and retrains by cross-entropy."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.model_selection import StratifiedKFold

    labels = split.labels.cpu().numpy()
    probabilities = np.zeros((cell.n, len(split.transition)))
    folds = StratifiedKFold(5, shuffle=True, random_state=cell.order_seed)
    for fold, (rest, held_out) in enumerate(folds.split(labels, labels)):
        rest, held_out = torch.from_numpy(rest), torch.from_numpy(held_out)

        def look(model: nn.Module, held_out: Tensor = held_out) -> dict[str, Any]:
            accuracy = _accuracy(model, split.validation_inputs, split.validation_labels)
            return {"validation": accuracy, "out": predict(model, split.inputs[held_out]).softmax(1)}

        model = network(cell, split, member=2 + fold)
        part = {"inputs": split.inputs[rest], "targets": split.labels[rest]}
        run = train(cell, split, model, cross_entropy, evaluate=look, **part)
        best = max(run.records.values(), key=lambda record: record["validation"])
        probabilities[held_out] = best["out"].double().cpu().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    quality = torch.from_numpy(get_label_quality_scores(labels, probabilities, method="self_confidence"))
    issues = torch.from_numpy(find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1))
    kept = (~issues).nonzero().squeeze(1)
    kept = kept[: len(kept) - (len(kept) % cell.batch_size == 1)]  # batch-norm cannot train on a batch of one
    part = {"inputs": split.inputs[kept], "targets": split.labels[kept]}
    found = detection(1 - quality, split.labels != split.clean)

    def evaluate(model: nn.Module) -> dict[str, Any]:
        return evaluation(split, model) | found

    return history_of(train(cell, split, network(cell, split), cross_entropy, evaluate=evaluate, **part))


METHODS: dict[str, Callable[[Cell, Split], tuple[dict[str, list], list[Tensor]]]] = {
    "cross_entropy": cross_entropy_method,
    "mae": plain(lambda cell, split: mae_loss),
    "gce": plain(lambda cell, split: gce_loss),
    "forward_true": plain(
        lambda cell, split: partial(forward_loss, transition=split.transition.to(split.inputs.dtype))
    ),
    "forward_estimated": forward_estimated,
    "dmi": dmi,
    "soft_penalty": soft_penalty,
    "limit_gaussian": limit("gaussian"),
    "limit_laplace": limit("laplace"),
    "elr": elr,
    "co_teaching": co_teaching,
    "cleanlab": cleanlab,
}
