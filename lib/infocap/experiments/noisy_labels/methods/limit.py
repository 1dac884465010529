"""LIMIT: the classifier follows gradients that an auxiliary network predicts without seeing the label."""

from typing import Literal

import torch
from torch import Tensor

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, cross_entropy_start, network, train
from infocap.experiments.streams import stream
from infocap.label_noise.limit import limit_losses
from infocap.networks.pairs import WithAuxiliary
from infocap.training.loop import Fit


@method("LIMIT Laplace", kind="laplace", shows={"beta": "β"})
@method("LIMIT Gaussian", kind="gaussian", shows={"beta": "β"})
def limit(cell: Cell, split: Split, kind: Literal["gaussian", "laplace"]) -> Fit:
    """Trains both networks together; options: sampled gradients, a warm-up of the auxiliary network, its start."""
    auxiliary = network(cell, split, member=1)
    if cell.initialized:
        auxiliary.load_state_dict(cross_entropy_start(cell, split).state_dict())
    model = WithAuxiliary(network(cell, split), auxiliary)
    generator = torch.Generator(cell.device).manual_seed(stream("gradient", cell.order_seed).initial_seed())
    options = {"beta": cell.beta, "kind": kind, "noise_std": cell.noise_std, "generator": generator}
    warm_up_steps = cell.warm_up * -(-cell.n // cell.batch_size)
    taken = 0

    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        nonlocal taken
        taken += 1
        classifier_loss, auxiliary_loss = limit_losses(*outputs, labels, **options)
        return auxiliary_loss if taken <= warm_up_steps else classifier_loss + auxiliary_loss

    return train(cell, split, model, loss)
