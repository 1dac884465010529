"""The closed form: the network linearized at its initialization, trained without each example."""

from torch import Tensor

from infocap.experiments.sample_information.retraining import Cell, Run, halves, horizon
from infocap.experiments.sample_information.shifts import shift

_SMALL_RIDGE = 1e-3  # training to the end without regularization would only measure the smallest eigenvalues


@shift("linearized")
def linearized(cell: Cell, run: Run) -> tuple[Tensor, Tensor]:
    """At the horizon of the real training."""
    return halves(run.left_out(**horizon(run), leave_out_factor=cell.n / (cell.n - 1)))


@shift("linearized, to the end")
def to_the_end(cell: Cell, run: Run) -> tuple[Tensor, Tensor]:
    """Without a horizon."""
    return halves(run.left_out(ridge=max(cell.n * cell.weight_decay, _SMALL_RIDGE)))
