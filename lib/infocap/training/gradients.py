"""How far are the gradients of single examples from their mean?"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from infocap.training._parts import Loss

__all__ = ["gradient_variance"]


def gradient_variance(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, chunk_size: int = 64) -> float:
    """The mean squared distance of the gradients of single examples from their mean, in evaluation mode.

    It is the trace of the covariance of the gradients, and not that of a minibatch, which is smaller by its size.

    Args:
        model: Any module that treats examples independently in evaluation mode; left as it was.
        inputs: ``[n, ...]``.
        targets: ``[n, ...]``.
        loss: As in ``fit``, the mean over a batch.
        chunk_size: Examples whose gradients are held together.

    Cost: n backward passes; memory for ``chunk_size`` gradients.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> gradient_variance(net, x, x, lambda output, target: (output - target).sum() * 2)  # gradients 2 and 6
        4.0
    """
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def one_loss(parameters: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        return loss(functional_call(model, parameters, (example[None],)), target[None])

    training = model.training
    model.eval()
    try:
        squares, total = 0.0, {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        for part, part_targets in zip(inputs.split(chunk_size), targets.split(chunk_size), strict=True):
            gradients = vmap(grad(one_loss), (None, 0, 0))(parameters, part, part_targets)
            for name, gradient in gradients.items():
                squares += float(gradient.double().square().sum())
                total[name] += gradient.double().sum(0)
    finally:
        model.train(training)
    n = len(inputs)
    return squares / n - sum(float((tensor / n).square().sum()) for tensor in total.values())
