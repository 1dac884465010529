"""Bounds from predictions: many small networks at once, the papers' network, the bounds, and the counterexample.

Limits on one core. A small network's step is bound by the calls of its operations, some 20 us each, which a batch of
networks shares. As strided patches and one product for each network, in place of a convolution in groups, the small
convolutional networks would take some .85 of the time, with other roundings, and with torch's unfold 1.3. The papers'
network at batch 75 is bound by arithmetic, so that a loop can only lose time beside it: to the data loader, the passes
over validation data, and the optimizer. Bounds count 2 x k2 x n pairs for each of a few
variables and supersamples, which is little, and the rest is arithmetic on [k1, n, values, 2] tables.

What must move: of each network and step its weights, gradients and Adam's two moments, read and written, 8 numbers for
each weight; and the batch, gathered and read twice, 4 numbers for each pixel. Activations may stay in the cache. Bounds
read selectors, predictions and labels once, 8 bytes each. For each of their variables, one for f-CMI and five for all
bounds, a draw takes 4 operations and an entry of a table 5.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from harness import Row, against_limit, agree, alternate, copy, flops, matmul, row, seconds
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import normalize, pil_to_tensor, to_dtype, to_pil_image

from infocap.bounds import SupersampleRuns, all_bounds, complementary_selectors, fcmi_bound
from infocap.counterexample import enumerate_counterexample
from infocap.data import load
from infocap.networks import build, seeded
from infocap.supersample import generalization_gap
from infocap.training import Fits, fit_many
from infocap.training import many as many_together

adam = partial(torch.optim.Adam, lr=1e-3, fused=True)


def rows() -> Iterator[Row]:
    yield many("MLP 196-64-2, batch 64", mlp, batch_size=64, steps=40, at_least=3)
    yield many("CNN of 8 and 16 channels, batch 32", small_cnn, batch_size=32, steps=20, at_least=5)
    yield from shared()
    yield at_once()
    yield papers_cnn()
    yield from bounds()
    yield counterexample()


def mlp() -> nn.Module:
    return build("mlp", 2, in_features=196, widths=(64,), batch_norm=False)


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip


def many(label: str, make, *, batch_size: int, steps: int, at_least: float, count: int = 150) -> Row:
    """Per step of all networks; both must end at the same predictions, up to float32 rounding."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 1, 14, 14, generator=generator)
    labels = torch.randint(2, (300,), generator=generator)
    subsets = 2 * torch.arange(150) + complementary_selectors(count, 150, generator)
    train = training(make, inputs, labels, subsets, steps=steps, batch_size=batch_size)
    looks = {"record": lambda step, logits: logits, "record_at": [steps], "eval_inputs": inputs}
    both = [train(batched=batched, **looks).records[steps] for batched in (True, False)]
    agree(label, *both, 1e-2)
    ours, reference, product, copied = alternate(
        lambda: seconds(partial(train, batched=True)) / steps,
        lambda: seconds(partial(train, batched=False)) / steps,
        matmul,
        copy,
        repetitions=3,
    )
    network = make()
    work = count * flops(lambda: cross_entropy(network(inputs[:batch_size]), labels[:batch_size]).backward())
    result = row(f"fit_many batched / one by one, {count} {label}", ours, reference, at_least=at_least)
    moved = count * moved_by_step(network, inputs[:batch_size])
    return against_limit(result, work, moved, ours, product, copied, partial(train, batched=True))


def training(make: Callable[[], nn.Module], inputs: Tensor, labels: Tensor, subsets: Tensor, **options: Any) -> partial:
    """``fit_many``, still to be called. Networks differ in their initialization; the order is that of all."""
    count = len(subsets)
    seeds = {"init_seeds": range(count), "order_seeds": [0] * count}
    return partial(fit_many, make, inputs, labels, subsets, loss=cross_entropy, optimizer=adam, **seeds, **options)


def shared() -> Iterator[Row]:
    """Six students on the same batches: what the rule of ``fit_many`` chooses, against the other way.

    It batches up to 16 channels at batch 64; at batch 256 there are too many operations, and 32 channels are too many.
    """
    inputs, labels = torch.randn(512, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(512) % 10
    for width, batch_size, batched, at_least in [(8, 64, True, 1.3), (8, 256, False, 0.85), (16, 64, False, 0.95)]:
        make = partial(build, "small_cnn", 10, width=width)
        subsets, options = torch.arange(512).expand(6, -1), {"steps": 20, "batch_size": batch_size}
        train = training(make, inputs, labels, subsets, **options)
        other = "one by one" if batched else "batched"
        label = f"fit_many's choice / {other}, 6 CNN of {width} and {2 * width} channels, batch {batch_size}"
        yield per_step(label, train, partial(train, batched=not batched), at_least=at_least, note="shared batches")


def at_once() -> Row:
    """The networks of the synthesis: ``TOGETHER`` at a time, against all in one batch."""
    count = 200
    inputs = torch.randn(300, 196, generator=torch.Generator().manual_seed(0))
    make = partial(build, "mlp", 3, in_features=196, widths=(256,), batch_norm=False)
    subsets = 2 * torch.arange(150) + complementary_selectors(count, 150, torch.Generator().manual_seed(0))
    train = training(make, inputs, torch.arange(300) % 3, subsets, steps=20, batch_size=50)

    def all_in_one() -> Fits:
        with mock.patch.object(many_together, "TOGETHER", count):
            return train()

    label = f"fit_many, {many_together.TOGETHER} at a time / all at once, {count} MLP 196-256-3, batch 50"
    return per_step(label, train, all_in_one, at_least=1.3)


def per_step(operation: str, ours: Callable[[], Fits], reference: Callable[[], Fits], **targets: Any) -> Row:
    """Both must have the same losses, up to float32 rounding."""
    losses = [run().losses for run in (ours, reference)]
    agree(operation, *losses, 1e-2)
    steps = len(losses[0])
    times = alternate(lambda: seconds(ours) / steps, lambda: seconds(reference) / steps, repetitions=5)
    return row(operation, *times, **targets)


def moved_by_step(network: nn.Module, batch: Tensor) -> int:
    return 4 * (8 * sum(p.numel() for p in network.parameters()) + 4 * batch.numel())


class Digits(Dataset):
    """Images as a data set of torchvision hands them out: one at a time, decoded and scaled at each visit."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = [to_pil_image(image) for image in images], labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = to_dtype(pil_to_tensor(self.images[index]), torch.float32, scale=True)
        return normalize(pixels, [0.5], [0.5]), self.labels[index]


def papers_cnn() -> Row:
    """Networks of one supersample, n = 75: training, and predictions on both halves at the end.

    The reference keeps to the authors' loop: a loader for each half without workers, a pass over the validation half
    after every epoch, and Adam as it comes. It visits a few networks, and its time is multiplied up.
    """
    n, count, few, epochs = 75, 30, 3, 20
    source = load("mnist")
    chosen = torch.isin(source.train_labels, torch.tensor([4, 9])).nonzero()[: 2 * n, 0]
    inputs, labels = source.train_inputs[chosen], (source.train_labels[chosen] == 9).long()
    subsets = 2 * torch.arange(n) + complementary_selectors(count, n, torch.Generator().manual_seed(0))
    make = partial(build, "cnn", 2, batch_norm=False)
    scaled = 2 * inputs - 1

    looks = {"record": lambda step, logits: logits.argmax(-1), "eval_inputs": scaled, "record_at": [epochs]}
    ours = training(make, scaled, labels, subsets, steps=epochs, batch_size=n, **looks)

    def plain() -> None:
        for subset in subsets[:few]:
            rest = subset ^ 1  # the other column of each row
            train, test = (
                DataLoader(Digits(inputs[rows], labels[rows]), batch_size=128, shuffle=first)
                for first, rows in ((True, subset), (False, rest))
            )
            model = seeded(make, 0)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            for _ in range(epochs):
                model.train()
                for images, targets in train:
                    optimizer.zero_grad()
                    outputs = model(images)
                    cross_entropy(outputs, targets).backward()
                    optimizer.step()
                model.eval()
                with torch.no_grad():
                    for images, targets in test:
                        float((model(images).argmax(1) == targets).float().mean())

    network = make()
    work = flops(lambda: cross_entropy(network(scaled[:n]), labels[:n]).backward())
    times = alternate(
        lambda: seconds(ours) / count / epochs, lambda: seconds(plain) / few / epochs, matmul, copy, repetitions=3
    )
    note = f"per network and step; reference: {few} networks"
    result = row("fit_many / plain loop over loaders, papers' CNN, n = 75", *times[:2], at_least=2, note=note)
    return against_limit(result, work, moved_by_step(network, scaled[:n]), times[0], *times[2:], ours)


def bounds() -> Iterator[Row]:
    """f-CMI, then all bounds; the reference is f-CMI, one row after another in NumPy, on one in 20 rows."""
    generator, share = torch.Generator().manual_seed(0), 20
    k1, k2, n = 5, 30, 4000
    selectors = torch.stack([complementary_selectors(k2, n, generator) for _ in range(k1)])
    labels = torch.randint(2, (k1, n, 2), generator=generator)
    tested = torch.stack([selectors == 1, selectors == 0], -1)
    wrong = (torch.rand(k1, k2, n, 2, generator=generator) < 0.1) & tested
    runs = SupersampleRuns(selectors, labels[:, None] ^ wrong, labels, 2)
    few = SupersampleRuns(*(part[:, :, ::share] for part in (selectors, runs.predictions)), labels[:, ::share], 2)

    def one_by_one() -> Tensor:
        return torch.tensor([
            np.mean([np.sqrt(2 * information(coins[:, i], pairs[:, i])) for i in range(coins.shape[1])])
            for coins, pairs in zip(few.selectors.numpy(), few.predictions.numpy(), strict=True)
        ])  # fmt: skip

    agree("f-CMI bound", fcmi_bound(few), one_by_one(), 1e-6)  # the root of a rounding error
    frame = all_bounds(runs)
    assert (np.stack(frame["values"])[:, generalization_gap(runs).numpy() > 0] > 0).all()
    single, every, reference, product, copied = alternate(
        lambda: seconds(lambda: fcmi_bound(runs)),
        lambda: seconds(lambda: all_bounds(runs)),
        lambda: share * seconds(one_by_one),
        partial(matmul, torch.float64),
        copy,
        repetitions=3,
    )
    note, moved = f"reference: one row in {share}, times {share}", 8 * k1 * n * (3 * k2 + 2)
    draws, size = 4 * k1 * k2 * n, f"k1 = {k1}, k2 = {k2}, n = {n:,}"
    for label, ours, run, entries, variables in [
        (f"f-CMI / row by row, {size}", single, lambda: fcmi_bound(runs), 8, 1),
        (f"all {len(frame)} bounds / f-CMI row by row, {size}", every, lambda: all_bounds(runs), 8 + 8 + 6 + 4 + 4, 5),
    ]:
        result = row(label, ours, reference, limit_s=3, note=note)
        work = variables * draws + 5 * entries * k1 * n
        yield against_limit(result, work, moved, ours, product, copied, run)


def information(coins: np.ndarray, pairs: np.ndarray) -> float:
    """Nats that a row's pairs of predictions ``[k2, 2]`` tell about its coin, from a table of counts."""
    value = np.unique(2 * pairs[:, 0] + pairs[:, 1], return_inverse=True)[1]
    joint = np.zeros((value.max() + 1, 2))
    np.add.at(joint, (value, coins), 1 / len(coins))
    product, seen = joint.sum(1, keepdims=True) * joint.sum(0), joint > 0
    return max(0.0, float((joint[seen] * np.log(joint[seen] / product[seen])).sum()))


def counterexample() -> Row:
    """All samples for n = 4; the reference is plain Python on all samples for n = 3, multiplied up to as many."""
    reports = {n: enumerate_counterexample(n) for n in (3, 4)}
    assert reports[4].samples == 2**20
    mean, entropy = by_hand(3)
    exact = torch.tensor([reports[3].mean_squared_gap, reports[3].hypothesis_entropy])
    agree("counterexample, n = 3", exact, torch.tensor([mean, entropy]), 1e-6)
    times = reports[4].samples / reports[3].samples
    ours, reference = alternate(
        lambda: seconds(lambda: enumerate_counterexample(4)), lambda: times * seconds(lambda: by_hand(3)), repetitions=3
    )
    note = f"reference: n = 3, times {times:.0f}"
    return row("counterexample, n = 4, 1,048,576 samples / Python", ours, reference, limit_s=1, note=note)


def by_hand(n: int) -> tuple[float, float]:
    """Mean squared gap and entropy of the hypothesis, one training set after another."""
    counts: dict[tuple[int, int], int] = {}
    total = 0.0
    samples = 2 ** (n * (n + 1))
    for sample in range(samples):
        points = [sample >> (n + 1) * i & 2 ** (n + 1) - 1 for i in range(n)]
        vectors, label = [point >> 1 for point in points], sum(point & 1 for point in points) & 1
        direction = next(a for a in range(1, 2**n) if all((a & (v ^ vectors[0])).bit_count() % 2 == 0 for v in vectors))
        bit = (direction & vectors[0]).bit_count() % 2 ^ label
        errors = [(direction & v).bit_count() % 2 ^ bit for v in vectors]
        total += (0.5 - sum(errors) / n) ** 2
        counts[direction, bit] = counts.get((direction, bit), 0) + 1
    law = np.array(list(counts.values())) / samples
    return total / samples, float(-(law * np.log(law)).sum())
