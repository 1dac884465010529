"""Determinant-based mutual information, which noise only rescales."""

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, cross_entropy_start, train
from infocap.label_noise.dmi import dmi_loss
from infocap.training.loop import Fit


@method("DMI")
def dmi(cell: Cell, split: Split) -> Fit:
    """Starts from the best cross-entropy network, as in its paper."""
    return train(cell, split, cross_entropy_start(cell, split), dmi_loss)
