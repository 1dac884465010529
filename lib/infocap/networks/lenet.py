"""How far do 60,000 weights get? LeNet-5, as wide as you like."""

from torch import nn

from infocap import _checks
from infocap.networks import NETWORKS

__all__ = ["lenet"]


@NETWORKS.register("lenet")
def lenet(num_outputs: int, channels: int = 1, image_size: int = 28, width_factor: float = 1.0) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling (LeCun et al., 1998).

    Args:
        num_outputs: Number of logits.
        channels: Of the images.
        image_size: Their side, 12 or more.
        width_factor: Scales every hidden layer, each to at least one unit.

    Raises:
        ValueError: Images too small for two convolutions.

    Example:
        >>> sum(parameter.numel() for parameter in lenet(10).parameters())
        61706
    """
    _checks.count("image_size", image_size, 12)
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
