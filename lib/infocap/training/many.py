"""How are many small networks of one architecture trained at once?

``fit_many`` equals calling ``fit`` for each of them, and is faster where batching pays.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm.auto import tqdm, trange

from infocap import _memory
from infocap.networks import seeded
from infocap.training import _mlp
from infocap.training._parts import Loss, batches, check_data, check_numbers, make_optimizer
from infocap.training.loop import fit, predict
from infocap.training.optimizers import AnchoredSGD

__all__ = ["Fits", "fit_many"]

# One forward pass of one network on one batch, in floating-point operations. Measured on a CPU core with fused Adam
# (``make bench``): up to 10 MFLOP batching is 1 to 3 times as fast (100 networks: up to 5 times), from 17 MFLOP on it
# is mostly slower. The rule is at its worst for the papers' CNN at batch 10, 25 MFLOP: batching would gain 1.5 times.
BATCHED_BELOW = 14e6
# Convolutions of few channels leave a core idle, and become one wide layer where all networks see the same batches:
# 6 of 8 and 16 channels are 1.5 times as fast at batch 64 (31 MFLOP), as fast at 128; of twice as many, nothing is won.
NARROW, NARROW_BELOW = 16, 50e6

TOGETHER = 50  # networks that take their steps together on a CPU, so that weights and optimizer state stay in its cache

Trained = tuple[dict[str, Tensor], Tensor, dict[int, Tensor]]

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

    def state(self, index: int) -> dict[str, Tensor]:
        """Parameters and buffers of one network by name, as ``load_state_dict`` takes them.

        Args:
            index: Which of the M networks, from 0 on.

        Example:
            >>> fits = Fits({"weight": torch.tensor([[[1.0]], [[2.0]]])}, torch.zeros(5, 2))
            >>> model = nn.Linear(1, 1, bias=False)
            >>> model.load_state_dict(fits.state(1))
            <All keys matched successfully>
            >>> model(torch.ones(1, 1)).item()
            2.0
        """
        return {name: stacked[index] for name, stacked in self.weights.items()}


def fit_many(
    build: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    subsets: Tensor,
    *,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
    loss: Loss | Sequence[Loss],
    optimizer: Callable[..., torch.optim.Optimizer],
    steps: int,
    batch_size: int,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    record: Callable[[int, Tensor], Any] | None = None,
    eval_inputs: Tensor | None = None,
    record_at: Collection[int] | None = None,
    batched: bool | None = None,
    progress: bool = False,
) -> Fits:
    """Trains M networks of one architecture, each on its own subset, equal to M calls of ``fit``.

    Batched, networks take a step together, on a CPU ``TOGETHER`` at a time: their weights are stacked, and one batched
    product per layer of fully connected networks, or ``torch.func.vmap``, runs one forward and backward pass. Where all
    see the same batches, the first layers become one wide layer. This wins where a step is too small to fill the
    machine. The rule (``batched=None``) is measured in ``make bench``: on CUDA, batched; on CPU, batched if one forward
    pass of one network on one batch takes less than ``BATCHED_BELOW`` floating-point operations, or ``NARROW_BELOW``
    with narrow convolutions on shared batches. Beyond that a single step already fills a core, and the batched matrix
    products and grouped convolutions are slower than plain ones.
    Networks with buffers (batch-norm) or random layers (dropout) or that ``vmap`` cannot run, and optimizers that mix
    the entries of a tensor or look at its shape, are always trained one by one, so that they are served exactly.

    Args:
        build: Returns a new network; called once per network with torch's generator seeded by ``init_seeds``.
        inputs: ``[N, ...]``, the pool of examples.
        targets: ``[N, ...]``.
        subsets: ``[M, n']`` int64, the rows on which each network trains.
        init_seeds: M integers; equal seeds share the initialization.
        order_seeds: M integers; equal seeds share the order of examples.
        loss: As in ``fit``; for the batched path without state and without branches on values. Or M losses, one per
            network, which may have both.
        optimizer: As in ``fit``.
        steps: Optimizer steps of each network.
        batch_size: Examples per step and network, at most ``n'``.
        schedule: As in ``fit``.
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

    Cost: M times ``steps`` forward and backward passes. Memory: the weights of M networks, the optimizer state and
    activations of those that take a step together, and the logits ``[M, m, C]`` of all steps in ``record_at``.

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
    if not callable(loss) and len(loss) != len(subsets):
        raise ValueError(f"loss: got {len(loss)} losses for {len(subsets)} subsets; accepted: one, or one per subset")
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
    shared = _is_shared(subsets, order_seeds)
    if batched is None:
        batched = not obstacle and _batching_pays(models[0], batch, shared)
    train = partial(_fit_batched, shared) if batched else _fit_one_by_one
    at = range(1, steps + 1) if record_at is None else sorted(set(record_at))
    weights, losses, logits = train(
        models, inputs, targets, subsets, order_seeds, loss, optimizer, schedule, steps, batch_size,
        eval_inputs, at if record is not None else (), progress,
    )  # fmt: skip
    return Fits(weights, losses, {step: record(step, logits.pop(step)) for step in list(logits)})


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


def _batching_pays(model: nn.Module, batch: Tensor, shared: bool) -> bool:
    if batch.is_cuda:
        return True
    from torch.utils.flop_counter import FlopCounterMode  # loads a compiler

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    channels = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    narrow = shared and channels and max(channels) <= NARROW
    return counter.get_total_flops() < (NARROW_BELOW if narrow else BATCHED_BELOW)


def _is_shared(subsets: Tensor, order_seeds: Sequence[int]) -> bool:
    """Whether all networks see the same batches."""
    return bool((subsets == subsets[0]).all()) and len(set(map(int, order_seeds))) == 1


def _fit_one_by_one(
    models, inputs, targets, subsets, order_seeds, loss, optimizer, schedule, steps, batch_size, eval_inputs, at,
    progress,
) -> Trained:  # fmt: skip
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
            loss=loss if callable(loss) else loss[index],
            optimizer=optimizer,
            schedule=schedule,
            steps=steps,
            batch_size=batch_size,
            generator=torch.Generator().manual_seed(int(order_seeds[index])),
            record=lambda step, model: logits[step].append(predict(model, eval_inputs)),
            record_at=at,
        )
        losses.append(run.losses)
    states = [model.state_dict() for model in models]
    weights = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    return weights, torch.stack(losses, dim=1), {step: torch.stack(logits[step]) for step in at}


def _fit_batched(
    shared, models, inputs, targets, subsets, order_seeds, loss, optimizer, schedule, steps, batch_size, eval_inputs,
    at, progress,
) -> Trained:  # fmt: skip
    together = len(models) if inputs.is_cuda else TOGETHER
    parts = [slice(start, start + together) for start in range(0, len(models), together)]
    with tqdm(total=steps * len(parts), disable=not progress, unit="step") as bar:
        trained = [
            _fit_together(
                shared, models[part], inputs, targets, subsets[part], order_seeds[part],
                loss if callable(loss) else loss[part], optimizer, schedule, steps, batch_size, eval_inputs, at, bar,
            )
            for part in parts
        ]  # fmt: skip
    weights, losses, logits = zip(*trained, strict=True)
    joined = {name: torch.cat([one[name] for one in weights]) for name in weights[0]}
    return joined, torch.cat(losses, dim=1), {step: torch.cat([one[step] for one in logits]) for step in at}


def _fit_together(
    shared, models, inputs, targets, subsets, order_seeds, loss, optimizer, schedule, steps, batch_size, eval_inputs,
    at, bar,
) -> Trained:  # fmt: skip
    skeleton, (weights, _) = models[0], stack_module_state(models)
    optimizer = optimizer([tensor for tensor in weights.values() if tensor.requires_grad])
    scheduler = schedule(optimizer) if schedule else None
    layers, values_of = _mlp.chains(skeleton, inputs), partial(_losses, loss)
    losses, logits = [], {}

    def visit(step: int) -> None:
        if step in at:
            skeleton.eval()
            with torch.no_grad():
                each = [{name: tensor[i] for name, tensor in weights.items()} for i in range(len(models))]
                parts = eval_inputs.split(2048)
                seen = [torch.cat([functional_call(skeleton, one, (part,)) for part in parts]) for one in each]
            logits[step] = torch.stack(seen)
            skeleton.train()

    stream = _batches(inputs, targets, subsets, order_seeds, batch_size, shared)
    skeleton.train()
    visit(0)
    for step in range(1, steps + 1):
        batch_inputs, batch_targets = next(stream)
        optimizer.zero_grad()
        if layers:
            each = batch_inputs.expand(len(models), *batch_inputs.shape) if shared else batch_inputs
            values = _mlp.step(weights, layers, each, batch_targets, values_of)
        else:
            outputs = vmap(partial(functional_call, skeleton), (0, None if shared else 0))(weights, batch_inputs)
            values = values_of(outputs, batch_targets)
            values.sum().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(values.detach())
        visit(step)
        bar.update()
    return {name: tensor.detach() for name, tensor in weights.items()}, torch.stack(losses), logits


def _batches(
    inputs: Tensor, targets: Tensor, subsets: Tensor, order_seeds: Sequence[int], batch_size: int, shared: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets ``[M, B, ...]``; if all networks see the same batches, inputs ``[B, ...]``."""
    count = len(subsets)
    if shared:
        subsets, order_seeds = subsets[:1], order_seeds[:1]
    generators = [torch.Generator().manual_seed(int(seed)) for seed in order_seeds]
    for generator in generators:
        torch.randint(2**62, (), generator=generator)  # fit seeds its random layers with this draw
    for order in zip(*(batches(subsets.shape[1], batch_size, generator) for generator in generators), strict=True):
        rows = subsets.gather(1, torch.stack(order).to(subsets.device)).to(inputs.device)
        drawn, known = (data.index_select(0, rows.flatten()).unflatten(0, rows.shape) for data in (inputs, targets))
        yield (drawn[0], known.expand(count, *known.shape[1:])) if shared else (drawn, known)


def _losses(loss: Loss | Sequence[Loss], outputs: Any, targets: Tensor) -> Tensor:
    """The batch loss of each network, ``[M]``."""
    if callable(loss):
        return vmap(loss)(outputs, targets)
    each = zip(*(part.unbind() for part in outputs), strict=True) if isinstance(outputs, tuple) else outputs.unbind()
    return torch.stack([one(output, target) for one, output, target in zip(loss, each, targets, strict=True)])


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
