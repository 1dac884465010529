"""How are many small networks of one architecture trained at once?

``fit_many`` equals calling ``fit`` for each of them, and is faster where batching pays.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import trange

from infocap import _memory
from infocap.networks import seeded
from infocap.training._parts import Loss, batches, check_data, check_numbers, make_optimizer
from infocap.training.loop import fit, predict
from infocap.training.optimizers import AnchoredSGD

__all__ = ["Fits", "fit_many"]

# One forward pass of one network on one batch, in floating-point operations. Measured on a CPU core with fused Adam
# (``make bench``): up to 10 MFLOP batching is 1 to 3 times as fast (100 networks: up to 5 times), from 17 MFLOP on it
# is mostly slower. The rule is at its worst for the papers' CNN at batch 10, 25 MFLOP: batching would gain 1.5 times.
BATCHED_BELOW = 14e6

_ELEMENTWISE = (
    AnchoredSGD, torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad,
    torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam,
)  # fmt: skip


@dataclass(frozen=True)
class Fits:
    """What ``fit_many`` returns.

    Attributes:
        weights: Parameters and buffers by name, stacked by network: ``[M, ...]`` each.
        losses: ``[steps, M]``, the batch loss of each network before each step.
        records: ``{step: value}``, what ``record`` returned.
    """

    weights: dict[str, Tensor]
    losses: Tensor
    records: dict[int, Any] = field(default_factory=dict)


def fit_many(
    build: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    subsets: Tensor,
    *,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
    loss: Loss,
    optimizer: Callable[..., torch.optim.Optimizer],
    steps: int,
    batch_size: int,
    record: Callable[[int, Tensor], Any] | None = None,
    eval_inputs: Tensor | None = None,
    record_at: Collection[int] | None = None,
    batched: bool | None = None,
    progress: bool = False,
) -> Fits:
    """Trains M networks of one architecture, each on its own subset, equal to M calls of ``fit``.

    Batched, all networks take a step together: their weights are stacked and ``torch.func.vmap`` runs one forward and
    backward pass. This wins where a step is too small to fill the machine. The rule (``batched=None``) is measured in
    ``make bench``: on CUDA, batched; on CPU, batched if one forward pass of one network on one batch takes less than
    ``BATCHED_BELOW`` floating-point operations. Beyond that a single step already fills a core, and the batched
    matrix products and grouped convolutions are slower than plain ones.
    Networks with buffers (batch-norm) or random layers (dropout) or that ``vmap`` cannot run, and optimizers that mix
    the entries of a tensor or look at its shape, are always trained one by one, so that they are served exactly.

    Args:
        build: Returns a new network; called once per network with torch's generator seeded by ``init_seeds``.
        inputs: ``[N, ...]``, the pool of examples.
        targets: ``[N, ...]``.
        subsets: ``[M, n']`` int64, the rows on which each network trains.
        init_seeds: M integers; equal seeds share the initialization.
        order_seeds: M integers; equal seeds share the order of examples.
        loss: As in ``fit``; for the batched path without state and without branches on values.
        optimizer: As in ``fit``.
        steps: Optimizer steps of each network.
        batch_size: Examples per step and network, at most ``n'``.
        record: ``record(step, logits [M, m, C])`` on ``eval_inputs``, in evaluation mode.
        eval_inputs: ``[m, ...]``, needed by ``record``.
        record_at: Steps from 0 to ``steps``; ``None`` means after each step.
        batched: Overrides the rule; ``True`` for a network that must go one by one is an error.
        progress: Show a progress bar.

    Returns:
        Stacked weights, losses and records.

    Raises:
        ValueError: Shapes that disagree, indices out of range, or ``batched=True`` where the rule above forbids it.
        TypeError: Inputs that are not floating.
        MemoryError: The networks and their stacked weights would not fit; says their size before they are built.

    Cost: M times ``steps`` forward and backward passes. Memory: the weights and optimizer state of M networks; batched,
    the activations of M batches; one by one, the logits ``[M, m, C]`` of all steps in ``record_at``.

    Example:
        >>> inputs, targets = torch.randn(6, 3), torch.arange(6) % 2
        >>> subsets = torch.stack([torch.tensor([0, 1, 2, 3]), torch.tensor([2, 3, 4, 5])])
        >>> many = fit_many(lambda: nn.Linear(3, 2), inputs, targets, subsets, init_seeds=[0, 0], order_seeds=[0, 1],
        ...                 loss=nn.functional.cross_entropy, optimizer=torch.optim.SGD, steps=5, batch_size=2,
        ...                 record=lambda step, logits: logits.argmax(-1), eval_inputs=inputs, record_at=[5])
        >>> many.weights["weight"].shape, many.records[5].shape
        (torch.Size([2, 2, 3]), torch.Size([2, 6]))
    """
    check_data(inputs, targets)
    _check_subsets(subsets, len(inputs), init_seeds, order_seeds)
    check_numbers(subsets.shape[1], steps, batch_size, record_at=record_at or ())
    if record is not None and eval_inputs is None:
        raise ValueError("eval_inputs: got None; record needs the inputs at which the networks are evaluated")
    models = [seeded(build, int(init_seeds[0])).to(inputs.device).train()]
    size = 2 * len(subsets) * sum(tensor.nbytes for tensor in models[0].state_dict().values())
    _memory.require(
        "subsets", f"{len(subsets)} networks and their stacked weights", size, inputs.device, "fewer of them"
    )
    models += [seeded(build, int(seed)).to(inputs.device).train() for seed in init_seeds[1:]]
    make_optimizer(optimizer, models[0])  # the errors of fit, before anything is trained
    batch = inputs[subsets[0, :batch_size].to(inputs.device)]
    obstacle = _why_one_by_one(models[0], optimizer, batch)
    if batched and obstacle:
        raise ValueError(f"batched: got True, but {obstacle}; accepted: False or None")
    if batched is None:
        batched = not obstacle and _batching_pays(models[0], batch)
    train = _fit_batched if batched else _fit_one_by_one
    at = range(1, steps + 1) if record_at is None else sorted(record_at)
    return train(
        models, inputs, targets, subsets, order_seeds, loss, optimizer, steps, batch_size,
        record, eval_inputs, at if record is not None else (), progress,
    )  # fmt: skip


def _why_one_by_one(model: nn.Module, optimizer: Callable[..., torch.optim.Optimizer], batch: Tensor) -> str | None:
    if any(True for _ in model.buffers()):
        return "the network has buffers (batch-norm), which each network must update for itself"
    if any(isinstance(module, nn.modules.dropout._DropoutNd) for module in model.modules()):
        return "the network has dropout, whose masks each network must draw for itself"
    parameters = [parameter.detach() for parameter in model.parameters() if parameter.requires_grad]
    single, stacked = optimizer(parameters), optimizer([parameter[None] for parameter in parameters])
    if type(single) not in _ELEMENTWISE:
        return f"{type(single).__name__} is not known to treat each entry of a tensor for itself"
    if [len(group["params"]) for group in single.param_groups] != [len(g["params"]) for g in stacked.param_groups]:
        return "the optimizer groups parameters by their shape, which stacking changes"
    try:
        with torch.no_grad():
            vmap(model)(batch[None])
    except RuntimeError as error:
        return "torch.func.vmap cannot run the network: " + str(error).strip().splitlines()[0]
    return None


def _batching_pays(model: nn.Module, batch: Tensor) -> bool:
    if batch.is_cuda:
        return True
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    return counter.get_total_flops() < BATCHED_BELOW


def _fit_one_by_one(
    models, inputs, targets, subsets, order_seeds, loss, optimizer, steps, batch_size, record, eval_inputs, at, progress
) -> Fits:
    losses, logits = [], {step: [] for step in at}
    for index in trange(len(models), disable=not progress, unit="network"):
        for module in models[index].modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # a third faster on CPU
        rows = subsets[index].to(inputs.device)
        run = fit(
            models[index],
            inputs[rows],
            targets[rows],
            loss=loss,
            optimizer=optimizer,
            steps=steps,
            batch_size=batch_size,
            generator=torch.Generator().manual_seed(int(order_seeds[index])),
            record=lambda step, model: logits[step].append(predict(model, eval_inputs)),
            record_at=at,
        )
        losses.append(run.losses)
    states = [model.state_dict() for model in models]
    weights = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    records = {step: record(step, torch.stack(logits[step])) for step in at}
    return Fits(weights, torch.stack(losses, dim=1), records)


def _fit_batched(
    models, inputs, targets, subsets, order_seeds, loss, optimizer, steps, batch_size, record, eval_inputs, at, progress
) -> Fits:
    skeleton = models[0]
    weights, _ = stack_module_state(models)
    optimizer = optimizer([tensor for tensor in weights.values() if tensor.requires_grad])

    def one_loss(weights: dict[str, Tensor], batch_inputs: Tensor, batch_targets: Tensor) -> Tensor:
        return loss(functional_call(skeleton, weights, (batch_inputs,)), batch_targets)

    losses, records = [], {}

    def visit(step: int) -> None:
        if step in at:
            skeleton.eval()
            with torch.no_grad():
                each = [{name: tensor[i] for name, tensor in weights.items()} for i in range(len(models))]
                parts = eval_inputs.split(2048)
                logits = [torch.cat([functional_call(skeleton, one, (part,)) for part in parts]) for one in each]
            records[step] = record(step, torch.stack(logits))
            skeleton.train()

    generators = [torch.Generator().manual_seed(int(seed)) for seed in order_seeds]
    for generator in generators:
        torch.randint(2**62, (), generator=generator)  # fit seeds its random layers with this draw
    streams = [batches(subsets.shape[1], batch_size, generator) for generator in generators]
    skeleton.train()
    visit(0)
    for step in trange(1, steps + 1, disable=not progress, unit="step"):
        order = torch.stack([next(stream) for stream in streams])
        rows = subsets.gather(1, order.to(subsets.device)).to(inputs.device)
        batch = [data.index_select(0, rows.flatten()).unflatten(0, rows.shape) for data in (inputs, targets)]
        values = vmap(one_loss)(weights, *batch)
        optimizer.zero_grad()
        values.sum().backward()
        optimizer.step()
        losses.append(values.detach())
        visit(step)
    return Fits({name: tensor.detach() for name, tensor in weights.items()}, torch.stack(losses), records)


def _check_subsets(subsets: Tensor, pool: int, init_seeds: Sequence[int], order_seeds: Sequence[int]) -> None:
    if subsets.dim() != 2 or subsets.dtype != torch.int64 or subsets.numel() == 0:
        raise ValueError(f"subsets: got {subsets.dtype} {list(subsets.shape)}; accepted: int64 [M, n'], not empty")
    if int(subsets.min()) < 0 or int(subsets.max()) >= pool:
        raise ValueError(
            f"subsets: got indices {int(subsets.min())} to {int(subsets.max())}; accepted: 0 to {pool - 1}"
        )
    for argument, seeds in [("init_seeds", init_seeds), ("order_seeds", order_seeds)]:
        if len(seeds) != len(subsets):
            raise ValueError(f"{argument}: got {len(seeds)} seeds for {len(subsets)} subsets; accepted: one per subset")
