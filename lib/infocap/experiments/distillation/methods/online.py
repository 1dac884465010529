"""Learning along with the teacher: from one checkpoint after another."""

from infocap.distillation import Distillation
from infocap.experiments.distillation.methods import method
from infocap.experiments.distillation.training import Cell, Task, Teacher, follow, stages


@method("online", temperature="temperatures", count="checkpoints")
@method("update period", temperature=1.0, count="periods", side=True)
def online(cell: Cell, task: Task, teacher: Teacher, temperature: float, count: int) -> Distillation:
    """``count`` checkpoints in turn, evenly spaced; the last is the final teacher."""
    return follow(cell, teacher, stages(cell, count), temperature)
