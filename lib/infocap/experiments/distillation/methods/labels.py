"""Learning from labels: without a teacher, for comparison."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import cross_entropy

from infocap.experiments.distillation.methods import method
from infocap.experiments.distillation.training import Cell, Task, Teacher


@method("none")
def labels_only(cell: Cell, task: Task, teacher: Teacher) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy with the labels, wrong ones among them."""
    return lambda outputs, rows: cross_entropy(outputs, task.view_labels[rows])
