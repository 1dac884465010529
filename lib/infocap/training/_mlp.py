"""How do many fully connected networks take a step together? One batched product for each layer, there and back.

The gradient is written out, as autograd would copy and allocate what one product can write in its place.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from infocap.networks.pairs import WithAuxiliary

__all__ = ["chains", "step"]


def chains(model: nn.Module, batch: Tensor) -> list[list[str]]:
    """The linear layers of the network by name, in order: one list, or two for a pair; empty if it is anything else."""
    pair = type(model) is WithAuxiliary
    found = [_chain(*part, batch) for part in (model.named_children() if pair else [("", model)])]
    named = [f"{layer}.{kind}" for chain in found for layer in chain for kind in ("weight", "bias")]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return found if all(found) and sorted(trained) == sorted(named) else []


def _chain(name: str, model: nn.Module, batch: Tensor) -> list[str]:
    """Linear layers with ReLUs between them; inputs that are no vectors are flattened first."""
    if type(model) is not nn.Sequential:
        return []
    layers = list(model.named_children())
    if layers and type(layers[0][1]) is nn.Flatten and (layers[0][1].start_dim, layers[0][1].end_dim) == (1, -1):
        layers = layers[1:]
    elif batch.dim() != 2:
        return []
    wanted = [nn.Linear if place % 2 == 0 else nn.ReLU for place in range(len(layers))]
    if [type(layer) for _, layer in layers] != wanted or len(layers) % 2 == 0:
        return []
    return [f"{name}.{own}".lstrip(".") for own, _ in layers[::2]]


def step(
    weights: dict[str, Tensor], chains: list[list[str]], inputs: Tensor, targets: Tensor, losses: Callable
) -> Tensor:
    """The batch loss of each network, ``[M]``; its gradients are left in ``grad`` of the weights.

    Args:
        weights: Stacked by network, ``[M, ...]`` each.
        chains: What ``chains`` said.
        inputs: ``[M, B, ...]``.
        targets: ``[M, B, ...]``.
        losses: ``losses(outputs, targets) -> [M]``; of a pair the outputs are a tuple.
    """
    with torch.no_grad():
        paths = [_forward(weights, chain, inputs.flatten(2)) for chain in chains]
    outputs = tuple(path[-1].requires_grad_() for path in paths)
    values = losses(outputs if len(outputs) > 1 else outputs[0], targets)
    slopes = torch.autograd.grad(values.sum(), outputs, allow_unused=True)
    with torch.no_grad():
        for chain, path, slope in zip(chains, paths, slopes, strict=True):
            if slope is not None:
                _backward(weights, chain, path, slope)
    return values.detach()


def _forward(weights: dict[str, Tensor], chain: list[str], inputs: Tensor) -> list[Tensor]:
    """What enters each layer, and the outputs, ``[M, B, units]`` each."""
    path = [inputs]
    for place, layer in enumerate(chain):
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        units = torch.baddbmm(bias[:, None], path[-1], weight.mT)
        path.append(units if place == len(chain) - 1 else units.relu_())
    return path


def _backward(weights: dict[str, Tensor], chain: list[str], path: list[Tensor], slope: Tensor) -> None:
    for place in reversed(range(len(chain))):
        weight, bias = weights[f"{chain[place]}.weight"], weights[f"{chain[place]}.bias"]
        weight.grad, bias.grad = torch.bmm(slope.mT, path[place]), slope.sum(1)
        if place:
            slope = torch.ops.aten.threshold_backward(torch.bmm(slope, weight), path[place], 0)  # of the ReLU
