"""How do two examples pull at the same weights?

The empirical neural tangent kernel ``K(x, x') = J(x) J(x')^T`` with ``J(x) = d f(x) / d w``, over all trainable
parameters, at the current weights and in evaluation mode. For Linear, Conv2d and BatchNorm layers it follows from
their inputs and the derivatives at their outputs, so that the Jacobian is never held::

    Linear      (a . a' + 1) (delta . delta')              a: input, delta: derivative at the output
    Conv2d      sum over positions t, s of (u_t . u'_s + 1) (delta_t . delta'_s)          u: patches
    BatchNorm   sum over channels of (sum_t delta_t xhat_t) (...)' and of (sum_t delta_t) (...)'

Any other module goes through ``torch.func``. Conventions: kernels are sample-major, ``[n, C, m, C]``, in the model's
dtype. Derived in book/sample_information/linearized_training.ipynb; kernel: Jacot et al. (2018).
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from infocap import _memory
from infocap._checks import count

__all__ = ["general_path_reason", "jacobian", "ntk", "sampled_ntk"]

_BUDGET = 2**24  # entries of a temporary: 64 MiB in float32
_STRIP = 160  # rows of the kernel that are multiplied together: few, as a strip of a triangle is cut off in a step
_RULES = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)


def ntk(model: nn.Module, inputs: Tensor, inputs2: Tensor | None = None, *, chunk_size: int | None = None) -> Tensor:
    """The empirical neural tangent kernel.

    Args:
        model: Any module that maps ``[n, ...]`` to ``[n, C]`` and treats examples independently in evaluation mode;
            its training flags, gradients and weights are left as they were.
        inputs: ``[n, ...]``, on the model's device.
        inputs2: ``[m, ...]``; ``None`` means ``inputs``, and the result is then symmetric bit for bit.
        chunk_size: Examples that pass through the network together; ``None`` bounds the temporaries to some 64 MiB.

    Returns:
        ``[n, C, m, C]`` in the model's dtype, without a graph.

    Raises:
        ValueError: Empty or non-finite inputs, shapes that disagree, an output that is not ``[n, C]``, a model without
            trainable parameters, or batch-norm without running statistics.
        TypeError: Inputs of another dtype than the model's.
        MemoryError: The result would not fit; says its size before it is allocated.

    Cost: C backward passes for each chunk, and for each layer the cheaper of two contractions: for Linear ``(nC)(mC)``
    times its outputs, for Conv2d ``(nC)(mC)`` times its weights, or its outputs times squared positions.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> ntk(net, torch.tensor([[1.0, 2.0], [0.0, 1.0]]))[:, 0, :, 0]  # x . x' + 1
        tensor([[6., 3.],
                [3., 2.]])
    """
    with _evaluation(model, inputs, inputs2) as outputs:
        _require_kernel(model, inputs, inputs2, outputs)
        structured = _reason(model, inputs) is None
        chunk = _chunk(model, inputs, outputs, structured, chunk_size)
        symmetric, others = inputs2 is None, inputs if inputs2 is None else inputs2
        result = next(iter(_trainable(model).values())).new_zeros(len(inputs), outputs, len(others), outputs)
        starts = range(0, len(inputs), chunk), range(0, len(others), chunk)
        for i in starts[0]:
            left = _features(model, inputs[i : i + chunk], structured)
            for j in starts[1]:
                if symmetric and j < i:
                    continue
                same = symmetric and i == j
                right = left if same else _features(model, others[j : j + chunk], structured)
                block = result[i : i + chunk, :, j : j + chunk]
                for one, other in zip(left, right, strict=True):
                    one.add_product(other, block, same)
        if symmetric:
            flat = result.view(len(inputs) * outputs, -1)
            for i in range(0, len(flat), 256):  # the lower triangle was not, or only partly, computed
                corner = flat[i : i + 256, i : i + 256]
                corner.copy_(corner.triu() + corner.triu(1).T)
                flat[i + 256 :, i : i + 256] = flat[i : i + 256, i + 256 :].T
        return result


def general_path_reason(model: nn.Module, inputs: Tensor) -> str | None:
    """Why ``ntk`` takes the slower general path for a model: names the module. ``None`` if it does not.

    Args:
        model: As in ``ntk``.
        inputs: As in ``ntk``; one example is passed through the network.

    Example:
        >>> general_path_reason(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), torch.zeros(1, 2))
        "module '1' (LayerNorm) has no structured rule"
    """
    with _evaluation(model, inputs, None):
        return _reason(model, inputs)


def jacobian(model: nn.Module, inputs: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """The derivatives of the outputs with respect to all trainable parameters, held in full: for small models.

    Args:
        model, inputs, chunk_size: As in ``ntk``.

    Returns:
        ``[n, C, d]``, parameters in the order of ``model.named_parameters()``, without a graph.

    Raises:
        ValueError, TypeError: As ``ntk``.
        MemoryError: The result would not fit; says its size before it is allocated.

    Cost: n C backward passes; n C d entries.

    Example:
        >>> jacobian(nn.Linear(2, 1), torch.tensor([[1.0, 2.0]]))
        tensor([[[1., 2., 1.]]])
    """
    with _evaluation(model, inputs, None) as outputs:
        size = len(inputs) * outputs * sum(p.nbytes for p in _trainable(model).values())
        _memory.require("inputs", "their Jacobian [n, C, d]", size, inputs.device, "fewer inputs, or ntk,")
        chunk = _chunk(model, inputs, outputs, False, chunk_size)
        parts = [torch.cat(list(_derivatives(model, part).values()), 2) for part in inputs.split(chunk)]
        return torch.cat(parts)


def sampled_ntk(
    model: nn.Module,
    inputs: Tensor,
    inputs2: Tensor | None = None,
    *,
    coordinates: int,
    seed: int = 0,
    chunk_size: int | None = None,
) -> Tensor:
    """The kernel over random coordinates of each parameter tensor, rescaled to be unbiased.

    Of every tensor ``min(coordinates, size)`` entries are drawn once, and their derivatives are multiplied by
    ``sqrt(size / drawn)``: the projection that Harutyunyan et al. (2021, arXiv 2101.06640) use for large networks.

    Args:
        model, inputs, inputs2, chunk_size: As in ``ntk``.
        coordinates: Entries per tensor; with all of them the result is ``ntk``.
        seed: Decides which.

    Returns:
        ``[n, C, m, C]`` in the model's dtype.

    Raises:
        ValueError, TypeError, MemoryError: As ``ntk``; ``coordinates`` below 1.

    Cost: n C backward passes; holds ``nC`` times the drawn entries.

    Example:
        >>> net = nn.Linear(50, 1)
        >>> x = torch.rand(3, 50)
        >>> bool((sampled_ntk(net, x, coordinates=50) - ntk(net, x)).abs().max() < 1e-4)
        True
    """
    count("coordinates", coordinates, minimum=1)
    with _evaluation(model, inputs, inputs2) as outputs:
        _require_kernel(model, inputs, inputs2, outputs)
        generator = torch.Generator().manual_seed(seed)
        drawn = {
            name: torch.randperm(p.numel(), generator=generator)[:coordinates].to(p.device)
            for name, p in _trainable(model).items()
        }
        chunk = _chunk(model, inputs, outputs, False, chunk_size)

        def features(examples: Tensor) -> Tensor:
            rows = []
            for part in examples.split(chunk):
                tensors = _derivatives(model, part)
                scaled = [t[:, :, drawn[k]] * math.sqrt(t.shape[2] / len(drawn[k])) for k, t in tensors.items()]
                rows.append(torch.cat(scaled, 2))
            return torch.cat(rows)

        left = features(inputs)
        right = left if inputs2 is None else features(inputs2)
        result = left.flatten(0, 1) @ right.flatten(0, 1).T
        if inputs2 is None:
            result = result.triu() + result.triu(1).T
        return result.view(len(left), outputs, len(right), outputs)


@contextmanager
def _evaluation(model: nn.Module, inputs: Tensor, inputs2: Tensor | None) -> Iterator[int]:
    """Checks the arguments, sets evaluation mode for a while, and yields the number of outputs."""
    if not _trainable(model):
        raise ValueError("model: got no trainable parameter; accepted: at least one with requires_grad")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ValueError(f"model: module {name!r} has no running statistics, so that it mixes examples")
    dtype = next(iter(_trainable(model).values())).dtype
    for argument, value in [("inputs", inputs), ("inputs2", inputs2)]:
        if value is None:
            continue
        if not isinstance(value, Tensor):
            raise TypeError(f"{argument}: got {type(value).__name__}; accepted: a tensor")
        if len(value) == 0:
            raise ValueError(f"{argument}: got an empty set; accepted: at least one example")
        if value.shape[1:] != inputs.shape[1:]:
            raise ValueError(f"{argument}: got shape {list(value.shape)}; accepted: [m, *{list(inputs.shape[1:])}]")
        if value.is_floating_point():
            if value.dtype != dtype:
                raise TypeError(f"{argument}: got {value.dtype}; accepted: {dtype}, the model's")
            if not value.isfinite().all():
                raise ValueError(f"{argument}: got values that are NaN or infinite; accepted: finite values")
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            shape = getattr(model(inputs[:1]), "shape", ())
        if len(shape) != 2 or shape[0] != 1:
            raise ValueError(f"model: got an output of shape {list(shape)} for one example; accepted: [n, C]")
        with torch.inference_mode(False), torch.enable_grad():
            yield shape[1]
    finally:
        for module, training in flags:
            module.training = training


def _require_kernel(model: nn.Module, inputs: Tensor, inputs2: Tensor | None, outputs: int) -> None:
    weight = next(iter(_trainable(model).values()))
    entries = len(inputs) * len(inputs if inputs2 is None else inputs2) * outputs**2
    helps = "fewer inputs, blocks of inputs2, or a model in float32"
    _memory.require("inputs", "their kernel [n, C, m, C]", entries * weight.itemsize, weight.device, helps)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that hold trainable parameters of their own."""
    return {
        name: module
        for name, module in model.named_modules()
        if any(p.requires_grad for p in module.parameters(recurse=False))
    }


def _reason(model: nn.Module, inputs: Tensor) -> str | None:
    owners: dict[int, str] = {}
    for name, module in _layers(model).items():
        kind = type(module).__name__
        if type(module) not in _RULES or not set(module._parameters) <= {"weight", "bias"}:
            return f"module {name!r} ({kind}) has no structured rule"
        if module._forward_hooks or module._forward_pre_hooks:
            return f"module {name!r} ({kind}) has hooks, which may change what it computes"
        for parameter in module.parameters(recurse=False):
            if id(parameter) in owners:
                return f"module {name!r} ({kind}) shares a parameter with module {owners[id(parameter)]!r}"
            owners[id(parameter)] = name
    # With the graph cut behind each layer, what enters a layer or leaves the network and still reaches a parameter
    # reads it past its module's forward.
    calls, outputs = _record(model, inputs[:1], lambda output: output.detach().requires_grad_().clone())
    ends = [outputs, *(entering for call in calls.values() for entering, _ in call)]
    total, parameters = sum(end.sum() for end in ends), list(_trainable(model).values())
    read = set()
    if total.requires_grad:
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        read = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    with torch.no_grad():
        of_two, _ = _record(model, torch.cat([inputs[:1]] * 2))
    for name, module in _layers(model).items():
        kind = type(module).__name__
        if len(calls[name]) > 1:
            return f"module {name!r} ({kind}) is used {len(calls[name])} times in one pass"
        if any(id(p) in read for p in module.parameters(recurse=False)):
            return f"module {name!r} ({kind}) has parameters that are used elsewhere too"
        if [len(entering) for record in (calls, of_two) for entering, _ in record[name]] not in ([1, 2], []):
            return f"module {name!r} ({kind}) does not see one row for each example"
    return None


def _record(
    model: nn.Module, inputs: Tensor, passed_on: Callable[[Tensor], Tensor] = Tensor.clone
) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], Tensor]:
    """One forward pass: inputs and outputs of each layer with trainable parameters, by call, and the final outputs.

    What follows a layer may work in place, so that copies of its input and output are made.
    """
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in _layers(model)}

    def hook(name):
        def keep(module, arguments, options, output):
            entering = arguments[0] if arguments else options["input"]
            calls[name].append((entering.clone(), output))
            return passed_on(output)

        return keep

    handles = [module.register_forward_hook(hook(name), with_kwargs=True) for name, module in _layers(model).items()]
    try:
        return calls, model(inputs)
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class _Feature:
    """One layer on a chunk: what its part of the kernel is made of.

    Attributes:
        layer: The module.
        entering: Its input: ``[n, in, T]`` positions last, patches for a convolution ``[n, g, k, T]``, the normalized
            input for batch-norm ``[n, channels, T]``.
        delta: ``[n, C, ..., T]``, derivatives of each output at the layer's output, laid out alike.
    """

    layer: nn.Module
    entering: Tensor
    delta: Tensor

    def add_product(self, other: "_Feature", block: Tensor, same: bool) -> None:
        """Adds this layer's part to ``block [n, C, m, C]``; if ``same``, only from the diagonal of examples on."""
        weight, bias = (p is not None and p.requires_grad for p in (self.layer.weight, self.layer.bias))
        if isinstance(self.layer, nn.modules.batchnorm._BatchNorm):
            if weight:
                _contract(self._normal(), other._normal(), block, same)
            if bias:
                _contract(self.delta.sum(-1), other.delta.sum(-1), block, same)
            return
        groups, size, positions = self.entering.shape[1:]
        outputs, width = self.delta.shape[1], self.delta.shape[3]
        for g in range(groups):
            u, v = self.entering[:, g], other.entering[:, g]  # [n, k, T]
            d, e = self.delta[:, :, g], other.delta[:, :, g]  # [n, C, o, T]
            if positions == 1:
                scale = weight * (u[..., 0] @ v[..., 0].T) + bias if weight else None
                _contract(d[..., 0], e[..., 0], block, same, scale)
            elif weight and positions**2 * (size + outputs**2 * width) < outputs**2 * width * size:
                _contract_positions(u, v, d, e, block, same, bias)
            else:
                if bias:
                    _contract(d.sum(-1), e.sum(-1), block, same)
                step = max(1, _BUDGET // (max(len(u), len(v)) * outputs * size)) if weight else width
                for o in range(0, width if weight else 0, step):
                    left = torch.einsum("ncot,nkt->ncok", d[:, :, o : o + step], u).flatten(2)
                    right = left
                    if other is not self:
                        right = torch.einsum("ncot,nkt->ncok", e[:, :, o : o + step], v).flatten(2)
                    _contract(left, right, block, same)

    def _normal(self) -> Tensor:
        return (self.delta * self.entering[:, None]).sum(-1)


def _contract(left: Tensor, right: Tensor, block: Tensor, same: bool, scale: Tensor | None = None) -> None:
    """``block += scale * left right^T`` for ``[n, C, p]``, ``[m, C, p]``; if ``same``, its upper triangle at least."""
    outputs = left.shape[1]
    columns = right.flatten(0, 1).T
    step = max(1, _STRIP // outputs)
    for i in range(0, len(left), step):
        first = i if same else 0
        rows, target = left[i : i + step].flatten(0, 1), block[i : i + step, :, first:]
        if scale is None:
            target.view(len(rows), -1).addmm_(rows, columns[:, first * outputs :])
        else:
            product = rows @ columns[:, first * outputs :]
            target.addcmul_(product.view(target.shape), scale[i : i + step, None, first:, None])


def _contract_positions(u: Tensor, v: Tensor, d: Tensor, e: Tensor, block: Tensor, same: bool, bias: bool) -> None:
    """``block += sum_ts (u_t . v_s + bias) (d_t . e_s)``: cheaper than weight gradients where positions are few."""
    (n, outputs, _, positions), m = d.shape, len(e)
    rows = max(1, _BUDGET // (m * (outputs * positions) ** 2))
    for i in range(0, n, rows):
        first = i if same else 0
        here, others = slice(i, i + rows), slice(first, None)
        inner = u[here].mT.flatten(0, 1) @ v[others].mT.flatten(0, 1).T
        outer = d[here].permute(0, 1, 3, 2).flatten(0, 2) @ e[others].permute(0, 1, 3, 2).flatten(0, 2).T
        inner = inner.view(-1, positions, m - first, positions)
        outer = outer.view(-1, outputs, positions, m - first, outputs, positions)
        target = block[here, :, others]
        target += torch.einsum("ntms,nctmds->ncmd", inner + bias, outer)


def _features(model: nn.Module, inputs: Tensor, structured: bool) -> list:
    return _structured(model, inputs) if structured else [_General(t) for t in _derivatives(model, inputs).values()]


def _structured(model: nn.Module, inputs: Tensor) -> list[_Feature]:
    calls, outputs = _record(model, inputs)
    used = {name: call[0] for name, call in calls.items() if call and call[0][1].requires_grad}
    if not used or not outputs.requires_grad:
        return []  # no trainable layer has a say in the outputs
    targets = [output for _, output in used.values()]
    by_output = []
    for c in range(outputs.shape[1]):  # an example's outputs depend on that example only, so a sum keeps them apart
        last = c == outputs.shape[1] - 1
        by_output.append(torch.autograd.grad(outputs[:, c].sum(), targets, retain_graph=not last, allow_unused=True))
    features = []
    for (name, (entering, output)), gradients in zip(used.items(), zip(*by_output, strict=True), strict=True):
        delta = torch.stack([torch.zeros_like(output) if g is None else g for g in gradients], 1)
        features.append(_feature(_layers(model)[name], entering.detach(), delta.detach()))
    return features


def _feature(layer: nn.Module, entering: Tensor, delta: Tensor) -> _Feature:
    if isinstance(layer, nn.Linear):
        # positions between the example and the features count as those of a convolution
        entering = entering.reshape(len(entering), 1, -1, entering.shape[-1]).mT
        return _Feature(layer, entering, delta.reshape(*delta.shape[:2], 1, -1, delta.shape[-1]).mT)
    if isinstance(layer, nn.Conv2d):
        patches = _patches(layer, entering)
        groups = layer.groups
        return _Feature(
            layer,
            patches.unflatten(1, (groups, -1)),
            delta.reshape(*delta.shape[:2], groups, layer.out_channels // groups, -1),
        )
    channels = (1, -1, *[1] * (entering.ndim - 2))
    deviation = (layer.running_var + layer.eps).sqrt()
    normal = (entering - layer.running_mean.view(channels)) / deviation.view(channels)
    return _Feature(layer, normal.reshape(*normal.shape[:2], -1), delta.reshape(*delta.shape[:3], -1))


def _patches(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """``[n, in * kh * kw, T]``, channels first."""
    if isinstance(layer.padding, str):
        total = [
            d * (k - 1) if layer.padding == "same" else 0
            for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        ]
        sides = [(t // 2, t - t // 2) for t in total]
    else:
        sides = [(p, p) for p in layer.padding]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs, (*sides[1], *sides[0]), mode=mode)
    return F.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)


@dataclass
class _General:
    """The derivatives with respect to one parameter tensor, ``[n, C, size]``."""

    values: Tensor

    def add_product(self, other: "_General", block: Tensor, same: bool) -> None:
        _contract(self.values, other.values, block, same)


def _derivatives(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """``[n, C, size]`` for each trainable tensor, through ``torch.func``."""
    parameters = {name: p.detach() for name, p in _trainable(model).items()}

    def outputs(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, parameters, (example[None],))[0]

    with warnings.catch_warnings():  # where torch has no batched derivative, it loops and says that this is slow
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):  # vmap over examples fails on these
            each = [jacrev(outputs)(parameters, example) for example in inputs]
            tensors = {name: torch.stack([one[name] for one in each]) for name in parameters}
        else:
            tensors = vmap(jacrev(outputs), (None, 0))(parameters, inputs)
    return {name: t.detach().reshape(*t.shape[:2], parameters[name].numel()) for name, t in tensors.items()}


def _chunk(model: nn.Module, inputs: Tensor, outputs: int, structured: bool, chunk_size: int | None) -> int:
    """How many examples keep what is held of them within the budget, unless the caller says."""
    if chunk_size is not None:
        return count("chunk_size", chunk_size, minimum=1)
    if structured:
        features = _structured(model, inputs[:1])
        entries = sum(feature.entering.numel() + feature.delta.numel() for feature in features)
    else:
        entries = outputs * sum(p.numel() for p in _trainable(model).values())
    return max(1, 2 * _BUDGET // max(1, entries))
