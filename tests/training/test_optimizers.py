"""Decay towards the initial weights against a penalty, Langevin noise by its scale, gradients' spread by a loop."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from infocap import training
from infocap.networks import build, seeded
from infocap.training import fit, fit_many

POOL = 30

SUBSETS = torch.stack([torch.randperm(POOL, generator=torch.Generator().manual_seed(i))[:18] for i in range(3)])


@pytest.mark.parametrize("decay", [0.0, 0.8])
@pytest.mark.parametrize("batched", [True, False])
def test_weight_decay_towards_the_initial_weights(images, generator, close, by_hand, batched, decay):
    """Equal to the penalty as a part of the loss, for single runs and for many at once."""

    def make():
        return build("mlp", 3, in_features=16, widths=(8, 8), batch_norm=False).double()

    inputs, targets = images(POOL, dtype=torch.float64)[0], torch.randn(POOL, 3, generator=generator(4)).double()
    optimizer, seeds = partial(training.AnchoredSGD, lr=0.1, weight_decay=decay), [0, 1, 2]
    options = {"loss": mse_loss, "steps": 60, "batch_size": 7}
    many_at_once = fit_many(
        make, inputs, targets, SUBSETS, init_seeds=seeds, order_seeds=seeds, optimizer=optimizer, batched=batched,
        **options,
    )  # fmt: skip
    for seed, rows in zip(seeds, SUBSETS, strict=True):
        plain, start = seeded(make, seed), seeded(make, seed)

        def penalized(outputs, labels, plain=plain, start=start):
            pairs = zip(plain.parameters(), start.parameters(), strict=True)
            return mse_loss(outputs, labels) + decay / 2 * sum((p - q.detach()).square().sum() for p, q in pairs)

        by_hand(plain, inputs[rows], targets[rows], penalized, partial(torch.optim.SGD, lr=0.1), 60, 7, seed)
        order = generator(seed)
        single = fit(
            seeded(make, seed), inputs[rows], targets[rows], optimizer=optimizer, generator=order, **options
        ).model
        for name, tensor in plain.state_dict().items():
            close(single.state_dict()[name], tensor, 1e-10)
            close(many_at_once.weights[name][seed], tensor, 1e-10)
        assert max((p - q).abs().max() for p, q in zip(plain.parameters(), start.parameters(), strict=True)) > 0.01


def test_weights_halfway_back_and_a_weight_without_gradient():
    used, unused = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([2.0]))
    optimizer = training.AnchoredSGD([used, unused], lr=0.5, weight_decay=1.0)
    used.data, unused.data, used.grad = torch.tensor([5.0]), torch.tensor([7.0]), torch.zeros(1)
    for expected in (4.0, 3.5, 3.25):
        used.grad.zero_()
        optimizer.step()
        assert (used.item(), unused.item()) == (expected, 7.0)


def test_langevin_noise_has_the_stated_scale_and_no_other():
    """Without a gradient the weights after T steps are Gaussian with variance sum 2 lr / beta."""
    rates, betas = torch.tensor([0.1, 0.2, 0.05]), torch.tensor([10.0, 4.0, 100.0])
    w = torch.nn.Parameter(torch.zeros(200_000))
    w.grad = torch.zeros_like(w)
    optimizer = training.SGLD([w], learning_rates=rates, inverse_temperatures=betas)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(3):
            optimizer.step()
    variance = float((2 * rates / betas).sum())
    assert float(w.detach().var()) == pytest.approx(variance, rel=0.02)
    assert float(w.detach().mean()) == pytest.approx(0, abs=5 * (variance / 200_000) ** 0.5)


def test_cold_langevin_dynamics_is_gradient_descent_with_a_schedule():
    x, y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    rates = torch.tensor([0.5, 0.25, 0.125])
    options = {"loss": cross_entropy, "steps": 3, "batch_size": 8}
    nets = [seeded(lambda: torch.nn.Linear(3, 2), 0) for _ in range(2)]
    cold = partial(training.SGLD, learning_rates=rates, inverse_temperatures=torch.full((3,), 1e30))
    training.fit(nets[0], x, y, optimizer=cold, generator=torch.Generator().manual_seed(1), **options)
    training.fit(
        nets[1], x, y, optimizer=partial(torch.optim.SGD, lr=0.5), generator=torch.Generator().manual_seed(1),
        schedule=lambda sgd: torch.optim.lr_scheduler.ExponentialLR(sgd, 0.5), **options,
    )  # fmt: skip
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("chunk_size", [1, 3, 64])
def test_the_spread_of_gradients_equals_a_loop_over_examples(chunk_size):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 5, generator=generator), torch.arange(7) % 3
    net = seeded(lambda: torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)), 0)
    gradients = []
    for example, label in zip(x, y, strict=True):
        net.zero_grad()
        cross_entropy(net(example[None]), label[None]).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]).double())
    gradients = torch.stack(gradients)
    wanted = float((gradients - gradients.mean(0)).square().sum(1).mean())
    net.train()
    assert training.gradient_variance(net, x, y, cross_entropy, chunk_size) == pytest.approx(wanted, rel=1e-5)
    assert net.training
