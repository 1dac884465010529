"""Training with noisy labels: what LIMIT costs, and what the training loops add to plain PyTorch."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from harness import Row, alternate, flops, matmul, of_matmul, row, seconds
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infocap.label_noise import limit_losses
from infocap.networks import build, seeded
from infocap.networks.pairs import WithAuxiliary
from infocap.training import BATCHED_BELOW, fit, fit_many

adam = partial(torch.optim.Adam, lr=1e-3, fused=True)


def rows() -> Iterator[Row]:
    for group in (limit_step, epoch, many, papers_cnn):
        yield from group()


def images(n: int, size: int = 28) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, size, size, generator=generator), torch.randint(10, (n,), generator=generator)


def trained(model: nn.Module, data: tuple[Tensor, Tensor], loss: Callable, steps: int, batch_size: int) -> float:
    generator = torch.Generator().manual_seed(0)
    options = {"optimizer": adam, "steps": steps, "batch_size": batch_size, "generator": generator}
    return seconds(lambda: fit(model, *data, loss=loss, **options))


def limit_step() -> Iterator[Row]:
    """A step of LIMIT trains two networks: twice the arithmetic of cross-entropy, and the loss."""
    data, steps = images(256), 20

    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        return sum(limit_losses(*outputs, labels, beta=10.0, kind="laplace"))

    one, two = build("mlp", 10, seed=0), WithAuxiliary(build("mlp", 10, seed=1), build("mlp", 10, seed=2))
    ours, reference, product = alternate(
        lambda: trained(two, data, loss, steps, 256) / steps,
        lambda: trained(one, data, cross_entropy, steps, 256) / steps,
        matmul,
        repetitions=25,
    )
    work = flops(lambda: loss(two(data[0]), data[1]).backward())
    operation = "LIMIT step / cross-entropy step, MLP 784-256-256-10, batch 256"
    yield row(operation, ours, reference, at_most=2.3, note=of_matmul(work, ours, product))


def epoch() -> Iterator[Row]:
    data = images(10_000)
    batches = list(zip(data[0].split(256), data[1].split(256), strict=True))
    ours, theirs = build("mlp", 10, seed=0), build("mlp", 10, seed=0)
    optimizer = adam(theirs.parameters())

    def plain() -> None:
        for inputs, labels in batches:
            loss = cross_entropy(theirs(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    steps = len(batches)
    loop, reference, product = alternate(
        lambda: trained(ours, data, cross_entropy, steps, 256), lambda: seconds(plain), matmul, repetitions=9
    )
    work = flops(lambda: cross_entropy(ours(batches[0][0]), batches[0][1]).backward())
    note = of_matmul(work, [time / (10_000 / 256) for time in loop], product)
    yield row("epoch of fit / plain loop, same MLP, n = 10,000, batch 256", loop, reference, at_most=1.3, note=note)


MLP = {"batch_norm": False}
MANY = [  # networks, architecture, options, batch size, target
    (16, "mlp", MLP | {"widths": (16,)}, 10, 3.0),
    (100, "mlp", MLP | {"widths": (16,)}, 10, 3.0),
    (100, "mlp", MLP | {"in_features": 64, "widths": (32, 32), "image": 8}, 16, 3.0),
    (16, "mlp", MLP | {"widths": (64,)}, 32, None),
    (100, "mlp", MLP | {"widths": (64,)}, 32, None),
    (16, "mlp", MLP | {"widths": (64, 64)}, 75, None),
    (100, "mlp", MLP | {"widths": (64, 64)}, 75, None),
    (16, "mlp", MLP | {"widths": (256, 256)}, 32, None),
    (16, "lenet", {"width_factor": 0.5}, 10, None),
    (16, "lenet", {"width_factor": 0.5}, 32, None),
    (16, "lenet", {}, 10, None),
    (16, "lenet", {}, 32, None),
    (100, "lenet", {}, 32, None),
    (16, "lenet", {"width_factor": 2}, 16, None),
    (16, "cnn", {"batch_norm": False}, 4, None),
    (100, "cnn", {"batch_norm": False}, 4, None),
    (16, "cnn", {"batch_norm": False}, 10, None),
    (16, "cnn", {"batch_norm": False}, 75, None),
]


def many() -> Iterator[Row]:
    """Batched against one by one, per step of all networks, and whether the written rule takes the faster."""
    for count, name, options, batch_size, target in MANY:
        options = dict(options)
        data = images(2 * batch_size, options.pop("image", 28))
        subsets = torch.arange(2 * batch_size).expand(count, -1)
        make = partial(build, name, 10, **options)
        forward = flops(lambda make=make, data=data, batch_size=batch_size: make()(data[0][:batch_size]))
        steps = max(3, min(60, int(2e9 / (count * (forward + 5e6)))))

        def run(
            batched: bool, count=count, make=make, data=data, subsets=subsets, steps=steps, size=batch_size
        ) -> float:
            networks = iter([make() for _ in range(count)])  # building them is no part of a step
            seeds = {"init_seeds": range(count), "order_seeds": range(count)}
            options = {"loss": cross_entropy, "optimizer": adam, "steps": steps, "batch_size": size, "batched": batched}
            return seconds(lambda: fit_many(lambda: next(networks), *data, subsets, **seeds, **options)) / steps

        ours, reference = alternate(partial(run, True), partial(run, False), repetitions=3)
        shape = " ".join(f"{key}={value}" for key, value in options.items() if key != "batch_norm")
        label = f"batched, gain over one by one: {count} {name} {shape} batch {batch_size}".replace("  ", " ")
        result = row(label, ours, reference, at_least=target or 0)
        gain = result["ratio"]
        right = (forward < BATCHED_BELOW) == (gain > 1)
        verdict = "rule right" if right else f"rule loses {100 * (max(gain, 1 / gain) - 1):.0f} %"
        yield result | {"note": f"{forward / 1e6:.2f} MFLOP forward, {verdict}"}


def papers_cnn() -> Iterator[Row]:
    """The papers' network, with batch-norm, per step and network: one by one in channels-last layout."""
    data, count, steps = images(150), 4, 10
    subsets = torch.arange(150).expand(count, -1)
    seeds = {"init_seeds": range(count), "order_seeds": range(count)}
    options = {"loss": cross_entropy, "optimizer": adam, "steps": steps, "batch_size": 75}

    def ours() -> float:
        return seconds(lambda: fit_many(partial(build, "cnn", 10), *data, subsets, **seeds, **options))

    def plain() -> None:
        for seed in range(count):
            model = seeded(partial(build, "cnn", 10), seed)
            optimizer = adam(model.parameters())
            for step in range(steps):
                part = slice(75 * (step % 2), 75 * (step % 2) + 75)
                loss = cross_entropy(model(data[0][part]), data[1][part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    each = count * steps
    times = alternate(lambda: ours() / each, lambda: seconds(plain) / each, repetitions=7)
    yield row("one by one / plain loop, per network: cnn with batch-norm, batch 75", *times, at_most=1.0)
