"""What does a number of nats, a dimension, or the stability of an algorithm say about the gap? Bounds as formulas.

Information is in nats, and how it is averaged over rows is said at each bound. Derived in
book/generalization/tighter_bounds.ipynb.
"""

import math

import torch
from torch import Tensor

from infocap import _checks as check

__all__ = [
    "binary_kl_inverse", "fast_rate_bound", "interpolation_bound", "linear_bound", "sgld_bound",
    "squared_stability_bound", "stability_bound", "vc_bound",
]  # fmt: skip

_LN2 = math.log(2)
_GRID = 2000  # values of a free constant that are tried; every one gives a valid bound


def binary_kl_inverse(train_error: Tensor, information: Tensor) -> Tensor:
    """The largest test error T with ``kl(L || (L + T) / 2) <= information``, L the training error.

    Args:
        train_error: ``[...]`` in [0, 1].
        information: ``[...]`` nats, not negative; broadcast against ``train_error``.

    Returns:
        ``[...]`` float64, between the training error and 1.

    Cost: 60 bisections.

    Source: Hellstrom and Durisi (2022), *A new family of generalization bounds using samplewise evaluated CMI*.

    Example:
        >>> binary_kl_inverse(torch.tensor(0.0), torch.tensor(0.1))  # 2 (1 - exp(-.1))
        tensor(0.1903, dtype=torch.float64)
    """
    loss = check.float64("train_error", train_error, 0, 1)
    loss, information = torch.broadcast_tensors(loss, check.float64("information", information, 0))

    def divergence(test: Tensor) -> Tensor:
        middle = (loss + test) / 2
        return torch.xlogy(loss, loss / middle.clamp(min=1e-300)) + torch.xlogy(1 - loss, (1 - loss) / (1 - middle))

    low, high = loss.clone(), torch.ones_like(loss)
    for _ in range(60):
        middle = (low + high) / 2
        below = divergence(middle) <= information
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    top = (loss == 1) | (divergence(torch.ones_like(loss)) <= information)
    return torch.where(top, 1.0, high)  # the upper end, so that rounding does not make it too small


def interpolation_bound(information: Tensor) -> Tensor:
    """A bound on the test error of networks with training error 0: ``I / ln 2``.

    Args:
        information: ``[...]`` nats, the mean over rows of ``I((e0, e1); J)``.

    Source: Haghifam et al. (2022), *Understanding generalization via leave-one-out conditional mutual information*;
        Hellstrom and Durisi (2022).

    Example:
        >>> interpolation_bound(torch.tensor(0.0693, dtype=torch.float64))
        tensor(0.1000, dtype=torch.float64)
    """
    return check.float64("information", information, 0) / _LN2


def linear_bound(train_error: Tensor, information: Tensor) -> Tensor:
    """A bound on the test error, ``min c1 L + I / c2`` over the constants that the theorem admits.

    They satisfy ``c2 (c1 - 1) >= (exp(c2) - 1 - c2) (1 + c1^2)``; ``2 L + 3 I`` is one of them.

    Args:
        train_error: ``[...]`` in [0, 1].
        information: ``[...]`` nats, the mean over rows of ``I((e0, e1); J)``.

    Returns:
        ``[...]`` float64; may exceed 1.

    Source: Hellstrom and Durisi (2022), linear form.

    Example:
        >>> linear_bound(torch.tensor(0.1), torch.tensor(0.01)) <= 2 * 0.1 + 3 * 0.01
        tensor(True)
    """
    loss, information = check.float64("train_error", train_error, 0, 1), check.float64("information", information, 0)
    c2 = torch.linspace(0, 0.37, _GRID + 1, dtype=torch.float64, device=loss.device)[1:]
    excess = torch.expm1(c2) - c2
    root = c2**2 - 4 * excess * (excess + c2)
    c2, excess, root = c2[root >= 0], excess[root >= 0], root[root >= 0]
    c1 = 2 * (excess + c2) / (c2 + root.sqrt())  # the smaller root of the quadratic in c1
    return (c1 * loss[..., None] + information[..., None] / c2).amin(-1)


def fast_rate_bound(train_error: Tensor, information: Tensor) -> Tensor:
    """A bound on the gap that falls as fast as the information where the training error is small.

    ``min C1 L + I / C2`` over ``C1 = -ln(2 - exp(2 C2)) / (2 C2) - 1``, ``0 < C2 < ln 2 / 2``.

    Args:
        train_error: ``[...]`` in [0, 1].
        information: ``[...]`` nats, the mean over rows of ``(I(e0; J) + I(e1; J)) / 2``.

    Returns:
        ``[...]`` float64; ``2 I / ln 2`` at training error 0.

    Source: Wang and Mao (2023), *Tighter information-theoretic generalization bounds from supersamples*, fast rate.

    Example:
        >>> fast_rate_bound(torch.tensor(0.0), torch.tensor(0.05)) * math.log(2)
        tensor(0.1000, dtype=torch.float64)
    """
    loss, information = check.float64("train_error", train_error, 0, 1), check.float64("information", information, 0)
    c2, c1 = _fast_constants(loss.device)
    value = (c1 * loss[..., None] + information[..., None] / c2).amin(-1)
    return torch.where(loss == 0, 2 * information / _LN2, value)


def _fast_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """C2 and the smallest C1 with ``exp(2 C2) + exp(-2 C2 (C1 + 1)) <= 2``."""
    c2 = torch.linspace(0, _LN2 / 2, _GRID + 2, dtype=torch.float64, device=device)[1:-1]
    return c2, -torch.log1p(-torch.expm1(2 * c2)) / (2 * c2) - 1


def vc_bound(n: int, dimension: int) -> float:
    """The f-CMI bound of every algorithm whose hypotheses have a VC dimension.

    ``sqrt((2 / n) max((d + 1) ln 2, d ln(2 e n / d)))``: Sauer's lemma counts the predictions on 2 n inputs.

    Args:
        n: Training examples.
        dimension: VC dimension.

    Source: Harutyunyan et al. (2021), section on VC classes.

    Example:
        >>> round(vc_bound(1000, 10), 4)
        0.3549
    """
    n, d = check.count("n", n, 1), check.count("dimension", dimension, 1)
    return math.sqrt(2 / n * max((d + 1) * _LN2, d * math.log(2 * math.e * n / d)))


def stability_bound(dimension: int, lipschitz: float, stability: float) -> float:
    """A bound on the expected gap of a stable deterministic algorithm: ``2^(3/2) d^(1/4) sqrt(gamma beta)``.

    Args:
        dimension: d, of the predictions.
        lipschitz: gamma, of the loss in the prediction.
        stability: beta; ``beta^2`` is the mean squared change of the prediction at an example when that example is
            replaced in the training set.

    Source: Harutyunyan et al. (2021), section on stable algorithms.

    Example:
        >>> round(stability_bound(1, 1.0, math.sqrt(1 / (2 * 100**2))), 5)  # the mean of 100 fair labels
        0.23784
    """
    d = check.count("dimension", dimension, 1)
    gamma, beta = check.real("lipschitz", lipschitz, 0), check.real("stability", stability, 0)
    return 2**1.5 * d**0.25 * math.sqrt(gamma * beta)


def squared_stability_bound(
    n: int, dimension: int, lipschitz: float, *, stability: float, test_stability: float, train_stability: float
) -> float:
    """A bound on the expected squared gap of a stable deterministic algorithm.

    ``7 / n + 8 sqrt(2 d) gamma sqrt(2 beta^2 + n beta_1^2 + n beta_2^2)``.

    Args:
        n: Training examples.
        dimension, lipschitz, stability: As in ``stability_bound``.
        test_stability: beta_1, the same change at a fresh example.
        train_stability: beta_2, the same change at another training example.

    Source: Harutyunyan et al. (2021), section on stable algorithms; constants as proved in the book.

    Example:
        >>> squared_stability_bound(7, 1, 1.0, stability=0.0, test_stability=0.0, train_stability=0.0)
        1.0
    """
    n, d, gamma = check.count("n", n, 1), check.count("dimension", dimension, 1), check.real("lipschitz", lipschitz, 0)
    own, test, train = (
        check.real(name, value, 0)
        for name, value in (
            ("stability", stability), ("test_stability", test_stability), ("train_stability", train_stability)
        )
    )  # fmt: skip
    return 7 / n + 8 * math.sqrt(2 * d) * gamma * math.sqrt(2 * own**2 + n * test**2 + n * train**2)


def sgld_bound(
    n: int, batch_size: int, learning_rates: Tensor, inverse_temperatures: Tensor, gradient_variances: Tensor
) -> Tensor:
    """The bound on the gap of stochastic gradient Langevin dynamics from the spread of gradients along the way.

    ``sqrt(n / (4 b (n - 1)^2) sum_t (lr_t beta_t / 4) v_t)`` for steps ``w - lr_t g_t + sqrt(2 lr_t / beta_t) noise``.

    Args:
        n: Training examples, at least 2.
        batch_size: b.
        learning_rates: ``[T]``.
        inverse_temperatures: ``[T]``, beta.
        gradient_variances: ``[..., T]``, v: mean squared distance of single examples' gradients from their mean.

    Returns:
        ``[..., T]`` float64, the bound after each step.

    Source: Negrea et al. (2019), *Information-theoretic generalization bounds for SGLD via data-dependent estimates*,
        equation 6.

    Example:
        >>> sgld_bound(2, 1, torch.tensor([4.0]), torch.tensor([2.0]), torch.tensor([1.0]))  # sqrt(2/4 * 2)
        tensor([1.], dtype=torch.float64)
    """
    n, b = check.count("n", n, 2), check.count("batch_size", batch_size, 1)
    rates, betas, variances = (
        check.float64(name, value, 0)
        for name, value in (
            ("learning_rates", learning_rates), ("inverse_temperatures", inverse_temperatures),
            ("gradient_variances", gradient_variances),
        )
    )  # fmt: skip
    if rates.ndim != 1 or betas.shape != rates.shape or variances.shape[-1:] != rates.shape:
        shapes = tuple(rates.shape), tuple(betas.shape), tuple(variances.shape)
        raise ValueError(f"learning_rates, inverse_temperatures, gradient_variances must share T, got shapes {shapes}")
    return (n / (4 * b * (n - 1) ** 2) * (rates * betas / 4 * variances).cumsum(-1)).sqrt()
