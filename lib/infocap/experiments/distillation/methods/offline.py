"""Learning from one checkpoint of the teacher, from the first step to the last."""

from infocap.distillation import Distillation
from infocap.experiments.distillation.methods import method
from infocap.experiments.distillation.training import Cell, Task, Teacher, follow


@method("offline", temperature="temperatures", checkpoint="checkpoints")  # the last, the final teacher
@method("stopped", temperature=1.0, checkpoint="best", kernel=False)
@method("stopping sweep", temperature=1.0, checkpoint="stopped", side=True)
def offline(cell: Cell, task: Task, teacher: Teacher, temperature: float, checkpoint: int) -> Distillation:
    """One checkpoint: the last, the one that noisy validation labels choose, or each that is asked for."""
    return follow(cell, teacher, [checkpoint], temperature)
