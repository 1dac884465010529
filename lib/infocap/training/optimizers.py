"""Which steps does the book take that torch does not offer?"""

import torch
from torch import Tensor

__all__ = ["SGLD", "AnchoredSGD"]


class AnchoredSGD(torch.optim.SGD):
    """Plain gradient descent whose weight decay pulls towards the initial weights, not towards zero.

    Args:
        parameters: As for any optimizer; their values at this moment are the anchor.
        lr: Learning rate.
        weight_decay: The penalty is ``weight_decay/2 ||w - w0||^2``.

    Example:
        >>> from torch import nn
        >>> w = nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = AnchoredSGD([w], lr=0.5, weight_decay=1.0)
        >>> w.data, w.grad = torch.tensor([5.0]), torch.zeros(1)
        >>> optimizer.step(); w.data
        tensor([4.])
    """

    def __init__(self, parameters, lr: float, weight_decay: float = 0.0):
        super().__init__(parameters, lr=lr)
        self.pull = weight_decay
        self.anchors = [[p.detach().clone() for p in group["params"]] for group in self.param_groups if weight_decay]

    @torch.no_grad()
    def step(self) -> None:
        for group, anchors in zip(self.param_groups, self.anchors, strict=False):  # no anchors without decay
            for parameter, anchor in zip(group["params"], anchors, strict=True):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter - anchor, alpha=self.pull)
        super().step()


class SGLD(torch.optim.Optimizer):
    """Stochastic gradient Langevin dynamics: ``w - lr_t g + sqrt(2 lr_t / beta_t) noise``, standard Gaussian noise.

    The noise comes from torch's global generator, which ``fit`` seeds.

    Args:
        parameters: As for any optimizer.
        learning_rates: ``[T]``, one for each step.
        inverse_temperatures: ``[T]``, beta, positive.

    Example:
        >>> from torch import nn
        >>> w = nn.Parameter(torch.zeros(1))
        >>> optimizer = SGLD([w], learning_rates=torch.tensor([0.5]), inverse_temperatures=torch.tensor([1e30]))
        >>> w.grad = torch.ones(1)
        >>> optimizer.step(); w.data
        tensor([-0.5000])
    """

    def __init__(self, parameters, learning_rates: Tensor, inverse_temperatures: Tensor):
        super().__init__(parameters, {})
        self.rates, self.scales = learning_rates.tolist(), (2 * learning_rates / inverse_temperatures).sqrt().tolist()
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        rate, scale = self.rates[self.steps], self.scales[self.steps]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-rate).add_(torch.randn_like(parameter), alpha=scale)
        self.steps += 1
