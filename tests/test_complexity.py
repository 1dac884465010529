"""Shares of supervision complexity, against training without each example."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from infocap.complexity import complexity_shares, supervision_complexity
from infocap.sample_information import leave_one_out


def problem(seed, n, outputs=None):
    """A random kernel ``[n, n]`` or ``[n, C, n, C]`` and targets."""
    generator = torch.Generator().manual_seed(seed)
    own = (n,) if outputs is None else (n, outputs)
    size = n * (outputs or 1)
    factor = torch.randn(size, size + 3, dtype=torch.float64, generator=generator)
    return (factor @ factor.T).view(own + own), torch.randn(own, dtype=torch.float64, generator=generator)


@given(some.integers(0, 2**30), some.integers(2, 6), some.sampled_from([None, 1, 3]))
def test_marginal_shares_are_the_drop_without_the_example(seed, n, outputs):
    kernel, targets = problem(seed, n, outputs)
    shares = complexity_shares(kernel, targets)
    total = supervision_complexity(kernel, targets).square()
    assert shares.additive.sum() == pytest.approx(float(total), rel=1e-9)
    for i in range(n):
        rest = torch.arange(n) != i
        own = kernel[rest][:, rest] if outputs is None else kernel[rest][:, :, rest]
        drop = total - supervision_complexity(own, targets[rest]).square()
        assert shares.marginal[i] == pytest.approx(float(drop), rel=1e-6, abs=1e-9 * float(total))


@pytest.mark.parametrize("outputs", [None, 2])
def test_twice_the_sample_information_without_ridge_is_the_marginal_share(outputs):
    kernel, targets = problem(3, 7, outputs)
    out = leave_one_out(kernel, targets, kernel[:2])
    torch.testing.assert_close(2 * out.sample_information(), complexity_shares(kernel, targets).marginal)


def test_a_start_is_subtracted_and_sets_are_stacked():
    kernel, targets = problem(5, 4)
    start, sets = torch.ones(4), torch.stack([targets, 2 * targets])
    torch.testing.assert_close(
        complexity_shares(kernel, targets, start).additive, complexity_shares(kernel, targets - 1).additive
    )
    for name in ("additive", "marginal"):
        one, both = (getattr(complexity_shares(kernel, part), name) for part in (targets, sets))
        torch.testing.assert_close(both, torch.stack([one, 4 * one]))


def test_a_singular_kernel_is_refused():
    factor = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="kernel must be positive definite, got one that is singular"):
        complexity_shares(factor @ factor.T, torch.ones(4))
