"""Early-learning regularization: a pull towards the running mean of each example's own predictions."""

import torch

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, network, train
from infocap.label_noise.early_learning import EarlyLearningRegularization
from infocap.training.loop import Fit


@method("ELR")
def elr(cell: Cell, split: Split) -> Fit:
    """With the constants of its paper."""
    loss = EarlyLearningRegularization(cell.n, len(split.transition))
    targets = torch.stack([split.labels, torch.arange(cell.n, device=cell.device)], dim=1)
    return train(cell, split, network(cell, split), loss, targets=targets)
