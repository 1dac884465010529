"""The training loop, written out by hand."""

import pytest
import torch


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
