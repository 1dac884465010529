"""Table ``sample_information/dynamics``: does a network train as its linearization says?

A cell trains one network by full-batch gradient descent and solves the training of its linearization in closed form.
Both are looked at after the same steps: predictions at evaluation inputs, training loss, and the training residual
along eigenvectors of the tangent kernel. A learning rate is in units of 1 / (largest eigenvalue of the kernel / n), so
that gradient descent on the linearized network is stable below 2.

Conventions that may surprise: the loss is the MEAN of half squared errors, and the eigenvectors belong to the largest
eigenvalues first. Drawn in book/sample_information/linearized_training.ipynb.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infocap import data, networks
from infocap.experiments.fields import ImageData, Network
from infocap.experiments.sample_information.problem import network
from infocap.experiments.sample_information.tasks import two_classes
from infocap.experiments.streams import stream
from infocap.sample_information.closed_form import train_linearized
from infocap.study.fields import AtLeast, Positive
from infocap.tangent import ntk
from infocap.training.loop import fit, predict

GRID = {"widths": "width", "learning_rates": "learning_rate", "seeds": "seed"}
OWN = {"network": ("network", networks.NETWORKS), "data": ("data", data)}

MODES = (0, 1, 4, 15, 50)  # eigenvectors along which the residual is followed


@dataclass(frozen=True)
class Cell:
    """One network, with one hidden layer of ``width`` units; the predictions at ``shown`` inputs are kept."""

    data: ImageData
    classes: tuple[int, int]
    width: AtLeast[1]
    n: AtLeast[2]
    m: AtLeast[2]
    shown: AtLeast[1]
    learning_rate: Positive
    steps: AtLeast[1]
    seed: int
    side: AtLeast[1] = 28
    network: Network = "mlp"

    def code(self) -> list[str]:
        """The modules that compute this cell beside this one."""
        return [networks.NETWORKS.module(self.network)]


def horizons(steps: int) -> list[int]:
    """The steps at which both trainings are looked at: 0, then about 30, evenly spaced on a logarithmic scale.

    Example:
        >>> horizons(6)
        [0, 1, 2, 3, 4, 5, 6]
    """
    return [0, *np.unique(np.geomspace(1, steps, 30).round().astype(int)).tolist()]


def measure(cell: Cell) -> dict[str, Any]:
    """Both trainings, looked at after the steps of ``horizons``.

    Beyond the stable learning rate the closed form of the training residual still holds and grows without bounds; there
    are no predictions of the linearization then.
    """
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed, cell.side)
    inputs, eval_inputs = task.inputs.double(), task.eval_inputs.double()
    targets = task.targets.double()[:, None]
    model = network(cell, inputs, widths=(cell.width,)).double()
    kernel, kernel_eval = ntk(model, inputs)[:, 0, :, 0], ntk(model, eval_inputs, inputs)[:, 0, :, 0]
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(kernel))
    values = values.clamp(min=0)
    rate = cell.learning_rate / float(values[0] / cell.n)
    steps = horizons(cell.steps)

    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    run = fit(
        model, inputs, targets, loss=half_squared_error, optimizer=partial(torch.optim.SGD, lr=rate),
        steps=cell.steps, batch_size=cell.n, generator=stream("order", cell.seed),
        record=lambda step, net: (net(inputs)[:, 0], net(eval_inputs)[:, 0]), record_at=steps,
    )  # fmt: skip
    outputs, predictions = (torch.stack([run.records[step][part] for step in steps]) for part in (0, 1))
    end = nn.utils.parameters_to_vector(model.parameters()).detach()

    residual = targets[:, 0] - outputs[0]
    shares = (1 - rate / cell.n * values) ** torch.tensor(steps)[:, None]  # what is left of each direction
    linear_residuals = shares * (vectors.T @ residual)
    modes = [mode for mode in MODES if mode < cell.n]
    result = {
        "step": rate,
        "at": steps,
        "eigenvalues": (values / values[0]).tolist(),
        "relative_move": float((end - start).norm() / start.norm()),
        "real_loss": ((targets[:, 0] - outputs).square().mean(1) / 2).tolist(),
        "linear_loss": (linear_residuals.square().mean(1) / 2).tolist(),
        "real_modes": ((targets[:, 0] - outputs) @ vectors[:, modes] / residual.norm()).T.tolist(),
        "linear_modes": (linear_residuals[:, modes] / residual.norm()).T.tolist(),
        "real_predictions": predictions[:, : cell.shown].T.tolist(),
        "test_accuracy": accuracy(predict(model, task.test_inputs.double())[:, 0], task.test_targets),
    }
    if cell.learning_rate <= 2:
        change = train_linearized(kernel, residual, kernel_eval, learning_rate=rate / cell.n, steps=steps)
        real = predictions - predictions[0]
        error = (real - change)[1:].norm(dim=1) / real[1:].norm(dim=1)
        result["linear_predictions"] = (predictions[0] + change)[:, : cell.shown].T.tolist()
        result["prediction_error"] = error.tolist()
    return result


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over examples of half the squared error."""
    return (outputs - targets).square().mean() / 2


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of outputs on their target's side of 1/2."""
    return float(((outputs > 0.5) == (targets > 0.5)).double().mean())
