"""What does a network learn that sees pixels without their places? The fully connected one."""

from collections.abc import Sequence

from torch import nn

from infocap.networks import NETWORKS

__all__ = ["mlp"]


@NETWORKS.register("mlp")
def mlp(
    num_outputs: int,
    in_features: int = 784,
    widths: Sequence[int] = (256, 256),
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Fully connected ReLU network; batch-norm before each ReLU and dropout after it are optional.

    Args:
        num_outputs: Number of logits.
        in_features: Numbers per input; ``784`` are 28 x 28 pixels.
        widths: Units of each hidden layer.
        batch_norm: Whether each hidden layer is normalized.
        dropout: Share of the hidden units that is dropped.

    Example:
        >>> [type(layer).__name__ for layer in mlp(10, in_features=4, widths=(8,), dropout=0.5)]
        ['Flatten', 'Linear', 'BatchNorm1d', 'ReLU', 'Dropout', 'Linear']
    """
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
