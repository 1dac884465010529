"""How sure of an example's label are networks that were trained on other examples?"""

from functools import partial

import torch
from torch import Tensor

from infocap import attribution, networks
from infocap.experiments.sample_information.detection import Cell
from infocap.experiments.sample_information.methods import method
from infocap.experiments.sample_information.problem import Problem

__all__ = ["self_confidence"]

_WIDTH, _EPOCHS, _BATCH_SIZE = 64, 10, 64  # of small networks


@method("self-confidence, cross-validated")
def self_confidence(cell: Cell, problem: Problem) -> Tensor:
    """One minus the probability of the label, over five folds."""
    image = tuple(problem.inputs.shape[1:])
    build = partial(networks.build_for, cell.network, image, 2, widths=(_WIDTH,), batch_norm=False)
    batch_size = min(_BATCH_SIZE, cell.n // 2)
    confidence = attribution.self_confidence(
        build, problem.inputs.float(), problem.targets.long(), optimizer=partial(torch.optim.Adam, lr=1e-3),
        steps=_EPOCHS * -(-4 * cell.n // (5 * batch_size)), batch_size=batch_size, seed=cell.seed,
    )  # fmt: skip
    return 1 - confidence
