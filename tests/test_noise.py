"""The label-noise models: their matrices in closed form, their draws by the chi-square test."""

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from infocap.noise import corrupt, pair_transition, uniform_transition

CIFAR_PAIRS = {9: 1, 2: 0, 4: 7, 3: 5}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 20), st.floats(0, 1))
def test_uniform_transition_by_its_definition(num_classes, rate):
    transition = uniform_transition(num_classes, rate)
    assert transition.shape == (num_classes, num_classes) and transition.dtype == torch.float64
    for i in range(num_classes):
        for j in range(num_classes):
            assert transition[i, j].item() == pytest.approx(1 - rate if i == j else rate / (num_classes - 1), abs=1e-15)


@pytest.mark.parametrize("rate, determinant", [(0.5, 6.766e-4), (0.8, 2.58e-9), (0.9, 0.0)])
def test_determinant_of_uniform_transition(rate, determinant):
    assert torch.linalg.det(uniform_transition(10, rate)).item() == pytest.approx(determinant, rel=1e-3, abs=1e-15)


def test_pair_transition_goes_one_way():
    transition = pair_transition(10, 0.4, CIFAR_PAIRS)
    assert transition.dtype == torch.float64
    expected = {(i, i): 0.6 if i in CIFAR_PAIRS else 1.0 for i in range(10)} | dict.fromkeys(CIFAR_PAIRS.items(), 0.4)
    for i in range(10):
        for j in range(10):
            assert transition[i, j].item() == pytest.approx(expected.get((i, j), 0.0), abs=1e-15)
    assert 1 - transition.diag().mean().item() == pytest.approx(0.4 * 0.4)  # 16 % of balanced labels are wrong


@pytest.mark.parametrize("transition", [uniform_transition(10, 0.4), pair_transition(10, 0.3, CIFAR_PAIRS)])
def test_corrupt_draws_from_the_row_of_the_true_class(transition):
    labels = torch.arange(10).repeat(3000)
    before = labels.clone()
    noisy = corrupt(labels, transition, generator())
    assert torch.equal(labels, before) and noisy.data_ptr() != labels.data_ptr()
    assert noisy.shape == labels.shape and noisy.dtype == labels.dtype
    for i, row in enumerate(transition):
        seen = torch.bincount(noisy[labels == i], minlength=10).double()
        assert seen[row == 0].sum() == 0
        possible = row > 0
        if possible.sum() > 1:
            assert scipy.stats.chisquare(seen[possible], 3000 * row[possible]).pvalue > 1e-3


def test_corrupt_draws_examples_independently():
    noisy = corrupt(torch.zeros(20000, dtype=torch.int64), uniform_transition(2, 0.3), generator())
    pairs = torch.bincount(2 * noisy[::2] + noisy[1::2], minlength=4).double()
    expected = 10000 * torch.tensor([0.49, 0.21, 0.21, 0.09], dtype=torch.float64)
    assert scipy.stats.chisquare(pairs, expected).pvalue > 1e-3


def test_corrupt_depends_on_its_generator_only():
    labels, transition = torch.arange(5).repeat(40), uniform_transition(5, 0.5)
    torch.manual_seed(1)
    first = corrupt(labels, transition, generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, corrupt(labels, transition, generator(7)))
    assert not torch.equal(first, corrupt(labels, transition, generator(8)))


def test_corrupt_at_the_extremes():
    labels = torch.tensor([0, 1, 2, 2], dtype=torch.int32)
    clean = corrupt(labels, uniform_transition(3, 0.0), generator())
    assert torch.equal(clean, labels)
    assert not (corrupt(labels, uniform_transition(3, 1.0), generator()) == labels).any()


LABELS, TRANSITION = torch.tensor([0, 1, 2]), uniform_transition(3, 0.2)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: uniform_transition(1, 0.2), ValueError, "num_classes must be at least 2, got 1"),
        (lambda: uniform_transition(3.0, 0.2), TypeError, "num_classes must be an integer, got float"),
        (lambda: uniform_transition(3, 1.2), ValueError, r"rate must be finite and lie in \[0, 1\], got 1.2"),
        (lambda: uniform_transition(3, float("nan")), ValueError, r"rate must be finite and lie in \[0, 1\], got nan"),
        (lambda: uniform_transition(3, "0.2"), TypeError, "rate must be a number, got str"),
        (lambda: pair_transition(3, -0.1, {0: 1}), ValueError, r"rate must be finite and lie in \[0, 1\], got -0.1"),
        (
            lambda: pair_transition(3, 0.1, {0: 3}),
            ValueError,
            r"targets of pairs must lie in \[0, 2\], got values from 3 to 3",
        ),
        (
            lambda: pair_transition(3, 0.1, {-1: 0}),
            ValueError,
            r"sources of pairs must lie in \[0, 2\], got values from -1 to -1",
        ),
        (lambda: pair_transition(3, 0.1, {1: 1}), ValueError, "pairs must join two different classes, got {1: 1}"),
        (lambda: pair_transition(3, 0.1, {}), ValueError, "pairs must not be empty, got no pair"),
        (
            lambda: pair_transition(3, 0.1, [(0, 1)]),
            TypeError,
            "pairs must map source classes to target classes, got list",
        ),
        (
            lambda: pair_transition(3, 0.1, {"cat": "dog"}),
            TypeError,
            "sources of pairs must be a tensor of numbers, got list",
        ),
        (lambda: corrupt(LABELS, TRANSITION, 0), TypeError, "generator must be a torch.Generator, got int"),
        (
            lambda: corrupt(LABELS + 1, TRANSITION, generator()),
            ValueError,
            r"labels must lie in \[0, 2\], got values from 1 to 3",
        ),
        (
            lambda: corrupt(LABELS.float(), TRANSITION, generator()),
            TypeError,
            "labels must be integers, got torch.float32",
        ),
        (
            lambda: corrupt(LABELS[:0], TRANSITION, generator()),
            ValueError,
            r"labels must be a non-empty vector, got shape \(0,\)",
        ),
        (
            lambda: corrupt(LABELS[None], TRANSITION, generator()),
            ValueError,
            r"labels must be a non-empty vector, got shape \(1, 3\)",
        ),
        (
            lambda: corrupt(LABELS, 2 * TRANSITION, generator()),
            ValueError,
            "transition must sum to 1 within 1e-06, got a sum that is off by 1",
        ),
        (
            lambda: corrupt(LABELS, TRANSITION[:2], generator()),
            ValueError,
            r"transition must be \[3, 3\], got shape \(2, 3\)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
