"""The training loop written out by hand, and what is trained: random images, optimizers by name."""

from functools import partial

import pytest
import torch


@pytest.fixture(scope="session")
def images(generator):
    """Gray images ``[n, 1, size, size]`` and their classes ``[n]``."""

    def draw(n, size=4, classes=3, dtype=torch.float32, seed=0):
        g = generator(seed)
        return torch.randn(n, 1, size, size, generator=g).to(dtype), torch.randint(classes, (n,), generator=g)

    return draw


@pytest.fixture(scope="session")
def equal_states():
    """Whether two states have the same names and bits."""

    def check(a, b):
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    return check


@pytest.fixture(scope="session")
def optimizers():
    """By name, functions of the parameters."""
    return {
        "sgd": partial(torch.optim.SGD, lr=0.1),
        "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True),
        "adam": partial(torch.optim.Adam, lr=1e-2),
    }


@pytest.fixture
def by_hand():
    return _by_hand


def _by_hand(model, inputs, targets, loss, optimizer, steps, batch_size, seed=0, schedule=None, augment=None):
    """Forward, backward, step; the order of examples is a permutation per epoch, cut into batches."""
    g = torch.Generator().manual_seed(seed)
    torch.randint(2**62, (), generator=g)  # the seed of random layers comes first
    model.train()
    optimizer = optimizer(model.parameters())
    scheduler = schedule(optimizer) if schedule else None
    losses, order = [], []
    for _ in range(steps):
        if len(order) == 0:
            order = torch.randperm(len(inputs), generator=g)
        rows, order = order[:batch_size], order[batch_size:]
        batch = inputs[rows]
        if augment:
            batch = augment(batch, g)
        value = loss(model(batch), targets[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(value.detach())
    return torch.stack(losses)
