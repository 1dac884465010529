"""Table ``sample_information/retraining``: does the closed form agree with real training without an example?

A cell trains one network on a two-class task, trains it again without each of some examples, and scores the same
examples in closed form at the initialization and by the methods that compete with it. Weights and predictions are
compared apart: ``||w_-i - w||^2 / 2`` and the mean over evaluation inputs of ``(f_-i - f)^2 / 2``, in nats at sigma 1.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap import attribution, data, networks
from infocap.experiments.fields import ImageData
from infocap.experiments.sample_information.tasks import Task, two_classes
from infocap.experiments.streams import stream
from infocap.sample_information import leave_one_out, retrain_leave_one_out, train_linearized
from infocap.study.fields import AtLeast, NonNegative, Positive
from infocap.tangent import ntk
from infocap.training import fit, predict

DAMPINGS = (1e-4, 1e-2, 1e-1)
_SMALL_RIDGE = 1e-3  # training to the end without regularization would only measure the smallest eigenvalues


GRID = {"widths": "widths", "weight_decays": "weight_decay", "seeds": "seed"}


@dataclass(frozen=True)
class Cell:
    """One network, its task and its horizon. The loss is the mean; ``weight_decay`` pulls towards the initialization.

    ``learning_rate`` is in units of 1 / (largest eigenvalue of the kernel / n) if ``relative``: gradient descent is
    stable below 2. ``pretrained`` names the data set on which a convolutional network was trained before, if any.
    """

    panel: str
    data: ImageData
    classes: tuple[int, int]
    widths: tuple[AtLeast[1], ...]
    n: AtLeast[3]
    m: AtLeast[1]
    left_out: AtLeast[3]
    learning_rate: Positive
    steps: AtLeast[1]
    weight_decay: NonNegative
    seed: int
    device: str
    side: AtLeast[1] = 28
    network: Literal["mlp", "cnn"] = "mlp"
    pretrained: Literal["", "mnist", "fashion-mnist"] = ""
    pretraining_steps: AtLeast[0] = 0
    relative: bool = False

    def __post_init__(self):
        if self.left_out > self.n:
            raise ValueError(f"left_out: got {self.left_out}; accepted: up to n = {self.n}")


def measure(cell: Cell) -> dict[str, Any]:
    """Real and predicted shifts of the same examples, and how far training was from its linearization."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed, cell.side)
    inputs, targets, eval_inputs = (
        part.to(cell.device) for part in (normalize(cell, task.inputs), task.targets, normalize(cell, task.eval_inputs))
    )
    model = network(cell, task).to(cell.device)
    kernel = ntk(model, inputs)[:, 0, :, 0].double()
    kernel_eval = ntk(model, eval_inputs, inputs)[:, 0, :, 0].double()
    largest = sharpness(kernel)
    rate = cell.learning_rate / (largest + cell.weight_decay) if cell.relative else cell.learning_rate
    chosen = torch.arange(cell.left_out)  # the task's order is random
    real = retrain_leave_one_out(
        partial(copy.deepcopy, model), inputs, targets, eval_inputs, chosen,
        learning_rate=rate, steps=cell.steps, weight_decay=cell.weight_decay, seed=cell.seed,
    )  # fmt: skip

    residual = targets.double() - predict(model, inputs)[:, 0].double()
    ridge = cell.n * cell.weight_decay
    horizon = {"learning_rate": rate / cell.n, "steps": cell.steps}
    linear = leave_one_out(
        kernel, residual, kernel_eval, ridge=ridge, leave_out_factor=cell.n / (cell.n - 1), **horizon
    )
    to_end = leave_one_out(kernel, residual, kernel_eval, ridge=max(ridge, _SMALL_RIDGE))
    moved = train_linearized(kernel, residual, kernel_eval, ridge=ridge, **horizon)
    trained = copy.deepcopy(model)
    trained.load_state_dict(real.weights)
    kernel_end = ntk(trained, inputs)[:, 0, :, 0]
    change = real.outputs[:, 0].double() - predict(model, eval_inputs)[:, 0].double()
    start, end = (nn.utils.parameters_to_vector(net.parameters()).detach() for net in (model, trained))

    pairs = {"linearized": linear, "linearized, to the end": to_end} | {
        f"influence, damping {damping:g}": attribution.gauss_newton_influence(
            trained, inputs, targets[:, None], eval_inputs, damping=damping + cell.weight_decay
        )
        for damping in DAMPINGS
    }
    weights = {name: pair.weight_shift / 2 for name, pair in pairs.items()}
    predictions = {name: pair.prediction_shift.reshape(cell.n, -1).square().mean(1) / 2 for name, pair in pairs.items()}
    single = {
        "training residual": (targets - predict(trained, inputs)[:, 0]).square(),
        "TracIn": attribution.tracin(
            trained, [trained.state_dict()], inputs, targets[:, None], learning_rate=rate
        ),
        "EL2N at initialization": attribution.el2n(predict(model, inputs), targets[:, None]),
    }  # fmt: skip
    return {
        "step": rate,
        "stability": rate * (largest + cell.weight_decay),
        "stability_end": rate * (sharpness(kernel_end) + cell.weight_decay),
        "relative_move": float((end - start).norm() / start.norm()),
        "prediction_error": float((change - moved).norm() / change.norm()),
        "real_weights": _list(real.weight_shift / 2),
        "real_predictions": _list(real.prediction_shift.square().mean(1) / 2),
        "weights": {name: _list(value[chosen]) for name, value in (weights | single).items()},
        "predictions": {name: _list(value[chosen]) for name, value in (predictions | single).items()},
    }


def sharpness(kernel: Tensor) -> float:
    """The largest curvature of the mean loss of the linearized network, ``kernel`` ``[n, n]``."""
    return float(torch.linalg.eigvalsh(kernel.double())[-1]) / len(kernel)


def normalize(cell: Cell, images: Tensor) -> Tensor:
    """MNIST as in the paper's configuration; Fashion-MNIST as it is, from 0 to 1."""
    return (images - 0.456) / 0.224 if cell.data == "mnist" else images


def network(cell: Cell, task: Task) -> nn.Module:
    """The cell's network at the weights from which all its runs start."""
    seed = int(torch.randint(2**62, (), generator=stream("initialization", cell.seed)))
    if cell.network == "mlp":
        return networks.build(
            "mlp", 1, seed=seed, in_features=task.inputs[0].numel(), widths=cell.widths, batch_norm=False
        )
    outputs = 10 if cell.pretrained else 1
    model = networks.build("cnn", outputs, seed=seed, hidden=256, batch_norm=False)
    if cell.pretrained:
        pretrain(cell, model)
        model[-1] = networks.seeded(lambda: nn.Linear(256, 1), seed)
    return model


def pretrain(cell: Cell, model: nn.Module) -> None:
    """Ten classes of other images, which share no example with the task."""
    other = data.load(cell.pretrained)
    fit(
        model.to(cell.device), normalize(cell, other.train_inputs).to(cell.device), other.train_labels.to(cell.device),
        loss=cross_entropy, optimizer=partial(torch.optim.Adam, lr=1e-3), steps=cell.pretraining_steps,
        batch_size=256, generator=stream("pretraining", cell.seed),
    )  # fmt: skip


def _list(values: Tensor) -> list[float]:
    return values.double().cpu().tolist()
