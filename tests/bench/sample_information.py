"""All left-out trainings of a linearized network at once, against one example after another.

One core's limits, at the 45 GFLOP/s that a product reaches in float64 here: to the end, n = 1,000 and m = 500 take
n^3 for the inverse and 2 m n^2 for its product, 2 GFLOP or 45 ms. A finite horizon takes an eigendecomposition: 4/3 n^3
for the reduction to tridiagonal form, half of it products of a matrix and a vector, and 2 n^3 to turn the vectors back;
then 4 m n^2 for the predictions and 12 n^2 P for P some 10 poles: 5.5 GFLOP or 120 ms. The time of torch.linalg.eigh
alone is measured beside. Kernels are read once, and the inverse or vectors and the shifts written, 16 n (n + m) bytes;
the reduction reads what is left of the kernel's triangle for each column, n^3 / 6 numbers, if no cache holds it.
The references run on a few examples, and their time is multiplied up.
"""

import statistics
from collections.abc import Iterator
from functools import cache, partial

import torch
from harness import Row, against_limit, agree, alternate, copy, duration, matmul, row, seconds
from torch import Tensor

from infocap.data import load
from infocap.networks import build
from infocap.sample_information import leave_one_out
from infocap.tangent import ntk

EVALUATION, STEPS, POLES = 500, 2_000, 10
CHOSEN = (0, 500, 999)  # the examples that the references leave out


def rows() -> Iterator[Row]:
    yield to_the_end()
    yield finite_horizon()
    yield longer_horizon()
    yield larger("to the end, n = 2,000 / n = 1,000", None, limit_s=None)
    yield larger("2,000 steps, n = 2,000 / n = 1,000", STEPS, limit_s=3)


@cache
def task(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Kernel, residual and evaluation kernel: Fashion-MNIST pullovers against coats, a network of 1,024 units."""
    data, net = load("fashion-mnist"), build("mlp", 1, seed=0, widths=(1024,), batch_norm=False).double()
    rows = ((data.train_labels == 2) | (data.train_labels == 4)).nonzero()[: n + EVALUATION, 0]
    inputs, targets = data.train_inputs[rows].double(), (data.train_labels[rows] == 4).double()
    kernel = ntk(net, inputs, inputs[:n])[:, 0, :, 0]
    with torch.no_grad():
        residual = targets[:n] - net(inputs[:n])[:, 0]
    return kernel[:n].contiguous(), residual, kernel[n:].contiguous()


def options(n: int, steps: int | None) -> dict:
    return {} if steps is None else {"steps": steps, "learning_rate": 1 / float(torch.linalg.eigvalsh(task(n)[0])[-1])}


def scores(n: int, horizon: dict) -> Tensor:
    return leave_one_out(*task(n), **horizon).functional_sample_information()


def one_by_one(n: int, horizon: dict, chosen: tuple[int, ...]) -> tuple[Tensor, float]:
    """F-SI of some examples, and the seconds that all n would take.

    The order of the authors' code, less its detours: for each example the inverse is down-dated, the dual coefficients
    follow, at a finite horizon through a matrix power, and from them the predictions.
    """
    kernel, residual, kernel_eval = task(n)
    inverse = torch.linalg.inv(kernel)

    def dual(matrix: Tensor, inverse: Tensor, residual: Tensor) -> Tensor:
        if not horizon:
            return inverse @ residual
        step = torch.eye(len(matrix), dtype=matrix.dtype) - horizon["learning_rate"] * matrix
        return inverse @ (residual - torch.linalg.matrix_power(step, horizon["steps"]) @ residual)

    everything, found = kernel_eval @ dual(kernel, inverse, residual), []

    def leave_out() -> None:
        for i in chosen:
            keep = torch.arange(n) != i
            column = inverse[keep, i]
            smaller = inverse[keep][:, keep].addr_(column, column, alpha=-1 / float(inverse[i, i]))
            left = kernel[keep][:, keep] if horizon else smaller
            shift = kernel_eval[:, keep] @ dual(left, smaller, residual[keep]) - everything
            found.append(shift.square().mean() / 2)

    spent = seconds(leave_out)
    return torch.stack(found), spent * n / len(chosen)


def against_one_by_one(label: str, steps: int | None, **targets) -> Row:
    horizon = options(1000, steps)
    agree(label, scores(1000, horizon)[list(CHOSEN)], one_by_one(1000, horizon, CHOSEN)[0], 1e-6)
    ours, reference, eigen, product, copied = alternate(
        lambda: seconds(partial(scores, 1000, horizon)),
        lambda: one_by_one(1000, horizon, CHOSEN)[1],
        lambda: seconds(lambda: torch.linalg.eigh(task(1000)[0])),
        partial(matmul, torch.float64),
        copy,
        repetitions=3,
    )
    note = f"reference: {len(CHOSEN)} examples, times {1000 / len(CHOSEN):.0f}"
    if steps is not None:
        note += f"; {eigendecomposition(eigen)}"
    result = row(f"all-n F-SI, n = 1,000, {label}", ours, reference, note=note, **targets)
    return against_limit(result, *must(1000, steps is not None), ours, product, copied, partial(scores, 1000, horizon))


def must(n: int, finite: bool) -> tuple[float, float]:
    """Arithmetic and bytes, as stated above."""
    m = EVALUATION
    moved = 16 * n * (n + m)
    if not finite:
        return n**3 + 2 * m * n**2, moved
    return 10 / 3 * n**3 + 4 * m * n**2 + 12 * n**2 * POLES, moved + 8 * n**3 / 6


def to_the_end() -> Row:
    return against_one_by_one("to the end / inverse down-dates", None, limit_s=0.2, at_least=100)


def finite_horizon() -> Row:
    return against_one_by_one("2,000 steps / matrix powers", STEPS, limit_s=0.6, at_least=500)


def longer_horizon() -> Row:
    """The reference is the product itself at the shorter horizon; both are checked against the matrix power."""
    short, long = options(1000, STEPS), options(1000, 10 * STEPS)
    label = "all-n F-SI, n = 1,000, 20,000 / 2,000 steps"
    agree(label, scores(1000, long)[[500]], one_by_one(1000, long, (500,))[0], 1e-6)
    ours, reference = alternate(
        lambda: seconds(partial(scores, 1000, long)), lambda: seconds(partial(scores, 1000, short)), repetitions=5
    )
    return row(label, ours, reference, at_most=1.3)


def larger(label: str, steps: int | None, limit_s: float | None) -> Row:
    """The reference is the product itself on half as many examples; the larger is checked on one example."""
    few, many = options(1000, steps), options(2000, steps)
    agree(label, scores(2000, many)[[500]], one_by_one(2000, many, (500,))[0], 1e-6)
    ours, reference, eigen = alternate(
        lambda: seconds(partial(scores, 2000, many)),
        lambda: seconds(partial(scores, 1000, few)),
        lambda: seconds(lambda: torch.linalg.eigh(task(2000)[0])),
        repetitions=3,
    )
    note = "" if steps is None else eigendecomposition(eigen)
    return row(f"all-n F-SI, {label}", ours, reference, at_most=9, limit_s=limit_s, note=note)


def eigendecomposition(times: list[float]) -> str:
    return f"torch.linalg.eigh alone {duration(statistics.median(times))}"
