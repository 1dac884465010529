"""What the closed form gives for all examples at once: information, and residuals with and without the example."""

from typing import Any

from torch import Tensor

from infocap.experiments.sample_information.detection import Cell
from infocap.experiments.sample_information.methods import method
from infocap.experiments.sample_information.problem import Problem

__all__ = ["all_of", "at_horizon", "f_si", "f_si_horizon", "left_out_residual", "si", "si_horizon", "to_the_end",
           "training_residual"]  # fmt: skip


def to_the_end(cell: Cell) -> dict[str, Any]:
    """How ``leave_one_out`` trains without a horizon."""
    return {"ridge": cell.ridge}


def at_horizon(cell: Cell, n: int) -> dict[str, Any]:
    """How it trains for the task's steps, with the mean of the losses of ``n`` examples."""
    if not cell.steps:
        raise ValueError("steps: got 0; accepted: 1 or more, for scores at the horizon")
    return {"learning_rate": cell.learning_rate / n, "steps": cell.steps, "leave_out_factor": n / (n - 1)}


@method("F-SI, to the end")
def f_si(cell: Cell, problem: Problem) -> Tensor:
    """How far the predictions move without the example."""
    return problem.left_out(**to_the_end(cell)).functional_sample_information()


@method("SI, to the end")
def si(cell: Cell, problem: Problem) -> Tensor:
    """How far the weights move without it."""
    return problem.left_out(**to_the_end(cell)).sample_information()


@method("left-out residual")
def left_out_residual(cell: Cell, problem: Problem) -> Tensor:
    """The error at the example of the network that was trained without it."""
    return problem.left_out(**to_the_end(cell)).residual.abs()


@method("training residual")
def training_residual(cell: Cell, problem: Problem) -> Tensor:
    """The error at the example of the network that was trained with it."""
    end = problem.left_out(**to_the_end(cell))
    return ((1 - end.leverage) * end.residual).abs()


@method("F-SI, at the horizon")
def f_si_horizon(cell: Cell, problem: Problem) -> Tensor:
    """As F-SI, after the task's steps."""
    return problem.left_out(**at_horizon(cell, len(problem.targets))).functional_sample_information()


@method("SI, at the horizon")
def si_horizon(cell: Cell, problem: Problem) -> Tensor:
    """As SI, after the task's steps."""
    return problem.left_out(**at_horizon(cell, len(problem.targets))).sample_information()


def all_of(cell: Cell, problem: Problem) -> dict[str, Tensor]:
    """All of them by the names of their functions, those at the horizon if the task has one."""
    horizon = (f_si_horizon, si_horizon) if cell.steps else ()
    every = (f_si, si, left_out_residual, training_residual, *horizon)
    return {score.__name__: score(cell, problem) for score in every}
