"""What do several of these losses need? One-hot labels, and noise that enters gradients only."""

import math

import torch
from torch import Tensor

from infocap import _checks

KINDS = ("gaussian", "laplace")


def onehot(labels: Tensor, like: Tensor) -> Tensor:
    """Labels ``[B]`` as rows of the shape and dtype of ``like``, ``[B, K]``."""
    return (labels.unsqueeze(-1) == torch.arange(like.shape[-1], device=like.device)).to(like.dtype)


def draw_noise(like: Tensor, std: float, kind: str, generator: torch.Generator) -> Tensor:
    """Independent entries of mean 0 and standard deviation ``std``, normal or Laplace, shaped as ``like``."""
    generator = _checks.generator(generator)

    def empty() -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, device=generator.device)

    if kind == "gaussian":
        noise = std * empty().normal_(generator=generator)
    else:  # the difference of two unit exponentials is Laplace with variance 2
        noise = (
            std / math.sqrt(2) * (empty().exponential_(generator=generator) - empty().exponential_(generator=generator))
        )
    return noise.to(like.device)


def gradient_only(logits: Tensor, gradient: Tensor) -> Tensor:
    """A term of value zero whose gradient with respect to the logits is the given one."""
    return (gradient * (logits - logits.detach())).sum()
