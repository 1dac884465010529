"""The LIMIT paper's first idea: a penalty on the distance of the last layer's gradient to a label-free prediction."""

from torch import Tensor

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, network, train
from infocap.label_noise.soft_penalty import soft_penalty_loss
from infocap.networks.pairs import WithFeatures
from infocap.training import Fit


@method("soft penalty", shows={"lam": "λ", "beta": "β"})
def soft_penalty(cell: Cell, split: Split) -> Fit:
    """Cross-entropy plus the penalty."""
    model = WithFeatures(network(cell, split), network(cell, split, member=1)).to(cell.device)

    def loss(outputs: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
        return soft_penalty_loss(*outputs, labels, lam=cell.lam, beta=cell.beta)

    return train(cell, split, model, loss)
