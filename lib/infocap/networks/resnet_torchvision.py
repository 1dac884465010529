"""How do the residual networks of torchvision become networks of this book?"""

from torch import nn

from infocap.networks import NETWORKS

__all__ = ["resnet_torchvision"]


@NETWORKS.register("resnet50", depth=50)
@NETWORKS.register("resnet34", depth=34)
@NETWORKS.register("resnet18", depth=18)
def resnet_torchvision(num_outputs: int, depth: int, channels: int = 3, small_images: bool = False) -> nn.Module:
    """torchvision's residual network without its weights: ``resnet18``, ``resnet34`` and ``resnet50``.

    Args:
        num_outputs: Number of logits.
        depth: 18, 34 or 50, which the registered names hold.
        channels: Of the images.
        small_images: Whether to begin with the 3 x 3 convolution that is used for 32 x 32 images, without pooling.

    Example:
        >>> resnet_torchvision(10, depth=18, channels=1).conv1
        Conv2d(1, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)
    """
    import torchvision  # seconds, which a page that builds no such network does not spend

    net = getattr(torchvision.models, f"resnet{depth}")(weights=None, num_classes=num_outputs)
    if small_images:
        net.conv1, net.maxpool = nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.Identity()
    elif channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return net
