"""Formulas against grids, special cases and numbers by hand; the bootstrap against its own frequency."""

import math

import numpy as np
import pytest
import torch

from infocap.bounds import (
    binary_kl_inverse,
    bootstrap_interval,
    fast_rate_bound,
    interpolation_bound,
    linear_bound,
    sgld_bound,
    squared_stability_bound,
    stability_bound,
    vc_bound,
)

LN2 = math.log(2)


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.5, 1.0])
def test_the_inverse_of_the_binary_divergence_against_a_grid(loss):
    grid = np.linspace(loss, 1, 200_001)
    middle = (loss + grid) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, p * np.log(p / q), 0.0) for p, q in ((loss, middle), (1 - loss, 1 - middle))]
    divergence = np.nan_to_num(sum(terms), nan=0.0)
    for information in (0.0, 1e-4, 0.05, 0.3, 0.7, 2.0):
        largest = grid[divergence <= information + 1e-15].max()
        ours = float(binary_kl_inverse(torch.tensor(loss), torch.tensor(information, dtype=torch.float64)))
        assert ours == pytest.approx(largest, abs=2e-5)
    assert float(binary_kl_inverse(torch.tensor(loss), torch.tensor(5.0))) == 1


def test_binary_divergence_at_error_zero_has_a_closed_form():
    information = torch.tensor([0.0, 0.1, 0.5, 0.6931, 3.0], dtype=torch.float64)
    wanted = (2 * -torch.expm1(-information)).clamp(max=1)
    torch.testing.assert_close(binary_kl_inverse(torch.zeros(5), information), wanted)


def test_constants_of_the_linear_and_fast_bounds_are_admissible_and_near_the_best():
    loss, information = 0.1, 0.02
    from scipy.optimize import brute

    def linear(c):
        c1, c2 = c
        admissible = 0 < c2 <= 0.37 and c2 * (c1 - 1) >= (math.expm1(c2) - c2) * (1 + c1**2)
        return c1 * loss + information / c2 if admissible else 10.0

    def fast(c):
        c1, c2 = c
        admissible = 0 < c2 < LN2 / 2 and math.exp(2 * c2) + math.exp(-2 * c2 * (c1 + 1)) <= 2
        return c1 * loss + information / c2 if admissible else 10.0

    for ours, objective, ranges in (
        (linear_bound, linear, (slice(1, 4, 0.005), slice(0.002, 0.37, 0.002))),
        (fast_rate_bound, fast, (slice(0.005, 4, 0.005), slice(0.002, 0.346, 0.002))),
    ):
        best = brute(objective, ranges, full_output=True, finish=None)[1]
        value = float(ours(torch.tensor(loss), torch.tensor(information)))
        assert value <= best and value == pytest.approx(best, rel=0.01)


def test_special_cases_of_the_bounds():
    zero, information = torch.tensor(0.0), torch.tensor(0.1, dtype=torch.float64)
    assert float(fast_rate_bound(zero, information)) == pytest.approx(0.2 / LN2)
    assert float(interpolation_bound(information)) == pytest.approx(0.1 / LN2)
    assert float(linear_bound(torch.tensor(0.1), information)) <= 0.2 + 0.3


@pytest.mark.parametrize("mean_square", [0.04, 0.1, 0.2])
def test_the_variance_bound_is_best_at_the_fast_rate(mean_square):
    loss, information = 0.2, 0.03
    c2 = np.linspace(0, LN2 / 2, 2002)[1:-1]
    scaled = -np.log1p(-np.expm1(2 * c2)) / (2 * c2) - 1
    best = [(scaled / g2 * (loss - (1 - g2) * mean_square) + information / c2).min() for g2 in (0.2, 0.5, 0.9, 1.0)]
    assert (np.diff(best) <= 1e-15).all()
    assert best[-1] == pytest.approx(float(fast_rate_bound(torch.tensor(loss), torch.tensor(information))), rel=1e-6)


def test_closed_bounds_by_hand():
    assert vc_bound(1000, 10) == pytest.approx(math.sqrt(2 / 1000 * 62.9832), abs=1e-6)
    assert vc_bound(4, 1) == pytest.approx(1.2409, abs=1e-4)
    assert stability_bound(16, 2.0, 0.5) == pytest.approx(2**1.5 * 2)
    squared = squared_stability_bound(4, 9, 2.0, stability=1.0, test_stability=0.5, train_stability=0.5)
    assert squared == pytest.approx(7 / 4 + 8 * math.sqrt(2) * 3 * 2 * math.sqrt(2 + 1 + 1))


def test_the_sgld_bound_by_hand():
    rates, betas = torch.tensor([0.1, 0.05]), torch.tensor([10.0, 40.0])
    variances = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    first, second = 0.1 * 10 / 4 * 3, 0.05 * 40 / 4
    factor = 5 / (4 * 2 * 4**2)
    wanted = torch.tensor([[first, first + second], [0.0, 2 * second]], dtype=torch.float64).mul(factor).sqrt()
    torch.testing.assert_close(sgld_bound(5, 2, rates, betas, variances), wanted)


def test_the_bootstrap_interval_covers_the_mean_of_normal_values():
    generator = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        low, high = bootstrap_interval(torch.tensor(generator.normal(size=30)), seed=seed)
        inside += low <= 0 <= high
    assert 86 <= inside <= 99


BAD_CALLS = [
    (lambda: binary_kl_inverse(torch.tensor(1.5), torch.tensor(0.1)), r"train_error must lie in \[0, 1\]"),
    (lambda: fast_rate_bound(torch.tensor(0.5), torch.tensor(-0.1)), "information must lie in"),
    (lambda: vc_bound(0, 1), "n must be at least 1, got 0"),
    (lambda: stability_bound(1, -1.0, 0.1), "lipschitz must be finite and lie in"),
    (lambda: sgld_bound(5, 1, torch.ones(2), torch.ones(3), torch.ones(2)), "must share T, got shapes"),
    (lambda: bootstrap_interval(torch.tensor([1.0])), "values must be .k1. with k1 >= 2"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()
