"""The baseline, and the controls that slow it down: dropout, weight decay, small steps, noise on its gradients."""

from functools import partial

import torch
from torch.nn.functional import cross_entropy as loss_of

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, network, train
from infocap.experiments.streams import stream
from infocap.label_noise.gradient_noise import noisy_gradient_loss
from infocap.training.loop import Fit


@method("cross-entropy")
def cross_entropy(cell: Cell, split: Split) -> Fit:
    """Cross-entropy; with ``noise_std`` its gradient at the logits is noisy."""
    loss = loss_of
    if cell.noise_std:
        generator = torch.Generator(cell.device).manual_seed(stream("gradient", cell.order_seed).initial_seed())
        loss = partial(noisy_gradient_loss, noise_std=cell.noise_std, kind=cell.noise_kind, generator=generator)
    return train(cell, split, network(cell, split), loss)
