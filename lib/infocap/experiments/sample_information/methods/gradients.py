"""What the network at its initialization says of an example, before any training."""

from torch import Tensor

from infocap.experiments.sample_information.detection import Cell
from infocap.experiments.sample_information.methods import method
from infocap.experiments.sample_information.problem import Problem

__all__ = ["el2n", "grand"]


@method("EL2N at start")
def el2n(cell: Cell, problem: Problem) -> Tensor:
    """The error of the network's output."""
    return problem.residual.abs()


@method("GraNd at start")
def grand(cell: Cell, problem: Problem) -> Tensor:
    """The norm of the gradient of half the squared error."""
    return problem.kernel.diagonal().sqrt() * problem.residual.abs()
