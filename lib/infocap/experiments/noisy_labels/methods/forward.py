"""Forward correction: predict the clean label, and compare through the noise matrix."""

from functools import partial

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, cross_entropy_start, network, train
from infocap.label_noise.transition import estimate_transition, forward_loss
from infocap.training.loop import Fit, predict


@method("forward, true T")
def forward_true(cell: Cell, split: Split) -> Fit:
    """With the transition that corrupted the labels."""
    loss = partial(forward_loss, transition=split.transition.to(split.inputs.dtype))
    return train(cell, split, network(cell, split), loss)


@method("forward, estimated T")
def forward_estimated(cell: Cell, split: Split) -> Fit:
    """With the transition that a cross-entropy network suggests, starting from that network."""
    model = cross_entropy_start(cell, split)
    transition = estimate_transition(predict(model, split.inputs)).to(split.inputs.dtype)
    return train(cell, split, model, partial(forward_loss, transition=transition))
