"""Which small network does without hidden fully connected layers? Convolutions and a mean over positions."""

from torch import nn

from infocap.networks import NETWORKS

__all__ = ["allconv"]


@NETWORKS.register("allconv")
def allconv(num_outputs: int, channels: int = 1, width: int = 16) -> nn.Sequential:
    """Five 3 x 3 convolutions with batch-norm, a mean over positions, and a linear layer: a small teacher.

    Args:
        num_outputs: Number of logits.
        channels: Of the images, which may have any size.
        width: Channels of the first two convolutions; the next two have twice, the last four times as many.

    Example:
        >>> import torch
        >>> allconv(10)(torch.zeros(5, 1, 28, 20)).shape
        torch.Size([5, 10])
    """
    layers: list[nn.Module] = []
    for factor, stride in [(1, 2), (1, 1), (2, 2), (2, 1), (4, 2)]:
        layers += [nn.Conv2d(channels, factor * width, 3, stride, 1, bias=False)]
        layers += [nn.BatchNorm2d(factor * width), nn.ReLU()]
        channels = factor * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_outputs))
