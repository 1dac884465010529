"""The LIMIT paper's first idea: a penalty on the distance of the last layer's gradient to a label-free prediction."""

from torch import Tensor, nn

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, network, train
from infocap.label_noise.soft_penalty import soft_penalty_loss
from infocap.networks.pairs import WithFeatures
from infocap.training.loop import Fit


@method("soft penalty", shows={"lam": "λ", "beta": "β"})
def soft_penalty(cell: Cell, split: Split) -> Fit:
    """Cross-entropy plus the penalty, for networks that end in a linear layer."""
    classifier = network(cell, split)
    if not (isinstance(classifier, nn.Sequential) and isinstance(classifier[-1], nn.Linear)):
        raise ValueError(f"network: got {cell.network!r}; accepted: an nn.Sequential that ends in an nn.Linear")
    model = WithFeatures(classifier, network(cell, split, member=1))

    def loss(outputs: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
        return soft_penalty_loss(*outputs, labels, lam=cell.lam, beta=cell.beta)

    return train(cell, split, model, loss)
