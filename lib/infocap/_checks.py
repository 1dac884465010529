"""What may a caller pass? One-line errors that name the argument, what came and what is accepted."""

import math
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

SUM_TOLERANCE = 1e-6


def as_tensor(name: str, value) -> Tensor:
    """A number, a sequence, an array or a tensor as a tensor of integers or of real numbers."""
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except TypeError:
        raise TypeError(f"{name} must be a tensor of numbers, got {type(value).__name__}") from None
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must hold integers or real numbers, got {tensor.dtype}")
    return tensor


def float64(name: str, value, low: float = -math.inf, high: float = math.inf) -> Tensor:
    """``value`` as a float64 tensor of finite numbers in ``[low, high]``."""
    tensor = as_tensor(name, value).to(torch.float64)
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinite values")
    smallest, largest = tensor.aminmax()
    if smallest < low or largest > high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got values from {smallest:g} to {largest:g}")
    return tensor


def distribution(name: str, value, axes: int = 1) -> Tensor:
    """``value`` as float64 probabilities that sum to one over the last ``axes`` axes."""
    tensor = float64(name, value, low=0)
    if tensor.ndim < axes:
        raise ValueError(f"{name} must have at least {axes} axes, got shape {tuple(tensor.shape)}")
    error = (tensor.sum(tuple(range(-axes, 0))) - 1).abs().max()
    if error > SUM_TOLERANCE:
        raise ValueError(f"{name} must sum to 1 within {SUM_TOLERANCE:g}, got a sum that is off by {error:g}")
    return tensor


def transition(value, num_classes: int | None = None) -> Tensor:
    """``value`` as a float64 row-stochastic matrix, ``[K, K]`` for the given number of classes K."""
    tensor = distribution("transition", value)
    size = tensor.shape[-1] if num_classes is None else num_classes
    if tensor.shape != (size, size):
        raise ValueError(f"transition must be [{size}, {size}], got shape {tuple(tensor.shape)}")
    return tensor


def real(name: str, value, low: float = -math.inf, high: float = math.inf) -> float:
    """One finite number in ``[low, high]``."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be finite and lie in [{low:g}, {high:g}], got {value}")
    return float(value)


def positive(name: str, value) -> float:
    """A finite real number above 0."""
    if real(name, value, low=0) == 0:
        raise ValueError(f"{name} must be positive, got 0")
    return float(value)


def count(name: str, value, minimum: int) -> int:
    """One integer that is not smaller than ``minimum``."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)


def choice(name: str, value, accepted: tuple) -> None:
    """One of the accepted values."""
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")


def generator(value) -> torch.Generator:
    """A generator: no random choice of the library is drawn from global state."""
    if not isinstance(value, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(value).__name__}")
    return value


def labels(value, num_classes: int, name: str = "labels") -> Tensor:
    """``value`` as a non-empty vector of class ids, its integer dtype kept."""
    tensor = as_tensor(name, value)
    if tensor.is_floating_point():
        raise TypeError(f"{name} must be integers, got {tensor.dtype}")
    if tensor.ndim != 1 or tensor.numel() == 0:
        raise ValueError(f"{name} must be a non-empty vector, got shape {tuple(tensor.shape)}")
    _label_range(name, tensor, num_classes)
    return tensor


def _label_range(name: str, tensor: Tensor, num_classes: int) -> None:
    smallest, largest = map(int, tensor.aminmax())
    if smallest < 0 or largest >= num_classes:
        raise ValueError(f"{name} must lie in [0, {num_classes - 1}], got values from {smallest} to {largest}")


def batch(targets: Tensor, **logits: Tensor) -> Tensor:
    """Checks a loss's batch, every ``[B, K]`` tensor in ``logits`` against ``labels [B]``; returns the labels as int64.

    Shapes and dtypes are always checked. Values are too, with two or three reductions (some microseconds on a CPU),
    except inside ``torch.func.vmap``, where they cannot be read.
    """
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dtype == torch.bool:
        raise TypeError(f"labels must be a tensor of integers, got {getattr(targets, 'dtype', type(targets).__name__)}")
    shape = getattr(next(iter(logits.values())), "shape", None)
    for name, value in logits.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise TypeError(f"{name} must be a floating tensor, got {getattr(value, 'dtype', type(value).__name__)}")
        if value.ndim != 2 or value.shape[0] == 0 or value.shape[1] < 2 or value.shape != shape:
            raise ValueError(
                f"{name} must be [B, K] with B >= 1, K >= 2 and equal to its peers, got shape {tuple(value.shape)}"
            )
    if targets.shape != shape[:1]:
        raise ValueError(f"labels must be [{shape[0]}], got shape {tuple(targets.shape)}")
    try:
        _label_range("labels", targets, shape[1])
        for name, value in logits.items():
            # The sum is the cheapest witness; it may itself overflow, so a bad one is only a reason to look closer.
            if not math.isfinite(value.detach().sum()) and not value.isfinite().all():
                raise ValueError(f"{name} must be finite, got NaN or infinite values")
    except RuntimeError:  # torch.func hides the values of a batched tensor
        pass
    return targets.long()
