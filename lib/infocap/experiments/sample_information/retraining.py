"""Table ``sample_information/retraining``: does the closed form agree with real training without an example?

A cell trains one network on a two-class task and trains it again without each of some examples. Beside these real
shifts stand those that its methods predict, functions ``method(cell, run)`` in ``shifts``: the closed form at the
initialization and what competes with it. Weights and predictions are compared apart: ``||w_-i - w||^2 / 2`` and the
mean over evaluation inputs of ``(f_-i - f)^2 / 2``, in nats at sigma 1.
"""

import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap import data, networks
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.sample_information.problem import Problem, network
from infocap.experiments.sample_information.shifts import SHIFTS
from infocap.experiments.sample_information.tasks import Task, normalize, two_classes
from infocap.experiments.streams import initialization, stream
from infocap.sample_information.closed_form import train_linearized
from infocap.sample_information.retraining import Retrained, retrain_leave_one_out
from infocap.study.fields import AtLeast, NonNegative, Positive, registered
from infocap.tangent import ntk
from infocap.training.loop import fit, predict

GRID = {"widths": "widths", "weight_decays": "weight_decay", "seeds": "seed"}
OWN = {"method": ("methods", SHIFTS), "network": ("network", networks.NETWORKS), "data": ("data", data)}

_HIDDEN = 256  # units of the convolutional network before its outputs


@dataclass(frozen=True)
class Cell:
    """One network, its task and its horizon. The loss is the mean; ``weight_decay`` pulls towards the initialization.

    ``learning_rate`` is in units of 1 / (largest eigenvalue of the kernel / n) if ``relative``: gradient descent is
    stable below 2. ``pretrained`` names the data set on which the network was trained before, if any.
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
    methods: tuple[registered(SHIFTS), ...]
    side: AtLeast[1] = 28
    network: Network = "mlp"
    pretrained: Literal["", "mnist", "fashion-mnist"] = ""
    pretraining_steps: AtLeast[0] = 0
    relative: bool = False

    def __post_init__(self):
        if self.left_out > self.n:
            raise ValueError(f"left_out: got {self.left_out}; accepted: up to n = {self.n}")
        if self.pretrained and self.network != "cnn":
            raise ValueError(f"pretrained: got {self.pretrained!r}; accepted: with network 'cnn', not {self.network!r}")

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        return [networks.NETWORKS.module(self.network), *map(SHIFTS.module, self.methods)]


@dataclass(frozen=True)
class Run(Problem):
    """A problem in float32 whose model is at its initialization, and its real training; what a method sees."""

    cell: Cell

    @cached_property
    def rate(self) -> float:
        """The learning rate of the mean of half squared errors."""
        relative, decay = self.cell.relative, self.cell.weight_decay
        return self.cell.learning_rate / (sharpness(self.kernel) + decay) if relative else self.cell.learning_rate

    @cached_property
    def real(self) -> Retrained:
        """Training with all examples, and again without each of the first ``left_out``; the task's order is random."""
        return retrain_leave_one_out(
            partial(copy.deepcopy, self.model), self.inputs, self.targets, self.eval_inputs,
            torch.arange(self.cell.left_out), learning_rate=self.rate, steps=self.cell.steps,
            weight_decay=self.cell.weight_decay, seed=self.cell.seed,
        )  # fmt: skip

    @cached_property
    def trained(self) -> nn.Module:
        """The network after training with all examples."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.real.weights)
        return model


def measure(cell: Cell) -> dict[str, Any]:
    """Real and predicted shifts of the same examples, and how far training was from its linearization."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed, cell.side)
    inputs, eval_inputs = (normalize(cell.data, part).to(cell.device) for part in (task.inputs, task.eval_inputs))
    run = Run(initial(cell, task).to(cell.device), inputs, task.targets.to(cell.device), eval_inputs, cell)
    weights, predictions = {}, {}
    for name in cell.methods:
        found = SHIFTS[name](cell, run)
        weights[name], predictions[name] = found if isinstance(found, tuple) else (found, found)
        for values in (weights[name], predictions[name]):
            if values.shape != (cell.n,):
                raise ValueError(f"{name}: got {list(values.shape)}; accepted: a number for each of {cell.n} examples")
    kernel_end = ntk(run.trained, inputs)[:, 0, :, 0]
    moved = train_linearized(run.kernel, run.residual, run.kernel_eval, **horizon(run))
    change = run.real.outputs[:, 0].double() - predict(run.model, eval_inputs)[:, 0].double()
    start, end = (nn.utils.parameters_to_vector(net.parameters()).detach() for net in (run.model, run.trained))
    return {
        "step": run.rate,
        "stability": run.rate * (sharpness(run.kernel) + cell.weight_decay),
        "stability_end": run.rate * (sharpness(kernel_end) + cell.weight_decay),
        "relative_move": float((end - start).norm() / start.norm()),
        "prediction_error": float((change - moved).norm() / change.norm()),
        "real_weights": _list(run.real.weight_shift / 2),
        "real_predictions": _list(run.real.prediction_shift.square().mean(1) / 2),
        "weights": {name: _list(values[: cell.left_out]) for name, values in weights.items()},
        "predictions": {name: _list(values[: cell.left_out]) for name, values in predictions.items()},
    }


def horizon(run: Run) -> dict[str, Any]:
    """How the closed form trains as the network was trained: the sum of the losses, for the same steps."""
    cell = run.cell
    return {"ridge": cell.n * cell.weight_decay, "learning_rate": run.rate / cell.n, "steps": cell.steps}


def halves(shifts: Any) -> tuple[Tensor, Tensor]:
    """Half the squared shift of the weights and of the predictions, the mean over evaluation inputs, ``[n]`` each."""
    predictions = shifts.prediction_shift
    return shifts.weight_shift / 2, predictions.reshape(len(predictions), -1).square().mean(1) / 2


def sharpness(kernel: Tensor) -> float:
    """The largest curvature of the mean loss of the linearized network, ``kernel`` ``[n, n]``."""
    return float(torch.linalg.eigvalsh(kernel.double())[-1]) / len(kernel)


def initial(cell: Cell, task: Task) -> nn.Module:
    """The cell's network at the weights from which all its runs start."""
    options = {"widths": cell.widths, "hidden": _HIDDEN}
    if not cell.pretrained:
        return network(cell, task.inputs, **options)
    model = network(cell, task.inputs, 10, **options)
    pretrain(cell, model)
    model[-1] = networks.seeded(lambda: nn.Linear(_HIDDEN, 1), initialization(cell.seed))
    return model


def pretrain(cell: Cell, model: nn.Module) -> None:
    """Ten classes of other images, which share no example with the task."""
    other = data.load(cell.pretrained)
    inputs, labels = normalize(cell.data, other.train_inputs), other.train_labels
    fit(
        model.to(cell.device), inputs.to(cell.device), labels.to(cell.device),
        loss=cross_entropy, optimizer=partial(torch.optim.Adam, lr=1e-3), steps=cell.pretraining_steps,
        batch_size=256, generator=stream("pretraining", cell.seed),
    )  # fmt: skip


def _list(values: Tensor) -> list[float]:
    return values.double().cpu().tolist()
