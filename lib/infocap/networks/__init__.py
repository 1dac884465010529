"""Which networks do the four parts train?

Each architecture is a function that returns a ``torch.nn.Module``; ``build`` finds it by name, so that a network is
plain data in an experiment's cell. Initialization is torch's own. It draws from torch's global generator, as
``torch.nn`` does; ``seed`` makes it reproducible and leaves the global generator as it was.

Conventions: inputs are ``[B, channels, H, W]``; every network flattens or pools by itself; outputs are raw logits.
Used throughout the book, first in book/noisy_labels/memorization.ipynb.
"""

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial

import torch
from torch import Tensor, nn

__all__ = ["NETWORKS", "build", "seeded"]


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


def build(name: str, num_outputs: int, *, seed: int | None = None, **options) -> nn.Module:
    """Builds one of the book's networks.

    Args:
        name: A key of ``NETWORKS``: ``mlp``, ``cnn``, ``lenet``, ``small_cnn``, ``allconv``, ``resnet20``,
            ``resnet56`` (32 x 32 images), ``resnet18``, ``resnet34``, ``resnet50`` (torchvision's).
        num_outputs: Number of logits.
        seed: Seed of the initialization; ``None`` draws from torch's global generator.
        **options: Arguments of the architecture, see its function in this module.

    Returns:
        A module that maps ``[B, channels, H, W]`` to ``[B, num_outputs]``.

    Raises:
        ValueError: Unknown name, ``num_outputs`` below 1, or images too small for the architecture.
        TypeError: An option that the architecture does not have.

    Example:
        >>> net = build("mlp", 10, seed=0, in_features=784, widths=(32,))
        >>> net(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """
    if name not in NETWORKS:
        near = get_close_matches(name, NETWORKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"name: no network {name!r}; accepted: {', '.join(NETWORKS)}{hint}")
    if num_outputs < 1:
        raise ValueError(f"num_outputs: got {num_outputs}; accepted: 1 or more")
    accepted = list(inspect.signature(NETWORKS[name]).parameters)[1:]
    for option in options:
        if option not in accepted:
            raise TypeError(f"{option}: not an option of {name!r}; accepted: {', '.join(accepted)}")
    make = partial(NETWORKS[name], num_outputs, **options)
    return make() if seed is None else seeded(make, seed)


def mlp(
    num_outputs: int,
    in_features: int = 784,
    widths: Sequence[int] = (256, 256),
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Fully connected ReLU network; batch-norm before each ReLU and dropout after it are optional."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers.append(nn.Linear(in_features, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, num_outputs))


def cnn(
    num_outputs: int,
    channels: int = 1,
    image_size: int = 28,
    batch_norm: bool = True,
    hidden: int = 128,
    width_factor: int = 1,
) -> nn.Sequential:
    """The papers' four-layer network: 32-32-64-256 channels, then ``hidden`` units (256 for sample information).

    ``width_factor`` multiplies all of them.
    """
    _check_size(image_size, 28)
    layers: list[nn.Module] = []
    hidden *= width_factor
    for width, kernel, stride, padding in [(32, 4, 2, 1), (32, 4, 2, 1), (64, 3, 2, 0), (256, 3, 1, 0)]:
        width = width_factor * width
        layers.append(nn.Conv2d(channels, width, kernel, stride, padding))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        image_size = (image_size + 2 * padding - kernel) // stride + 1
        channels = width
    layers += [nn.Flatten(), nn.Linear(channels * image_size**2, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, num_outputs))


def _check_size(image_size: int, least: int) -> None:
    if image_size < least:
        raise ValueError(f"image_size: got {image_size}; accepted: {least} or more")


def lenet(num_outputs: int, channels: int = 1, image_size: int = 28, width_factor: float = 1.0) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling (LeCun et al., 1998); ``width_factor`` scales every hidden layer."""
    _check_size(image_size, 12)
    c1, c2, h1, h2 = (max(1, round(width_factor * width)) for width in (6, 16, 120, 84))
    side = ((image_size // 2) - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, c1, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(c1, c2, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(c2 * side**2, h1),
        nn.ReLU(),
        nn.Linear(h1, h2),
        nn.ReLU(),
        nn.Linear(h2, num_outputs),
    )


def small_cnn(num_outputs: int, channels: int = 1, image_size: int = 28, width: int = 8) -> nn.Sequential:
    """Two 5 x 5 convolutions of stride 2, ``width`` and twice as many channels, then 64 units: trains in seconds."""
    _check_size(image_size, 4)
    side = -(-image_size // 4)
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * side**2, 64),
        nn.ReLU(),
        nn.Linear(64, num_outputs),
    )


def allconv(num_outputs: int, channels: int = 1, width: int = 16) -> nn.Sequential:
    """Five 3 x 3 convolutions with batch-norm, a mean over positions, and a linear layer: a small teacher."""
    layers: list[nn.Module] = []
    for factor, stride in [(1, 2), (1, 1), (2, 2), (2, 1), (4, 2)]:
        layers += [nn.Conv2d(channels, factor * width, 3, stride, 1, bias=False)]
        layers += [nn.BatchNorm2d(factor * width), nn.ReLU()]
        channels = factor * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_outputs))


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters: subsample and pad with zeros (He et al., 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.extra = stride, channels - in_channels

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(inputs)))))
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        return torch.relu(hidden + nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.extra)))


def _cifar_resnet(num_outputs: int, channels: int, blocks_per_stage: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    in_channels = 16
    for width, stride in [(16, 1), (32, 2), (64, 2)]:
        for block in range(blocks_per_stage):
            layers.append(_BasicBlock(in_channels, width, stride if block == 0 else 1))
            in_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_outputs))


def resnet20(num_outputs: int, channels: int = 3) -> nn.Sequential:
    """The 20-layer residual network for 32 x 32 images (He et al., 2016)."""
    return _cifar_resnet(num_outputs, channels, blocks_per_stage=3)


def resnet56(num_outputs: int, channels: int = 3) -> nn.Sequential:
    """The 56-layer residual network for 32 x 32 images (He et al., 2016)."""
    return _cifar_resnet(num_outputs, channels, blocks_per_stage=9)


def _torchvision_resnet(depth: int) -> Callable[..., nn.Module]:
    def make(num_outputs: int, channels: int = 3, small_images: bool = False) -> nn.Module:
        """torchvision's residual network without weights; ``small_images`` gives the 3 x 3 stem used for 32 x 32."""
        import torchvision

        net = getattr(torchvision.models, f"resnet{depth}")(weights=None, num_classes=num_outputs)
        if small_images:
            net.conv1, net.maxpool = nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.Identity()
        elif channels != 3:
            net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        return net

    return make


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "lenet": lenet,
    "small_cnn": small_cnn,
    "allconv": allconv,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet18": _torchvision_resnet(18),
    "resnet34": _torchvision_resnet(34),
    "resnet50": _torchvision_resnet(50),
}
