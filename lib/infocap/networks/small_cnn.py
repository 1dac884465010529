"""Which convolutional network trains in seconds, and has a tangent kernel that can be computed?"""

from torch import nn

from infocap import _checks
from infocap.networks import NETWORKS

__all__ = ["small_cnn"]


@NETWORKS.register("small_cnn")
def small_cnn(num_outputs: int, channels: int = 1, image_size: int = 28, width: int = 8) -> nn.Sequential:
    """Two 5 x 5 convolutions of stride 2, ``width`` and twice as many channels, then 64 units.

    Args:
        num_outputs: Number of logits.
        channels: Of the images.
        image_size: Their side, 4 or more.
        width: Channels of the first convolution.

    Raises:
        ValueError: Images too small for two convolutions.

    Example:
        >>> import torch
        >>> small_cnn(10, width=4)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """
    _checks.count("image_size", image_size, 4)
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
