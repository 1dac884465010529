"""Random outputs of two networks with labels, and gradients of losses of them."""

import pytest
import torch


@pytest.fixture(scope="session")
def batch(generator):
    """Logits and auxiliary logits ``[size, num_classes]``, which both require gradients, and labels ``[size]``."""

    def draw(dtype=torch.float64, size=6, num_classes=4, seed=0):
        g = generator(seed)
        logits, auxiliary = (2 * torch.randn(size, num_classes, generator=g, dtype=dtype) for _ in range(2))
        return logits.requires_grad_(), auxiliary.requires_grad_(), torch.randint(0, num_classes, (size,), generator=g)

    return draw


@pytest.fixture(scope="session")
def gradient():
    """Of a loss with respect to each input; None where the loss does not depend on it."""

    def differentiate(loss, *inputs):
        return torch.autograd.grad(loss, inputs, allow_unused=True)

    return differentiate
