"""Each measure against an independent way to the same number."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score

from infocap.information import (
    binary_entropy,
    entropy,
    expected_mutual_information,
    memorized_information,
    minimum_error_rate,
    mutual_information,
)

BIT = math.log(2)
weights = st.lists(st.integers(0, 20), min_size=2, max_size=7).filter(any)


def tables():
    sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))
    table = sizes.flatmap(
        lambda size: st.lists(
            st.lists(st.integers(0, 9), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]
        )
    )
    return table.map(torch.tensor).filter(lambda t: t.sum() > 0)


def uniform_row(rate, num_classes=10):
    return torch.tensor([1 - rate] + [rate / (num_classes - 1)] * (num_classes - 1), dtype=torch.float64)


# entropy


@given(weights)
def test_entropy_equals_scipy_and_lies_between_its_bounds(weights):
    p = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    h = entropy(p)
    assert h.dtype == torch.float64 and h.shape == ()
    assert h.item() == pytest.approx(scipy.stats.entropy(np.array(weights)), abs=1e-12)
    assert -1e-15 <= h <= math.log(len(weights)) + 1e-12
    assert torch.isclose(h, entropy(p.flip(0)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "rate, bits",
    [(0.2, 1.355913), (0.4, 2.238921), (0.5, 2.584963), (0.6, 2.872906), (0.8, 3.257868), (0.89, 3.321149)],
)
def test_entropy_of_uniform_noise(rate, bits):
    h = entropy(uniform_row(rate))
    assert h.item() / BIT == pytest.approx(bits, abs=1e-6)
    assert h.item() == pytest.approx(binary_entropy(rate).item() + rate * math.log(9), abs=1e-12)


def test_entropy_of_a_batch_in_float32():
    rows = torch.softmax(torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)), -1)
    h = entropy(rows)
    assert h.shape == (4, 3) and h.dtype == torch.float64
    assert h[2, 1].item() == pytest.approx(scipy.stats.entropy(rows[2, 1].double().numpy()), abs=1e-6)


def test_entropy_of_certainty_is_zero():
    assert entropy(torch.tensor([0, 1, 0])).item() == 0


def test_binary_entropy_is_the_entropy_of_two_outcomes():
    r = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(binary_entropy(r), entropy(torch.stack([r, 1 - r], -1)), rtol=0, atol=1e-15)


# mutual information


def mutual_information_by_definition(p):
    row, column = p.sum(1), p.sum(0)
    return sum(
        p[i, j].item() * math.log(p[i, j] / (row[i] * column[j]))
        for i, j in itertools.product(range(len(row)), range(len(column)))
        if p[i, j] > 0
    )


@given(tables())
def test_mutual_information_three_ways(counts):
    information = mutual_information(counts)
    p = counts.double() / counts.sum()
    assert information.item() == pytest.approx(mutual_information_by_definition(p), abs=1e-12)
    assert information.item() == pytest.approx(mutual_info_score(None, None, contingency=counts.numpy()), abs=1e-12)
    assert mutual_information(p).item() == pytest.approx(information.item(), abs=1e-12)


@given(tables(), st.randoms(use_true_random=False))
def test_mutual_information_bounds_and_invariances(counts, random):
    information = mutual_information(counts).item()
    p = counts.double() / counts.sum()
    assert 0 <= information <= min(entropy(p.sum(0)), entropy(p.sum(1))) + 1e-12
    order = torch.tensor(random.sample(range(len(counts)), len(counts)))
    assert mutual_information(counts[order]).item() == pytest.approx(information, abs=1e-12)
    assert mutual_information(counts.T).item() == pytest.approx(information, abs=1e-12)
    assert mutual_information(3 * counts).item() == pytest.approx(information, abs=1e-12)
    merged = torch.cat([counts[:1] + counts[-1:], counts[1:-1]]) if len(counts) > 1 else counts
    assert mutual_information(merged).item() <= information + 1e-12  # data processing


@given(weights, weights)
def test_mutual_information_is_zero_for_a_product_and_entropy_for_a_copy(a, b):
    p = torch.tensor(a, dtype=torch.float64) / sum(a)
    q = torch.tensor(b, dtype=torch.float64) / sum(b)
    assert mutual_information(p[:, None] * q).item() == pytest.approx(0, abs=1e-12)
    assert mutual_information(p.diag()).item() == pytest.approx(entropy(p).item(), abs=1e-12)


def test_mutual_information_of_a_batch():
    counts = torch.randint(0, 6, (5, 2, 3, 4), generator=torch.Generator().manual_seed(0)) + 1
    batch = mutual_information(counts)
    assert batch.shape == (5, 2) and batch.dtype == torch.float64
    assert torch.equal(batch[3, 1], mutual_information(counts[3, 1]))


# expected mutual information


def plug_in(rows, columns, shape):
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


@pytest.mark.parametrize(
    "counts",
    [
        [[2, 1], [1, 2]],
        [[3, 0], [1, 2]],
        [[1, 2, 1], [2, 0, 1]],
        [[1, 0, 0], [0, 2, 1], [1, 0, 2]],
        [[4, 0], [0, 0], [2, 1]],
    ],
)
def test_expected_mutual_information_is_the_mean_over_all_permutations(counts):
    counts = np.array(counts)
    rows, columns = np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0).T
    every = [plug_in(rows, np.array(order), counts.shape) for order in itertools.permutations(columns)]
    mean = mutual_information(torch.tensor(np.array(every))).mean()
    assert expected_mutual_information(torch.tensor(counts)).item() == pytest.approx(mean.item(), abs=1e-12)


def tables_with_margins(row_sums, column_sums):
    """Every table with these margins, by filling row after row."""
    if not row_sums:
        if not any(column_sums):
            yield []
        return
    for row in itertools.product(*(range(c + 1) for c in column_sums)):
        if sum(row) == row_sums[0]:
            rest = [c - x for c, x in zip(column_sums, row, strict=True)]
            yield from ([row, *more] for more in tables_with_margins(row_sums[1:], rest))


@pytest.mark.parametrize(
    "row_sums, column_sums", [((6, 6), (4, 8)), ((10, 15), (12, 13)), ((5, 4, 3), (6, 2, 4)), ((8, 1), (3, 3, 3))]
)
def test_expected_mutual_information_is_the_mean_over_all_tables(row_sums, column_sums):
    every = torch.tensor(list(tables_with_margins(row_sums, column_sums)))
    # the number of ways to a table, over the product of its factorials
    log_weight = -torch.lgamma(every.double() + 1).sum((-2, -1))
    mean = torch.softmax(log_weight, 0) @ mutual_information(every)
    one = every[len(every) // 2]
    assert expected_mutual_information(one).item() == pytest.approx(mean.item(), abs=1e-12)


@given(tables().filter(lambda t: (t.sum(0) > 0).sum() > 1 and (t.sum(1) > 0).sum() > 1))
def test_expected_mutual_information_agrees_with_scikit_learn(counts):
    rows, columns = np.repeat(np.argwhere(counts.numpy() >= 0), counts.numpy().ravel(), axis=0).T
    p = counts.double() / counts.sum()
    information, expected = mutual_information(counts), expected_mutual_information(counts)
    largest = torch.stack([entropy(p.sum(0)), entropy(p.sum(1))]).mean()
    if largest - expected > 1e-9:
        adjusted = adjusted_mutual_info_score(rows, columns)
        assert ((information - expected) / (largest - expected)).item() == pytest.approx(adjusted, abs=1e-8)


def test_expected_mutual_information_of_a_batch_of_different_totals():
    counts = torch.randint(0, 9, (4, 3, 2, 3), generator=torch.Generator().manual_seed(0))
    counts[0, 0] *= 20
    batch = expected_mutual_information(counts)
    assert batch.shape == (4, 3) and batch.dtype == torch.float64
    for index in itertools.product(range(4), range(3)):
        assert batch[index].item() == pytest.approx(expected_mutual_information(counts[index]).item(), abs=1e-14)


def test_expected_mutual_information_vanishes_for_one_column_and_approaches_the_chi_square_bias():
    assert expected_mutual_information(torch.tensor([[3], [4]])).item() == 0
    n = 4000
    counts = torch.full((3, 4), n // 12)
    assert expected_mutual_information(counts).item() == pytest.approx((3 - 1) * (4 - 1) / (2 * n), rel=2e-3)


# Fano

R0 = {
    0.2: (0.2, 0.1381, 0.0833, 0.0362, 0),
    0.4: (0.4, 0.2661, 0.1561, 0.0660, 0),
    0.5: (0.5, 0.3247, 0.1879, 0.0786, 0),
    0.6: (0.6, 0.3780, 0.2158, 0.0895, 0),
    0.8: (0.8, 0.4570, 0.2553, 0.1045, 0),
}


@pytest.mark.parametrize("rate", R0)
def test_minimum_error_rate_of_uniform_noise(rate):
    noise = entropy(uniform_row(rate))
    information = noise * torch.linspace(0, 1, 5, dtype=torch.float64)
    r0 = minimum_error_rate(noise, information, 10)
    assert r0.dtype == torch.float64
    torch.testing.assert_close(r0, torch.tensor(R0[rate], dtype=torch.float64), rtol=0, atol=6e-5)
    assert r0[0].item() == pytest.approx(rate, abs=1e-12)  # store nothing, err as often as labels are wrong
    assert r0[4].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "rate, at_one_bit, at_half_a_bit",
    [
        (0.2, 0.03831, 0.11118),
        (0.4, 0.17781, 0.27909),
        (0.5, 0.24606, 0.36028),
        (0.6, 0.30932, 0.43675),
        (0.8, 0.40507, 0.55757),
    ],
)
def test_minimum_error_rate_at_given_bits(rate, at_one_bit, at_half_a_bit):
    r0 = minimum_error_rate(entropy(uniform_row(rate)), torch.tensor([BIT, BIT / 2], dtype=torch.float64), 10)
    assert r0.tolist() == pytest.approx([at_one_bit, at_half_a_bit], abs=1e-5)


@pytest.mark.parametrize(
    "row, num_classes, exact, official_grid",
    [((0.6, 0.4), 10, 0.13024, 0.131), ((0.6, 0.2, 0.2), 10, 0.20292, 0.204), ((0.6, 0.2, 0.2), 4, 0.30508, 0.306)],
)
def test_minimum_error_rate_of_pair_and_triple_noise(row, num_classes, exact, official_grid):
    r0 = minimum_error_rate(entropy(row), 0.0, num_classes).item()
    assert r0 == pytest.approx(exact, abs=1e-5)
    assert r0 == pytest.approx(official_grid, abs=1.5e-3)


def fano_left_side(r, needed):
    return scipy.stats.entropy([r, 1 - r]) + r * math.log(4) - needed


def test_minimum_error_rate_equals_a_general_root_finder():
    noise = entropy(uniform_row(0.7, 5))
    for information in (0.0, 0.1, 0.4, 0.9, 1.2):
        root = scipy.optimize.brentq(fano_left_side, 1e-300, 0.8, args=(noise.item() - information,), xtol=1e-15)
        assert minimum_error_rate(noise, information, 5).item() == pytest.approx(root, abs=1e-12)


@given(st.integers(3, 100), st.floats(0, 1), st.floats(0, 1))
def test_fano_bounds_are_inverses(num_classes, noise_fraction, fraction):
    noise = noise_fraction * math.log(num_classes)
    information = fraction * noise
    rate = minimum_error_rate(noise, information, num_classes)
    assert 0 <= rate <= (num_classes - 1) / num_classes
    assert memorized_information(noise, rate, num_classes).item() == pytest.approx(information, abs=1e-9)


@given(st.integers(3, 100), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_information_never_needs_more_errors(num_classes, noise_fraction, a, b):
    noise = noise_fraction * math.log(num_classes)
    less, more = minimum_error_rate(noise, torch.tensor(sorted([a, b]), dtype=torch.float64), num_classes)
    assert more <= less


def test_enough_information_allows_no_error_at_all():
    noise = entropy(uniform_row(0.4))
    assert minimum_error_rate(noise, torch.stack([noise, noise + 1]), 10).tolist() == [0, 0]


def test_fano_bounds_broadcast():
    noise = entropy(torch.stack([uniform_row(0.2), uniform_row(0.8)]))[:, None]
    rates = torch.tensor([0.0, 0.1, 0.9])
    table = memorized_information(noise, rates, 10)
    assert table.shape == (2, 3) and table.dtype == torch.float64
    assert torch.equal(table[:, :1], noise)
    assert table[0, 2] == 0
    assert minimum_error_rate(noise, rates, 10).shape == (2, 3)


def test_memorized_information_of_two_classes_is_entropy_minus_entropy():
    h = memorized_information(BIT, 0.1, 2)
    assert h.item() == pytest.approx(BIT - scipy.stats.entropy([0.1, 0.9]), abs=1e-12)


# bad input

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: entropy([0.5, 0.4]),
            ValueError,
            "probabilities must sum to 1 within 1e-06, got a sum that is off by 0.1",
        ),
        (
            lambda: entropy([1.5, -0.5]),
            ValueError,
            r"probabilities must lie in \[0, inf\], got values from -0.5 to 1.5",
        ),
        (lambda: entropy([NAN, 1.0]), ValueError, "probabilities must be finite, got NaN or infinite values"),
        (lambda: entropy(torch.empty(0)), ValueError, r"probabilities must not be empty, got shape \(0,\)"),
        (lambda: entropy(1.0), ValueError, r"probabilities must have at least 1 axes, got shape \(\)"),
        (
            lambda: entropy(torch.tensor([True, False])),
            TypeError,
            "probabilities must hold integers or real numbers, got torch.bool",
        ),
        (lambda: entropy("half"), TypeError, "probabilities must be a tensor of numbers, got str"),
        (lambda: binary_entropy(1.2), ValueError, r"rate must lie in \[0, 1\], got values from 1.2 to 1.2"),
        (lambda: mutual_information([[0.5, 0.4]]), ValueError, "joint must sum to 1"),
        (lambda: mutual_information([0.5, 0.5]), ValueError, r"joint must have at least 2 axes, got shape \(2,\)"),
        (lambda: mutual_information([1, 2]), ValueError, r"joint must have at least 2 axes, got shape \(2,\)"),
        (lambda: mutual_information([[1, -2]]), ValueError, r"joint must lie in \[0, inf\]"),
        (
            lambda: mutual_information([[0, 0]]),
            ValueError,
            "joint must hold at least one count in each table, got a table of zeros",
        ),
        (lambda: expected_mutual_information([[0.5, 0.5]]), TypeError, "counts must be integers, got torch.float64"),
        (
            lambda: expected_mutual_information([[-1, 2]]),
            ValueError,
            r"counts must lie in \[0, inf\], got values from -1 to 2",
        ),
        (lambda: minimum_error_rate(0.5, 0.1, 2), ValueError, "num_classes must be at least 3, got 2"),
        (lambda: minimum_error_rate(0.5, 0.1, 2.5), TypeError, "num_classes must be an integer, got float"),
        (lambda: minimum_error_rate(0.5, -0.1, 3), ValueError, r"information must lie in \[0, inf\]"),
        (lambda: minimum_error_rate(0.5, INF, 3), ValueError, "information must be finite"),
        (
            lambda: minimum_error_rate(2.0, 0.1, 3),
            ValueError,
            r"noise_entropy must not exceed ln\(num_classes\) = 1.09861 nats, got 2",
        ),
        (lambda: memorized_information(-0.1, 0.1, 3), ValueError, r"noise_entropy must lie in \[0, inf\]"),
        (
            lambda: memorized_information(0.5, 1.1, 3),
            ValueError,
            r"error_rate must lie in \[0, 1\], got values from 1.1 to 1.1",
        ),
        (lambda: memorized_information(0.5, NAN, 3), ValueError, "error_rate must be finite"),
        (lambda: memorized_information(0.5, 0.1, 1), ValueError, "num_classes must be at least 2, got 1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
