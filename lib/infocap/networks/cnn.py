"""Which convolutional network do the papers train on small images?"""

from torch import nn

from infocap import _checks
from infocap.networks import NETWORKS

__all__ = ["cnn"]


@NETWORKS.register("cnn")
def cnn(
    num_outputs: int,
    channels: int = 1,
    image_size: int = 28,
    batch_norm: bool = True,
    hidden: int = 128,
    width_factor: int = 1,
) -> nn.Sequential:
    """The papers' four-layer network: 32-32-64-256 channels, then ``hidden`` units (256 for sample information).

    Args:
        num_outputs: Number of logits.
        channels: Of the images.
        image_size: Their side, 28 or more.
        batch_norm: Whether each convolution is normalized.
        hidden: Units of the layer before the last.
        width_factor: Multiplies all channels and ``hidden``.

    Raises:
        ValueError: Images too small for the four convolutions.

    Example:
        >>> import torch
        >>> cnn(10, channels=3, image_size=32)(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 10])
    """
    _checks.count("image_size", image_size, 28)
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
