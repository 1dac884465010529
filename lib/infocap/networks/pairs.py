"""How are two networks trained as one? A classifier and an auxiliary network that read the same input."""

from torch import Tensor, nn

__all__ = ["WithAuxiliary", "WithFeatures"]


class WithAuxiliary(nn.Module):
    """A classifier and a second network of the same input, trained together.

    Args:
        classifier: Any module; its output comes first.
        auxiliary: Another one for the same inputs.

    Example:
        >>> import torch
        >>> pair = WithAuxiliary(nn.Linear(3, 2), nn.Linear(3, 2))
        >>> [tuple(logits.shape) for logits in pair(torch.zeros(5, 3))]
        [(5, 2), (5, 2)]
    """

    def __init__(self, classifier: nn.Module, auxiliary: nn.Module):
        super().__init__()
        self.classifier, self.auxiliary = classifier, auxiliary

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.classifier(inputs), self.auxiliary(inputs)


class WithFeatures(nn.Module):
    """As ``WithAuxiliary``, with the input of the classifier's last layer, which loses its bias.

    Args:
        classifier: Ends in a linear layer.
        auxiliary: Another network for the same inputs.

    Example:
        >>> import torch
        >>> pair = WithFeatures(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), nn.Linear(3, 2))
        >>> [tuple(part.shape) for part in pair(torch.zeros(5, 3))]
        [(5, 4), (5, 2), (5, 2)]
    """

    def __init__(self, classifier: nn.Sequential, auxiliary: nn.Module):
        super().__init__()
        classifier[-1].register_parameter("bias", None)
        self.classifier, self.auxiliary = classifier, auxiliary

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.classifier[:-1](inputs)
        return features, self.classifier[-1](features), self.auxiliary(inputs)
