"""How sure is a mean over supersamples?"""

from scipy import stats
from torch import Tensor

from infocap import _checks as check

__all__ = ["bootstrap_interval"]


def bootstrap_interval(values: Tensor, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """A percentile bootstrap interval of a mean over supersamples.

    Args:
        values: ``[k1]``, at least two.
        level: Confidence level.
        seed: Of the 5,000 resamples.

    Example:
        >>> import torch
        >>> low, high = bootstrap_interval(torch.tensor([0.1, 0.2, 0.3, 0.2, 0.2]))
        >>> 0.1 < low < 0.2 < high < 0.3
        True
    """
    values = check.float64("values", values)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must be [k1] with k1 >= 2, got shape {tuple(values.shape)}")
    interval = stats.bootstrap(
        (values.cpu().numpy(),), lambda x, axis: x.mean(axis), n_resamples=5000, confidence_level=level,
        method="percentile", rng=seed,
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)
