"""The same two ways by squared errors, the loss of the theory of supervision complexity."""

from infocap.distillation import Distillation, squared_distillation_loss
from infocap.experiments.distillation.methods import method
from infocap.experiments.distillation.training import Cell, Task, Teacher, follow, stages


@method("squared, offline", temperature=1.0, checkpoint="checkpoints", side=True, asked="squared")
def squared_offline(cell: Cell, task: Task, teacher: Teacher, temperature: float, checkpoint: int) -> Distillation:
    """The final teacher."""
    return follow(cell, teacher, [checkpoint], temperature, squared_distillation_loss)


@method("squared, online", temperature=1.0, count="checkpoints", side=True, asked="squared")
def squared_online(cell: Cell, task: Task, teacher: Teacher, temperature: float, count: int) -> Distillation:
    """All checkpoints in turn."""
    return follow(cell, teacher, stages(cell, count), temperature, squared_distillation_loss)
