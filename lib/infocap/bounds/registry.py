"""Which bounds are there, and what is each on the same predictions?

A bound is a function of what is measured on a study's predictions, and enters ``BOUNDS`` by its decorator: to add one
is to add one function at the end of this file. Drawn in book/generalization/tighter_bounds.ipynb.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from infocap.bounds.estimates import row_information
from infocap.bounds.formulas import binary_kl_inverse, fast_rate_bound, interpolation_bound, linear_bound
from infocap.supersample import SupersampleRuns

__all__ = ["BOUNDS", "Bound", "all_bounds"]


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
    return torch.full_like(m.train_error, math.sqrt(2 * math.log(2)))


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
