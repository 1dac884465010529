"""Co-teaching: two networks that teach each other their small-loss examples."""

from torch import Tensor

from infocap.experiments.noisy_labels.methods import method
from infocap.experiments.noisy_labels.training import Cell, Split, network, train
from infocap.label_noise.co_teaching import co_teaching_loss
from infocap.networks.pairs import WithAuxiliary
from infocap.training.loop import Fit


@method("co-teaching")
def co_teaching(cell: Cell, split: Split) -> Fit:
    """The forget rate is the true noise rate."""
    model = WithAuxiliary(network(cell, split), network(cell, split, member=1))
    per_epoch = -(-cell.n // cell.batch_size)
    forget = float((1 - split.transition.diagonal()).mean())
    taken = 0

    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        nonlocal taken
        rate = forget * min(taken // per_epoch / 10, 1.0)  # rises over ten epochs, as in its paper
        taken += 1
        return co_teaching_loss(*outputs, labels, forget_rate=rate)

    return train(cell, split, model, loss)
