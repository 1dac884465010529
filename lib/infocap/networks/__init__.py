"""Which networks do the four parts train?

Each architecture is a function in a file of its own that returns a ``torch.nn.Module`` and enters ``NETWORKS`` by its
decorator. ``build`` finds it by name, so that a network is plain data in an experiment's cell; ``build_for`` does too,
and tells it the shape of the images. A new file is found without a change anywhere else.

Conventions: inputs are ``[B, channels, H, W]``; every network flattens or pools by itself; outputs are raw logits.
Initialization is torch's own. It draws from torch's global generator, as ``torch.nn`` does; ``seed`` makes it
reproducible and leaves the global generator as it was.
Used throughout the book, first in book/noisy_labels/memorization.ipynb.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import nn

from infocap._registry import Entry, Registry

__all__ = ["NETWORKS", "build", "build_for", "seeded"]

NETWORKS = Registry(__name__, "NETWORKS", "network")


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Calls ``build`` with torch's CPU generator seeded, and leaves the global generator untouched.

    Args:
        build: A function without arguments that returns a module.
        seed: Decides every random number that ``build`` draws.

    Returns:
        The module that ``build`` returned.

    Example:
        >>> layers = [seeded(lambda: nn.Linear(2, 1), seed=0) for _ in range(2)]
        >>> bool(torch.equal(layers[0].weight, layers[1].weight))
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed devices
        return build()


def build(name: str, num_outputs: int, *, seed: int | None = None, **options: Any) -> nn.Module:
    """Builds one of the book's networks.

    Args:
        name: A name in ``NETWORKS``: ``mlp``, ``cnn``, ``lenet``, ``small_cnn``, ``allconv``, ``resnet20``,
            ``resnet56`` (32 x 32 images), ``resnet18``, ``resnet34``, ``resnet50`` (torchvision's), or one that was
            lent.
        num_outputs: Number of logits.
        seed: Seed of the initialization; ``None`` draws from torch's global generator.
        **options: Arguments of the architecture, see its function.

    Returns:
        A module that maps ``[B, channels, H, W]`` to ``[B, num_outputs]``.

    Raises:
        ValueError: Unknown name, ``num_outputs`` below 1, or images too small for the architecture.
        TypeError: An option that the architecture does not have, or one that it needs and that is missing.

    Example:
        >>> net = build("mlp", 10, seed=0, in_features=784, widths=(32,))
        >>> net(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """
    architecture = _find(name)
    accepted = [option for option in _parameters(architecture) if option != "num_outputs"]
    for option in options:
        if option not in accepted:
            raise TypeError(f"{option}: not an option of {name!r}; accepted: {', '.join(accepted)}")
    return _make(architecture, num_outputs, seed, options)


def build_for(
    name: str, image: Sequence[int], num_outputs: int, *, seed: int | None = None, **offered: Any
) -> nn.Module:
    """Builds a network for images of a given shape, from what of it the architecture asks for.

    Of ``image``, ``in_features``, ``channels`` and ``image_size``, which the shape decides, and of what is offered, an
    architecture receives what its signature names; the rest of its options keep their defaults. A function of your
    own, ``(image, num_outputs) -> torch.nn.Module``, works here once it is lent, whatever it calls the two.

    Args:
        name: As in ``build``.
        image: ``(channels, height, width)`` of the inputs.
        num_outputs: Number of logits.
        seed: As in ``build``.
        **offered: Options for the architectures that have them; they take precedence over the shape.

    Returns:
        A module that maps ``[B, channels, H, W]`` to ``[B, num_outputs]``.

    Raises:
        ValueError: As in ``build``, a shape that is none, or images that are not square for an architecture that asks
            for their side.
        TypeError: An argument without default that is neither known nor offered, or a function that returns no module.

    Example:
        >>> build_for("mlp", (3, 8, 8), 10, widths=(32,), dropout=0.5)[1]
        Linear(in_features=192, out_features=32, bias=True)
        >>> def mine(image, num_outputs):
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image), num_outputs))
        >>> with NETWORKS.lent("mine", mine):
        ...     build_for("mine", (1, 2, 2), 10, seed=0, dropout=0.5)[1]
        Linear(in_features=4, out_features=10, bias=True)
    """
    shape = tuple(image)
    if len(shape) != 3 or not all(isinstance(side, Integral) and side > 0 for side in shape):
        raise ValueError(f"image: got {shape}; accepted: (channels, height, width)")
    channels, height, width = shape
    architecture = _find(name)
    parameters = _parameters(architecture)
    if "image_size" in parameters and "image_size" not in offered and height != width:
        raise ValueError(f"image: got {height} x {width} pixels; accepted: squares, for {name!r} has an image_size")
    known = {"image": shape, "in_features": math.prod(shape), "channels": channels, "image_size": height} | offered
    options = {name: known[name] for name in parameters if name in known}
    asked = [one.name for one in parameters.values() if one.default is one.empty and one.name not in known]
    if len(asked) == 2 and not options:  # under whatever names
        options[asked.pop(0)] = shape
    if len(asked) == 1:
        options[asked[0]] = num_outputs
    return _make(architecture, num_outputs, seed, options)


def _find(name: str) -> Entry:
    try:
        return NETWORKS[name]
    except ValueError as error:  # its words, with the name of the argument here
        raise ValueError(f"name: {str(error).partition(': ')[2]}") from None


def _parameters(architecture: Entry) -> dict[str, inspect.Parameter]:
    """What can still be chosen by name: an architecture's own parameters without those that its entry holds."""
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(architecture.function).parameters.items()
    return {name: one for name, one in parameters if name not in architecture.options and one.kind not in several}


def _make(architecture: Entry, num_outputs: int, seed: int | None, options: dict[str, Any]) -> nn.Module:
    if num_outputs < 1:
        raise ValueError(f"num_outputs: got {num_outputs}; accepted: 1 or more")
    name = architecture.name
    if isinstance(architecture.function, nn.Module):
        raise TypeError(f"name: {name!r} is a network; accepted: a function that builds one, anew for each run")
    parameters = _parameters(architecture)
    if "num_outputs" in parameters:
        options = options | {"num_outputs": num_outputs}
    for parameter in parameters.values():
        if parameter.default is parameter.empty and parameter.name not in options:
            raise TypeError(f"{parameter.name}: {name!r} asks for it; got {', '.join(options)}; accepted: it as well")

    def make() -> nn.Module:
        network = architecture(**options)
        if not isinstance(network, nn.Module):
            raise TypeError(f"name: {name!r} returns {type(network).__name__}; accepted: a torch.nn.Module")
        return network

    return make() if seed is None else seeded(make, seed)
