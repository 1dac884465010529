"""Losses that hardly count an example which the network finds unlikely."""

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, network, train
from infocap.label_noise.robust import gce_loss, mae_loss
from infocap.training.loop import Fit


@method("MAE")
def mae(cell: Cell, split: Split) -> Fit:
    """The mean absolute error."""
    return train(cell, split, network(cell, split), mae_loss)


@method("GCE")
def gce(cell: Cell, split: Split) -> Fit:
    """Generalized cross-entropy, between cross-entropy and the mean absolute error."""
    return train(cell, split, network(cell, split), gce_loss)
