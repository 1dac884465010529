"""What do residual networks look like that were made for images of 32 x 32 pixels?"""

import torch
from torch import Tensor, nn

from infocap.networks import NETWORKS

__all__ = ["resnet_cifar"]


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters: subsample and pad with zeros."""

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


@NETWORKS.register("resnet56", blocks_per_stage=9)
@NETWORKS.register("resnet20", blocks_per_stage=3)
def resnet_cifar(num_outputs: int, blocks_per_stage: int, channels: int = 3) -> nn.Sequential:
    """The residual networks for 32 x 32 images (He et al., 2016): ``resnet20`` and ``resnet56``, named by their layers.

    Args:
        num_outputs: Number of logits.
        blocks_per_stage: Pairs of convolutions in each of three stages; the registered names hold 3 and 9.
        channels: Of the images.

    Example:
        >>> net = resnet_cifar(10, blocks_per_stage=3)
        >>> sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in net.modules())
        20
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    in_channels = 16
    for width, stride in [(16, 1), (32, 2), (64, 2)]:
        for block in range(blocks_per_stage):
            layers.append(_BasicBlock(in_channels, width, stride if block == 0 else 1))
            in_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_outputs))
