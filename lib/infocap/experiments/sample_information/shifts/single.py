"""Scores of an example that predict no shift: one number, beside both."""

from torch import Tensor

from infocap import attribution
from infocap.experiments.sample_information.retraining import Cell, Run
from infocap.experiments.sample_information.shifts import shift
from infocap.training.loop import predict


@shift("training residual")
def training_residual(cell: Cell, run: Run) -> Tensor:
    """The squared error of the trained network."""
    return (run.targets - predict(run.trained, run.inputs)[:, 0]).square()


@shift("TracIn")
def tracin(cell: Cell, run: Run) -> Tensor:
    """What the example's gradient does to its own loss, at the last weights."""
    weights, targets = [run.trained.state_dict()], run.targets[:, None]
    return attribution.tracin(run.trained, weights, run.inputs, targets, learning_rate=run.rate)


@shift("EL2N at initialization")
def el2n(cell: Cell, run: Run) -> Tensor:
    """The error at the initialization."""
    return attribution.el2n(predict(run.model, run.inputs), run.targets[:, None])
