"""How is a network trained, once, or many times over?

``fit`` is the one training loop of the book: each method of each part is a loss that it minimizes. ``fit_many`` trains
many small networks of one architecture, equal to calling ``fit`` for each, and faster where batching pays.

Conventions: data are tensors already in memory; ``steps`` counts optimizer steps; an epoch visits each example once in
an order drawn from ``generator``, and its last batch may be smaller. Step 0 is the state before training. Random
layers such as dropout follow ``generator`` too, and torch's global generators are left as they were.
Used throughout the book, first in book/noisy_labels/memorization.ipynb.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import trange

from infocap import _memory
from infocap.networks import seeded

__all__ = ["SGLD", "AnchoredSGD", "Fit", "Fits", "fit", "fit_many", "gradient_variance", "predict"]

Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Fit:
    """What ``fit`` returns.

    Attributes:
        model: The trained module, the one that was passed in.
        losses: ``[steps]``, the batch loss before each step.
        records: ``{step: value}``, what ``record`` returned.
        checkpoints: ``{step: state_dict}``, copies of the weights and buffers at the steps named in ``keep``.
    """

    model: nn.Module
    losses: Tensor
    records: dict[int, Any] = field(default_factory=dict)
    checkpoints: dict[int, dict[str, Tensor]] = field(default_factory=dict)


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


class AnchoredSGD(torch.optim.SGD):
    """Plain gradient descent whose weight decay pulls towards the initial weights, not towards zero.

    Args:
        parameters: As for any optimizer; their values at this moment are the anchor.
        lr: Learning rate.
        weight_decay: The penalty is ``weight_decay/2 ||w - w0||^2``.

    Example:
        >>> w = nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = AnchoredSGD([w], lr=0.5, weight_decay=1.0)
        >>> w.data, w.grad = torch.tensor([5.0]), torch.zeros(1)
        >>> optimizer.step(); w.data
        tensor([4.])
    """

    def __init__(self, parameters, lr: float, weight_decay: float = 0.0):
        super().__init__(parameters, lr=lr)
        self.pull = weight_decay
        self.anchors = [[p.detach().clone() for p in group["params"]] for group in self.param_groups if weight_decay]

    @torch.no_grad()
    def step(self) -> None:
        for group, anchors in zip(self.param_groups, self.anchors, strict=False):  # no anchors without decay
            for parameter, anchor in zip(group["params"], anchors, strict=True):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter - anchor, alpha=self.pull)
        super().step()


class SGLD(torch.optim.Optimizer):
    """Stochastic gradient Langevin dynamics: ``w - lr_t g + sqrt(2 lr_t / beta_t) noise``, standard Gaussian noise.

    The noise comes from torch's global generator, which ``fit`` seeds.

    Args:
        parameters: As for any optimizer.
        learning_rates: ``[T]``, one for each step.
        inverse_temperatures: ``[T]``, beta, positive.

    Example:
        >>> w = nn.Parameter(torch.zeros(1))
        >>> optimizer = SGLD([w], learning_rates=torch.tensor([0.5]), inverse_temperatures=torch.tensor([1e30]))
        >>> w.grad = torch.ones(1)
        >>> optimizer.step(); w.data
        tensor([-0.5000])
    """

    def __init__(self, parameters, learning_rates: Tensor, inverse_temperatures: Tensor):
        super().__init__(parameters, {})
        self.rates, self.scales = learning_rates.tolist(), (2 * learning_rates / inverse_temperatures).sqrt().tolist()
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        rate, scale = self.rates[self.steps], self.scales[self.steps]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-rate).add_(torch.randn_like(parameter), alpha=scale)
        self.steps += 1


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss,
    optimizer: Callable[..., torch.optim.Optimizer],
    steps: int,
    batch_size: int,
    generator: torch.Generator,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    record: Callable[[int, nn.Module], Any] | None = None,
    record_at: Collection[int] | None = None,
    keep: Collection[int] = (),
    progress: bool = False,
) -> Fit:
    """Trains a network on tensors in memory.

    Args:
        model: Any module, on the device of the data; trained in place and left in training mode.
        inputs: ``[n, ...]``, floating.
        targets: ``[n, ...]``; the rows of a batch go to ``loss`` as they are.
        loss: ``loss(model(batch), batch_targets)``, a scalar. It may keep state between steps.
        optimizer: Called with the trainable parameters, such as ``partial(torch.optim.Adam, lr=1e-3)``.
        steps: Number of optimizer steps.
        batch_size: Examples per step, at most ``n``.
        generator: CPU generator that decides the order of examples, augmentation and random layers.
        schedule: Called with the optimizer; returns a torch scheduler that is stepped after every step.
        augment: ``augment(batch, generator)``, applied to every batch of inputs.
        record: Called as ``record(step, model)`` after the steps in ``record_at``. It may change the training mode
            (which is restored) and runs without gradients.
        record_at: Steps from 0 (before training) to ``steps``; ``None`` means after each step.
        keep: Steps from 0 to ``steps`` whose weights are copied into ``checkpoints``.
        progress: Show a progress bar.

    Returns:
        The trained model with its losses, records and checkpoints.

    Raises:
        ValueError: Lengths that disagree, an empty set, values that are not finite, or a number out of range.
        TypeError: Inputs that are not floating, an optimizer that is not a function of the parameters, LBFGS, or
            ReduceLROnPlateau, which need more than a gradient.

    Cost: one forward and backward pass per step; beyond them about 0.1 ms. Nothing is copied but the batch.

    Example:
        >>> inputs, targets = torch.randn(8, 1, 2, 2), torch.arange(8) % 2
        >>> net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), seed=0)
        >>> run = fit(net, inputs, targets, loss=nn.functional.cross_entropy, optimizer=torch.optim.SGD, steps=3,
        ...           batch_size=4, generator=torch.Generator().manual_seed(0), keep=[3])
        >>> run.losses.shape, sorted(run.checkpoints)
        (torch.Size([3]), [3])
    """
    _check_data(inputs, targets)
    _check_numbers(len(inputs), steps, batch_size, keep=keep, record_at=record_at or ())
    model.train()
    optimizer = _optimizer(optimizer, model)
    scheduler = schedule(optimizer) if schedule else None
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise TypeError("schedule: got ReduceLROnPlateau; accepted: schedulers that step without a measured value")
    losses, records, checkpoints = [], {}, {}

    def visit(step: int) -> None:
        if record is not None and (step in record_at if record_at is not None else step > 0):
            with torch.no_grad(), torch.random.fork_rng(devices=devices):  # looking changes nothing
                records[step] = record(step, model)
            model.train()
        if step in keep:
            checkpoints[step] = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    devices = [inputs.device] if inputs.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        _seed(int(torch.randint(2**62, (), generator=generator)), inputs.device)
        visit(0)
        batches = _batches(len(inputs), batch_size, generator)
        for step in trange(1, steps + 1, disable=not progress, unit="step"):
            batch = next(batches).to(inputs.device)
            batch_inputs = inputs.index_select(0, batch)  # 2 to 3 times faster than inputs[batch]
            if augment is not None:
                batch_inputs = augment(batch_inputs, generator)
            value = loss(model(batch_inputs), targets.index_select(0, batch))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            losses.append(value.detach())
            visit(step)
    return Fit(model, torch.stack(losses), records, checkpoints)


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
    _check_data(inputs, targets)
    _check_subsets(subsets, len(inputs), init_seeds, order_seeds)
    _check_numbers(subsets.shape[1], steps, batch_size, record_at=record_at or ())
    if record is not None and eval_inputs is None:
        raise ValueError("eval_inputs: got None; record needs the inputs at which the networks are evaluated")
    models = [seeded(build, int(init_seeds[0])).to(inputs.device).train()]
    size = 2 * len(subsets) * sum(tensor.nbytes for tensor in models[0].state_dict().values())
    _memory.require(
        "subsets", f"{len(subsets)} networks and their stacked weights", size, inputs.device, "fewer of them"
    )
    models += [seeded(build, int(seed)).to(inputs.device).train() for seed in init_seeds[1:]]
    _optimizer(optimizer, models[0])  # the errors of fit, before anything is trained
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


def predict(model: nn.Module, inputs: Tensor, batch_size: int = 2048) -> Tensor:
    """Outputs of a network in evaluation mode, without gradients, in batches; its mode is restored.

    Args:
        model: Any module with one tensor as its output.
        inputs: ``[n, ...]``.
        batch_size: Rows per forward pass: bounds the memory, does not change the result.

    Returns:
        ``[n, ...]``, the outputs.

    Example:
        >>> predict(nn.Linear(3, 2), torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in inputs.split(batch_size)])
    model.train(training)
    return outputs


def gradient_variance(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, chunk_size: int = 64) -> float:
    """The mean squared distance of the gradients of single examples from their mean, in evaluation mode.

    It is the trace of the covariance of the gradients, and not that of a minibatch, which is smaller by its size.

    Args:
        model: Any module that treats examples independently in evaluation mode; left as it was.
        inputs: ``[n, ...]``.
        targets: ``[n, ...]``.
        loss: As in ``fit``, the mean over a batch.
        chunk_size: Examples whose gradients are held together.

    Cost: n backward passes; memory for ``chunk_size`` gradients.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> gradient_variance(net, x, x, lambda output, target: (output - target).sum() * 2)  # gradients 2 and 6
        4.0
    """
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def one_loss(parameters: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        return loss(functional_call(model, parameters, (example[None],)), target[None])

    training = model.training
    model.eval()
    try:
        squares, total = 0.0, {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        for part, part_targets in zip(inputs.split(chunk_size), targets.split(chunk_size), strict=True):
            gradients = vmap(grad(one_loss), (None, 0, 0))(parameters, part, part_targets)
            for name, gradient in gradients.items():
                squares += float(gradient.double().square().sum())
                total[name] += gradient.double().sum(0)
    finally:
        model.train(training)
    n = len(inputs)
    return squares / n - sum(float((tensor / n).square().sum()) for tensor in total.values())


# One forward pass of one network on one batch, in floating-point operations. Measured on a CPU core with fused Adam
# (``make bench``): up to 10 MFLOP batching is 1 to 3 times as fast (100 networks: up to 5 times), from 17 MFLOP on it
# is mostly slower. The rule is at its worst for the papers' CNN at batch 10, 25 MFLOP: batching would gain 1.5 times.
BATCHED_BELOW = 14e6

_ELEMENTWISE = (
    AnchoredSGD, torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad,
    torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam,
)  # fmt: skip


def _batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(n, generator=generator).split(batch_size)


def _optimizer(make: Callable[..., torch.optim.Optimizer], model: nn.Module) -> torch.optim.Optimizer:
    if not callable(make):
        raise TypeError(
            f"optimizer: got {type(make).__name__}; accepted: a function of the parameters, such as its class"
        )
    optimizer = make([p for p in model.parameters() if p.requires_grad])
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("optimizer: got LBFGS; accepted: optimizers that step without evaluating the loss again")
    return optimizer


def _seed(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed devices that are not in use
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


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
    streams = [_batches(subsets.shape[1], batch_size, generator) for generator in generators]
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


def _check_data(inputs: Tensor, targets: Tensor) -> None:
    if len(inputs) == 0:
        raise ValueError("inputs: got an empty set; accepted: at least one example")
    if len(inputs) != len(targets):
        raise ValueError(f"targets: got {len(targets)} rows for {len(inputs)} inputs; accepted: one per input")
    if not inputs.is_floating_point():
        raise TypeError(f"inputs: got {inputs.dtype}; accepted: a floating dtype")
    for argument, data in [("inputs", inputs), ("targets", targets)]:
        # The sum is a cheap witness; it may itself overflow, so a bad one is only a reason to look closer.
        if not math.isfinite(data.detach().sum()) and not data.isfinite().all():
            row = int((~data.isfinite()).reshape(len(data), -1).any(1).nonzero()[0])
            raise ValueError(f"{argument}: example {row} has a value that is NaN or infinite; accepted: finite values")


def _check_numbers(n: int, steps: int, batch_size: int, **named_steps: Collection[int]) -> None:
    if steps < 1:
        raise ValueError(f"steps: got {steps}; accepted: 1 or more")
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size: got {batch_size}; accepted: 1 to {n}, the number of training examples")
    for argument, chosen in named_steps.items():
        for step in chosen:
            if not 0 <= step <= steps:
                raise ValueError(f"{argument}: got step {step}; accepted: 0 to {steps}")


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
