"""The tangent kernel through the structure of the layers, against the Jacobian and its contraction.

One core's limits, where a large product reaches 85 GFLOP/s in float32 and 42 in float64, for N = nC = 5,000:
- MLP 784-512-512-10: N^2 (512 + 512 + 10) for the upper triangle, 26 GFLOP or 0.6 s in float64; the result has 200 MB
  and is passed over once for each layer.
- CNN: the convolutions have 144 and 4,608 weights, and the part of the linear layer factors: N^2 (144 + 4,608), 119
  GFLOP or 1.4 s in float32. Contracting over pairs of positions first takes more, at 49 positions.
- ResNet-18: 11 million weights; the derivatives of 640 outputs by its widest layer alone, 2.4 million, would be 6 GB,
  so that layers are contracted in parts.
The bytes that must move are at least those of the result, 100 MB in float32, written once.
The references run on some of the examples and are multiplied up; the note says which.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from harness import (
    Row,
    against_limit,
    agree,
    alternate,
    copy,
    in_subprocess,
    matmul,
    memory,
    memory_row,
    rise,
    row,
    seconds,
)
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torchvision.models import resnet18

from infocap.networks import build, seeded
from infocap.tangent import general_path_reason, ntk

EXAMPLES, OUTPUTS = 500, 10


def rows() -> Iterator[Row]:
    dense, convolutional = 512 + 512 + 10, 144 + 4608  # multiply-adds for each pair of outputs, see above
    yield against_jacobian("MLP 784-512-512-10", mlp, dense, torch.float64, 20, limit_s=2.5, at_least=0)
    yield against_jacobian("MLP 784-512-512-10", mlp, dense, torch.float32, 20, limit_s=1.2, at_least=0)
    yield against_jacobian("CNN, 16 and 32 channels", cnn, convolutional, torch.float32, 50, limit_s=3, at_least=4)
    yield from peaks()


def mlp() -> nn.Module:
    return build("mlp", OUTPUTS, seed=0, widths=(512, 512), batch_norm=False)


def cnn() -> nn.Module:
    convolutions = nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1)
    return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 7 * 7, OUTPUTS))


def resnet() -> nn.Module:
    return resnet18(num_classes=OUTPUTS).eval()


def images(n: int, *shape: int) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """``[n C, d]``, as in the tutorial of ``torch.func``."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def outputs(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, parameters, (example[None],))[0]

    parts = vmap(jacrev(outputs), (None, 0))(parameters, inputs)
    return torch.cat([part.flatten(2) for part in parts.values()], 2).flatten(0, 1)


def against_jacobian(
    label: str, make: Callable[[], nn.Module], work: int, dtype: torch.dtype, chunk: int, **targets
) -> Row:
    """The gain over the Jacobian of ``chunk`` examples and its product, multiplied up to all of them."""
    model, inputs = seeded(make, 0).to(dtype), images(EXAMPLES, 1, 28, 28).to(dtype)
    times = EXAMPLES // chunk

    def contraction() -> float:
        rows: list[Tensor] = []
        derivatives = seconds(lambda: rows.append(jacobian(model, inputs[:chunk])))
        return derivatives * times + seconds(lambda: rows[0] @ rows[0].T) * times**2

    expected = jacobian(model, inputs[:chunk])
    operation = f"NTK, {label}, n = 500, {str(dtype).removeprefix('torch.')} / Jacobian"
    kernel = ntk(model, inputs)[:chunk, :, :chunk].flatten(2).flatten(0, 1)
    agree(operation, kernel, expected @ expected.T, 1e-10 if dtype == torch.float64 else 1e-4)
    run = partial(ntk, model, inputs)
    ours, reference, product, copied = alternate(
        lambda: seconds(run), contraction, partial(matmul, dtype), copy, repetitions=3
    )
    entries = (EXAMPLES * OUTPUTS) ** 2
    note = f"reference: vmap(jacrev) on {chunk} examples, times {times}, their product times {times**2}"
    result = row(operation, ours, reference, note=note, **targets)
    return against_limit(result, work * entries, entries * dtype.itemsize, ours, product, copied, run)


def peaks() -> Iterator[Row]:
    """Memory above the level before the call, each in an interpreter of its own."""
    if memory("VmRSS") is None:
        return  # only Linux counts it
    peak, result = in_subprocess("tangent", "mlp_memory")
    yield memory_row("memory: NTK of the MLP, float64 / the result", peak, result, 2, "")
    peak, reason = in_subprocess("tangent", "resnet_memory")  # the whole process
    note = f"general path: {reason}" if reason else "structured rules"
    row = memory_row("memory: NTK of ResNet-18, 64 images 32 x 32 / 4 GiB", peak, 2**32, 1, note)
    yield row | {"verdict": "falls short"} if reason else row


def mlp_memory() -> tuple[int, int]:
    torch.set_num_threads(1)
    model, inputs = mlp().double(), images(EXAMPLES, 1, 28, 28).double()
    size = ntk(model, inputs[:5]).nbytes * (EXAMPLES // 5) ** 2  # what the first call loads stays
    return rise(partial(ntk, model, inputs)), size


def resnet_memory() -> tuple[int, str | None]:
    """The peak of the whole process; afterwards two examples are compared with their derivatives."""
    torch.set_num_threads(1)
    model, inputs = seeded(resnet, 0), images(64, 3, 32, 32)
    kernel = ntk(model, inputs)
    peak = memory("VmHWM")
    expected = jacobian(model, inputs[:2])
    agree("ResNet-18", kernel[:2, :, :2].flatten(2).flatten(0, 1), expected @ expected.T, 1e-4)
    return peak, general_path_reason(model, inputs)
