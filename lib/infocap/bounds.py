"""Upper bounds on the generalization gap from what predictions reveal.

How far can test loss exceed training loss when we may look at predictions only? A *supersample* is a table of n rows
with two examples each; a *selector*, one fair bit per row, says which of the two is trained on, and the other one is
the test. If the predictions tell little about the selector, training and test loss cannot differ much.

Conventions that may surprise: ``selectors[z, s, i]`` is 1 if column 1 of row ``i`` was trained on; the loss is the 0-1
loss; information is in nats, and the square root is taken for each row before averaging. Every bound is evaluated for
each supersample. If the selectors come with their complements (``complementary_selectors``), each certificate is at
least the measured gap for every supersample, and not only on average. Derived in book/generalization/fcmi.ipynb from
Harutyunyan et al. (2021, arXiv 2110.01584), and in book/generalization/tighter_bounds.ipynb.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from infocap import _checks as check
from infocap.information import expected_mutual_information, mutual_information
from infocap.supersample import SupersampleRuns, complementary_selectors, generalization_gap

__all__ = [
    "BOUNDS", "Bound", "SupersampleRuns", "all_bounds", "binary_kl_inverse", "bootstrap_interval",
    "complementary_selectors", "fast_rate_bound", "fcmi_bound", "generalization_gap", "interpolation_bound",
    "linear_bound", "row_information", "sgld_bound", "squared_stability_bound", "stability_bound", "vc_bound",
]  # fmt: skip

_LN2 = math.log(2)
_GRID = 2000  # values of a free constant that are tried; every one gives a valid bound
_TABLES = 2**22  # entries of a batch of contingency tables
_ROUNDING = 1e-13  # nats, far below one of k2 draws; the root would make 1e-8 of a zero that depends on the order

VARIABLES = ("predictions", "errors", "difference", "error0", "error1")
CORRECTIONS = ("none", "miller-madow", "chance")


def row_information(runs: SupersampleRuns, variable: str = "predictions", correction: str = "none") -> Tensor:
    """What the predictions on a row tell about its selector, estimated for each row from the draws.

    Args:
        runs: With ``k2`` draws.
        variable: ``predictions``, the pair of predicted classes; ``errors``, the pair of errors ``(e0, e1)``;
            ``difference``, ``e1 - e0``; ``error0`` or ``error1``.
        correction: ``none`` is the plug-in estimate, exact for the empirical law. ``miller-madow`` subtracts
            ``(cells - rows - columns + 1) / (2 k2)``, counts of what was seen; ``chance`` subtracts the exact
            expectation of the plug-in estimate for independent variables with the same margins, which is too much if
            they are dependent. Corrected estimates are clipped at 0; a bound made of them is no certificate.

    Returns:
        ``[k1, n]`` float64, nats.

    Cost: O(k1 k2 n) and tables of ``2 num_classes^2`` entries for each row.

    Example:
        >>> runs = SupersampleRuns(torch.tensor([[[0], [1]]]), torch.tensor([[[[0, 1]], [[1, 0]]]]),
        ...                        torch.tensor([[[0, 0]]]), 2)
        >>> row_information(runs)  # the predictions say which one was trained on
        tensor([[0.6931]], dtype=torch.float64)
    """
    check.choice("variable", variable, VARIABLES)
    check.choice("correction", correction, CORRECTIONS)
    values, size = _variable(runs, variable)
    rows = values.transpose(1, 2).flatten(0, 1) * 2 + runs.selectors.transpose(1, 2).flatten(0, 1)  # [k1 n, k2]
    estimates = []
    for part in rows.split(max(1, _TABLES // (2 * size))):
        counts = part.new_zeros(len(part), 2 * size).scatter_add_(1, part, torch.ones_like(part))
        counts = counts.unflatten(1, (size, 2))
        plug_in = mutual_information(counts)
        plug_in[plug_in < _ROUNDING] = 0.0
        estimates.append(correct(plug_in, counts, correction).clamp(min=0))
    return torch.cat(estimates).view(len(values), -1)


def _variable(runs: SupersampleRuns, name: str) -> tuple[Tensor, int]:
    """``[k1, k2, n]`` ids from 0, and how many there are."""
    if name == "predictions":
        return runs.predictions[..., 0] * runs.num_classes + runs.predictions[..., 1], runs.num_classes**2
    e0, e1 = runs.errors.unbind(-1)
    return {"errors": (2 * e0 + e1, 4), "difference": (e1 - e0 + 1, 3), "error0": (e0, 2), "error1": (e1, 2)}[name]


def correct(information: Tensor, counts: Tensor, correction: str) -> Tensor:
    """Plug-in estimates ``[T]`` of tables ``[T, values, 2]``, corrected as in ``row_information``, not clipped."""
    if correction == "miller-madow":
        seen = (counts > 0).sum((1, 2)) - (counts.sum(2) > 0).sum(1) - (counts.sum(1) > 0).sum(1) + 1
        return information - seen / (2 * counts.sum((1, 2)))
    if correction == "chance":  # depends on the margins only, which many tables share
        margins, place = torch.cat([counts.sum(2), counts.sum(1)], 1).unique(dim=0, return_inverse=True)
        first = place.new_empty(len(margins)).scatter_(0, place, torch.arange(len(place), device=place.device))
        return information - expected_mutual_information(counts[first])[place]
    return information


def fcmi_bound(runs: SupersampleRuns, correction: str = "none") -> Tensor:
    """The f-CMI bound for single rows: the mean over rows of ``sqrt(2 I)``, I from ``row_information``.

    Args:
        runs: As stored.
        correction: As in ``row_information``.

    Returns:
        ``[k1]`` float64. At most ``sqrt(2 ln 2)``.

    Source: Harutyunyan et al. (2021), theorem for subsets of size 1.

    Example:
        >>> runs = SupersampleRuns(torch.tensor([[[0], [1]]]), torch.tensor([[[[0, 1]], [[1, 0]]]]),
        ...                        torch.tensor([[[0, 0]]]), 2)
        >>> fcmi_bound(runs)
        tensor([1.1774], dtype=torch.float64)
    """
    return (2 * row_information(runs, correction=correction)).sqrt().mean(1)


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


def bootstrap_interval(values: Tensor, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """A percentile bootstrap interval of a mean over supersamples.

    Args:
        values: ``[k1]``, at least two.
        level: Confidence level.
        seed: Of the 5,000 resamples.

    Example:
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


class _Measured:
    """What the bounds are made of, computed once for all of them. Arrays are ``[k1, n]`` unless said otherwise."""

    def __init__(self, runs: SupersampleRuns):
        self.runs, self.train_error = runs, runs.train_error
        difference, sign = runs.errors[..., 1] - runs.errors[..., 0], 1 - 2 * runs.selectors
        self.differ = difference.abs().double().mean(1)  # A
        self.own_gap = (sign * difference).double().mean(1).abs()  # B

    @cached_property
    def predictions(self) -> Tensor:
        return row_information(self.runs)

    @cached_property
    def errors(self) -> Tensor:
        return row_information(self.runs, "errors")

    @cached_property
    def difference(self) -> Tensor:
        return row_information(self.runs, "difference")

    @cached_property
    def single(self) -> tuple[Tensor, Tensor]:
        return row_information(self.runs, "error0"), row_information(self.runs, "error1")

    @cached_property
    def mean_single(self) -> Tensor:
        """``[k1]``."""
        return sum(self.single).mean(1) / 2

    @cached_property
    def laws(self) -> tuple[Tensor, Tensor]:
        """The joint law of (e1 - e0, J) and the product of its margins, ``[k1, n, 3, 2]``."""
        difference = self.runs.errors[..., 1] - self.runs.errors[..., 0] + 1
        cells = torch.nn.functional.one_hot(2 * difference + self.runs.selectors, 6)
        joint = cells.double().mean(1).unflatten(-1, (3, 2))
        return joint, joint.sum(-1, keepdim=True) * joint.sum(-2, keepdim=True)

    @cached_property
    def variation(self) -> Tensor:
        joint, product = self.laws
        return (joint - product).abs().sum((-2, -1))

    @cached_property
    def hellinger(self) -> Tensor:
        joint, product = self.laws
        return (joint.sqrt() - product.sqrt()).square().sum((-2, -1))

    @cached_property
    def jensen_shannon(self) -> Tensor:
        joint, product = self.laws
        middle = ((joint + product) / 2).clamp(min=1e-300)
        return sum(torch.xlogy(law, law / middle).sum((-2, -1)) for law in (joint, product)).clamp(min=0)


@dataclass(frozen=True)
class Bound:
    """One bound of the registry.

    Attributes:
        name: Short.
        bounds: ``gap`` or ``test error``.
        certificate: Whether it can be computed without knowing the row's own gap.
        source: Paper.
        value: ``[k1]`` from measured quantities.
    """

    name: str
    bounds: str
    certificate: bool
    source: str
    value: Callable[[_Measured], Tensor]


BOUNDS: list[Bound] = []

_THESIS, _WM23, _WM24 = "Harutyunyan et al. (2021)", "Wang and Mao (2023)", "Wang and Mao (2024)"
_SZ, _HD = "Steinke and Zakynthinou (2020)", "Hellström and Durisi (2022)"


def _bound(name: str, source: str, bounds: str = "gap", certificate: bool = True):
    def register(value: Callable[[_Measured], Tensor]) -> Callable[[_Measured], Tensor]:
        BOUNDS.append(Bound(name, bounds, certificate, source, value))
        return value

    return register


def all_bounds(runs: SupersampleRuns) -> pd.DataFrame:
    """Every bound of the registry on the same predictions.

    Returns:
        One row per bound: ``name``, ``bounds`` (gap or test error), ``certificate`` (False if it needs the row's own
        gap, which is what one wants to know), ``source``, and ``values``, an array ``[k1]``; NaN where a bound does
        not apply, as for interpolation with a training error.

    Cost: a few passes over the predictions.

    Example:
        >>> runs = SupersampleRuns(torch.tensor([[[0], [1]]]), torch.tensor([[[[0, 1]], [[1, 0]]]]),
        ...                        torch.tensor([[[0, 0]]]), 2)
        >>> all_bounds(runs).set_index("name").loc["f-CMI", "values"].round(4)
        array([1.1774])
    """
    measured = _Measured(runs)
    lines = [
        {
            "name": bound.name,
            "bounds": bound.bounds,
            "certificate": bound.certificate,
            "source": bound.source,
            "values": bound.value(measured).cpu().numpy(),
        }
        for bound in BOUNDS
    ]
    return pd.DataFrame(lines)


def _root(information: Tensor) -> Tensor:
    """The mean over rows of ``sqrt(2 I)``."""
    return (2 * information).sqrt().mean(1)


@_bound("f-CMI", _THESIS)
def _fcmi(m: _Measured) -> Tensor:
    return _root(m.predictions)


@_bound("CMI, at most", _SZ)
def _cap(m: _Measured) -> Tensor:
    return torch.full_like(m.train_error, math.sqrt(2 * _LN2))


@_bound("e-CMI", f"{_SZ}; {_HD}")
def _ecmi(m: _Measured) -> Tensor:
    return _root(m.errors)


@_bound("ld-CMI", _WM23)
def _ldcmi(m: _Measured) -> Tensor:
    return _root(m.difference)


@_bound("single loss", _WM23)
def _single_loss(m: _Measured) -> Tensor:
    return sum(map(_root, m.single))


@_bound("binary KL", _HD, bounds="test error")
def _binary_kl(m: _Measured) -> Tensor:
    return binary_kl_inverse(m.train_error, m.errors.mean(1))


@_bound("linear", _HD, bounds="test error")
def _linear(m: _Measured) -> Tensor:
    return linear_bound(m.train_error, m.errors.mean(1))


@_bound("interpolation", f"{_HD}; {_WM23}", bounds="test error")
def _interpolation(m: _Measured) -> Tensor:
    return torch.where(m.train_error == 0, interpolation_bound(m.errors.mean(1)), math.nan)


@_bound("fast rate", _WM23)
def _fast_rate(m: _Measured) -> Tensor:
    return fast_rate_bound(m.train_error, m.mean_single)


@_bound("variance", _WM23)
def _variance(m: _Measured) -> Tensor:
    # C1 (L - (1 - g^2) V) + I / C2 with C1 g^2 in the fast rate's constraint, V the mean squared training error. With
    # C = C1 g^2 the first term is C ((L - V) / g^2 + V), and V <= L, so that the best g is 1: the fast rate.
    return fast_rate_bound(m.train_error, m.mean_single)


@_bound("f-information", _WM24, certificate=False)
def _f_information(m: _Measured) -> Tensor:
    return (2 * (m.differ + m.own_gap) * m.difference).sqrt().mean(1)


@_bound("KL and variation", _WM24)
def _kl_variation(m: _Measured) -> Tensor:
    return (2 * (m.differ + m.variation) * m.difference).sqrt().mean(1)


@_bound("fast form", _WM24)
def _fast_form(m: _Measured) -> Tensor:
    return (m.difference + ((m.difference + 2 * m.differ) * m.difference).sqrt()).mean(1)


@_bound("Hellinger", _WM24, certificate=False)
def _hellinger(m: _Measured) -> Tensor:
    return ((4 * m.differ + 2 * m.own_gap) * m.hellinger).sqrt().mean(1)


@_bound("Hellinger and variation", _WM24)
def _hellinger_variation(m: _Measured) -> Tensor:
    return ((4 * m.differ + 2 * m.variation) * m.hellinger).sqrt().mean(1)


@_bound("Jensen-Shannon", _WM24, certificate=False)
def _jensen_shannon(m: _Measured) -> Tensor:
    return (2 * ((4 * m.differ + m.own_gap) * m.jensen_shannon).sqrt()).mean(1)
