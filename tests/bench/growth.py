"""How does the time of each hot operation grow with its size, and how would its arithmetic?

Each operation runs at its size in quick, at twice and at four times that in turn. Its exponent is the slope of the
logarithm of its time over that of its size; the one to compare with is the same slope for the multiply-adds written
beside it, over the same sizes. Then a sweep of real cells runs on one, two and four processes.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import torch
from generalization import mlp, training
from harness import Row, alternate, growth_row, row, seconds
from joblib.externals.loky import get_reusable_executor
from noisy_labels import images as digits
from noisy_labels import trained
from sample_information import STEPS, options, task
from tangent import images
from tangent import mlp as wide_mlp
from torch import Tensor

from infocap.bounds import SupersampleRuns, all_bounds, complementary_selectors
from infocap.distillation import Distillation, distillation_loss, replay, supervision_complexity
from infocap.experiments.catalogue import CATALOGUE
from infocap.label_noise import limit_losses
from infocap.networks import build
from infocap.networks.pairs import WithAuxiliary
from infocap.sample_information import leave_one_out
from infocap.study.profiles import Profile
from infocap.study.store import Store
from infocap.study.sweep import Task
from infocap.tangent import ntk

REPETITIONS, STEPS_OF_FIT = 3, 20
TABLE, PANEL = "noisy_labels/training", "noisy_labels.high_noise_small"


class Growing(NamedTuple):
    variable: str
    base: int  # in quick, or close to it
    prepare: Callable[[int], Callable[[], Any]]  # size -> what is timed
    work: Callable[[int], float]  # size -> multiply-adds, up to a factor


class Sweeps(NamedTuple):
    first: float
    warm: list[float]
    results: list[dict[str, Any]]


def many(count: int, device: str = "cpu") -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(300, 1, 14, 14, generator=generator), torch.arange(300) % 2
    subsets = 2 * torch.arange(150) + complementary_selectors(count, 150, generator)
    return training(
        mlp, inputs.to(device), labels.to(device), subsets.to(device), steps=20, batch_size=64, batched=True
    )


def tangent(n: int, device: str = "cpu") -> Callable[[], Any]:
    return partial(ntk, wide_mlp().to(device), images(n, 1, 28, 28).to(device))


def left_out(steps: int | None, n: int, device: str = "cpu") -> Callable[[], Any]:
    kernel, residual, kernel_eval = (part.to(device) for part in task(n))
    horizon = options(n, steps)
    return lambda: leave_one_out(kernel, residual, kernel_eval, **horizon).functional_sample_information()


def bounds(n: int, k2: int = 30, device: str = "cpu") -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(0)
    selectors = torch.stack([complementary_selectors(k2, n, generator) for _ in range(5)])
    labels = torch.randint(2, (5, n, 2), generator=generator)
    wrong = torch.rand(5, k2, n, 2, generator=generator) < 0.1
    parts = (part.to(device) for part in (selectors, labels[:, None] ^ wrong, labels))
    return partial(all_bounds, SupersampleRuns(*parts, 2))


def limit(batch_size: int) -> Callable[[], Any]:
    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        return sum(limit_losses(*outputs, labels, beta=10.0, kind="laplace"))

    model = WithAuxiliary(build("mlp", 10, seed=1), build("mlp", 10, seed=2))
    return partial(trained, model, digits(batch_size), loss, STEPS_OF_FIT, batch_size)


def student(batch_size: int) -> Callable[[], Any]:
    views, _ = digits(2000)
    logits = torch.randn(10, 2000, 10, generator=torch.Generator().manual_seed(0))
    model = build("small_cnn", 10, seed=0)

    def run() -> float:
        teacher = replay(logits, STEPS_OF_FIT)  # serves one training
        loss = Distillation(teacher, loss=partial(distillation_loss, temperature=4.0))
        return trained(model, (views, torch.arange(2000)), loss, STEPS_OF_FIT, batch_size)

    return run


def complexity(n: int) -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(n, 2 * n, dtype=torch.float64, generator=generator)
    targets = torch.randn(50, n, dtype=torch.float64, generator=generator)
    return partial(supervision_complexity, factor @ factor.T, targets)


def linear(size: int) -> float:
    return size


OPERATIONS = {
    "20 steps of many networks, MLP 196-64-2": Growing("networks", 30, many, linear),
    "tangent kernel, MLP 784-512-512-10, float32": Growing(
        "examples",
        300,
        tangent,
        lambda n: n**2,  # the upper triangle, for each layer
    ),
    "all left-out trainings, to the end": Growing(
        "examples", 500, partial(left_out, None), lambda n: n**3 + 2 * 500 * n**2
    ),
    "all left-out trainings, 2,000 steps": Growing(  # eigenvectors, then ten poles and 500 evaluation inputs
        "examples", 500, partial(left_out, STEPS), lambda n: 14 / 3 * n**3 + 2 * n**2 * (30 + 1000)
    ),
    "all bounds, k1 = 5, k2 = 30": Growing("rows", 1000, bounds, linear),
    "all bounds, k1 = 5, n = 1,000": Growing("selectors", 30, partial(bounds, 1000), linear),
    "20 steps of LIMIT, MLP 784-256-256-10": Growing("batch", 256, limit, linear),
    "complexity of 50 target sets": Growing("examples", 512, complexity, lambda n: n**3 / 3 + 50 * 2 * n**2),
    "20 steps of a student, cached logits": Growing("batch", 64, student, linear),
}


def rows() -> Iterator[Row]:
    for operation, (variable, base, prepare, work) in OPERATIONS.items():
        sizes = base, 2 * base, 4 * base
        runs = [partial(seconds, prepare(size)) for size in sizes]
        times = alternate(*runs, repetitions=REPETITIONS)
        yield growth_row(operation, variable, sizes, times, [work(size) for size in sizes])
    yield from processes()


def processes(cores: int | None = None) -> Iterator[Row]:
    """Eight equal cells of part 1 on 1, 2 and 4 processes, into an empty store each time; seconds on the clock.

    Ideally they are min(processes, cores) times as fast as one. Two should reach .8 of that, and four take at most
    1.15 times what two let expect.
    """
    cores = cores or joblib.cpu_count(only_physical_cores=True)
    profile = CATALOGUE.load_profile("quick", [f"{PANEL}.epochs=4", f"{PANEL}.seeds={list(range(8))}"])
    wanted = profile.panels[TABLE]["high_noise_small"].cells
    work = [task for task in CATALOGUE.work(TABLE, profile) if task.cell in wanted]
    one, two, four = (sweeps(count, profile, work) for count in (1, 2, 4))
    if not one.results == two.results == four.results:
        sys.exit("a sweep: the results depend on the number of processes")
    size = f"{len(work)} cells"
    for count, few, times, reference in [(2, 1, two, one), (4, 2, four, two)]:
        ideal = min(count, cores)
        gain = statistics.median(one.warm) / statistics.median(times.warm)
        note = (
            f"on the clock, {cores} cores: {gain:.2f} times as fast as 1, ideally {ideal}; "
            f"the first sweep, which starts the workers, took {times.first / 1e3:.1f} s and does not count"
        )
        target = {"at_least": 0.8 * ideal} if few == 1 else {"at_most": 1.15 * min(few, cores) / ideal}
        yield row(f"a sweep of {size}, {count} processes / {few}", times.warm, reference.warm, note=note, **target)


def sweeps(jobs: int, profile: Profile, work: Sequence[Task]) -> Sweeps:
    """Milliseconds, with as many workers; the first sweep starts them."""
    times = []
    for _ in range(1 + REPETITIONS):
        with tempfile.TemporaryDirectory(prefix="infocap-bench-", dir=Path.cwd()) as name:
            store, start = Store(name), time.perf_counter()
            CATALOGUE.compute(work, profile, store, jobs=jobs, progress=False)
            times.append(1e3 * (time.perf_counter() - start))
            results = [store.get(task.key).result for task in work]
    get_reusable_executor().shutdown(wait=True)
    return Sweeps(times[0], times[1:], results)
