"""Influence functions: one Newton step away from the trained network."""

from torch import Tensor

from infocap.attribution import gauss_newton_influence
from infocap.experiments.sample_information.retraining import Cell, Run, halves
from infocap.experiments.sample_information.shifts import shift


@shift("influence, damping 0.0001", damping=1e-4)
@shift("influence, damping 0.01", damping=1e-2)
@shift("influence, damping 0.1", damping=1e-1)
def influence(cell: Cell, run: Run, damping: float) -> tuple[Tensor, Tensor]:
    """With the Gauss-Newton curvature and a damping."""
    targets, damping = run.targets[:, None], damping + cell.weight_decay
    return halves(gauss_newton_influence(run.trained, run.inputs, targets, run.eval_inputs, damping=damping))
